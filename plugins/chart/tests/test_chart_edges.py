"""Tables and pictures in the wild: other scripts, headers of several rows, 16 bits, hostile files."""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from binder_chart.cells import Decimals, understand
from binder_chart.header import headers_of
from binder_chart.picture import picture, pictures, source
from binder_chart.preview import preview
from binder_chart.reading import read
from binder_chart.table import Table
from PIL import Image

from binder import ItemError

ZEROS = "٠۰߀०০੦૦୦௦౦೦൦๐໐༠၀០᠐０𝟎𞥐"  # the zero of some scripts, which the other nine digits follow


def table(item: object) -> Table:
    found = read(item)
    assert isinstance(found, Table)
    return found


def written(number: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(sign)) if sign.isdigit() else sign for sign in number)


@pytest.mark.parametrize("zero", ZEROS)
def test_digits_of_every_script_are_numbers_and_years(zero: str) -> None:
    found = understand("x", [written(text, zero) for text in ("12", "3", "-45.5")])
    assert (found.kind, found.values.tolist()) == ("number", [12, 3, -45.5])
    assert found.texts[0] == written("12", zero), "labels stay as written"
    rows = "".join(f"{written(str(year), zero)},{written(str(year - 2000), zero)}\n" for year in (2018, 2019, 2021))
    years, values = table(f"year,value\n{rows}".encode()).columns
    assert (years.kind, values.values.tolist()) == ("time", [18, 19, 21])
    dates = understand("day", [written("2020-01-31", zero), written("2020-02-01", zero)])
    assert (dates.kind, np.diff(dates.values).tolist()) == ("time", [1])


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1２", "3", "45"], [12, 3, 45], ""),
        (["١٬٢٣٤٫٥", "٢٫٢٥"], [1234.5, 2.25], ""),
        (["١٬٢٣٤", "٥٬٦٧٨"], [1234, 5678], ""),
        (["١٫٢٣٤", "٥٫٦٧٨"], [1.234, 5.678], ""),
        (["‎-٥‎", "\u200f٧\u200f"], [-5, 7], ""),
        (["٥٠٪", "٢٥٪"], [50, 25], "%"),
        (["－１，２３４．５", "（７）"], [-1234.5, -7], ""),
        (["￥１２", "￥３"], [12, 3], "¥"),
        (["‐1", "‑2", "‒3", "–4", "−5", "﹣6"], [-1, -2, -3, -4, -5, -6], ""),
    ],
)
def test_signs_of_other_scripts(cells: list[str], values: list[float], unit: str) -> None:
    marks: tuple[Decimals, Decimals] = (".", ",")
    for decimals in marks:
        found = understand("x", cells, decimals)
        if "，" not in cells[0]:
            assert (found.kind, found.values.tolist(), found.unit) == ("number", values, unit)
    np.testing.assert_allclose(understand("x", cells).values, values)


@pytest.mark.parametrize("cells", [["²", "³"], ["①", "②"], ["Ⅳ", "Ⅴ"], ["三", "五"], ["½", "¼"], ["٣-٤", "٥-٦"]])
def test_other_numerals_are_names_rather_than_zeros(cells: list[str]) -> None:
    assert understand("x", cells).kind == "category"


def test_dates_in_chinese_japanese_and_korean() -> None:
    for cells in (
        ["2020年1月31日", "2020年2月1日"],
        ["２０２０年１月３１日", "２０２０年２月１日"],
        ["2020년 1월 31일", "2020년 2월 1일"],
    ):
        found = understand("x", cells)
        assert found.kind == "time"
        assert np.diff(found.values).tolist() in ([1], [31])
    assert understand("年", ["2019", "1987"]).kind == "time"


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("Region,Sales,Sales\n,2019,2020\nN,5,6\nS,7,8\n", ["Region", "Sales 2019", "Sales 2020"], 2),
        (
            "Region,Sales,,Profit,\n,2019,2020,2019,2020\nN,1,2,3,4\nS,5,6,7,8\n",
            ["Region", "Sales 2019", "Sales 2020", "Profit 2019", "Profit 2020"],
            2,
        ),
        ("Region;Sales;;\n;2019;2020;21\nN;1,5;2;3\nS;2;3;4\n", ["Region", "Sales 2019", "Sales 2020", "Sales 21"], 2),
        ("Region,Sales\n,2019,2020\nN,1,2\nS,3,4\n", ["Region", "Sales 2019", "Sales 2020"], 2),
        (
            "Year,Men,,Women,\n,low,high,low,high\n2001,1,2,3,4\n2002,1,2,3,4\n",
            ["Year", "Men low", "Men high", "Women low", "Women high"],
            2,
        ),
        (
            ",2019,,2020,\nRegion,Q1,Q2,Q1,Q2\nN,1,2,3,4\n",
            ["Region", "2019 Q1", "2019 Q2", "2020 Q1", "2020 Q2"],
            1,
        ),
        (
            ",Europe,,\n,Sales,,Profit\nRegion,2019,2020,2020\nN,1,2,3\n",
            ["Region", "Europe Sales 2019", "Europe Sales 2020", "Europe Profit 2020"],
            1,
        ),
        ("Time,Speed,Height\n(s),(m/s),(m)\n0,1,2\n1,2,3\n", ["Time (s)", "Speed (m/s)", "Height (m)"], 2),
        ("Group,Score,,\n,1,2,3\na,5,6,7\nb,7,8,9\n", ["Group", "Score 1", "Score 2", "Score 3"], 2),
        ("Sales of all,,\nRegion,2019,2020\nN,1,2\nS,3,4\n", ["Region", "2019", "2020"], 2),
        ("Region,Sales,Sales\n,٢٠١٩,٢٠٢٠\nN,٥,٦\nS,٧,٨\n", ["Region", "Sales ٢٠١٩", "Sales ٢٠٢٠"], 2),
    ],
)  # fmt: skip
def test_headers_of_several_rows_are_joined(text: str, names: list[str], rows: int) -> None:
    found = table(text.encode())
    assert [column.name for column in found.columns] == names
    assert {column.kind for column in found.columns[1:]} == {"number"}
    assert len(found.columns[0].texts) == rows


@pytest.mark.parametrize(
    "text",
    [
        "name,a,b\nx,1,2\ny,3,4\n",
        "name,a,b\nx,n.v.,n.v.\ny,3,4\nz,5,6\n",  # two missing values
        "id,a,b\nx,<5,>10\ny,7,12\nz,8,13\n",
        "name,a,b\nx,,\ny,3,4\nz,5,6\n",
        "year,a,b\n2019,2020,2021\n2020,2019,2018\n",
        ",a\nx,1\ny,2\n",
    ],
)
def test_a_row_of_data_is_not_a_header(text: str) -> None:
    rows = [line.split(",") for line in text.splitlines()]
    assert headers_of(rows) == (rows[0], 1)


def test_a_data_frame_with_columns_of_several_levels() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        [[1, 2], [3, 4]], columns=pandas.MultiIndex.from_tuples([("Sales", 2019), ("Sales", 2020)])
    )
    assert [column.name for column in table(frame).columns] == ["Sales 2019", "Sales 2020"]


def test_a_header_in_windows_1252() -> None:
    found = table("time,temperature (°C),speed (m/s²)\n1,20,3\n2,21,4\n".encode("cp1252"))
    assert [column.name for column in found.columns] == ["time", "temperature (°C)", "speed (m/s²)"]


GRAY = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))


def saved(image: Image.Image, form: str) -> bytes:
    held = io.BytesIO()
    image.save(held, form)
    return held.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_picture_of_16_bits_equals_that_of_8_bits(form: str, tmp_path: Path) -> None:
    deep = GRAY.astype(np.uint16) * 257
    expected = picture(Image.fromarray(GRAY), 64).tobytes()
    path = tmp_path / f"gray.{form.lower()}"
    path.write_bytes(saved(Image.fromarray(deep), form))
    for item in (path, path.read_bytes(), deep, GRAY, torch.from_numpy(GRAY), GRAY / 255, Image.fromarray(deep)):
        assert picture(item, 64).tobytes() == expected
    with pytest.raises(ItemError, match="expected"):
        picture(saved(Image.fromarray(np.linspace(0, 9000, 3072, dtype=np.float32).reshape(48, 64)), "TIFF"), 64)


@pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF", "AVIF"])
def test_pictures_of_other_formats(form: str) -> None:
    assert picture(saved(Image.fromarray(GRAY), form), 64).size == (64, 64)


def parquet(**columns: Any) -> bytes:
    held = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), held)
    return held.getvalue()


def test_parquet_of_20_gb_is_read_in_little_memory_and_so_are_odd_dates() -> None:
    long = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 20_000), ["x" * 1_000_000])  # 20 GB of text
    assert len(table(parquet(a=long, b=list(range(20_000)))).columns[0].texts[0]) == 200
    late = table(parquet(a=pyarrow.array([10**15, 2 * 10**15], pyarrow.timestamp("ms")), b=[1, 2]))
    assert late.columns[1].values.tolist() == [1, 2]
    with pytest.raises(ItemError, match="flat table"):
        read(parquet(a=[[1, 2], [3]]))


def test_integers_too_long_for_python_are_missing() -> None:
    digits = "9" * 5_000
    for item in (f'{{"a": [1, {digits}, 3]}}'.encode(), {"a": [1, 10**5_000, 3]}, f"a\n1\n{digits}\n3\n".encode()):
        values = table(item).columns[0].values
        assert values[[0, 2]].tolist() == [1, 3]
        assert not np.isfinite(values[1]) or isinstance(item, bytes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"#\n" * 3_000_000, "without cells"),
        (b"a\r" + b"1\r" * 2_000_000, "2,000,001 cells"),
        (b"a\n" + b"," * 6_000_000, "6,000,000 cells"),
        (b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n1\n", "1,000,000 columns"),
        (b"[" + b"{}," * 4_000_000 + b"{}]", "JSON of more than 4,000,000 values"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
        (b'a,b\n"' + b"x" * 200_000 + b'",1\n', "field larger than"),
        (b"a,b\nx\0,1\ny,2\n", "binary data"),
    ],
)
def test_files_that_would_fill_memory_are_rejected_at_once(data: bytes, message: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ItemError, match=message):
        read(data)
    assert time.perf_counter() - began < 5


TEXTS = [
    "$x^{", "$\\frac{1}{0}$", "%s", "{}", "\\", "_^", "[bold]a[/bold]", "", "-",
    "\x00\x1b[31m", "\ud800", "שלום", "日本語", "٣", "a" * 5_000,
]  # fmt: skip
NUMBERS = [
    0, -1, 1e308, -1e308, 5e-324, float("inf"), float("nan"), 2**63, 10**400, True, None, "١٢", "1e999", "9" * 300,
]  # fmt: skip
DATES = ["99999-01-01", "0000-00-00", "2020-02-30", "10000", "Q5 2020", "31.12.9999", "00/00/0000", "24:61", "'99"]


def made(rng: np.random.Generator) -> object:
    """A random table with hostile cells, headers, shape and form."""
    nested = [[1], {}, b"x"] if rng.random() < 0.1 else [1]
    pools: list[list[Any]] = [TEXTS, NUMBERS, DATES, list(range(9)), nested]
    rows = int(rng.choice([0, 1, 2, 3, 20, 300]))
    kinds = [pools[int(i)] for i in rng.integers(0, len(pools), int(rng.integers(1, 7)))]
    columns = [[pool[int(i)] for i in rng.integers(0, len(pool), rows)] for pool in kinds]
    picked = enumerate(rng.integers(0, len(TEXTS), len(kinds)))
    names = [str(TEXTS[int(i)]) + str(number) * (rng.random() < 0.7) for number, i in picked]
    lines = [map(str, row) for row in (names, *zip(*columns, strict=True))]
    forms: list[Callable[[], object]] = [
        lambda: dict(zip(names, columns, strict=False)),
        lambda: [dict(zip(names, row, strict=False)) for row in zip(*columns, strict=True)],
        lambda: json.dumps(dict(zip(names, columns, strict=False)), default=str).encode(),
        lambda: "\n".join(map(",;\t|"[rows % 4].join, lines)).encode("utf-8", "replace"),
        lambda: (dict(zip(names, columns, strict=False)), ["pie", "area", "scatter", "line", "bar"][rows % 5]),
        lambda: {
            "data": {"values": [dict(zip(names, row, strict=False)) for row in zip(*columns, strict=True)]},
            "mark": ["bar", "point", "line", TEXTS[rows % 15]][len(kinds) % 4],
            "encoding": {axis: {"field": name} for axis, name in zip("xy", names, strict=False)},
            "title": names[0],
        },
    ]
    return forms[int(rng.integers(len(forms)))]()


def test_hostile_tables_are_drawn_or_rejected_in_one_line() -> None:
    rng, drawn = np.random.default_rng(0), 0
    for number in range(100):
        item, began = made(rng), time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # for missing glyphs and overflows
                pictures(source(item), 32)
                preview(item)
            drawn += 1
        except ItemError as error:
            assert "\n" not in str(error), number
        assert time.perf_counter() - began < 10, number
    assert drawn > 30
