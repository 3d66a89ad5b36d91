"""Which chart a table becomes, and that it is always drawn in the same way, whatever the table contains."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
import pytest
from binder_chart.config import KINDS
from binder_chart.draw import draw
from binder_chart.picture import picture, pictures, source
from binder_chart.plot import Plot, fitting, plot
from binder_chart.reading import read
from binder_chart.style import PLAIN, READABLE, random_style
from binder_chart.table import Table

from binder import ItemError


def plotted(item: object, kind: str | None = None) -> Plot:
    found = read(item)
    assert isinstance(found, Table)
    return plot(found, "it", kind)  # type: ignore[arg-type]


def years(n: int, first: int = 1990) -> Sequence[int]:
    return list(range(first, first + n))


def wave(n: int) -> list[float]:
    return (np.sin(np.arange(n) / 9) + 2).tolist()


SCATTERED = np.random.default_rng(0).normal(size=(2, 40)).tolist()


@pytest.mark.parametrize(
    ("item", "kind", "axis"),
    [
        ({"year": years(30), "sales": wave(30)}, "line", "time"),
        ({"year": years(8), "sales": wave(8)}, "bar", "time"),
        ({"name": list("abcd"), "sales": wave(4)}, "bar", "category"),
        ({"width": SCATTERED[0], "height": SCATTERED[1]}, "scatter", "number"),
        ({"t": [0.1 * i for i in range(60)], "height": wave(60)}, "line", "number"),
        ({"value": wave(20)}, "bar", "order"),
        ({"value": wave(200)}, "line", "order"),
        ({"name": [f"n{i}" for i in range(500)], "value": wave(500)}, "line", "category"),
    ],
)
def test_the_chart_that_fits(item: object, kind: str, axis: str) -> None:
    found = plotted(item)
    assert (found.kind, found.axis) == (kind, axis)


def test_the_chart_type_of_a_table_comes_before_that_of_the_config() -> None:
    item = {"name": list("abcd"), "share": [40, 30, 20, 10]}
    for kind in KINDS:
        assert plotted((item, kind), "line").kind == kind
        assert plotted(item, kind).kind == kind


@pytest.mark.parametrize(
    "item",
    [
        {"name": ["a", "b"], "value": [1, -2]},
        {"name": ["a", "b"], "value": [0, 0]},
        {"name": ["a", "b"], "one": [1, 2], "two": [1, 2]},
        {"x": SCATTERED[0], "y": SCATTERED[1]},
    ],
)
def test_data_without_parts_cannot_be_a_pie(item: object) -> None:
    with pytest.raises(ItemError, match="cannot be drawn as a pie chart; it could be: bar, line, area, scatter"):
        plotted(item, "pie")


def test_time_runs_to_the_right_whatever_the_order_of_the_rows() -> None:
    newest_first = plotted({"year": years(5)[::-1], "value": [5, 4, 3, 2, 1]})
    assert newest_first.values.tolist() == [[1, 2, 3, 4, 5]]
    assert newest_first.labels == ("1990", "1991", "1992", "1993", "1994")


def test_names_keep_their_order() -> None:
    assert plotted({"name": ["z", "a", "m"], "value": [1, 2, 3]}).labels == ("z", "a", "m")


@pytest.mark.parametrize(("names", "horizontal"), [(["a", "b"], False), (["a rather long name"] * 2, True)])
def test_long_names_make_the_bars_horizontal(names: list[str], horizontal: bool) -> None:
    assert plotted({"name": names, "value": [1, 2]}).horizontal is horizontal


def test_only_parts_of_a_whole_are_stacked() -> None:
    parts = {"year": years(4), "a": [20, 30, 40, 50], "b": [80, 70, 60, 50]}
    assert plotted(parts).stacked
    assert not plotted(parts | {"b": [10, 20, 30, 40]}).stacked


def test_long_form_becomes_a_series_per_name() -> None:
    rows = [{"year": y, "team": t, "wins": y - 1990 + 10 * (t == "b")} for t in "ab" for y in years(4)]
    found = plotted(rows)
    assert found.names == ("a", "b")
    assert found.values.tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]]
    wide = plotted({"year": years(4), "a": [0, 1, 2, 3], "b": [10, 11, 12, 13]})
    assert draw(found).tobytes() == draw(wide).tobytes()


def test_rows_of_the_same_point_are_averaged() -> None:
    rows = [
        {"day": d, "shop": s, "sold": v} for d, s, v in (("mo", "x", 1), ("mo", "x", 3), ("tu", "x", 4), ("tu", "y", 5))
    ]
    found = plotted(rows)
    np.testing.assert_array_equal(found.values, [[2, 4], [np.nan, 5]])


def test_years_along_the_header() -> None:
    header = {str(year): [float(year - 1980), 3.0] for year in years(20)}
    found = plotted({"country": ["x", "y"], **header})
    assert (found.axis, found.names, len(found.x)) == ("time", ("x", "y"), 20)
    assert found.values[0, 0] == 10


def test_the_header_of_a_single_row_is_the_axis() -> None:
    found = plotted({"apples": [3], "pears": [4], "plums": [5]})
    assert found.labels == ("apples", "pears", "plums")
    assert found.values.tolist() == [[3, 4, 5]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": ["a", "b"], "place": ["c", "d"]}, r"no column of numbers to draw \(its columns: category\)"),
        ({"a": [None, None], "b": [None, None]}, r"no column of numbers to draw \(its columns: empty\)"),
        ({"name": ["a"], "value": [1]}, "a single number; expected at least two"),
        ({"value": [1]}, "a single number"),
        ({"name": ["a", "b"], "value": [1, None]}, "a single number"),
    ],
)
def test_nothing_to_draw(item: object, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        plotted(item)


DAYS = [f"{1990 + i // 365}-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(10_000)]
STRANGE = {
    "ten thousand rows": {"day": DAYS, "value": wave(10_000)},
    "ten thousand names": {"name": [f"n{i}" for i in range(10_000)], "value": wave(10_000)},
    "three hundred columns": {"name": ["a", "b"]} | {f"c{i}": [i, 1] for i in range(300)},
    "one column": {"value": [3, 1, 2]},
    "an empty column": {"name": ["a", "b"], "none": [None, None], "value": [1, 2]},
    "negative values": {"name": list("abc"), "value": [-3, 5, -1]},
    "huge values": {"name": list("abc"), "value": [1e308, -1.7e308, 1e300]},
    "tiny values": {"name": list("abc"), "value": [5e-324, 1e-320, 2e-323]},
    "equal values": {"year": years(30), "value": [7] * 30},
    "zeros": {"name": list("abc"), "value": [0, 0, 0]},
    "one time": {"year": [1990, 1990], "value": [1, 2]},
    "gaps": {"year": years(30), "a": [None, 1, None] * 10, "b": [1.0] + [None] * 29},
    "repeated headers": b"a,a,a\nx,1,2\ny,3,4\n",
    "other alphabets": {"國家": ["日本", "한국", "ประเทศ"], "मूल्य": [1, 2, 3], "😀": [3, 2, 1]},
    "right to left": {"שם": ["א", "ב"], "قيمة": [1, 2]},
    "formulas and mathematics": {"$x^": ["=1+1", "$\\frac{", "@SUM"], "$y$": [1, 2, 3]},
    "control signs": {"a\tb": ["\x07", "b"], "value": [1, 2]},
    "stacked with gaps": {"year": years(3), "a": [60, None, 50], "b": [40, 100, 50]},
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_strange_tables_are_drawn_without_warnings(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph, an overflow, an empty range
        found = plotted(STRANGE[name])
        for style in (PLAIN, READABLE, *(random_style(np.random.default_rng(i)) for i in range(3))):
            low, high = draw(found, style, 64).convert("L").getextrema()
            assert low != high
        assert len(pictures(source(STRANGE[name]), 64)) in (1, 4)
        for kind in fitting(found):
            assert draw(plotted(STRANGE[name], kind), READABLE, 64).size == (64, 64)


def test_the_same_table_gives_the_same_bytes_whatever_the_users_settings() -> None:
    item = {"name": list("abc"), "value": [3, 1, 2]}
    before = draw(plotted(item), READABLE).tobytes()
    with matplotlib.rc_context({"font.family": "serif", "lines.linewidth": 9, "path.snap": False, "text.usetex": True}):
        assert draw(plotted(item), READABLE).tobytes() == before
    code = (
        "import sys, hashlib; from binder_chart.picture import picture\n"
        f"print(hashlib.sha256(picture({json.dumps(item)}, 96).tobytes()).hexdigest())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_drawing_does_not_change_the_settings() -> None:
    before = dict(matplotlib.rcParams)
    draw(plotted({"value": [1, 2, 3]}), READABLE)
    assert dict(matplotlib.rcParams) == before


def test_bars_are_as_high_as_their_values() -> None:
    shown = np.asarray(picture({"name": list("abcd"), "value": [1, 2, 3, 4]}, 200).convert("L")) < 160
    heights = [shown[:, int(200 * u)].sum() for u in np.linspace(0.235, 0.865, 4)]
    assert np.corrcoef(heights, [1, 2, 3, 4])[0, 1] > 0.999


def test_bars_lines_areas_points_and_slices_look_different() -> None:
    item = {"name": list("abcd"), "value": [40, 30, 20, 10]}
    assert len({picture((item, kind), 64).tobytes() for kind in KINDS}) == len(KINDS)


def test_a_pie_runs_clockwise_from_twelve() -> None:
    shown = np.asarray(picture(({"name": ["a", "b"], "value": [1, 3]}, "pie"), 200))
    first, second = shown[60, 130], shown[140, 130]  # one and five o'clock
    assert tuple(first) == (0x1F, 0x77, 0xB4)
    assert tuple(second) == (0xFF, 0x7F, 0x0E)


def test_variants_keep_the_chart_type_of_a_table() -> None:
    item = ({"year": years(30), "value": wave(30)}, "line")
    shown = [pictures(source(item), 64, np.random.default_rng(i)) for i in range(12)]
    assert {len(ways) for ways in shown} == {1}
    inked = [(np.asarray(ways[0].convert("L")) < 128).mean() for ways in shown]
    filled = np.asarray(picture((item[0], "area"), 64).convert("L")) < 160
    assert np.median(inked) < 0.6 * filled.mean()
