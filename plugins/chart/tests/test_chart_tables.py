"""Reading tables: encodings, separators, headers, and the meaning of cells."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from binder_chart.cells import understand
from binder_chart.reading import read
from binder_chart.table import Table

from binder import ItemError

PLAIN = "name,value\nann,1.5\nbob,2\n"


def table(item: object) -> Table:
    found = read(item)
    assert isinstance(found, Table)
    return found


def days(*dates: tuple[int, int, int]) -> list[float]:
    return [float(datetime.date(*date).toordinal()) for date in dates]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str) -> None:
    found = table("naïve,größe\nä,1\nö,2\n".encode(encoding))
    assert [c.name for c in found.columns] == ["naïve", "größe"]
    assert found.columns[0].texts == ("ä", "ö")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators(separator: str, end: str) -> None:
    found = table(PLAIN.replace(",", separator).replace("\n", end).encode())
    assert [c.name for c in found.columns] == ["name", "value"]
    assert found.columns[1].values.tolist() == [1.5, 2.0]


def test_a_comma_in_text_or_numbers_is_not_a_separator() -> None:
    assert table(b'"a, b",value\n"x, y",1\n"z, w",2\n').columns[0].texts == ("x, y", "z, w")
    found = table(b"name;value\nann;1,5\nbob;1.200,25\n")
    assert found.columns[1].values.tolist() == [1.5, 1200.25]
    assert table(b"sep=;\na;b\nx;1\ny;2\n").columns[1].values.tolist() == [1.0, 2.0]


def test_the_suffix_tsv_says_that_tabs_separate(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("name, first\tvalue\nann, x\t1\nbob, y\t2\n")
    assert [c.name for c in table(path).columns] == ["name, first", "value"]


def test_titles_and_sources_around_a_table_are_left_out() -> None:
    text = "Sales of everything\n\nyear,value\n2019,1\n2020,2\n2021,4\n\nSource: the office\n"
    found = table(text.encode())
    assert [c.name for c in found.columns] == ["year", "value"]
    assert found.columns[1].values.tolist() == [1, 2, 4]


def test_a_missing_last_cell_is_not_a_footnote() -> None:
    found = table(b"year,value\n2019,\n2020,2\n2021,4\n2022,\n")
    assert len(found.columns[0].texts) == 4
    assert np.isnan(found.columns[1].values[[0, 3]]).all()


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\nx,1\ny,2\n", ["a", "b"], 2),
        ("x,1\ny,2\nz,3\n", ["column 1", "column 2"], 3),
        ("country,2019,2020\nx,1,2\ny,3,4\n", ["country", "2019", "2020"], 2),
        ("2019,5.5\n2020,6.5\n", ["column 1", "column 2"], 2),
        ("2019\n2020\n2021\n", ["column 1"], 3),
        (",value\nx,1\ny,2\n", ["column 1", "value"], 2),
        ("a,a,a\n1,2,3\n4,5,6\n", ["a", "a (2)", "a (3)"], 2),
    ],
)
def test_headers(text: str, names: list[str], rows: int) -> None:
    found = table(text.encode())
    assert [c.name for c in found.columns] == names
    assert len(found.columns[0].texts) == rows


@pytest.mark.parametrize(
    ("cells", "values", "unit"),
    [
        (["1", "2.5", "-3"], [1, 2.5, -3], ""),
        (["7,406", "12,436,000"], [7406, 12436000], ""),
        (["1.234,5", "2,5"], [1234.5, 2.5], ""),
        (["1.234.567", "2.000"], [1234567, 2000], ""),
        (["1 234", "12\u202f345,5"], [1234, 12345.5], ""),
        (["0.125", "0.250"], [0.125, 0.25], ""),
        (["1'200.50", "900"], [1200.5, 900], ""),
        (["12,34,567", "1,00,000"], [1234567, 100000], ""),
        (["8.34%", "11%", "-0.2 %"], [8.34, 11, -0.2], "%"),
        (["$1,200", "-$30", "$0.5"], [1200, -30, 0.5], "$"),
        (["3,50 €", "1.200,00 €"], [3.5, 1200], "€"),
        (["USD 5", "USD 7"], [5, 7], "USD"),
        (["1.2M", "3k", "0.5 bn"], [1.2e6, 3e3, 5e8], ""),
        (["12 kg", "7.5 kg"], [12, 7.5], "kg"),
        (["(1,200)", "30"], [-1200, 30], ""),
        (["−5", "–7"], [-5, -7], ""),
        (["1e3", "2.5E-2"], [1000, 0.025], ""),
        (["12*", "13**"], [12, 13], ""),
        (["1", "n/a", "3", "4", "#N/A", "-"], [1, None, 3, 4, None, None], ""),
        ([1, Decimal("2.5"), None, float("nan")], [1, 2.5, None, None], ""),
        ([1, 2, 10**400], [1, 2, None], ""),
        (["1e308", "-1e308"], [1e308, -1e308], ""),
    ],
)
def test_numbers(cells: list[object], values: list[float | None], unit: str) -> None:
    found = understand("x", cells)
    assert found.kind == "number"
    expected = [np.nan if value is None else value for value in values]
    np.testing.assert_allclose(found.values, expected)
    assert found.unit == unit


@pytest.mark.parametrize(
    "cells",
    [
        ["Germany", "France"],
        ["18-24", "25-34", "65+"],
        ["1st", "2nd", "3rd"],
        ["1A", "2B"],
        ["1,2,3", "4,5,6"],
        ["3 apples", "4 pears"],
        ["=1+1", "=cmd|' /C calc'!A0"],
        ["5(", "6)"],
        ["20-24", "25-29", "30-34"],
        ["May", "Smith", "June"],
        [True, False],
        ["١٢a", "²"],
    ],
)
def test_cells_that_only_look_like_numbers_are_names(cells: list[object]) -> None:
    assert understand("x", cells).kind == "category"


def test_an_ambiguous_column_takes_the_decimal_mark_of_the_table() -> None:
    found = table(b"name\tone\ttwo\na\t1.234\t1,5\nb\t2.345\t2,75\n")
    assert found.columns[1].values.tolist() == [1234, 2345]
    found = table(b"name\tone\ttwo\na\t1.234\t1.5\nb\t2.345\t2.75\n")
    assert found.columns[1].values.tolist() == [1.234, 2.345]
    assert table(b"name;one\na;1,234\nb;2,345\n").columns[1].values.tolist() == [1.234, 2.345]
    assert table(b'name,one\na,"1,234"\nb,"2,345"\n').columns[1].values.tolist() == [1234, 2345]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2020-01-31", "2020-02-01"], days((2020, 1, 31), (2020, 2, 1))),
        (["31.01.2020", "01.02.2020"], days((2020, 1, 31), (2020, 2, 1))),
        (["01/31/2020", "02/01/2020"], days((2020, 1, 31), (2020, 2, 1))),
        (["31/01/2020", "01/02/2020"], days((2020, 1, 31), (2020, 2, 1))),
        (["Jan 31, 2020", "Feb 1, 2020"], days((2020, 1, 31), (2020, 2, 1))),
        (["31 January 2020", "1 February 2020"], days((2020, 1, 31), (2020, 2, 1))),
        (["Jan 2020", "Feb 2020"], days((2020, 1, 1), (2020, 2, 1))),
        (["Dec '19", "Jan '20"], days((2019, 12, 1), (2020, 1, 1))),
        (["2019-12", "2020-01"], days((2019, 12, 1), (2020, 1, 1))),
        (["Q4 '19", "Q1 2020"], days((2019, 10, 1), (2020, 1, 1))),
        (["2019 Q4", "2020-Q1"], days((2019, 10, 1), (2020, 1, 1))),
        (["4th quarter 2019", "1st quarter 2020"], days((2019, 10, 1), (2020, 1, 1))),
        (["2019/20", "2020/21"], days((2019, 1, 1), (2020, 1, 1))),
        (["FY 2019", "FY 2020"], days((2019, 1, 1), (2020, 1, 1))),
        (["'19", "'20"], days((2019, 1, 1), (2020, 1, 1))),
        (["98/99", "99/00", "00/01*"], days((1998, 1, 1), (1999, 1, 1), (2000, 1, 1))),
        (["2019 S2", "H1 2020"], days((2019, 7, 1), (2020, 1, 1))),
        (["January", "March"], days((1900, 1, 1), (1900, 3, 1))),
        (["2019", "2020*"], days((2019, 1, 1), (2020, 1, 1))),
        ([2019, 2020], days((2019, 1, 1), (2020, 1, 1))),
        ([datetime.date(2020, 1, 31), datetime.date(2020, 2, 1)], days((2020, 1, 31), (2020, 2, 1))),
        (["01/02/2020", "02/02/2020", "13/02/2020"], days((2020, 2, 1), (2020, 2, 2), (2020, 2, 13))),
        (["01/03/2020", "01/02/2020", "01/01/2020"], days((2020, 1, 3), (2020, 1, 2), (2020, 1, 1))),
    ],
)
def test_points_in_time(cells: list[object], expected: list[float]) -> None:
    found = understand("x", cells, first=True)
    assert found.kind == "time"
    assert found.values.tolist() == expected


def test_times_of_day() -> None:
    noon = understand("x", ["2020-01-31T12:00:00", "2020-01-31T18:00:00"]).values
    assert (noon % 1).tolist() == [0.5, 0.75]
    assert understand("at", ["06:00", "12:30"]).kind == "time"


@pytest.mark.parametrize(
    ("name", "cells", "first", "kind"),
    [
        ("year", ["2020", "1990", "2005"], False, "time"),
        ("thing", ["2018", "2019", "2020"], True, "time"),
        ("thing", ["2018", "2019", "2020"], False, "number"),
        ("price", ["2018", "1500", "2100"], True, "number"),
        ("year", ["12", "15"], True, "number"),
        ("thing", [1600, 1800, 2000], True, "number"),
        ("price", [2018.5, 2019.5], True, "number"),
    ],
)
def test_years_are_recognized_by_the_name_or_the_order(name: str, cells: list[object], first: bool, kind: str) -> None:
    assert understand(name, cells, first=first).kind == kind


def test_records_columns_and_parquet_are_the_same_table(tmp_path: Path) -> None:
    columns = {"name": ["ann", "bob", "cy"], "value": [1, 2.5, None]}
    records = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    del records[2]["value"]
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    for item in (columns, records, json.dumps(columns).encode(), json.dumps(records).encode(), path, path.read_bytes()):
        found = table(item)
        assert [(c.name, c.kind) for c in found.columns] == [("name", "category"), ("value", "number")]
        np.testing.assert_array_equal(found.columns[1].values, [1, 2.5, np.nan])


def test_a_data_frame_is_a_table() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"name": ["ann", "bob"], "value": [1, 2]})
    assert [c.kind for c in table(frame).columns] == ["category", "number"]
    dated = pandas.DataFrame({"value": [1.0, 2.0]}, index=pandas.to_datetime(["2020-01-01", "2020-02-01"]))
    assert [c.kind for c in table(dated).columns] == ["time", "number"]


def test_columns_may_be_arrays() -> None:
    found = table({"name": np.array(["ann", "bob"]), "value": np.array([1.5, np.nan])})
    assert [c.kind for c in found.columns] == ["category", "number"]


def test_an_arrow_table_is_a_table() -> None:
    assert [c.kind for c in table(pyarrow.table({"a": ["x", "y"], "b": [1, 2]})).columns] == ["category", "number"]


@pytest.mark.parametrize(
    "item",
    [
        b"# kind: pie\nname,value\nx,1\ny,2\n",
        b"# a comment\n#kind=pie\nname,value\nx,1\ny,2\n",
        ({"name": ["x", "y"], "value": [1, 2]}, "pie"),
    ],
)
def test_a_table_may_set_its_chart_type(item: object) -> None:
    assert table(item).kind == "pie"


def test_the_metadata_of_parquet_may_set_the_chart_type(tmp_path: Path) -> None:
    held = pyarrow.table({"name": ["x", "y"], "value": [1, 2]}).replace_schema_metadata({"kind": "pie"})
    pyarrow.parquet.write_table(held, tmp_path / "t.parquet")
    assert table(tmp_path / "t.parquet").kind == "pie"


def test_a_header_that_begins_with_a_hash_is_not_a_comment() -> None:
    assert [c.name for c in table(b"#,value\n1,10\n2,20\n").columns] == ["#", "value"]


def test_formulas_are_text() -> None:
    found = table(b"name,value\n=1+1,2\n=cmd|' /C calc'!A0,3\n@SUM(A1),4\n")
    assert found.columns[0].texts == ("=1+1", "=cmd|' /C calc'!A0", "@SUM(A1)")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (bytes(range(256)), "binary data"),
        (b"a,b\n\x00\x01\x02,1\n", "binary data"),
        (b"\xff\xfea", "truncated or damaged utf-16"),
        (b"   \n \n", "empty"),
        (b"a,b,c\n1,2,3\n4,5\n6,7,8\n", "row 3: 2 cells, but the header has 3"),
        (b"# kind: bar\na,b\n1,2\n3,4,5\n6,7\n", "row 4: 3 cells, but the header has 2"),
        (b"# kind: donut\na,b\n1,2\n3,4\n", "chart type 'donut': expected line, bar, pie"),
        (b"a,b,c\n", "without rows"),
        (",".join(f"c{i}" for i in range(5_000)).encode() + b"\n" + b"1," * 4_999 + b"1", "5,000 columns"),
        (b"a,b\n" + b"1,2\n" * 500_001, "1,000,004 cells"),
        ([{"a": 1}, 3], "record 2 is int"),
        ({"a": [1, 2], "b": [1]}, "columns of 1 to 2 cells"),
        ({"a": 1}, "column 'a' is int"),
        ([{"a": [1, 2]}, {"a": [3]}], "has cells of type list"),
        (b'{"a": [1, 2', "not JSON, or truncated"),
        (b'{"data": [], "marks": []}', "Vega specs are not supported"),
        (b"PAR1" + bytes(40), "not readable as Parquet"),
        (object(), "expected a path"),
    ],
)
def test_messages(item: object, message: str) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        read(item)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ItemError, match="65 MiB; expected at most 64 MiB"):
        read(path)


def test_a_compressed_parquet_file_is_rejected_before_it_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": np.zeros(3_000_000)}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(ItemError, match="3,000,000 cells"):
        read(path)
