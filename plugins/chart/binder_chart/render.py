"""Draws a spec in a separate process. A spec is a program: it may crash, hang, or fill the memory.

While drawing, that process can open neither files nor connections, because vl-convert's own restrictions apply to data
but not to pictures. It therefore uses only the fonts that it ships, and a spec looks the same on every machine.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from binder import ItemError

MAX_SIDE = 4_000  # pixels; a picture may have as many in all as a square of this side
SMALLEST = '{"data": {"values": [{"a": 1}]}, "mark": "bar", "title": "a", "encoding": {"x": {"field": "a"}}}'


def render(name: str, text: str, theme: Any) -> bytes:
    """A Vega-Lite spec as JSON -> PNG. For `binder.isolated` only: it may end the process.

    Raises ItemError where Vega-Lite rejects the spec, or the picture has more than MAX_SIDE squared pixels.
    """
    import vl_convert

    _start()
    try:
        with _nothing_can_be_opened():
            data = vl_convert.vegalite_to_png(text, theme=theme, allowed_base_urls=[], show_warnings=False)
    except Exception as error:  # from V8, Vega-Lite's compiler or the renderer, whose exceptions are not documented
        _abort_if_stuck()
        raise ItemError(name, f"Vega-Lite cannot draw it: {_reason(error)}") from None
    except BaseException:  # a panic in Rust
        os.abort()
    width, height = struct.unpack(">II", data[16:24])
    if width * height > MAX_SIDE**2:
        raise ItemError(name, f"a spec of {width} x {height} pixels; expected at most {MAX_SIDE} x {MAX_SIDE}")
    return data


@lru_cache(maxsize=1)
def _start() -> None:
    """Start V8 once: it opens files and reserves memory, which are not part of what a spec may use."""
    import vl_convert

    with _memory_for_startup():
        vl_convert.vegalite_to_vega(SMALLEST, show_warnings=False)


@contextmanager
def _nothing_can_be_opened() -> Iterator[None]:
    """Within this context no file or connection can be opened (except on Windows, which has no such limit)."""
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
def _memory_for_startup() -> Iterator[None]:
    """Within this context memory is not limited; afterwards the limit is raised by what was reserved."""
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
    """Bytes that count toward the limit. Raises OSError where the system does not tell."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _abort_if_stuck() -> None:
    """End the process if the renderer no longer works: an error may leave a lock that is never released."""
    import vl_convert

    try:
        with _nothing_can_be_opened():
            vl_convert.vegalite_to_png(SMALLEST, allowed_base_urls=[], show_warnings=False)
    except BaseException:
        os.abort()


def _reason(error: Exception) -> str:
    """The line of V8's report that states the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else str(error))[:300]
