"""Hostile conditions and metadata of an index: one line each, in bounded memory."""

from __future__ import annotations

import datetime
import math
import os
import random
import shutil
import sys

import numpy as np
import pytest
from support import one_line

from binder import ConfigError, Embeddings, Index, StoreError
from binder.index import condition, lance
from binder.index import rows as columns
from binder.space import vectors

SEED = 7
UTC = datetime.UTC
COLUMNS = ["item", "text", "Year", "a b", "seconds", "license", "ok", "taken"]


def some(n=1, seed=0):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 16)))
    return Embeddings(z, "s", tuple(f"n{i}" for i in range(n)))


@pytest.fixture
def index(tmp_path):
    return Index.create(tmp_path / "media.idx", some())


# --- conditions


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("year = $1", "cannot read '$1'"),
        ("generate_series(1, 1000000000)", "no function 'generate_series'"),
        ("repeat('x', 2000000000) = 'x'", "no function 'repeat'"),
        ("lpad('x', 2000000000, 'x') = text", "no function 'lpad'"),
        ("Year IN (SELECT 1)", "not 'SELECT'"),
        ("yaer > 1", "no column 'yaer' (did you mean 'year'?)"),
        ("_key = 'x'", "no column '_key'"),
        ("Year > 1e999", "too large"),
        ("text = 'a\0'", "NUL"),
        ("text = '\ud800'", "surrogate"),
        ("Year > 1 Year", "expected AND, OR or the end, not 'Year'"),
        ("license = 'cc", "never closed"),
        ("NOT " * 400 + "ok", "nested deeper"),
        ("abs(" * 400 + "Year" + ")" * 400 + " > 1", "nested deeper"),
        ("-" * 9 + " Year = 1", "empty"),  # two dashes begin a comment
        (" + ".join(["Year"] * 1000) + " > 1", "more than 32 sums"),
        ("x" * 200_000, "longer than"),
        ("round(Year, 1, 2) = 1", "takes 1 to 2 values, not 3"),
        ("CAST(Year AS INTERVAL) = 1", "expected STRING"),
        (7, "expected text"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_condition_beyond_the_small_language_is_refused_by_its_word(where, says):
    with pytest.raises(StoreError) as caught:
        condition.compiled(where, COLUMNS)
    assert says in one_line(caught)


@pytest.mark.parametrize(
    ("where", "made"),
    [
        ("year == 2020", "(`Year` = 2020)"),
        ("\"a b\" = 'x' AND `A B` <> 'it''s'", "(`a b` = 'x' AND `a b` <> 'it''s')"),
        ("NOT ok OR (year+1)*2 >= .5e1", "(NOT `ok` OR (`Year` + 1) * 2 >= .5e1)"),
        ("year not in (1, 2) -- why not", "(`Year` NOT IN (1, 2))"),
        ("lower(license) like 'c%'", "(lower(`license`) LIKE 'c%')"),
        ("taken between date '2020-01-01' and timestamp '2021-01-01'",
         "(`taken` BETWEEN DATE '2020-01-01' AND TIMESTAMP '2021-01-01')"),
        ("cast(year as string) is not null", "(CAST(`Year` AS STRING) IS NOT NULL)"),
        ("-year < 99999999999999999999", "((- `Year`) < 1e+20)"),
    ],
)  # fmt: skip
def test_a_condition_reaches_the_store_as_what_was_understood(where, made):
    assert condition.compiled(where, COLUMNS) == made


def test_noise_as_a_condition_is_one_line_or_an_answer_and_the_index_stays(index):
    index.add(image=some(20), metadata={"Year": range(20), "license": "cc"})
    draw = random.Random(SEED)
    words = ["Year", "license", "'cc'", "7", "1e9", "(", ")", "AND", "OR", "NOT", "IN", "=", "<", "+", "-", "/", "%",
             "IS", "NULL", "LIKE", "'%c_'", ",", "abs(", "lower(", "date '2020-01-01'", "CAST(", "AS", "INT", "$1", ";",
             "date_part('year',", "BETWEEN", "true", "regexp_like(license, '(')", "::", "||", "\u202e"]  # fmt: skip
    answered = 0
    for _ in range(300):
        where = " ".join(draw.choice(words) for _ in range(draw.randint(1, 7)))
        try:
            index.search(some(), where=where)
            answered += 1
        except StoreError as error:
            assert "\n" not in str(error) and len(str(error)) < 900
    assert answered
    assert len(index) == 20


def test_a_panic_of_the_store_is_one_line_and_an_interrupt_is_none():
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    with pytest.raises(StoreError, match="the store failed: index out of bounds"), lance.guarded("place"):
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), lance.guarded("place"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["_binder", "../other.idx/image", "a/b", "", ".", "x" * 300, "\0"])
def test_only_modalities_are_searched_and_added(index, name):
    index.add(image=some(2))
    with pytest.raises(StoreError, match="it holds image"):
        index.search(some(), modalities=name)
    with pytest.raises(StoreError, match="not a valid modality name"):
        index.add(**{name: some(2)})


# --- metadata


def test_a_value_that_cannot_be_kept_costs_itself_alone_and_is_named(caplog):
    rows = [
        {"n": 1, "t": "x", "day": datetime.date(2024, 1, 2)},
        {"n": 2**63, "t": "\ud800", "deep": [[1], {"a": None}]},
        {"n": 10**4400, "t": 5, "day": "2024-02-03"},
        {"n": "7", "t": True, "day": "no day", "a.b": 1, "_key": 2, "N": 3},
        {"n": math.inf, "t": "y\0z", "day": math.nan},
        {"n": 2**53 + 1},
    ]
    made = columns.metadata_from_files(rows, [f"row{i}" for i in range(len(rows))], {})
    assert [row.get("n") for row in made] == [1.0, 2.0**63, None, 7.0, None, float(2**53)]
    assert [row.get("t") for row in made] == ["x", "\\ud800", "5", "true", "y\0z", None]
    assert made[1]["deep"] == '[[1], {"a": null}]'
    assert [row.get("day") for row in made] == [
        "2024-01-02", None, "2024-02-03", "no day", None, None,
    ]  # fmt: skip
    assert not {"a.b", "_key", "N"} & set(made[3])
    said = "\n".join(caplog.messages)
    assert "'n' of 2 items is left out, the first: row2" in said
    assert "'n' of 1 items is rounded, the first: row5" in said
    assert "'a.b'" in said and "'_key'" in said and "capital letters" in said


def test_the_kind_is_the_tables_or_that_of_most(caplog):
    rows = [{"n": 1}, {"n": "many"}, {"n": 3}]
    have = {"n": columns.KINDS["text"]}
    assert [row.get("n") for row in columns.metadata_from_files(rows, "abc", have)] == ["1", "many", "3"]
    assert not caplog.messages
    assert [row.get("n") for row in columns.metadata_from_files(rows, "abc", {})] == [1.0, None, 3.0]
    assert "b: 'many' is not a number" in caplog.text


def test_lists_within_lists_cost_their_value(caplog):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    made = columns.metadata_from_files([{"x": deep}, {"x": "fine"}], ["a", "b"], {})
    assert made == [{}, {"x": "fine"}]
    assert "'x' of 1 items is left out, the first: a" in caplog.text
    while deep:  # freed by steps: what recurses in freeing is not what is tested
        deep = deep[0]


def test_a_time_with_a_zone_keeps_its_instant(index):
    here = datetime.timezone(datetime.timedelta(hours=2))
    taken = [datetime.datetime(2024, 1, 1, 0, 30, tzinfo=here), datetime.datetime(2024, 6, 1, tzinfo=UTC), None]
    index.add(image=some(3), metadata={"taken": taken})
    found = {hit.item: hit.metadata.get("taken") for hit in index.search(some())}
    assert found["n0"] == taken[0] and found["n0"].tzinfo is UTC
    assert found["n1"] == taken[1] and found["n2"] is None
    for where, items in [
        ("taken < timestamp '2024-01-01'", {"n0"}),  # in UTC it is still the year before
        ("taken = timestamp '2023-12-31T22:30:00'", {"n0"}),
        ("taken >= date '2023-12-31' AND taken < date '2024-01-01'", {"n0"}),
        ("taken >= date '2024-01-01'", {"n1"}),
    ]:
        assert {hit.item for hit in index.search(some(), where=where)} == items, where
    index.add(image=some(1), metadata={"taken": [datetime.datetime(2025, 1, 1)]})  # without a zone: of UTC
    assert {h.item for h in index.search(some(), where="taken = date '2025-01-01'")} == {"n0"}


@pytest.mark.parametrize("bad", [[2**64], [-(2**70)], ["\ud800"], [datetime.datetime(2020, 1, 1), "x"]])
def test_metadata_of_a_program_that_cannot_be_kept_is_one_line(index, bad):
    with pytest.raises(ConfigError) as caught:
        index.add(image=some(len(bad)), metadata={"n": bad})
    assert one_line(caught).startswith("metadata")
    assert len(index) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the file system of Windows holds only Unicode names")
def test_a_file_whose_name_is_no_unicode_is_named_and_the_rest_is_added(tmp_path, anchor, toys):
    from binder import Binder

    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(toys / "0.png", folder / "good.png")
    shutil.copy(toys / "1.png", os.fsencode(folder) + b"/b\xffd.png")
    index = Index.create(tmp_path / "i.idx", Binder(anchor))
    added = index.add(image=folder)
    assert added.inserted == 1
    ((name, reason),) = added.failed
    assert name.endswith("b\\udcffd.png") and "not valid Unicode" in reason
