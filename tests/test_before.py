"""binder still reads what version 0.2.0 wrote: an index, a run folder, a cache and vectors.

before/0.2.0.tar.gz holds `x.idx` (eight recordings and two texts), `run`, `cache`, the recordings with their manifest,
`vectors.parquet` (from `binder embed`) and `hits.json` (from `binder search x.idx "a red circle" --json`). The index
was filled in another folder: the absolute paths in it name files that do not exist here.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import installed

from binder import Binder, Index, check_pairs
from binder.anchors.towers import TextTower
from binder.index import Added
from binder.space.embeddings import Embeddings

ARCHIVE = Path(__file__).parent / "before" / "0.2.0.tar.gz"
TEXTS = ["a red circle", "a blue square"]


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def space(archive) -> Binder:
    with installed(only="imu"):
        return Binder("mini").load(archive / "run")


@pytest.fixture
def before(tmp_path) -> Path:
    """A separate copy for a test that writes."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture(autouse=True)
def imu():
    with installed(only="imu"):
        yield


def hits_of(text: str) -> dict[tuple[str, str], dict]:
    """(modality, item) -> the rest of its line in the output of `--json`, in the order of the lines."""
    lines = [json.loads(line) for line in text.splitlines()]
    return {(line.pop("modality"), line.pop("item")): line for line in lines}


@pytest.fixture(scope="session")
def names(archive) -> list[str]:
    """What the recordings 0.csv to 7.csv are called in the index."""
    kept = hits_of((archive / "hits.json").read_text(encoding="utf-8"))
    return sorted(item for modality, item in kept if modality == "imu")


def test_the_index_opens_with_all_its_rows(archive):
    index = Index.open(archive / "x.idx")
    assert (len(index), index.modalities()) == (10, ["imu", "text"])
    assert (index.record.anchor, index.record.embed_dim, index.record.binder_version) == ("mini", 256, "0.2.0")
    assert list(index.record.encoders) == ["imu"]
    assert index.verify() == []


def test_a_search_finds_the_same_hits_with_the_same_scores(archive, binder):
    args = ("search", archive / "x.idx", "a red circle", "--encoder", archive / "run", "--json")
    status, out, err = binder(*args)
    assert status == 0, err
    found, kept = hits_of(out), hits_of((archive / "hits.json").read_text(encoding="utf-8"))
    assert list(found) == list(kept)
    for key, line in kept.items():
        assert found[key].pop("score") == pytest.approx(line.pop("score"), abs=1e-5)
        assert found[key] == line


def test_adding_the_same_items_encodes_and_changes_nothing(before, names, space, monkeypatch):
    index = Index.open(before / "x.idx", space)
    old = {(hit.modality, hit.key): (hit.text, hit.vector.tolist()) for hit in index.search(_any(), k=99, vectors=True)}
    monkeypatch.setattr(Binder, "encode", lambda *_, **__: pytest.fail("encoded again"))
    items = [before / "items" / f"{i}.csv" for i in range(8)]
    done = index.add(imu=items, names=names, metadata={"text": TEXTS * 4})
    assert done == Added(unchanged=8)
    assert index.add(text=TEXTS) == Added(unchanged=2)
    found = index.search(_any(), k=99, vectors=True)
    assert {(hit.modality, hit.key): (hit.text, hit.vector.tolist()) for hit in found} == old
    assert index.verify() == []


def test_it_takes_new_items_changes_and_deletions(before, names, space):
    index = Index.open(before / "x.idx", space)
    done = index.add(imu=before / "items")  # the same recordings under their paths here
    assert (done.inserted, done.updated, done.failed) == (8, 0, [])
    for name in names:
        here = str(before / "items" / Path(name).name)
        near = {hit.item: hit.score for hit in index.search(imu=here, modalities="imu", k=16)}
        assert near[here] == pytest.approx(1, abs=1e-5)
        assert near[name] == pytest.approx(1, abs=1e-5)
    assert index.add(imu=sorted((before / "items").iterdir()), names=names, metadata={"n": range(8)}).updated == 8
    assert index.delete(where="n < 4") == 4
    index.optimize(keep_versions_s=0)
    assert len(index) == 14
    assert index.verify() == []


def test_the_run_folder_embeds_the_same_vectors(archive, space):
    kept = pq.read_table(archive / "vectors.parquet")
    assert kept.schema.metadata[b"binder.space"].decode() == space.space
    found = space.embed(imu=[archive / item for item in kept["item"].to_pylist()])
    np.testing.assert_allclose(found.vectors, np.array(kept["vector"].to_pylist(), np.float32), atol=1e-5)


def test_a_file_of_vectors_is_added_to_the_index(before, names):
    index = Index.open(before / "x.idx")
    assert index.add(before / "vectors.parquet").inserted == 8
    kept = pq.read_table(before / "vectors.parquet")
    for name, item, z in zip(names, kept["item"].to_pylist(), kept["vector"].to_pylist(), strict=True):
        assert Path(name).name == Path(item).name
        assert {name, item} <= {hit.item for hit in index.search(np.array(z, np.float32), modalities="imu", k=4)}


@pytest.mark.parametrize("cached", [True, False])
def test_vectors_of_texts_come_from_the_cache(archive, cached, monkeypatch):
    """Without the cache they are encoded, which shows that the test can fail."""
    encoded: list[int] = []
    features = TextTower.features
    monkeypatch.setattr(TextTower, "features", lambda self, batch: encoded.append(len(batch)) or features(self, batch))
    if cached:
        monkeypatch.setenv("BINDER_CACHE", str(archive / "cache"))
    report = check_pairs(archive / "pairs.csv", encoder=archive / "run")
    assert report.columns == {"imu": 8, "text": 8}
    assert (sum(encoded) > 1) is not cached  # one text is tried out when an anchor is loaded


def _any() -> Embeddings:
    """A query vector of the index's space, to list all rows with."""
    return Embeddings(np.eye(256, dtype=np.float32)[:1], "c94e7444c778ec3dd20e6f41adc46cf9")
