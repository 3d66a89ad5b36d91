"""The index with vectors that were made elsewhere: what is added is found, kept, changed and deleted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import binder
from binder import ConfigError, Embeddings, Index, SpaceError
from binder.index import maintenance
from binder.index import table as tables
from binder.index.lance import version_of
from binder.space import vectors

DIM = 16


def some(n=1, seed=0, prefix="n", space="s", modality=None):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, DIM)))
    return Embeddings(z, space, tuple(f"{prefix}{i}" for i in range(n)), modality)


@pytest.fixture
def index(tmp_path):
    return Index.create(tmp_path / "media.idx", some())


@pytest.fixture
def small_memory(monkeypatch):
    """Tables count as large from 64 rows on, so that the store's own index answers; it compares all that they hold."""
    monkeypatch.setattr(tables, "IN_MEMORY", 64 * DIM * 4)
    monkeypatch.setattr(tables, "CANDIDATES", 10_000)


def twin(z, query, k):
    order = sorted(range(len(z)), key=lambda i: -float(z.vectors[i] @ query.vectors[0]))
    return [z.items[i] for i in order[:k]]


def test_a_search_is_the_order_of_the_cosines(index):
    z, query = some(200), some(seed=1)
    assert index.add(image=z).inserted == 200
    hits = index.search(query, k=7)
    assert [hit.item for hit in hits] == twin(z, query, 7)
    for hit in hits:
        assert hit.score == pytest.approx(float(z.vectors[z.items.index(hit.item)] @ query.vectors[0]), abs=1e-6)
        assert (hit.modality, hit.path, hit.probability, hit.start_s) == ("image", hit.item, None, None)
    assert [hit.item for hit in index.search(query.vectors[0], k=7)] == [hit.item for hit in hits]


def test_k_beyond_the_rows_gives_them_all_and_an_empty_index_none(index):
    assert index.search(some()) == []
    index.add(image=some(3))
    assert len(index.search(some(), k=50)) == 3


def test_it_is_all_there_when_it_is_opened_again(index):
    z = some(20)
    index.add(image=z, metadata={"n": range(20)})
    again = Index.open(index.location)
    assert again.space == "s"
    assert (len(again), again.search(z[3], k=1)[0].metadata) == (20, {"n": 3})


def test_modalities_are_searched_side_by_side_and_merged_by_score(index):
    image, audio, query = some(50), some(50, 1, "a"), some(seed=2)
    index.add(image=image, audio=audio)
    both = Embeddings(np.concatenate([image.vectors, audio.vectors]), "s", image.items + audio.items)
    assert [hit.item for hit in index.search(query, k=9)] == twin(both, query, 9)
    assert [hit.item for hit in index.search(query, k=9, modalities="audio")] == twin(audio, query, 9)
    assert [hit.item for hit in index.search(query, k=9, modalities=["audio", "image"])] == twin(both, query, 9)


def test_adding_the_same_again_changes_nothing_and_another_vector_updates(index):
    z = some(30)
    index.add(image=z)
    version = index.info()["modalities"]["image"]["rows"]
    again = index.add(image=z)
    assert (again.inserted, again.updated, again.unchanged, version) == (0, 0, 30, 30)
    changed = Embeddings(np.concatenate([some(1, 9).vectors, z.vectors[1:]]), "s", z.items)
    done = index.add(image=changed)
    assert (done.inserted, done.updated, done.unchanged) == (0, 1, 29)
    assert index.search(some(1, 9), k=1)[0].item == "n0"
    assert len(index) == 30


def test_of_a_name_that_comes_twice_in_one_call_the_last_stays(index):
    z = Embeddings(some(3).vectors, "s", ("a", "b", "a"))
    assert index.add(image=z).inserted == 2
    assert index.search(z[2], k=1)[0].score == pytest.approx(1, abs=1e-6)
    assert index.search(z[0], k=1)[0].score < 0.99


def test_metadata_comes_back_in_its_kind_and_conditions_use_it(index):
    metadata = {
        "license": ["cc", "by", None],
        "seconds": [1.5, 20, None],
        "ok": [True, False, None],
        "taken": [datetime(2020, 1, 2), datetime(2024, 5, 6), None],
    }
    index.add(image=some(3), metadata=metadata)
    found = {hit.item: hit.metadata for hit in index.search(some())}
    assert found["n0"] == {"license": "cc", "seconds": 1.5, "ok": True, "taken": datetime(2020, 1, 2)}
    assert found["n1"]["seconds"] == 20
    assert found["n2"] == {}
    for where, items in [
        ("license = 'cc'", {"n0"}),
        ("LICENSE = 'cc'", {"n0"}),
        ("license = 'cc' OR seconds >= 20", {"n0", "n1"}),
        ("license IS NULL", {"n2"}),
        ("ok", {"n0"}),
        ("taken > timestamp '2023-01-01'", {"n1"}),
        ("item LIKE '%2'", {"n2"}),
        ("license = 'cc' -- and so on", {"n0"}),
    ]:
        assert {hit.item for hit in index.search(some(), where=where)} == items, where


@pytest.mark.parametrize(
    "metadata",
    [
        [{"a": 1, "b": "x"}, {"a": 2}],
        {"a": np.array([1, 2]), "b": ["x", None]},
        {"a": [1, 2], "b": ("x", None)},
    ],
)
def test_metadata_is_rows_or_columns(index, metadata):
    index.add(image=some(2), metadata=metadata)
    found = {hit.item: hit.metadata for hit in index.search(some())}
    assert found == {"n0": {"a": 1, "b": "x"}, "n1": {"a": 2}}


def test_one_value_of_metadata_holds_for_all_items(index):
    index.add(image=some(3), metadata={"source": "disk 1"})
    assert {hit.metadata["source"] for hit in index.search(some())} == {"disk 1"}


def test_a_new_column_is_empty_in_older_rows_and_what_is_not_given_stays(index):
    index.add(image=some(3), metadata={"a": 1})
    index.add(image=some(4), metadata={"b": "x"})
    found = {hit.item: hit.metadata for hit in index.search(some())}
    assert found["n0"] == {"a": 1, "b": "x"}
    assert found["n3"] == {"b": "x"}


def test_a_condition_on_a_column_that_only_one_modality_has_leaves_the_others_out(index):
    index.add(image=some(3), metadata={"license": "cc"})
    index.add(audio=some(3, 1, "a"))
    assert {hit.modality for hit in index.search(some(), where="license = 'cc'")} == {"image"}


def test_delete_by_name_and_by_condition(index):
    index.add(image=some(10), metadata={"n": range(10)})
    assert index.delete(image=["n1", "n2", "nobody"]) == 2
    assert index.delete(where="n >= 7") == 3
    assert {hit.item for hit in index.search(some())} == {"n0", "n3", "n4", "n5", "n6"}
    assert index.delete(image="n0") == 1
    with pytest.raises(ConfigError, match="not both"):
        index.delete(where="n > 1", image="n0")


def test_upsert_writes_what_looks_unchanged_again(index):
    index.add(image=some(5))
    assert index.upsert(image=some(5)).updated == 5


def test_vectors_without_names_are_named_by_their_content(index):
    z = some(5)
    assert index.add(image=z.vectors).inserted == 5
    assert index.add(image=Embeddings(z.vectors, "s")).unchanged == 5
    assert index.add(image=z.vectors, names=list(z.items)).inserted == 5


def test_a_stream_of_vectors_is_added_part_by_part(index, monkeypatch):
    from binder.index import add

    monkeypatch.setattr(add, "COMMIT_BYTES", 32 * DIM * 4)
    seen = []
    done = index.add(image=(some(50, seed, f"{seed}-") for seed in range(4)), progress=lambda *a: seen.append(a[1]))
    assert (done.inserted, len(index)) == (200, 200)
    assert seen == [32, 50, 82, 100, 132, 150, 182, 200]


def test_a_stream_may_bring_metadata_along(index):
    index.add(image=((some(5, seed, f"{seed}-"), {"n": seed}) for seed in range(3)))
    assert {hit.item for hit in index.search(some(), where="n = 2")} == {f"2-{i}" for i in range(5)}


def test_a_sum_is_searched_like_any_vector(index):
    z = some(100)
    index.add(image=z)
    query = z[3] + z[4] - 0.5 * z[5]
    assert [hit.item for hit in index.search(query, k=5)] == twin(z, query, 5)


def test_similar_finds_neighbours_but_not_the_item_itself(index):
    z = some(40)
    index.add(image=z)
    assert [hit.item for hit in index.similar("n7", k=5)] == twin(z, z[7], 6)[1:]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("where", [None, "n < 40", "n < 3"])
def test_large_tables_find_the_same_as_a_twin(index, small_memory, exact, where):
    z, query = some(500), some(seed=1)
    index.add(image=z, metadata={"n": range(500)})
    assert index.info()["modalities"]["image"]["search"] == "1-bit codes"
    limit = {None: 500, "n < 40": 40, "n < 3": 3}[where]
    found = index.search(query, k=10, where=where, exact=exact)
    assert [hit.item for hit in found] == twin(z[:limit], query, 10)


def test_a_table_that_outgrows_its_partitions_gets_new_ones_and_keeps_one_index(index, small_memory):
    z = some(1000)
    for start, end in ((0, 100), (100, 1000)):
        index.add(image=z[start:end])
        (made,) = [i for i in index.store.table("image").inner.list_indices() if i.columns == ["vector"]]
        assert made.name == f"vector_{end}"
    query = some(seed=1)
    assert [hit.item for hit in index.search(query, k=10)] == twin(z, query, 10)


def test_many_small_files_are_put_together_before_they_are_indexed(index, small_memory):
    z, query = some(500), some(seed=1)
    index.add(image=(z[start : start + 25] for start in range(0, 500, 25)))
    assert index.store.table("image").inner.stats()["fragment_stats"]["num_fragments"] == 1
    assert [hit.item for hit in index.search(query, k=10)] == twin(z, query, 10)


def test_rows_that_have_no_code_yet_are_found_too(index, small_memory):
    index.add(image=some(500))
    late = some(3, 7, "late")
    index.add(image=late)
    assert index.search(late[1], k=1)[0].item == "late1"


def test_words_are_looked_up_in_texts_and_metadata(index):
    words = ["a dog runs", "the dogs sleep", "a red car", "rain on a roof"]
    index.add(image=some(4), metadata={"text": words, "place": ["Rome", "Oslo", "Rome", None]})
    assert {hit.item for hit in index.search(text="dog", mode="text")} == {"n0", "n1"}
    assert {hit.item for hit in index.search(text="rome", mode="text")} == {"n0", "n2"}
    assert [hit.item for hit in index.search(text="dog", mode="text", where="place = 'Oslo'")] == ["n1"]
    assert index.search(text="zebra", mode="text") == []
    assert index.search(text="\"a 'dog AND (", mode="text", k=1)[0].text.startswith(("a dog", "the dogs"))


def test_hybrid_fuses_the_ranks_of_vectors_and_words(index):
    z = some(6)
    index.add(image=z, metadata={"text": ["blue", "rain", "red", "green", "grey", "pink"]})
    by_vector = [hit.item for hit in index.search(z[0], k=6)]
    hits = index.search(z[0], text="rain", mode="hybrid", k=6)
    want = {item: 1 / (60 + rank) for rank, item in enumerate(by_vector, start=1)}
    want["n1"] += 1 / 61
    assert {hit.item: pytest.approx(hit.score) for hit in hits} == want
    assert hits[0].item == "n1"


def test_words_are_also_found_in_rows_added_after_their_index_was_built(index):
    index.add(image=some(2), metadata={"text": ["dog", "cat"]})
    index.add(image=some(2, 1, "late"), metadata={"text": ["zebra", "cat"]})
    assert [hit.item for hit in index.search(text="zebra", mode="text")] == ["late0"]


def test_near_duplicates_collapse_into_the_best_of_them(index):
    z = some(5).vectors
    copies = vectors.normalize(z[:1] + 0.01 * some(3, 5).vectors)
    index.add(image=Embeddings(np.concatenate([z, copies]), "s", [f"n{i}" for i in range(5)] + ["c0", "c1", "c2"]))
    hits = index.search(Embeddings(z[:1], "s"), k=3, collapse=0.98)
    assert hits[0].item == "n0"
    assert {other.item for other in hits[0].others} == {"c0", "c1", "c2"}
    assert not {hit.item for hit in hits[1:]} & {"c0", "c1", "c2"}
    assert len(hits) == 3
    assert all(hit.vector is None for hit in (*hits, *hits[0].others))


def test_near_duplicates_of_the_whole_index(index):
    z = some(300).vectors
    near = vectors.normalize(z[[5, 5, 9]] + 0.01 * some(3, 5).vectors)
    index.add(image=Embeddings(np.concatenate([z, near]), "s", [f"n{i}" for i in range(300)] + ["a", "b", "c"]))
    groups = index.near_duplicates(0.98)
    assert [{hit.item for hit in group} for group in groups] == [{"n5", "a", "b"}, {"n9", "c"}]
    assert all(0.97 < hit.score <= 1.0001 for group in groups for hit in group)
    with pytest.raises(ConfigError, match="more than 0, at most 1"):
        index.near_duplicates(1.5)


def test_hits_hold_their_vectors_where_they_are_asked_for(index):
    z = some(9)
    index.add(image=z)
    for hit in index.search(z[2], vectors=True):
        np.testing.assert_allclose(hit.vector, z.vectors[z.items.index(hit.item)], atol=1e-7)
    assert index.search(z[2])[0].vector is None


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_exported_and_added_again_it_is_the_same(index, tmp_path, suffix):
    index.add(image=some(20), metadata={"n": range(20), "text": "words"})
    index.add(audio=some(5, 1, "a"), metadata={"license": "cc"})
    path = tmp_path / f"all{suffix}"
    assert index.export(path) == 25
    copy = Index.create(tmp_path / "copy.idx", some())
    assert copy.add(path).inserted == 25
    assert copy.add(path).unchanged == 25
    for query in (some(seed=3), some(seed=4)):
        assert copy.search(query, k=25) == index.search(query, k=25)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_file_of_vectors_of_another_space_is_refused(index, tmp_path):
    index.add(image=some(3))
    index.export(tmp_path / "all.parquet")
    other = Index.create(tmp_path / "other.idx", some(space="t"))
    with pytest.raises(SpaceError, match="vectors of space s, the index is of space t"):
        other.add(tmp_path / "all.parquet")


def test_info_says_what_is_there(index):
    index.add(image=some(3), metadata={"n": 1, "license": "cc", "ok": True})
    info = index.info()
    assert (info["space"], info["embed_dim"], info["anchor"]) == ("s", DIM, None)
    assert info["modalities"]["image"]["metadata"] == {"n": "number", "license": "text", "ok": "true or false"}
    assert info["modalities"]["image"]["rows"] == 3
    assert info["bytes"] > 3 * DIM * 4
    assert "3 image" in repr(index)


def test_optimize_changes_no_answer_and_leaves_one_version(index):
    for i in range(30):
        index.add(image=some(2, i, f"{i}-"))
    before = index.search(some(), k=60)
    index.optimize(keep_versions_s=0)
    assert index.search(some(), k=60) == before
    manifests = list((index.store.folder / "image.lance" / "_versions").glob("*.manifest"))
    assert len(manifests) == 1
    assert version_of(manifests[0].name) > 30
    assert index.verify() == []


def test_many_small_adds_do_not_pile_up_files(index):
    for i in range(60):
        index.add(image=some(1, i, f"{i}-"))
    table = index.store.table("image")
    assert table.inner.stats()["fragment_stats"]["num_fragments"] <= maintenance.FRAGMENTS + 1


def test_readers_see_what_a_writer_adds(index):
    index.add(image=some(3))
    reader = Index.open(index.location)
    assert len(reader.search(some(), k=99)) == 3
    index.add(image=some(5), audio=some(4, 1, "a"))
    assert len(reader.search(some(), k=99)) == 9
    index.optimize(keep_versions_s=0)
    assert len(reader.search(some(), k=99)) == 9


def test_an_index_is_searched_by_vector_without_torch(index):
    index.add(image=some(5), metadata={"text": "dog"})
    code = f"""
import sys, numpy, binder
index = binder.Index.open({index.location!r})
z = numpy.zeros({DIM}, 'f'); z[0] = 1
assert len(index.search(z)) == 5 and len(index.search(text='dog', mode='text')) == 5
sys.exit('torch' in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ROOT = Path(binder.__file__).parent
# What is known of LanceDB, and the modules of binder/index that may know it.
SECRETS = {"the table object": {"table"}, "the library": {"lance", "table"}, "files": {"lance"}, "errors": {"lance"}}
FILES = re.compile(r"\b_versions\b|\.manifest\b|\.lance\b")
ERRORS = re.compile(r"commit conflict|does not exist|no space left|not found|os error|pyo3", re.IGNORECASE)


def secrets_in(source: str) -> set[str]:
    """Which of SECRETS a module uses; docstrings may mention them."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "inner":
            found.add("the table object")
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if {name.split(".")[0] for name in modules} & {"lance", "lancedb"}:
            found.add("the library")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            found |= {"files"} if FILES.search(node.value) else set()
            found |= {"errors"} if ERRORS.search(node.value) else set()
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "index").glob("*.py")), ids=lambda path: path.stem)
def test_what_lancedb_does_not_promise_is_known_in_one_module(path):
    allowed = {secret for secret, modules in SECRETS.items() if path.stem in modules}
    assert secrets_in(path.read_text(encoding="utf-8")) <= allowed


def test_nothing_outside_the_index_knows_lancedb():
    others = [path for path in ROOT.rglob("*.py") if (ROOT / "index") not in path.parents]
    assert len(others) > 50
    for path in others:
        assert not {"the library", "files"} & secrets_in(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ("table.inner.search()", "the table object"),
        ("import lancedb", "the library"),
        ("def f():\n    from lancedb.query import MatchQuery", "the library"),
        ("folder.glob('_versions/*')", "files"),
        ("f'{version}.manifest'", "files"),
        ("folder / 'image.lance'", "files"),
        ("'was not found' in str(error)", "errors"),
        ("re.compile('No space left')", "errors"),
    ],
)
def test_a_module_that_knows_lancedb_is_caught(source, secret):
    assert secrets_in(source) == {secret}


def test_a_docstring_may_mention_lancedb_and_names_may_resemble_it():
    assert (
        secrets_in('"""LanceDB keeps _versions/1.manifest, or says: not found."""\nkeep = "keep_versions_s"') == set()
    )
