"""Embeddings as arrays, tensors, data frames and files, and many as one."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import one_line

from binder import ConfigError, Embeddings, Index, ManifestError, SpaceError
from binder.space import vectors, vectors_file

SUFFIXES = ["parquet", "csv", "jsonl", "npz"]


def some(n=3, seed=0, space="s", **more):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 6)))
    more.setdefault("items", tuple(f"{'abcdefgh'[seed]}{i}" for i in range(n)))
    return Embeddings(z, space, **more)


def same(a: Embeddings, b: Embeddings) -> None:
    np.testing.assert_array_equal(a.vectors, b.vectors)
    assert (a.space, a.items, a.modality) == (b.space, b.items, b.modality)


# -- arrays and tensors


def test_it_has_the_shape_of_an_array():
    assert some(3).shape == np.asarray(some(3)).shape == (3, 6)
    assert (some(3) + some(1, 1)).shape == (3, 6)
    assert some(3)[:0].shape == (0, 6)


def test_an_array_of_it_is_a_copy_of_any_type_and_no_copy_where_none_is_wanted():
    z = some(3)
    for array in (np.asarray(z), np.array(z), np.array(z, copy=True), np.asarray(z, dtype=np.float64)):
        array[:] = 0
    assert np.asarray(z, dtype=np.float16).dtype == np.float16
    assert np.linalg.norm(z.vectors) > 1
    assert z.__array__(copy=False) is z.vectors
    assert z.__array__(np.float32, copy=False) is z.vectors
    with pytest.raises(ValueError, match="copy"):
        z.__array__(np.float64, copy=False)


def test_it_becomes_a_tensor():
    import torch

    z = some(3)
    for made in (torch.as_tensor(z), torch.tensor(z), torch.from_dlpack(z)):
        assert (made.shape, made.dtype) == ((3, 6), torch.float32)
        np.testing.assert_array_equal(made.numpy(), z.vectors)
        made[:] = 0
    assert np.linalg.norm(z.vectors) > 1, "a tensor of it is a copy"
    assert torch.as_tensor(z, dtype=torch.float64).dtype == torch.float64
    assert torch.as_tensor(z[:0]).shape == (0, 6)
    total = z - 0.5 * some(1, 1)
    np.testing.assert_array_equal(torch.as_tensor(total).numpy(), total.vectors)


# -- many as one


def test_concat_keeps_order_names_and_modality():
    a, b = some(3, modality="toy"), some(2, 1, modality="toy")
    together = Embeddings.concat([a, b])
    np.testing.assert_array_equal(together.vectors, np.concatenate([a.vectors, b.vectors]))
    assert (together.items, together.modality, together.space) == (a.items + b.items, "toy", "s")
    same(Embeddings.concat(a), a)  # its rows are Embeddings, too
    same(Embeddings.concat(z for z in (a[:0], a)), a)


def test_concat_of_different_kinds_has_none_and_sums_are_vectors():
    mixed = Embeddings.concat([some(2, modality="toy"), some(1, 1, modality="text")])
    assert (mixed.modality, len(mixed.items)) == (None, 3)
    assert Embeddings.concat([some(2), some(1, 1, items=())]).items == ()
    total = some(2) - 0.5 * some(1, 1)
    together = Embeddings.concat([total, some(1, 2)])
    np.testing.assert_array_equal(together.vectors[:2], total.vectors)
    assert together.items[0] == "a0 - 0.5 * b0"
    np.testing.assert_allclose(
        (together + some(1, 3))[0].vectors, (Embeddings(total.vectors, "s")[0] + some(1, 3)).vectors
    )


def test_concat_of_several_spaces_and_of_none_is_refused():
    with pytest.raises(SpaceError, match="space s and space other cannot be compared"):
        Embeddings.concat([some(2), some(2, 1, space="other")])
    with pytest.raises(SpaceError, match="space s and space other"):
        Embeddings.concat([some(2), some(2, 1, space="other")[:0]])
    with pytest.raises(SpaceError, match="at least one"):
        Embeddings.concat([])


# -- files


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "z",
    [
        some(3, modality="toy", items=('a, "b"', "ü.wav", "x\ny")),
        some(3, modality="toy", items=("a.wav#t=0,2", "a.wav#t=2.5,4.125", "b.png")),
        some(2, modality="toy", items=("a#t=0,2.0", "#t=1,2")),  # not as a segment is named
        some(2),
        some(2, items=(), modality="toy"),
        some(3, modality="toy") - 0.5 * some(1, 1, items=("a.wav#t=0,2",)),
    ],
    ids=["names", "segments", "other names", "no modality", "no names", "a sum"],
)
def test_what_was_saved_is_loaded_to_the_bit(tmp_path, suffix, z):
    path = tmp_path / f"z.{suffix}"
    z.save(path)
    same(Embeddings.load(str(path)), z)
    z.save(path)  # replaces it
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_no_vectors_keep_their_width(tmp_path, suffix):
    some(3, modality="toy")[:0].save(tmp_path / f"z.{suffix}")
    loaded = Embeddings.load(tmp_path / f"z.{suffix}")
    assert (loaded.shape, loaded.space, loaded.items) == ((0, 6), "s", ())


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_no_vectors_cannot_be_lines(tmp_path, suffix):
    with pytest.raises(ConfigError, match=r"no vectors.*write \.parquet or \.npz") as caught:
        some(3)[:0].save(tmp_path / f"z.{suffix}")
    one_line(caught)
    assert not list(tmp_path.iterdir())


def test_the_anchor_is_kept_where_the_file_has_room_for_it(tmp_path):
    z = some(2, anchor="mini")
    for suffix in ("parquet", "npz"):
        z.save(tmp_path / f"z.{suffix}")
        assert Embeddings.load(tmp_path / f"z.{suffix}").anchor == "mini"
    assert (
        (z + some(1, 1)).anchor == z[0].anchor == z.mean().anchor == Embeddings.concat([some(1, 1), z]).anchor == "mini"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_segments_is_what_embed_writes(tmp_path, suffix):
    path = tmp_path / f"z.{suffix}"
    some(2, modality="toy", items=("a.wav#t=0,2", "b.png")).save(path)
    table, _ = vectors_file.read(path)
    assert table["item"].to_pylist() == ["a.wav", "b.png"]
    assert (table["start_s"].to_pylist(), table["end_s"].to_pylist()) == ([0, None], [2, None])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_several_modalities_are_told_apart(tmp_path, suffix):
    path = tmp_path / f"z.{suffix}"
    z = some(3)
    vectors_file.write(path, vectors_file.table_of(["a", "b", "c"], ["toy", "text", "toy"], z.vectors, "s"))
    assert (Embeddings.load(path).modality, len(Embeddings.load(path))) == (None, 3)
    toys = Embeddings.load(path, modality="toy")
    assert (toys.items, toys.modality) == (("a", "c"), "toy")
    np.testing.assert_array_equal(toys.vectors, z.vectors[[0, 2]])
    with pytest.raises(ManifestError, match="no vectors of image; it has text, toy"):
        Embeddings.load(path, modality="image")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_index_takes_the_file_and_exports_one(tmp_path, suffix):
    z = some(3, modality="toy", items=("a.wav#t=0,2", "a.wav#t=2,4", "b"))
    z.save(tmp_path / f"z.{suffix}")
    index = Index.create(tmp_path / "x.idx", z)
    index.add(tmp_path / f"z.{suffix}")
    assert {(hit.item, hit.start_s) for hit in index.search(z[0], k=3)} == {("a.wav", 0), ("a.wav", 2), ("b", None)}
    index.export(tmp_path / "all.parquet")
    back = Embeddings.load(tmp_path / "all.parquet")
    assert sorted(back.items) == sorted(z.items)
    np.testing.assert_allclose(back.cosine(z).max(0), 1, atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "zeros in the middle", "missing"])
def test_a_damaged_file_is_one_line(tmp_path, suffix, damage):
    path = tmp_path / f"z.{suffix}"
    some(3, modality="toy").save(path)
    data = path.read_bytes()
    middle = len(data) // 2
    made = {
        "truncated": data[: middle + middle // 2],
        "empty": b"",
        "garbage": b"\x00\xff not this" * 99,
        "zeros in the middle": data[: middle - 40] + b"\0" * 80 + data[middle + 40 :],
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(made[damage])
    with pytest.raises((ManifestError, SpaceError)) as caught:
        Embeddings.load(path)
    assert str(path) in one_line(caught)


def table(**columns) -> pa.Table:
    z = some(2).vectors
    columns = {"item": ["a", "b"], "modality": ["toy", "toy"], "vector": [list(row) for row in z], **columns}
    return pa.table({name: cells for name, cells in columns.items() if cells is not None})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (table(vector=None), "needs columns item, modality and vector"),
        (table(), "do not name their space"),
        (table(vector=[[1.0, 0], [1.0]]), "not all of one length"),
        (table(vector=[[1.0, 0], None]), "a row has no vector"),
        (table(vector=["x", "y"]), "not a readable file of vectors"),
        (table(vector=[[3.0, 4], [1.0, 0]]), "vectors of length 1"),
        (table(vector=[[float("nan"), 0], [1.0, 0]]), "vectors of length 1"),
        (table(item=[1, 2]), "item is a column of int64, not of text"),
        (table(start_s=["x", "y"], end_s=["1", "2"]), "not a readable file of vectors"),
    ],
)
def test_another_parquet_file_is_one_line(tmp_path, made, says):
    path = tmp_path / "z.parquet"
    metadata = {} if "space" in says else {b"binder.space": b"s"}
    pq.write_table(made.replace_schema_metadata(metadata), path)
    with pytest.raises((ManifestError, SpaceError), match=says) as caught:
        Embeddings.load(path)
    assert str(path) in one_line(caught)


def test_other_files_are_one_line(tmp_path):
    (tmp_path / "z.csv").write_text("name,text\na,b\n")
    np.savez(tmp_path / "z.npz", a=np.zeros(3))
    lines = [{"item": "a", "modality": "toy", "space": s, "vector": [1.0, 0.0]} for s in "st"]
    (tmp_path / "z.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name in ("z.csv", "z.npz", "z.jsonl", "z.txt", "."):
        with pytest.raises((ManifestError, ConfigError)) as caught:
            Embeddings.load(tmp_path / name)
        one_line(caught)
    with pytest.raises(ConfigError, match="expected a name that ends in"):
        some().save(tmp_path / "z.txt")


# -- data frames


def test_a_data_frame_has_the_columns_of_the_file():
    z = some(2, modality="toy", items=("a.wav#t=0,2", "b.png"), anchor="mini")
    frame = z.to_pandas()
    assert list(frame.columns) == ["item", "modality", "start_s", "end_s", "vector"]
    assert frame["item"].tolist() == ["a.wav", "b.png"]
    assert frame.attrs == {"space": "s", "anchor": "mini"}
    np.testing.assert_array_equal(np.stack(frame["vector"]), z.vectors)
    assert list(some(2).to_pandas().columns) == ["item", "modality", "vector"]
    assert len(z[:0].to_pandas()) == 0


def test_without_pandas_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        some().to_pandas()


def test_saving_and_loading_import_no_torch(tmp_path):
    code = (
        "import sys, numpy as np; from binder import Embeddings\n"
        f"Embeddings(np.eye(3), 's').save({str(tmp_path / 'z.npz')!r})\n"
        f"assert Embeddings.load({str(tmp_path / 'z.npz')!r}).shape == (3, 3)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
