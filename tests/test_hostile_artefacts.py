"""Hostile and broken conditions, metadata, outputs, configurations and artefacts: one line each, in bounded memory.

Everything is made here, from one seed.
"""

from __future__ import annotations

import datetime
import gzip
import http.server
import json
import math
import os
import random
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import posix

from binder import (
    AnchorError,
    ConfigError,
    Embeddings,
    Index,
    ManifestError,
    RunError,
    SpaceError,
    StoreError,
    config,
    files,
)
from binder.anchors import openclip as anchors
from binder.anchors import trunk
from binder.anchors.bounds import no_larger_than
from binder.artifact import hub, run_folder, vectors_file
from binder.encoder import Span
from binder.index import condition, lance, transfer
from binder.index import rows as columns
from binder.registry import registry
from binder.space import vectors
from binder.testing import tiny_anchor, write_tiny_checkpoint
from binder.train import lock

SEED = 7
UTC = datetime.UTC
COLUMNS = ["item", "text", "Year", "a b", "seconds", "license", "ok", "taken"]


def some(n=1, seed=0):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 16)))
    return Embeddings(z, "s", tuple(f"n{i}" for i in range(n)))


def one_line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900, text
    return text


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


# --- outputs


@posix
@pytest.mark.parametrize("suffix", ["", ".csv"])
def test_what_is_no_regular_file_is_never_written_over(tmp_path, suffix, monkeypatch):
    pipe, folder, link = (tmp_path / f"{name}{suffix}" for name in ("pipe", "folder", "link"))
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to("/dev/null")
    circle = tmp_path / f"circle{suffix}"
    circle.symlink_to(circle)
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    listener.bind(f"socket{suffix}")
    before = os.lstat("/dev/null")
    for path, kind in [
        (pipe, "a pipe"),
        (folder, "a folder"),
        (link, "a device"),
        (tmp_path / f"socket{suffix}", "a socket"),
        (circle, "cannot be written"),
        (tmp_path / ("x" * 300 + suffix), "too long"),
        (tmp_path / f"a\0b{suffix}", "cannot be written"),
        (pipe / f"in{suffix}", "cannot be written"),
    ]:
        with pytest.raises(RunError) as caught:
            files.write_text(path, "x")
        assert kind in one_line(caught)
    assert os.lstat("/dev/null") == before
    assert link.is_symlink() and pipe.is_fifo()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    listener.close()


@posix
@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "a\0b", "pipe", "file", "file/x", "/dev/null", "\ud800"])
def test_what_can_be_no_folder_is_one_line_as_an_index_and_as_a_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("file").write_text("mine")
    for kind, use in [
        (StoreError, lambda: Index.open(name)),
        (StoreError, lambda: Index.create(name, some())),
        (RunError, lambda: lock.held(Path(name)).__enter__()),
        (RunError, lambda: hub.pull("hf:me/x", name)),
        (RunError, lambda: hub.push(name, "hf:me/x")),
        (RunError, lambda: run_folder.read_card(Path(name))),
    ]:
        with pytest.raises(kind) as caught:
            use()
        one_line(caught)
    assert Path("file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


def test_a_link_to_a_file_is_followed_and_missing_folders_are_made(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    files.write_text(link, "new \ud800")
    assert link.is_symlink() and real.read_text() == "new \\ud800"
    files.write_text(tmp_path / "a" / "b" / ("ü" * 120), "x")  # 240 bytes of name
    assert (tmp_path / "a" / "b" / ("ü" * 120)).read_text() == "x"


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fails(beside):
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="the disk is full; what was there before is unchanged"):
        files.write_beside(path, fails, StoreError)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "npz"])
def test_vectors_are_what_the_suffix_says_and_come_back_to_the_bit(tmp_path, suffix):
    anchor = tiny_anchor()
    z = vectors.normalize(np.random.default_rng(SEED).normal(size=(3, 32)))
    items, spans = ['a, "b"', "ü.wav", "ü.wav"], [None, Span(0, 2.5), Span(2.5, 4)]
    out = tmp_path / f"v.{suffix}"
    vectors_file.write_vectors(out, items, ["text", "audio", "audio"], list(z), anchor, spans)
    if suffix == "csv":
        assert out.read_text().startswith("item,modality,start_s,end_s,space,v0,v1,")
    if suffix == "npz":
        kept = np.load(out)
        np.testing.assert_array_equal(kept["vectors"], z)
        assert kept["items"].tolist() == items and str(kept["space"]) == anchor.fingerprint
    index = Index.create(tmp_path / "x.idx", Embeddings(z[:1], anchor.fingerprint))
    assert index.add(out).inserted == 3
    found = {(h.modality, h.item, h.start_s, h.end_s): h.vector for h in index.search(z[0], vectors=True)}
    assert set(found) == {("text", items[0], None, None), ("audio", "ü.wav", 0, 2.5), ("audio", "ü.wav", 2.5, 4)}
    np.testing.assert_array_equal(found["audio", "ü.wav", 2.5, 4], z[2])
    other = Index.create(tmp_path / "other.idx", Embeddings(z[:1], "another"))
    with pytest.raises(SpaceError, match="vectors of space"):
        other.add(out)


@pytest.mark.parametrize("name", ["x.txt", "x", "x.parquet.gz", "/dev/null"])
def test_another_suffix_is_refused_before_anything_is_encoded(name, binder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = binder("embed", "--as", "text", "--out", name, "--anchor", "no such anchor", "hello")
    assert (status, out) == (2, "")
    assert "a name that ends in .parquet, .csv, .jsonl, .npz" in err


def vector_file(path, modality=("image",), item=("x",), z=None, space="s"):
    import pyarrow as pa
    import pyarrow.parquet as pq

    z = [[1.0] + [0.0] * 15] if z is None else z
    table = pa.table({"item": list(item), "modality": list(modality), "vector": z})
    pq.write_table(table.replace_schema_metadata({"binder.space": space}), path)
    return path


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"modality": (None,)}, ManifestError),
        ({"modality": ("",)}, ManifestError),
        ({"modality": (7,)}, ManifestError),
        ({"modality": ("../x",)}, StoreError),
        ({"item": (None,)}, ManifestError),
        ({"item": (5,)}, ManifestError),
        ({"z": [None]}, ManifestError),
        ({"z": [[1.0]]}, SpaceError),
        ({"z": [[math.nan] * 16]}, SpaceError),
        ({"z": [["a"] * 16]}, ManifestError),
        ({"z": ["text"]}, ManifestError),
        ({"space": "other"}, SpaceError),
    ],
)
def test_a_damaged_file_of_vectors_is_one_line(index, tmp_path, change, kind):
    with pytest.raises(kind) as caught:
        index.add(vector_file(tmp_path / "v.parquet", **change))
    one_line(caught)
    assert len(index) == 0


def test_an_npz_that_lies_about_its_size_makes_no_room(tmp_path, index):
    path = tmp_path / "v.npz"
    one = np.zeros((1, 16), np.float32)
    np.savez(path, vectors=one, items=np.array(["x"]), modalities=np.array(["image"]), space=np.array("s"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(1, 16)", b"(9, 16)"))
    assert transfer.is_file_of_vectors(path)
    with pytest.raises(ManifestError) as caught:
        index.add(path)
    one_line(caught)


# --- configurations


@pytest.mark.parametrize(
    "text",
    [
        "seed = 99999999999999999999999",
        "seed = " + "9" * 5000,
        "seed = -1",
        ".".join("a" * 5000) + " = 1",
        "x = " + "[" * 10_000 + "]" * 10_000,
        "x = " + "{a = " * 200 + "1" + "}" * 200,
        "[train]\nlr = inf",
        "[train]\nlr = nan",
        "[train]\nminutes = 1e999",
        "\ud800",
        "\0",
        "x = 1\nx = 2",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_hostile_configuration_is_one_line(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        config.validate(config.AlignConfig, config.read_toml(path), str(path))
    one_line(caught)


@pytest.mark.parametrize(
    "text", ["seed=" + "9" * 5000, "seed=" + "9" * 30, "x=" + "[" * 9999, ".".join("a" * 999) + "=1"]
)
def test_a_hostile_setting_is_one_line(text):
    with pytest.raises(ConfigError) as caught:
        config.validate(config.AlignConfig, config.apply_sets({}, [text]), "configuration")
    one_line(caught)


def test_every_seed_that_is_taken_is_one_that_torch_takes():
    torch.Generator().manual_seed(config.AlignConfig(seed=config.MAX_INT).seed)


def test_paths_of_what_is_there_are_kept_absolute(tmp_path, monkeypatch):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").write_text("{}")
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    made = config.AlignConfig(anchor="tiny", init="tower", encoders=("tiny",), encoder={"trunk": "timm:tower"})
    assert (made.anchor, made.init, made.encoders) == (str(folder), str(tmp_path / "tower"), (str(folder),))
    assert made.encoder["trunk"] == f"timm:{tmp_path / 'tower'}"
    same = config.AlignConfig(anchor="mini", init="hf:me/x", encoder={"trunk": "timm:resnet18"})
    assert (same.anchor, same.init, same.encoder["trunk"]) == ("mini", "hf:me/x", "timm:resnet18")


# --- artefacts


CARDS = {
    "deep": "[" * 50_000 + "]" * 50_000,
    "deeper keys": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "infinite format": '{"format": Infinity}',
    "infinite after all": '{"format": 1e999}',
    "not a number": '{"logit_scale": NaN}',
    "a long number": '{"format": ' + "9" * 5000 + "}",
    "newer": '{"format": 99}',
    "a list": "[]",
    "nothing": "null",
    "text": '"card"',
    "wrong types": '{"format": "one", "modality": 7}',
    "other bytes": b"\xff\xfe\x00",
    "empty": "",
}


@pytest.mark.parametrize("name", CARDS)
def test_a_hostile_card_is_one_line(tmp_path, name):
    text = CARDS[name]
    (tmp_path / "card.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError) as caught:
        run_folder.read_card(tmp_path)
    assert "card.json" in one_line(caught)


def test_a_card_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "card.json").open("wb") as file:
        file.truncate(2**33)  # of holes
    began = time.monotonic()
    with pytest.raises(RunError, match="larger than 64 MiB"):
        run_folder.read_card(tmp_path)
    assert time.monotonic() - began < 5


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def changed(folder, **values):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **values}))


@pytest.mark.usefixtures("toy")
def test_an_encoder_that_is_not_what_its_card_says_is_one_line(copy, anchor):
    weights = load_file(copy / "encoder.safetensors")
    name = max(weights, key=lambda key: weights[key].numel())
    holes = weights[name].clone()
    holes.view(-1)[0] = math.nan
    bad = {
        "holds numbers that are not finite": {**weights, name: holes},
        "expected": {**weights, name: weights[name].to(torch.int32)},
        "size mismatch": {**weights, name: weights[name].flatten()},
        "Unexpected key": {**weights, "more": torch.zeros(1)},
    }
    for says, tensors in bad.items():
        save_file(tensors, copy / "encoder.safetensors")
        with pytest.raises(RunError) as caught:
            run_folder.load(copy, anchor, registry())
        assert says in one_line(caught)
    save_file(weights, copy / "encoder.safetensors")
    data = (copy / "encoder.safetensors").read_bytes()
    for lie in (data[:-4], (2**60).to_bytes(8, "little") + data[8:], data[:8] + b"[" * 100 + data[108:], b""):
        (copy / "encoder.safetensors").write_bytes(lie)
        with pytest.raises(RunError) as caught:
            run_folder.load(copy, anchor, registry())
        one_line(caught)
    (copy / "encoder.safetensors").write_bytes(data)
    changed(copy, embed_dim=10**9)
    with pytest.raises(RunError, match="embed_dim is 1000000000, the anchor has 32"):
        run_folder.load(copy, anchor, registry())
    changed(copy, embed_dim=32)
    assert run_folder.load(copy, anchor, registry()).card.embed_dim == 32


@pytest.mark.parametrize("state", [7, [], {}, {"encoder": {}}, {"step": "one"}, {"model": torch.zeros(2)}])
def test_a_state_of_another_kind_is_one_line(tmp_path, state):
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(RunError) as caught:
        run_folder.read_state(tmp_path)
    assert "not a checkpoint of a run" in one_line(caught)


@pytest.fixture
def folder(tmp_path):
    return write_tiny_checkpoint(tmp_path / "tiny")


def refused(name) -> str:
    began = time.monotonic()
    with pytest.raises(AnchorError) as caught:
        anchors.load(str(name))
    assert time.monotonic() - began < 20
    return one_line(caught)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("preprocess_cfg.std", [0, 0, 0], "std: 0: pictures are divided by it"),
        ("preprocess_cfg.std", 0, "std: 0: pictures are divided by it"),
        ("preprocess_cfg.mean", "grey", "mean: expected a number"),
        ("preprocess_cfg.mean", [1, 2], "mean: expected a number"),
        ("preprocess_cfg.size", 10**9, "size: 1000000000: expected 1 to 4096"),
        ("preprocess_cfg.interpolation", "magic", "interpolation: 'magic'"),
        ("preprocess_cfg", [], "preprocess_cfg is list"),
        ("model_cfg", None, "model_cfg is missing"),
        ("model_cfg.text_cfg", 3, "text_cfg is int"),
        ("model_cfg.vision_cfg.image_size", -1, "image_size: -1"),
        ("model_cfg.vision_cfg.layers", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.layers", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.vocab_size", 10**12, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.context_length", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.vision_cfg.width", 10**6, "could not be loaded"),
        ("model_cfg.embed_dim", 10**10, "a larger model than the file of its weights holds"),
        ("model_cfg.vision_cfg.patch_size", 0, "could not be loaded"),
        ("model_cfg.text_cfg.heads", 0, "could not be loaded"),
        ("model_cfg.nonsense", 1, "could not be loaded"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"bpe_path": "/etc/passwd"}, "bpe_path"),
    ],
)
def test_what_an_anchor_claims_is_checked_before_it_is_made(folder, place, value, says):
    path = folder / "open_clip_config.json"
    whole = json.loads(path.read_text())
    *way, last = place.split(".")
    inner = whole
    for key in way:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(whole))
    assert says in refused(folder)


def test_hostile_files_of_an_anchor_are_one_line(folder):
    (folder / "card.json").write_text("[" * 50_000)
    assert "card.json: damaged" in refused(folder)
    (folder / "card.json").write_text('{"words": 7}')
    assert "words: expected a list" in refused(folder)
    (folder / "card.json").unlink()
    (folder / "bpe.txt.gz").write_bytes(70 * gzip.compress(bytes(2**20)))
    assert "unpacks to more than 64 MiB" in refused(folder)
    (folder / "bpe.txt.gz").write_bytes(b"\x1f\x8b\x08 no vocabulary")
    assert "bpe.txt.gz: damaged" in refused(folder)
    (folder / "bpe.txt.gz").unlink()
    (folder / "open_clip_config.json").write_text('{"a":' * 50_000)
    assert "open_clip_config.json" in refused(folder)


def test_an_anchor_whose_towers_give_no_numbers_is_refused_when_it_is_loaded(folder):
    weights = load_file(folder / "open_clip_model.safetensors")
    for name, value in (("visual.proj", math.nan), ("token_embedding.weight", math.inf), ("visual.proj", 0.0)):
        save_file({**weights, name: torch.full_like(weights[name], value)}, folder / "open_clip_model.safetensors")
        assert "finite" in refused(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RN50", "is an architecture: name its weights, too, as MODEL/TAG: RN50/openai, RN50/yfcc15m"),
        ("RN50/", "is an architecture"),
        ("/no/such/anchor", "if it has moved, name the new place (--anchor)"),
        ("RN50//no/such/file.pt", "if it has moved, name the new place (--anchor)"),
        ("x" * 5000, "too long"),
        ("a\0b", "anchor"),
        ("hf-hub:a/b/c", "cannot be a repository"),
    ],
)
def test_the_name_of_an_anchor_says_what_is_missing(name, says):
    assert says in refused(name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Linear(10**6, 10**6),
        lambda: torch.nn.Embedding(10**9, 9),
        lambda: torch.arange(10**12),
        lambda: torch.zeros((10**6, 10**6)),
        lambda: [torch.empty(1000) for _ in range(2000)],
    ],
)
def test_nothing_larger_than_the_file_is_made(tmp_path, make):
    small = tmp_path / "w.safetensors"
    small.write_bytes(bytes(10))
    with pytest.raises(ValueError, match="larger model than the file"), no_larger_than(small):
        make()
    with no_larger_than(small):
        torch.nn.Linear(1000, 100)


# --- trunks and the hub


def test_a_folder_as_timm_saves_it_is_a_trunk_under_its_plain_name(tmp_path, monkeypatch):
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(SEED)
    model = timm.create_model("test_vit", num_classes=0).eval()
    save_for_hf(model, str(tmp_path / "tower"), safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    made = [trunk.image_trunk(name) for name in ("timm:tower", f"timm:local-dir:{tmp_path / 'tower'}")]
    assert len({one.fingerprint for one in made}) == 1
    assert made[0].fingerprint == trunk.hash_weights(model.state_dict())
    path = tmp_path / "tower" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_args": {"depth": 10**6}}))
    with pytest.raises(ConfigError, match="a larger model than the file"):
        trunk.image_trunk("timm:tower")
    path.write_text("[" * 50_000)
    with pytest.raises(ConfigError) as caught:
        trunk.image_trunk("timm:tower")
    one_line(caught)


class Absent(http.server.BaseHTTPRequestHandler):
    """A hub that has nothing."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(params=["nobody there", "nothing there", "no answer"])
def poor_hub(request, monkeypatch, tmp_path):
    """The hub's library, sent to where nobody listens, where nothing is found, or where nothing is said."""
    from huggingface_hub import constants, hf_api

    from binder.anchors import reach

    silent = socket.create_server(("127.0.0.1", 0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Absent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = {"nobody there": 9, "nothing there": server.server_port, "no answer": silent.getsockname()[1]}[request.param]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(reach, "PATIENCE_S", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield request.param
    server.shutdown()
    server.server_close()
    silent.close()


@pytest.mark.parametrize("name", ["hf-hub:no/such", "ViT-B-32/laion2b_s34b_b79k", "timm:hf-hub:no/such", "hf:no/such"])
def test_a_mistyped_name_of_the_hub_fails_within_seconds(poor_hub, name):
    from huggingface_hub import constants

    load = {"hf": hub.local, "timm": trunk.image_trunk}.get(name.partition(":")[0], anchors.load)
    began = time.monotonic()
    with pytest.raises((AnchorError, ConfigError, RunError)) as caught:
        load(name)
    assert time.monotonic() - began < 10
    said = "no such repository" if poor_hub == "nothing there" else "on this machine"
    assert said in one_line(caught)
    assert constants.HF_HUB_OFFLINE is False  # the next one asks again


# --- JSON


def test_json_is_read_within_limits(tmp_path):
    assert files.parse_json('{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}
    for bad in ("[" * 100 + "]" * 100, "[" * 10**6, "NaN", "-Infinity", "[1e999]", "9" * 5000, "", "{"):
        with pytest.raises(ValueError):
            files.parse_json(bad)


@posix
def test_json_is_read_from_nothing_but_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="not a file"):
            files.read_json(type(tmp_path)(path))


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


def test_a_tokenizer_that_is_missing_is_called_so(folder):
    path = folder / "open_clip_config.json"
    whole = json.loads(path.read_text())
    whole["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "some/tokenizer"
    path.write_text(json.dumps(whole))
    said = refused(folder)
    assert "its tokenizer" in said and "weights" not in said


@pytest.fixture
def sketch(monkeypatch):
    """A modality that sees through a picture tower, known to the registry."""
    from binder.encoders.picture import PictureEncoder
    from binder.modality import Modality, PictureConfig
    from binder.registry import registry

    made = Modality("sketch", frozenset({".sketch"}), PictureConfig, PictureEncoder)
    found = registry()
    own, owner = found.get, found.owner
    monkeypatch.setattr(found, "get", lambda name: made if name == "sketch" else own(name))
    monkeypatch.setattr(found, "owner", lambda name: owner("image" if name == "sketch" else name))
    return made


def test_an_encoder_whose_trunk_has_moved_is_loaded_where_its_new_place_is_named(sketch, tmp_path, anchor):
    from binder.testing import write_tiny_tower

    name = write_tiny_tower(tmp_path / "tower")
    encoder = sketch.build(sketch.config(trunk=name), anchor)
    card = run_folder.Card(
        modality="sketch",
        plugin="builtin",
        plugin_version="0",
        anchor=anchor.name,
        metrics={},
        space=anchor.fingerprint,
        embed_dim=anchor.embed_dim,
        trained_against=["text"],
        data="",
        logit_scale=1.0,
        n_train=1,
        n_val=0,
        binder_version="0",
        created="",
        config={"trunk": name},
    )
    run_folder.write_aligned(tmp_path / "run", card, encoder.state_dict())
    (tmp_path / "tower").rename(tmp_path / "moved")
    with pytest.raises(ConfigError) as caught:
        run_folder.load(tmp_path / "run", anchor, registry())
    assert "if it has moved, name the new place" in one_line(caught)
    found = run_folder.load(tmp_path / "run", anchor, registry(), trunk=f"timm:{tmp_path / 'moved'}")
    assert found.encoder.state_dict().keys() == encoder.state_dict().keys()
