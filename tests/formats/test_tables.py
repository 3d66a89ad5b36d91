"""Tables as loggers write them: separators, decimal marks, encodings, preambles, clocks; and what claims too much."""

from __future__ import annotations

import io

import numpy as np
import pyarrow
import pytest
from binder_three import ThreeConfig, read
from pyarrow import parquet

from binder import ItemError, read_table
from binder.encoders.series.windows import read_series
from binder.formats import clock
from binder.formats import delimited as text

VALUES = np.random.default_rng(0).normal(size=(40, 3)).round(4)
TIME = np.arange(40) / 50


def rows(separator=",", comma=False, time=TIME, end="\n", fixed=False) -> str:
    lines = (
        separator.join(f"{x:.4f}" if fixed else f"{x:.10g}" for x in row) for row in np.column_stack([time, VALUES])
    )
    made = end.join(lines) + end
    return made.replace(".", ",") if comma else made


def packed(table: pyarrow.Table | dict, **options) -> bytes:
    held = io.BytesIO()
    parquet.write_table(table if isinstance(table, pyarrow.Table) else pyarrow.table(table), held, **options)
    return held.getvalue()


def seen(item, **config):
    return read_series(read, item, ThreeConfig(**config))


def refused(item, **config) -> str:
    with pytest.raises(ItemError) as caught:
        seen(item, **config)
    assert "\n" not in str(caught.value)
    assert len(caught.value.reason) < 600
    return caught.value.reason


HINDI = str.maketrans("0123456789.-", "०१२३४५६७८९.\u2212")
WIDE = str.maketrans("0123456789.-", "０１２３４５６７８９．－")


@pytest.mark.parametrize(
    "data",
    [
        "time_s,x,y,z\n" + rows(),
        "time_s;x;y;z\n" + rows(";", comma=True),
        "time_s;x;y;z\n" + rows(";"),
        "time_s\tx\ty\tz\r\n" + rows("\t", comma=True, end="\r\n"),
        "time_s|x|y|z\n" + rows("|"),
        "time_s   x y z\n" + rows("   "),
        "  time_s x y z  \n" + rows("  \t ", fixed=True),
        "time_s,x,y,z\r" + rows(end="\r"),
        '"time_s","x","y","z"\n' + rows(),
        "time_s , x , y , z\n" + rows(" , "),
        "sep=;\ntime_s;x;y;z\n" + rows(";", comma=True),
        "\n\n# a recorder, version 3\n# rate, 50, Hz\ntime_s,x,y,z\n" + rows(),
        "% octave\n// and C\n#\ntime_s x y z\n" + rows(" "),
        "# time_s x y z\n" + rows(" "),
        "#time_s,x,y,z\n" + rows(),
        "Device: Logger 3\nFirmware: 1,2\nRate: 50\n\nRecorded by hand; twice\ntime_s,x,y,z\n" + rows(),
        "Logger,,,\nRate,50,,\n,,,\ntime_s,x,y,z\n" + rows(),
        "time_s,x,y,z\ns,m/s^2,m/s^2,m/s^2\n" + rows(),
        "time_s,x,y,z\n" + rows(",", end=",\n"),
        "time_s,x,y,z\n" + rows() + "# the end\n",
        "label,time_s,x,y,z\n" + "".join(f"walk,{row}\n" for row in rows().splitlines()),
        "time_s,x,y,z,note\n" + "".join(f'{row},"one, two"\n' for row in rows().splitlines()),
        "Zeit in µs;time_s;x;y;z\n" + "".join(f"1;{row}\n" for row in rows(";", comma=True).splitlines()),
        "time_s,x,y,z\n" + rows().translate(HINDI),
        "time_s;x;y;z\n" + rows(";").translate(WIDE),
        "time_s,x,y,z\n" + "".join('"' + row.replace(",", '","') + '"\n' for row in rows(fixed=True).splitlines()),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_dialect_gives_the_same_numbers(data, encoding):
    if encoding == "cp1252" and any(ord(c) > 255 for c in data):
        encoding = "utf-8"
    found = seen(data.encode(encoding))
    np.testing.assert_allclose(found.values_SC, VALUES, atol=1e-9)
    np.testing.assert_allclose(found.time_S, TIME, atol=1e-9)


def test_decimal_commas_between_quotes():
    quoted = "\n".join('"' + '","'.join(f"{x:.4f}" for x in row).replace(".", ",") + '"' for row in VALUES)
    found = seen(f"x,y,z\n{quoted}\n".encode(), file_rate_hz=50.0)
    np.testing.assert_allclose(found.values_SC, VALUES, atol=1e-9)
    assert "expected a number" in refused(b'x,y,z\n"1,234","2","3"\n"2,345","3","4"\n', file_rate_hz=50.0), "thousands?"


def test_numbers_without_names_are_columns_in_order():
    np.testing.assert_array_equal(
        seen("\n".join(",".join(map(str, row)) for row in VALUES).encode(), file_rate_hz=50.0).values_SC, VALUES
    )
    named = "0,1,2\n" + "\n".join(",".join(map(str, row)) for row in VALUES)  # as pandas names them
    assert read_table(named.encode()).columns == ["0", "1", "2"]


def test_a_column_that_begins_with_whole_numbers_may_go_on_with_fractions(monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 4096)
    data = "name,time_s,x,y,z\n" + "".join(f"a,{i},1,2,3\n" for i in range(2000)) + "a,2000.5,1.5,2.5,3.5\n"
    found = seen(data.encode())
    assert found.values_SC[-1].tolist() == [1.5, 2.5, 3.5]
    assert len(found.values_SC) == 2001


def test_tables_in_memory_are_taken():
    pandas = pytest.importorskip("pandas")
    columns = {"time_s": TIME, **dict(zip("xyz", VALUES.T, strict=True))}
    records = np.array([tuple(row) for row in np.column_stack([TIME, VALUES])], [(n, "f8") for n in columns])
    held = io.BytesIO()
    np.savez(held, **columns)
    other = io.BytesIO()
    np.savez_compressed(other, rate=np.array(7.0), **columns)
    for item in (
        columns, pandas.DataFrame(columns), pyarrow.table(columns), records, held.getvalue(), other.getvalue(),
        packed(columns), packed(columns, compression="zstd", row_group_size=7), packed(columns, use_dictionary=True),
        io.BytesIO(packed(columns)),
    ):  # fmt: skip
        found = seen(item)
        np.testing.assert_array_equal(found.values_SC, VALUES)
        np.testing.assert_allclose(found.time_S, TIME)


def test_an_archive_of_one_array_and_its_rate():
    held = io.BytesIO()
    np.savez(held, data=VALUES, fs=np.array(20.0))
    assert seen(held.getvalue()).rate_hz == pytest.approx(20)
    held = io.BytesIO()
    np.savez(held, acc=VALUES, time_s=TIME)
    assert read_table(held.getvalue()).columns == ["time_s", "acc_x", "acc_y", "acc_z"]


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("Time (s)", 1), ("time_ms", 1e3), ("Time [ms]", 1e3), ("timestamp_us", 1e6), ("t (µs)", 1e6), ("ts_ns", 1e9),
        ("seconds_elapsed", 1), ("elapsed (s)", 1), ("epoch (ms)", 1e3), ("timeStamp(ns)", 1e9), ("millis", 1e3),
        ("sensorTimestamp_sinceReboot(s)", 1),
    ],
)  # fmt: skip
def test_a_column_that_says_that_it_is_a_clock_and_its_unit_is_one(name, factor):
    found = seen(f"{name};x;y;z\n{rows(';', time=TIME * factor)}".encode("cp1252"))
    np.testing.assert_allclose(found.time_S, TIME, atol=1e-9)


@pytest.mark.parametrize("name", ["time", "t", "timestamp", "time_x", "lifetime_s", "reaction_time_ms", "s"])
def test_a_column_that_does_not_say_so_is_none(name):
    assert "its rate is not known" in refused(f"{name},x,y,z\n{rows()}".encode())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_clock_that_shows_a_date_tells_its_own_unit(unit):
    time = (1.7e9 + TIME) / clock.SECONDS[unit]
    data = "timestamp,x,y,z\n" + "".join(
        f"{t:.3f},{','.join(map(str, row))}\n" for t, row in zip(time, VALUES, strict=True)
    )
    np.testing.assert_allclose(seen(data.encode()).time_S, TIME, atol=1e-6)


def test_dates_are_times():
    stamps = np.datetime64("2024-02-29T23:59:59.500", "us") + (TIME * 1e6).astype("timedelta64[us]")
    data = "timestamp,x,y,z\n" + "".join(
        f"{str(t).replace('T', ' ')},{','.join(map(str, row))}\n" for t, row in zip(stamps, VALUES, strict=True)
    )
    columns = {"time_s": stamps, **dict(zip("xyz", VALUES.T, strict=True))}
    for item in (data.encode(), packed(columns), packed({"when": columns.pop("time_s"), **columns})):
        try:
            np.testing.assert_allclose(seen(item).time_S, TIME, atol=1e-9)
        except ItemError as error:
            assert "no column 'time_s' of times" in str(error)  # `when` does not say that it is a clock


@pytest.mark.parametrize(
    ("time", "why"),
    [
        (1.7e18 + TIME * 1e9, "'time_s' looks like nanoseconds (it begins at 1.7e18): set encoder.time_unit=ns"),
        (
            1.7e15 + TIME * 1e6,
            "'time_s' looks like microseconds (it begins at 1.7e15): set encoder.time_unit=us",
        ),
        (
            1.7e12 + TIME * 1e3,
            "'time_s' looks like milliseconds (it begins at 1.7e12): set encoder.time_unit=ms",
        ),
        (TIME * 1e9, "column 'time_s' looks like nanoseconds (it has a step of 2e7): set encoder.time_unit=ns"),
        (TIME * 1e300, "column 'time_s' cannot be seconds: it has a step of 2e298"),
        (1e300 + TIME, "column 'time_s' cannot be seconds: it begins at 1e300"),
    ],
)
def test_a_clock_in_another_unit_is_refused_by_name(time, why):
    columns = {"time_s": time, **dict(zip("xyz", VALUES.T, strict=True))}
    assert why in refused(columns)


def test_the_unit_of_another_column_is_advised_for_that_column():
    columns = {"Time (s)": 1.7e12 + TIME * 1e3, **dict(zip("xyz", VALUES.T, strict=True))}
    assert "set encoder.time='Time (s)' and encoder.time_unit=ms" in refused(columns)
    np.testing.assert_allclose(seen(columns, time="Time (s)", time_unit="ms").time_S, TIME, atol=1e-6)


def test_slow_clocks_are_clocks():
    for step in (60.0, 86_400.0, 31 * 86_400.0, 365 * 86_400.0):
        columns = {"time_s": np.arange(40) * step, **dict(zip("xyz", VALUES.T, strict=True))}
        assert seen(columns).rate_hz == pytest.approx(1 / step)


def test_a_recording_whose_clock_does_not_fit_the_encoder_is_refused():
    columns = {"time_s": TIME * 1e3, **dict(zip("xyz", VALUES.T, strict=True))}
    assert seen(columns).rate_hz == pytest.approx(0.05), "a slow log, as far as anybody knows"
    assert "a sample each 20 s, where encoder.rate_hz expects one each 0.02 s" in refused(columns, rate_hz=50.0)
    assert "a sample each 1e-9 s, where" in refused((VALUES, 1e9), rate_hz=50.0)


@pytest.mark.parametrize(
    "rate",
    [0, -1, np.nan, np.inf, 1e-300, 1e300, 10**400, -(10**400), True, "50", "x" * 999, [50], np.array([1.0]), b"5", 5j],
)
def test_what_is_no_rate_is_refused(rate):
    assert "not a rate in Hz" in refused((VALUES, rate))


@pytest.mark.parametrize(
    "item",
    [
        (VALUES.astype(complex), 50.0), (VALUES.astype(object), 50.0), (VALUES.astype("U9"), 50.0),
        (VALUES[None], 50.0), (np.float64(3), 50.0), (VALUES, 50.0, 1), [[1, 2], [3]],
        {"x": [1, 2], "y": [1]}, {"x": [object()]}, {},
        b"time_s,x,y,z\n0,true,2,3\n1,false,3,4\n", b"time_s,x,y,z\n" + b"0," * 3, b"\x80\x81" * 99, b"{}", b'"' * 99,
        b"time_s,x,y,z\n0,1,2,3\n" + b'"' + b"1" * 3_000_000,
        b"time_s,x,y,z\n0," + b"1" * 4300 + b",2,3\n1,2,3,4\n",
    ],
    ids=lambda item: str(type(item)),
)  # fmt: skip
def test_what_is_no_table_of_numbers_is_one_line(item):
    assert refused(item)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pyarrow.array([[1.0], [2.0]]), "expected numbers, got list"),
        (pyarrow.array([{"a": 1}, {"a": 2}]), "expected numbers, got struct"),
        (pyarrow.array(["1", "2"]), "expected numbers, got string"),
        (pyarrow.array([b"1", b"2"]), "expected numbers, got binary"),
        (pyarrow.array([True, False]), "row 1: expected a number"),
        (pyarrow.array(["a", "b"]).dictionary_encode(), "expected numbers, got string"),
        (pyarrow.array([1, 2], pyarrow.date32()), "row 1: expected a number"),
        (pyarrow.nulls(2), "is nan"),
    ],
)
def test_parquet_columns_of_other_types_are_refused(column, why):
    data = packed({"time_s": [0.0, 1.0], "x": column, "y": [1, 2], "z": [1, 2]})
    assert why in refused(data)


def test_parquet_columns_of_numbers_of_every_type_are_read():
    from decimal import Decimal

    columns = {
        "time_s": pyarrow.array([0, 1, 2], pyarrow.uint8()),
        "x": pyarrow.array([Decimal("1.5"), Decimal("2.5"), Decimal("1" * 60)], pyarrow.decimal256(70, 1)),
        "y": pyarrow.array([1.5, 2.5, 3.5], pyarrow.float16()),
        "z": pyarrow.array([2**63, 1, 2], pyarrow.uint64()),
    }
    assert len(seen(packed(columns)).values_SC) == 2, "the third is no single-precision number"
    columns["x"] = pyarrow.array([1.5, 2.5, 1.5]).dictionary_encode()
    assert seen(packed(columns)).values_SC.tolist() == [[1.5, 1.5, 2.0**63], [2.5, 2.5, 1], [1.5, 3.5, 2]]


def test_a_parquet_file_that_promises_too_much_is_refused_before_it_is_read(monkeypatch):
    rows = 2_000_000
    data = packed({name: np.zeros(rows, np.int8) for name in ("time_s", "x", "y", "z")}, compression="zstd")
    assert len(data) < 200_000
    monkeypatch.setattr("binder.formats.parquet.MAX_CELLS", 1_000_000)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read", None)
    assert "2,000,000 rows of 4 columns" in refused(data)
    monkeypatch.setattr("binder.formats.parquet.MAX_COLUMNS", 3)
    assert "at most 1,000,000 rows and 3 columns" in refused(data)


def test_damaged_parquet_files_are_one_line():
    data = packed({"time_s": TIME, **dict(zip("xyz", VALUES.T, strict=True))})
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(4, len(broken), 5):
            broken[place] = rng.integers(256)
        try:
            seen(bytes(broken))
        except ItemError as error:
            assert "\n" not in str(error)
    assert "encrypted" in refused(b"PARE" + data[4:-4] + b"PARE")
    assert "not a readable Parquet file" in refused(data[: len(data) // 2])


def test_tables_that_are_too_large_are_refused_at_once(monkeypatch):
    names = ",".join(f"c{i}" for i in range(100_000))
    assert "more than 10,000 columns" in refused(f"{names}\n{'1,' * 99_999}1\n".encode())
    monkeypatch.setattr(text, "MAX_CELLS", 100)
    assert "more than 100 cells; cut it into recordings" in refused(f"time_s,x,y,z\n{rows()}".encode())
    monkeypatch.setattr(text, "MAX_BYTES", 100)
    assert "MiB of text; cut it into recordings" in refused(f"time_s,x,y,z\n{rows()}".encode())
    monkeypatch.setattr("binder.formats.table.MAX_CELLS", 100)
    assert "120 numbers, at most 100 are read" in refused((VALUES, 50.0))


def test_megabytes_of_comments_take_no_time():
    data = b"# nothing\n" * 300_000 + b"time_s,x,y,z\n" + rows().encode()
    np.testing.assert_array_equal(seen(data).values_SC, VALUES)
    assert "not a table that can be read" in refused(f"time_s,x,y,z\n{rows()}".encode() + b"# no\n" * 300_000)
    assert "nothing but comments" in refused(b"# nothing\n" * 300_000)
