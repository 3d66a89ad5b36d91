"""The preview of a chart, and what `binder doctor` prints about the libraries that draw it. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder import Item, name_of

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 320  # pixels


def preview(item: Item) -> Image:
    """Table, spec or picture -> the chart with its labels, at most SIZE pixels wide and high. Raises ItemError."""
    from binder_chart.draw import draw
    from binder_chart.plot import plot
    from binder_chart.reading import read
    from binder_chart.spec import draw_spec
    from binder_chart.style import READABLE
    from binder_chart.table import Table

    name, found = name_of(item), read(item)
    if isinstance(found, Table):
        return draw(plot(found, name), READABLE, SIZE)
    shown = draw_spec(name, found, SIZE) if isinstance(found, dict) else found.copy()
    shown.thumbnail((SIZE, SIZE))
    return shown


def diagnose() -> dict[str, str]:
    """Versions of the libraries that draw, for `binder doctor`."""
    from importlib.metadata import version

    import vl_convert

    found = {name: version(name) for name in ("matplotlib", "vl-convert-python", "pyarrow")}
    found["vega-lite"] = ", ".join(vl_convert.get_vegalite_versions()[-1:])
    return found
