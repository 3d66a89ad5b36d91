"""What draws a spec, in a process of its own. A spec is a program: it can crash, hang or fill whatever runs it.

That process may open nothing while it draws, no file and no connection: vl-convert keeps its own rules for data only,
not for pictures. So it knows the fonts that it brings and no others, and a spec looks the same on every machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from binder import ItemError

MOST_PIXELS = 4_000  # of the side of a square as large as a picture may become
SMALLEST = '{"data": {"values": [{"a": 1}]}, "mark": "bar", "title": "a", "encoding": {"x": {"field": "a"}}}'


def render(name: str, text: str, theme: Any) -> bytes:
    """A Vega-Lite spec as JSON -> PNG. To be run by `binder.isolated` and by nothing else: it may end the process.

    Raises ItemError where Vega-Lite refuses the spec, or the picture would be larger than MOST_PIXELS squared.
    """
    import vl_convert

    _start()
    try:
        with _nothing_opens():
            data = vl_convert.vegalite_to_png(text, theme=theme, allowed_base_urls=[], show_warnings=False)
    except Exception as error:  # of V8, of Vega-Lite's compiler, of the renderer: their kinds are not documented
        _end_unless_sound()
        raise ItemError(name, f"Vega-Lite cannot draw it: {_reason(error)}") from None
    except BaseException:  # a panic, as Rust calls it
        os.abort()
    width, height = struct.unpack(">II", data[16:24])
    if width * height > MOST_PIXELS**2:
        raise ItemError(name, f"a spec of {width} x {height} pixels; expected at most {MOST_PIXELS} x {MOST_PIXELS}")
    return data


@lru_cache(maxsize=1)
def _start() -> None:
    """Start V8, whose reserve of memory and threads is no part of what a spec may need. It needs files for that."""
    import vl_convert

    with _memory_for_the_start():
        vl_convert.vegalite_to_vega(SMALLEST, show_warnings=False)


@contextmanager
def _nothing_opens() -> Iterator[None]:
    """Within this, no file or connection can be opened (not on Windows, which has no such limit)."""
    try:
        import resource
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _memory_for_the_start() -> Iterator[None]:
    """Within this the limit on memory is lifted; afterwards as much is left as before."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if soft == resource.RLIM_INFINITY:
            raise OSError
        before = _reserved()
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    except (ImportError, OSError):
        yield
        return
    yield
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (soft + max(_reserved() - before, 0), hard))


def _reserved() -> int:
    """Bytes that count for the limit. Raises OSError where the system does not tell."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _end_unless_sound() -> None:
    """After an error the renderer may be left with a lock that nobody opens again: then the process is of no use."""
    import vl_convert

    try:
        with _nothing_opens():
            vl_convert.vegalite_to_png(SMALLEST, allowed_base_urls=[], show_warnings=False)
    except BaseException:
        os.abort()


def _reason(error: Exception) -> str:
    """The one line of V8's report that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else str(error))[:300]
