"""Any sequence of operations on an index does what the same does to a plain dictionary and a matrix."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from binder import Embeddings, Index
from binder.space import vectors

DIM = 8
NAMES = ["a", "b", "it's", 'x"y', "line\nbreak", "ü ✓", "a;--", "%", "\\", " "]
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6)
numbers = st.one_of(st.none(), st.integers(-5, 5))
seeds = st.integers(0, 10**6)


def made(seed, n):
    return vectors.normalize(np.random.default_rng(seed).normal(size=(n, DIM)))


class Twin(RuleBasedStateMachine):
    """`rows` is the naive twin: (modality, name) -> vector and metadata."""

    @initialize()
    def create(self):
        self.folder = tempfile.TemporaryDirectory()
        self.rows = {}
        self.index = Index.create(Path(self.folder.name) / "media.idx", Embeddings(made(0, 1), "s"))

    @rule(kind=st.sampled_from(["image", "other"]), names=names, seed=seeds, n=numbers, upsert=st.booleans())
    def add(self, kind, names, seed, n, upsert):
        z = made(seed, len(names))
        add = self.index.upsert if upsert else self.index.add
        metadata = {"n": [n] * len(names)} if n is not None else None
        add(**{kind: Embeddings(z, "s", names)}, metadata=metadata)
        for name, row in zip(names, z, strict=True):
            before = self.rows.get((kind, name), (None, None))[1]
            self.rows[kind, name] = (row, before if n is None else n)

    @rule(kind=st.sampled_from(["image", "other"]), names=names)
    def delete(self, kind, names):
        if not any(k == kind for k, _ in self.rows) and kind not in self.index.store.names():
            return
        gone = [key for key in self.rows if key[0] == kind and key[1] in names]
        assert self.index.delete(**{kind: names}) == len(gone)
        for key in gone:
            del self.rows[key]

    @rule(limit=st.integers(-5, 5))
    def delete_where(self, limit):
        if not any("n" in t.state().metadata for t in map(self.index.store.table, self.index.store.names())):
            return
        gone = [key for key, (_, n) in self.rows.items() if n is not None and n < limit]
        assert self.index.delete(where=f"n < {limit}") == len(gone)
        for key in gone:
            del self.rows[key]

    @rule()
    def optimize(self):
        self.index.optimize(keep_versions_s=0)

    @rule()
    def open_again(self):
        self.index = Index.open(self.index.location)

    @rule(seed=seeds, k=st.integers(1, 25), exact=st.booleans(), kind=st.sampled_from([None, "image"]))
    def search(self, seed, k, exact, kind):
        if kind is not None and kind not in self.index.store.names():
            return
        query = made(seed, 1)
        hits = self.index.search(Embeddings(query, "s"), k=k, exact=exact, modalities=kind)
        scores = {key: float(z @ query[0]) for key, (z, _) in self.rows.items() if kind in (None, key[0])}
        want = sorted(scores, key=lambda key: -scores[key])[:k]
        np.testing.assert_allclose([hit.score for hit in hits], [scores[key] for key in want], atol=1e-5)
        for hit in hits:
            assert abs(hit.score - scores[hit.modality, hit.item]) < 1e-5
            assert hit.metadata.get("n") == self.rows[hit.modality, hit.item][1]

    @invariant()
    def as_many(self):
        if hasattr(self, "index"):
            assert len(self.index) == len(self.rows)

    def teardown(self):
        if hasattr(self, "index"):
            assert self.index.verify() == []
            self.folder.cleanup()


TestTwin = Twin.TestCase
TestTwin.settings = settings(
    max_examples=6, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
