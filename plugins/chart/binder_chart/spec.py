"""A Vega-Lite spec -> its picture, by vl-convert: no browser, no network, no files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import TYPE_CHECKING, Any

from binder import ItemError, read_image
from binder_chart.reading import Spec
from binder_chart.render import MAX_SIDE, render

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ROWS = 50_000  # of inline data
MAX_BYTES = 16 * 2**20  # of a spec as JSON
DEEPEST = 100  # levels of nesting
INLINE = frozenset({"values", "datasets"})  # data, which is drawn and never followed
EXTERNAL = frozenset({"url", "href", "src"})  # resources that would be fetched, and links
MAKES_DATA = frozenset({"sequence", "graticule", "sphere"})
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # nor in SVG


def draw_spec(name: str, spec: Spec, size: int = 256, theme: Any = None) -> Image:
    """A spec -> RGB picture, a square of about `size` pixels if it is a single view.

    It is drawn in another process with limits on time and memory. Raises ItemError for a spec that refers to external
    resources, has no data, cannot be compiled, or exceeds the limits.
    """
    from binder import isolated

    plain = _plain(name, spec)
    check(name, plain)
    plain.pop("usermeta", None)
    if "mark" in plain or "layer" in plain:  # a single view fills the square
        plain |= {"width": size, "height": size, "autosize": {"type": "fit", "contains": "padding"}}
    text = json.dumps(plain, ensure_ascii=False)
    if len(text) > MAX_BYTES:
        raise ItemError(name, f"a spec of {len(text) / 2**20:.0f} MiB; expected at most {MAX_BYTES >> 20} MiB")
    picture = read_image(isolated(render, name, text, theme, item=name), name)
    if len(picture.getcolors(2) or "many") == 1:
        raise ItemError(name, "the Vega-Lite spec draws nothing; check its mark, encoding and field names")
    return picture


def check(name: str, spec: Spec) -> None:
    """Raises ItemError, before the spec is run, if it has external references or too much data, or no data."""
    rows, makes = 0, False
    for key, value in _walk(spec):
        if key in EXTERNAL:
            raise ItemError(name, f"the spec has an external reference ({key!r}); put the data inline, as data.values")
        if key == "values" and isinstance(value, list):
            rows += len(value)
        elif key == "values" and isinstance(value, str):
            rows += value.count("\n") + 1
        elif key == "datasets" and isinstance(value, Mapping):
            rows += sum(len(part) for part in value.values() if isinstance(part, list))
        elif key in MAKES_DATA:
            makes = True
        elif key in ("width", "height", "step") and isinstance(value, int | float) and value > MAX_SIDE:
            raise ItemError(name, f"a spec with {key} {value:g}; expected at most {MAX_SIDE} pixels")
        if key in ("sequence", "keyvals") and isinstance(value, Mapping):
            rows += _length(name, value)
    if rows > MAX_ROWS:
        raise ItemError(name, f"a spec with {rows:,} rows of data; expected at most {MAX_ROWS:,}")
    if not rows and not makes:
        raise ItemError(name, "a spec without data; expected it inline, as data.values")


def _plain(name: str, node: Any, depth: int = 0) -> Any:
    """A copy in JSON types, with characters that XML cannot contain replaced and infinite numbers as null."""
    if depth > DEEPEST:
        raise ItemError(name, f"a spec nested more than {DEEPEST} levels deep")
    if isinstance(node, str):
        return NOT_IN_XML.sub("\ufffd", node)
    if node is None or isinstance(node, bool):
        return node
    if isinstance(node, int | float):
        return node if -1e308 <= node <= 1e308 else None
    if isinstance(node, Mapping):
        return {_plain(name, str(key)): _plain(name, value, depth + 1) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(name, value, depth + 1) for value in node]
    if isinstance(node, date | time):
        return node.isoformat()
    if hasattr(node, "tolist"):  # numpy
        return _plain(name, node.tolist(), depth + 1)
    raise ItemError(name, f"the spec contains {type(node).__name__}; expected only JSON types")


def _walk(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (key, value) of the spec, except within its data."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield name, value
            if name not in INLINE:
                yield from _walk(value, name)
    elif isinstance(node, list):
        for value in node:
            yield key, value
            yield from _walk(value, key)


def _length(name: str, sequence: Mapping[str, Any]) -> int:
    """The number of rows of a sequence generator. Raises ItemError for a bad one."""
    start, stop, step = (sequence.get(key, default) for key, default in (("start", 0), ("stop", 0), ("step", 1)))
    try:
        return max(0, int((float(stop) - float(start)) / float(step)))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ItemError(name, "the spec has a bad sequence; expected numbers as start, stop and step") from None
