"""Several queries at once find what each finds alone; an index that was closed says so."""

from __future__ import annotations

import gc
import shutil
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from binder import Binder, ConfigError, Embeddings, Index, SpaceError, StoreError
from binder.index import nearest, search
from binder.index import table as tables
from binder.space import vectors

DIM, N = 16, 400
WORDS = ["rain on a roof", "a red car", "the red dog", "snow", "a car in the rain"]
STORES = {"memory": {}, "codes": {}, "codes, exact": {"exact": True}, "codes and late rows": {}}
HOW = {
    "plain": {},
    "all": {"k": 2 * N},
    "where": {"where": "n < 300"},
    "where few": {"where": "n < 20"},
    "where none": {"where": "n < 0"},
    "where of one modality": {"where": "license = 'cc'"},
    "one modality": {"modalities": "sound", "k": 40},
    "per item": {"per_item": True, "k": 15},
    "per item, many": {"per_item": True, "k": 150},
    "collapse": {"collapse": 0.6, "k": 12},
    "both": {"per_item": True, "collapse": 0.6, "where": "n > 5"},
    "vectors": {"vectors": True},
    "by score": {"rank_by": "score"},
    "by probability": {"rank_by": "probability", "per_item": True},
}


def unit(n, seed=0, dim=DIM):
    return vectors.normalize(np.random.default_rng(seed).normal(size=(n, dim)))


def queries(n=9, seed=5):
    """Queries, one of them twice, and some that are near rows."""
    z = vectors.normalize(unit(n, seed) + np.repeat([[0.0], [2.0]], [n // 2, n - n // 2], axis=0) * unit(n, 1))
    return Embeddings(np.concatenate([z, z[:1]]), "s", modality="image")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Items in segments come from a file, as `binder embed` writes it."""
    folder = tmp_path_factory.mktemp("batch")
    index = Index.create(folder / "media.idx", Embeddings(unit(1), "s"))
    z = unit(N, 1)
    z[50:60] = z[40:50]  # exact copies: ties
    rows = {"n": range(N), "text": [WORDS[i % len(WORDS)] for i in range(N)], "license": ["cc", "by"] * (N // 2)}
    index.add(image=Embeddings(z, "s", [f"i{i}" for i in range(N)]), metadata=rows)
    pieces = Embeddings(unit(N, 2), "s", [f"s{i // 4}#t={i % 4},{i % 4 + 1}" for i in range(N)], "sound")
    pieces.save(folder / "sound.parquet")
    index.add(folder / "sound.parquet")
    index.optimize()
    return index.location


@pytest.fixture(params=STORES)
def index(request, place, monkeypatch, tmp_path):
    if request.param == "memory":
        return Index.open(place), {}
    shutil.copytree(place, tmp_path / "media.idx")
    monkeypatch.setattr(tables, "IN_MEMORY", 64 * DIM * 4)
    monkeypatch.setattr(nearest, "SUBSET", 30)
    if "exact" in request.param:
        monkeypatch.setattr(nearest, "EXACT", 0)
    made = Index.open(tmp_path / "media.idx")
    made.optimize()
    assert all(made.store.table(name).state().coded for name in made.modalities())
    if "late" in request.param:
        made.add(image=Embeddings(unit(30, 9), "s", [f"late{i}" for i in range(30)]), metadata={"n": range(30)})
        assert not made.store.table("image").state().coded
    return made, STORES[request.param]


def whole(hits):
    """All of the hits, also what their equality leaves out."""
    return [
        (hit, hit.probability, None if hit.vector is None else hit.vector.tolist(), whole(hit.others)) for hit in hits
    ]


@pytest.mark.parametrize("how", HOW)
def test_several_at_once_find_what_each_finds_alone(index, how):
    (index, store), asked = index, queries()
    options = store | HOW[how]
    if how == "by probability" and len(index) != 2 * N:
        options |= {"rank_by": None}
    together = index.search(asked, **options)
    assert [whole(hits) for hits in together] == [whole(index.search(z, **options)) for z in asked]
    assert together[0] == together[-1]
    assert any(together) == (how != "where none")
    if "per_item" in options or "collapse" in options:
        assert any(hit.others for hits in together for hit in hits)


@pytest.mark.parametrize("mode", ["text", "hybrid"])
@pytest.mark.parametrize("how", ["plain", "where", "where few", "where none", "per item", "collapse", "vectors"])
def test_words_too(index, mode, how):
    (index, store), asked = index, ["rain", "red", "zebra", "a car in the rain"]
    options = store | HOW[how] | {"mode": mode, "modalities": "image"}
    z = queries()[: len(asked)]
    together = index.search(*([z] if mode == "hybrid" else []), text=asked, **options)
    alone = [
        index.search(*([z[i]] if mode == "hybrid" else []), text=words, **options) for i, words in enumerate(asked)
    ]
    assert [whole(hits) for hits in together] == [whole(hits) for hits in alone]
    assert any(together) == (how != "where none")


def test_they_are_the_order_of_the_cosines(index):
    (index, store), asked = index, queries()
    rows = [(hit.modality, hit.key, hit.vector) for hit in index.search(unit(1)[0], k=3 * N, exact=True, vectors=True)]
    z_ND = np.stack([vector for _, _, vector in rows]).astype(np.float64)
    options = store | {"k": 25, "rank_by": "score"}
    if not store:  # codes are approximate: all rows are candidates
        options |= {"k": len(rows)}
    for query, hits in zip(asked.vectors, index.search(asked, **options), strict=True):
        cosines = dict(zip([name[:2] for name in rows], z_ND @ query.astype(np.float64), strict=True))
        best = sorted(cosines.values(), reverse=True)[: options["k"]]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-7)
        for hit in hits:
            assert hit.score == pytest.approx(cosines[hit.modality, hit.key], abs=1e-7)


def test_one_query_is_a_list_of_hits_and_several_are_a_list_of_them(place):
    index, z = Index.open(place), queries()
    alone = index.search(z[0])
    assert index.search(z[:1]) == index.search(z.vectors[:1]) == index.search(z.vectors[0]) == alone
    for two in (z[:2], z.vectors[:2], [z[0], z[1]], list(z.vectors[:2]), [z[:1], z[1:2]]):
        assert index.search(two) == [alone, index.search(z[1])]
    assert index.search(z.vectors[:0]) == index.search(z[:0]) == []
    words = index.search(text="rain", mode="text")
    assert index.search(text=["rain"], mode="text") == index.search(text=(w for w in ["rain"]), mode="text") == [words]
    assert index.search(text=[], mode="text") == []
    assert index.search(z[0], text=["rain"], mode="hybrid") == [index.search(z[0], text="rain", mode="hybrid")]


def test_an_empty_index_finds_nothing_for_each(tmp_path):
    index = Index.create(tmp_path / "media.idx", Embeddings(unit(1), "s"))
    assert index.search(queries()[:3]) == [[], [], []]
    assert index.search(text=["a", "b"], mode="text") == [[], []]
    assert index.search(unit(1)) == []


def test_several_that_do_not_fit_are_refused(place):
    index, z = Index.open(place), queries()
    for wrong, error, says in [
        (lambda: index.search(z[:3], text=["a", "b"], mode="hybrid"), ConfigError, "2 texts for 3 vectors"),
        (lambda: index.search(z[:3], text="a", mode="hybrid"), ConfigError, "1 texts for 3 vectors"),
        (lambda: index.search(z[:3], text=["a"], mode="text"), ConfigError, "looks up words"),
        (lambda: index.search(text=["a", 3], mode="text"), ConfigError, "looks up words"),
        (lambda: index.search(text=["a", None], mode="hybrid"), ConfigError, "looks up words"),
        (lambda: index.search(z.vectors[:3] * 2), SpaceError, "of length 1"),
        (lambda: index.search(Embeddings(z.vectors, "t")), SpaceError, "of space t"),
        (lambda: index.search([z[0], Embeddings(z.vectors, "t")]), SpaceError, "space t"),
        (lambda: index.search(z, where="nothing = 1"), StoreError, "no column 'nothing'"),
        (lambda: index.calibrate([(z[:2], index.search(z[0])[0], True)]), SpaceError, "one vector, got 2"),
    ]:
        with pytest.raises(error, match=says):
            wrong()


@pytest.mark.usefixtures("toy")
def test_lists_of_items_are_encoded_at_once(tmp_path, toys, run, anchor, monkeypatch):
    index = Index.create(tmp_path / "media.idx", Binder(anchor).load(run))
    index.add(toy=[toys / f"{i}.npy" for i in range(30)], text=WORDS)
    calls = []
    embed = Binder.embed
    monkeypatch.setattr(Binder, "embed", lambda self, **items: calls.append(items) or embed(self, **items))
    files = [toys / f"{i}.npy" for i in range(4)]
    for items in (files, tuple(map(str, files)), pd.Series(list(map(str, files))), iter(files)):
        found = index.search(toy=items, k=3)
        assert len(calls) == 1
        calls.clear()
        assert [hits[0].path for hits in found] == list(map(str, files))
    assert [[h.key for h in hits] for hits in found] == [[h.key for h in index.search(toy=f, k=3)] for f in files]
    calls.clear()
    words = ["rain", "red car"]
    hybrid = index.search(text=(word for word in words), mode="hybrid")
    assert len(calls) == 1
    assert [[h.key for h in hits] for hits in hybrid] == [
        [h.key for h in index.search(text=word, mode="hybrid")] for word in words
    ]
    assert len(index.search(toy=files[:1])) == 1 and isinstance(index.search(toy=files[:1])[0], list)


@pytest.mark.parametrize("store", ["memory", "codes"])
def test_memory_does_not_grow_with_the_number_of_queries(place, monkeypatch, tmp_path, store):
    shutil.copytree(place, tmp_path / "media.idx")
    if store == "codes":
        monkeypatch.setattr(tables, "IN_MEMORY", 0)
        Index.open(tmp_path / "media.idx").optimize()
    monkeypatch.setattr(nearest, "SCORES", 2**16)
    monkeypatch.setattr(nearest, "CANDIDATES", 2**16)
    monkeypatch.setattr(search, "QUERIES_AT_ONCE", 16)
    index, sizes = Index.open(tmp_path / "media.idx"), []
    large = tables.Table.nearest
    monkeypatch.setattr(
        tables.Table, "nearest", lambda self, z, *a, **how: sizes.append(len(z)) or large(self, z, *a, **how)
    )

    def working(n):
        z = Embeddings(unit(n, 3), "s")
        tracemalloc.start()
        found = index.search(z, k=1, modalities="image")
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found) == n
        return peak - held  # beside the hits themselves

    working(16)  # what is read once, and stays
    few, many = (max(working(n) for _ in range(3)) for n in (32, 256))
    assert many < 2 * few
    assert not sizes or max(sizes) <= 16


def test_another_process_that_writes_meanwhile_changes_no_answer(place, monkeypatch, tmp_path):
    """Row numbers may be those of other rows after a commit: the store is asked again."""
    shutil.copytree(place, tmp_path / "media.idx")
    monkeypatch.setattr(tables, "IN_MEMORY", 0)
    index, other = Index.open(tmp_path / "media.idx"), Index.open(tmp_path / "media.idx")
    index.optimize()
    asked, at, done = queries(), tables.Table.at, []

    def disturbed(self, numbers, columns):
        if len(done) < 2:
            done.append(other.delete(where="n < 5") if not done else other.optimize(keep_versions_s=0))
        return at(self, numbers, columns)

    monkeypatch.setattr(tables.Table, "at", disturbed)
    found = index.search(asked, modalities="image", k=N)
    assert done == [5, None]
    assert [len(hits) for hits in found] == [N - 5] * len(asked)
    assert found == [other.search(z, modalities="image", k=N) for z in asked]


def test_a_closed_index_says_so_and_lets_go(place):
    with Index.open(place) as index:
        before = index.search(queries()[0])
        held = weakref.ref(index.store.table("image"))
        assert before and held() is not None
    gc.collect()
    assert held() is None
    assert repr(index) == f"Index({index.location!r}, space s: closed)"
    for use in (
        lambda: index.search(queries()[0]),
        lambda: index.search(text="rain", mode="text"),
        lambda: index.search(text="rain"),
        lambda: index.add(image=queries()),
        lambda: index.add(image="nothing.png"),
        lambda: index.delete(where="n = 1"),
        lambda: index.similar("i1"),
        lambda: len(index),
        index.modalities,
        index.optimize,
        index.info,
        index.verify,
        index.near_duplicates,
        index.encoder_space,
    ):
        with pytest.raises(StoreError, match=r"media\.idx: this index was closed; open it again with Index\.open"):
            use()
    index.close()  # a second time is no mistake
    with Index.open(place) as again:
        assert again.search(queries()[0]) == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the open files of this process")
def test_closing_leaves_no_open_files(place):
    def opened():
        gc.collect()
        links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists()]
        return sum("media.idx" in str(link) for link in links)

    before = opened()
    for _ in range(3):
        with Index.open(place) as index:
            index.search(queries())
    assert opened() <= before


def test_it_is_closed_when_the_block_raises(place):
    with pytest.raises(ZeroDivisionError), Index.open(place) as index:
        _ = 1 / 0
    assert index.store.closed
