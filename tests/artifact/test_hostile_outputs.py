"""What cannot be written over, damaged files of vectors and hostile JSON: one line each, in bounded memory."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from support import one_line, posix

from binder import Embeddings, Index, ManifestError, RunError, SpaceError, StoreError, files
from binder.artifact import hub, run_folder
from binder.encoder import Span
from binder.index import transfer
from binder.space import vectors, vectors_file
from binder.testing import tiny_anchor
from binder.train import lock


def some(n=1, seed=0):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 16)))
    return Embeddings(z, "s", tuple(f"n{i}" for i in range(n)))


@pytest.fixture
def index(tmp_path):
    return Index.create(tmp_path / "media.idx", some())


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
    z = vectors.normalize(np.random.default_rng(7).normal(size=(3, 32)))
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
