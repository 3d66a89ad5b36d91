"""A Vega-Lite spec -> its picture, by vl-convert: no browser, no network, nothing outside the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from binder import ItemError
from binder_chart.reading import Spec, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_ROWS = 50_000  # of inline data
MOST_PIXELS = 4_000  # of any length that a spec asks for
INLINE = frozenset({"values", "datasets"})  # data as such: what it says is drawn, never followed
EXTERNAL = frozenset({"url", "href", "src"})  # what would be fetched, or is a link
MAKES_DATA = frozenset({"sequence", "graticule", "sphere"})


def draw_spec(name: str, spec: Spec, size: int = 256, theme: Any = None) -> Image:
    """The spec as it draws itself, in a square of about `size` pixels where it is a single view, RGB.

    Raises ItemError for a spec that refers to anything outside itself, holds no data, or cannot be compiled.
    """
    import vl_convert

    check(name, spec)
    plain = {key: value for key, value in spec.items() if key != "usermeta"}
    if "mark" in plain or "layer" in plain:  # a view of its own: it fills the square
        plain |= {"width": size, "height": size, "autosize": {"type": "fit", "contains": "padding"}}
    try:
        data = vl_convert.vegalite_to_png(plain, theme=theme, allowed_base_urls=[], show_warnings=False)
    except Exception as error:  # of V8, of Vega-Lite's compiler, of the renderer: their kinds are not documented
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ItemError(name, f"Vega-Lite cannot draw it: {lines[1] if len(lines) > 1 else error}") from None
    picture = open_picture(name, data)
    if len(picture.getcolors(2) or "many") == 1:
        raise ItemError(name, "a Vega-Lite spec that draws nothing; are mark, encoding and the names of fields right?")
    return picture


def check(name: str, spec: Spec) -> None:
    """Raise ItemError for a spec that reaches outside itself, or would take memory without end."""
    rows, makes = 0, False
    for key, value in _walk(spec):
        if key in EXTERNAL:
            raise ItemError(name, f"a spec with an external reference ({key!r}); put the data inline as data.values")
        if key == "values" and isinstance(value, list):
            rows += len(value)
        elif key == "values" and isinstance(value, str):
            rows += value.count("\n") + 1
        elif key == "datasets" and isinstance(value, Mapping):
            rows += sum(len(part) for part in value.values() if isinstance(part, list))
        elif key in MAKES_DATA:
            makes = True
        elif isinstance(value, str) and "sequence(" in value.replace(" ", ""):
            raise ItemError(name, "a spec whose expressions make data without end (sequence); give the data inline")
        elif key in ("width", "height", "step") and isinstance(value, int | float) and value > MOST_PIXELS:
            raise ItemError(name, f"a spec with {key} {value:g}; expected at most {MOST_PIXELS} pixels")
        if key in ("sequence", "keyvals") and isinstance(value, Mapping):
            rows += _length(name, value)
    if rows > MOST_ROWS:
        raise ItemError(name, f"a spec with {rows:,} rows of data; expected at most {MOST_ROWS:,}")
    if not rows and not makes:
        raise ItemError(name, "a spec without data; expected it inline, as data.values")


def _walk(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (key, value) of the spec but those inside its data."""
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
    start, stop, step = (sequence.get(key, default) for key, default in (("start", 0), ("stop", 0), ("step", 1)))
    try:
        return max(0, int((float(stop) - float(start)) / float(step)))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ItemError(name, "a spec with a sequence that is none; expected numbers as start, stop and step") from None
