"""Times keep their zone, or that they have none; conditions compare instants, whatever zone they are written in."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support import write_csv

from binder import Binder, Embeddings, Index
from binder.index import times
from binder.space import vectors

DIM = 16
OSLO = ZoneInfo("Europe/Oslo")
SUMMER, WINTER = datetime(2024, 7, 1, 0, 30, tzinfo=OSLO), datetime(2024, 1, 1, 12, tzinfo=OSLO)
MEANT = [  # conditions, and which of (SUMMER, WINTER) meet them
    ("taken = timestamp '2024-07-01T00:30:00+02:00'", {"n0"}),
    ("taken = timestamp '2024-06-30T22:30:00Z'", {"n0"}),
    ("taken = timestamp '2024-06-30T22:30:00'", {"n0"}),  # without a zone: of UTC
    ("taken = timestamp '2024-07-01 04:00:00+05:30'", {"n0"}),
    ("taken = timestamp '2024-07-01 00:30:00 Europe/Oslo'", {"n0"}),
    ("taken < timestamp '2024-07-01T00:29:59+02:00'", {"n1"}),
    ("taken IN (timestamp '2024-01-01T12:00:00+01:00')", {"n1"}),
    ("taken BETWEEN timestamp '2024-01-01T11:00:00Z' AND timestamp '2024-01-01T06:00:00-05:00'", {"n1"}),
    ("taken >= date '2024-07-01'", set()),  # the day begins in UTC
    ("taken < to_timestamp('2024-07-01T00:30:00+02:00')", {"n1"}),
]


def some(n=1, seed=0, prefix="n"):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, DIM)))
    return Embeddings(z, "s", tuple(f"{prefix}{i}" for i in range(n)))


@pytest.fixture
def index(tmp_path):
    return Index.create(tmp_path / "media.idx", some())


def taken(index, column="taken"):
    return {hit.item: hit.metadata.get(column) for hit in index.search(some())}


GIVEN = {
    "datetimes": lambda: {"taken": [SUMMER, WINTER]},
    "rows": lambda: [{"taken": SUMMER}, {"taken": WINTER}],
    "pandas": lambda: pd.DataFrame({"taken": pd.to_datetime([SUMMER, WINTER], utc=True).tz_convert("Europe/Oslo")}),
    "pyarrow, us": lambda: pa.table({"taken": pa.array([SUMMER, WINTER], pa.timestamp("us", "Europe/Oslo"))}),
    "pyarrow, ns": lambda: pa.table({"taken": pa.array([SUMMER, WINTER], pa.timestamp("ns", "Europe/Oslo"))}),
    "pyarrow, s": lambda: pa.table({"taken": pa.array([SUMMER, WINTER], pa.timestamp("s", "Europe/Oslo"))}),
}


@pytest.mark.parametrize("how", GIVEN)
def test_a_named_zone_comes_back_and_conditions_compare_instants(index, how):
    index.add(image=some(2), metadata=GIVEN[how]())
    for found in (taken(index), taken(Index.open(index.location))):
        assert found == {"n0": SUMMER, "n1": WINTER}
        assert [(t.tzinfo.key, t.hour) for t in (found["n0"], found["n1"])] == [("Europe/Oslo", 0), ("Europe/Oslo", 12)]
    for where, items in MEANT:
        assert {hit.item for hit in index.search(some(), where=where)} == items, where


def test_the_zone_outlives_the_search_by_codes_an_export_and_a_second_index(index, tmp_path, monkeypatch):
    from binder.index import table as tables

    index.add(image=some(2), metadata={"taken": [SUMMER, WINTER]})
    index.export(tmp_path / "rows.parquet")
    other = Index.create(tmp_path / "other.idx", some())
    other.add(tmp_path / "rows.parquet")
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    for each in (index, other):
        for exact in (False, True):
            found = each.search(some(), exact=exact, where="taken > timestamp '2024-06-30T22:00:00Z'")
            assert [(hit.metadata["taken"], hit.metadata["taken"].tzinfo.key) for hit in found] == [(SUMMER, OSLO.key)]


def test_offsets_utc_and_zones_that_nobody_knows_come_back_in_utc(index):
    plus = timezone(timedelta(hours=2))
    index.add(image=some(1, prefix="a"), metadata={"taken": [SUMMER.astimezone(plus)], "at": [WINTER.astimezone(UTC)]})
    assert [(t, t.tzinfo) for t in (taken(index)["a0"], taken(index, "at")["a0"])] == [(SUMMER, UTC), (WINTER, UTC)]
    strange = pa.table({"where": pa.array([0], pa.timestamp("us", "Mars/Olympus"))})
    index.add(image=some(1, 1, prefix="b"), metadata=strange)
    assert taken(index, "where")["b0"] == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_column_has_the_zone_it_began_with_and_no_instant_changes(index):
    index.add(image=some(1, prefix="a"), metadata={"taken": [SUMMER]})
    tokyo = WINTER.astimezone(ZoneInfo("Asia/Tokyo"))
    index.add(image=some(1, 1, prefix="b"), metadata={"taken": [tokyo]})
    index.add(sound=some(1, 2, prefix="c"), metadata={"taken": [tokyo]})
    found = taken(index)
    assert found == {"a0": SUMMER, "b0": WINTER, "c0": WINTER}
    assert {name: t.tzinfo.key for name, t in found.items()} == {"a0": OSLO.key, "b0": OSLO.key, "c0": "Asia/Tokyo"}


def test_an_export_of_two_zones_is_in_utc(index, tmp_path):
    index.add(image=some(1, prefix="a"), metadata={"taken": [SUMMER]})
    index.add(sound=some(1, 2, prefix="c"), metadata={"taken": [WINTER.astimezone(ZoneInfo("Asia/Tokyo"))]})
    index.export(tmp_path / "rows.parquet")
    other = Index.create(tmp_path / "other.idx", some())
    other.add(tmp_path / "rows.parquet")
    assert {name: (t, t.tzinfo) for name, t in taken(other).items()} == {"a0": (SUMMER, UTC), "c0": (WINTER, UTC)}


@pytest.mark.parametrize(
    "naive",
    [[datetime(2024, 7, 1, 0, 30)], pd.to_datetime(["2024-07-01 00:30"]), pa.array([datetime(2024, 7, 1, 0, 30)])],
)
def test_a_time_without_a_zone_stays_one(index, naive):
    index.add(image=some(1), metadata=pa.table({"taken": pa.array(naive)}))
    found = taken(index)["n0"]
    assert found == datetime(2024, 7, 1, 0, 30) and found.tzinfo is None
    assert len(index.search(some(), where="taken = timestamp '2024-07-01 00:30:00'")) == 1


def test_a_zone_that_this_machine_does_not_know_is_shown_in_utc(index, monkeypatch):
    index.add(image=some(1), metadata={"taken": [SUMMER]})
    times._named.cache_clear()

    def known(name, real=ZoneInfo):
        if name == OSLO.key:
            raise times.zoneinfo.ZoneInfoNotFoundError(name)
        return real(name)

    monkeypatch.setattr(times.zoneinfo, "ZoneInfo", known)
    try:
        found = taken(Index.open(index.location))["n0"]
    finally:
        times._named.cache_clear()
    assert (found, found.tzinfo) == (SUMMER, UTC)


@pytest.mark.usefixtures("toy")
def test_iso_text_with_offsets_in_a_manifest_is_instants(tmp_path, toys, run, anchor, caplog):
    index = Index.create(tmp_path / "media.idx", Binder(anchor).load(run))
    rows = [
        {
            "toy": str(toys / "0.npy"),
            "taken": "2024-07-01T00:30:00+02:00",
            "day": "2024-07-01",
            "mixed": "2024-07-01T00:30Z",
        },
        {"toy": str(toys / "1.npy"), "taken": "2024-01-01 11:00:00Z", "day": "2024-01-01", "mixed": "about noon"},
    ]
    write_csv(tmp_path / "pairs.csv", rows)
    assert index.add(tmp_path / "pairs.csv").inserted == 2
    for _ in range(2):
        found = {Path(hit.item).name: hit.metadata for hit in index.search(toy=toys / "0.npy", modalities="toy")}
        assert (found["0.npy"]["taken"], found["0.npy"]["taken"].tzinfo) == (SUMMER, UTC)
        assert (found["1.npy"]["taken"], found["1.npy"]["taken"].tzinfo) == (WINTER, UTC)
        assert (found["0.npy"]["day"], found["1.npy"]["mixed"]) == ("2024-07-01", "about noon")  # stay text
        again = index.add(tmp_path / "pairs.csv")
        assert (again.inserted, again.updated, again.unchanged) == (0, 0, 2)
    for where, items in MEANT:
        hits = index.search(toy=toys / "0.npy", modalities="toy", where=where)
        assert {{"0.npy": "n0", "1.npy": "n1"}[Path(hit.item).name] for hit in hits} == items, where
    rows[0]["taken"] = "soon"
    write_csv(tmp_path / "pairs.csv", rows)
    with caplog.at_level(logging.WARNING):
        assert index.add(tmp_path / "pairs.csv").updated == 0  # what cannot be kept costs itself
    assert "'taken' of 1 items is left out" in caplog.text


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("cell", [math.nan, float(np.float64("nan")), SUMMER, datetime(2024, 7, 1)])
def test_metadata_that_is_the_same_again_is_no_update(tmp_path, toys, run, anchor, cell):
    index = Index.create(tmp_path / "media.idx", Binder(anchor).load(run))
    items, metadata = [toys / f"{i}.npy" for i in range(3)], {"x": [1.5, 2.5, 3.5], "y": [cell] * 3}
    assert index.add(toy=items, metadata=metadata).inserted == 3
    again = index.add(toy=items, metadata=metadata)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 3)
    changed = index.add(toy=items, metadata=metadata | {"x": [1.5, math.nan, 3.5]})
    assert (changed.updated, changed.unchanged) == (1, 2)
    assert index.add(toy=items, metadata={"x": [1.5, 2.5, 3.5]}).updated == 1


@pytest.mark.parametrize("cell", [math.nan, SUMMER, datetime(2024, 7, 1)])
def test_nor_is_it_beside_vectors(index, cell):
    assert index.add(image=some(3), metadata={"y": [cell] * 3}).inserted == 3
    again = index.add(image=some(3), metadata={"y": [cell] * 3})
    assert (again.updated, again.unchanged) == (0, 3)


def test_times_without_a_zone_in_a_column_of_instants_are_of_utc_and_no_update(index):
    index.add(image=some(1), metadata={"taken": [SUMMER]})
    index.add(image=some(1), metadata={"taken": [datetime(2024, 6, 30, 22, 30)]})
    assert taken(index)["n0"] == SUMMER and taken(index)["n0"].tzinfo.key == OSLO.key
