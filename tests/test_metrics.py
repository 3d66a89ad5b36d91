"""Retrieval metrics against an obvious ranking, with ties and several matches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from binder.evaluation import metrics
from binder.space.vectors import normalize


def twin(queries, targets, relevant):
    """Count, for each right target of each query, what stands before it: wrong ones also where they tie."""
    ranks, precisions = [], []
    for query, right in zip(queries, relevant, strict=True):
        scores = [float(query @ t) for t in targets]
        wrong = [score for j, score in enumerate(scores) if j not in set(map(int, right))]
        hits = sorted((scores[int(j)] for j in right), reverse=True)
        places = [n + sum(score > hit - 1e-6 for score in wrong) for n, hit in enumerate(hits, start=1)]
        ranks.append(places[0])
        precisions.append(np.mean([n / place for n, place in enumerate(places, start=1)]))
    return {
        "r1": np.mean([r <= 1 for r in ranks]),
        "r5": np.mean([r <= 5 for r in ranks]),
        "r10": np.mean([r <= 10 for r in ranks]),
        "median_rank": np.median(ranks),
        "map": np.mean(precisions),
    }


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_retrieval_equals_its_twin_with_ties_and_several_matches(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_queries, n_targets = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 30))
    # few different directions, so that ties abound
    directions = normalize(rng.choice([-1.0, 0.0, 1.0, 2.0], size=(5, 3)) + np.array([0.01, 0.02, 0.03]))
    cosines = np.sort(np.unique(directions @ directions.T))
    assume(not ((np.diff(cosines) > 1e-7) & (np.diff(cosines) < 1e-5)).any())  # equal or clearly not
    queries, targets = directions[rng.integers(0, 5, n_queries)], directions[rng.integers(0, 5, n_targets)]
    relevant = [
        rng.choice(n_targets, size=int(rng.integers(1, n_targets + 1)), replace=False) for _ in range(n_queries)
    ]
    got = metrics.retrieval(queries, targets, relevant)
    assert (got.n, got.n_targets) == (n_queries, n_targets)
    for name, value in twin(queries, targets, relevant).items():
        assert getattr(got, name) == pytest.approx(value, abs=1e-9), name
    assert got.chance_r1 == pytest.approx(np.mean([len(r) / n_targets for r in relevant]))


@pytest.mark.parametrize("scores", [metrics.SCORES, 40 * 20])
def test_more_queries_than_a_chunk_are_ranked_alike(monkeypatch, scores):
    monkeypatch.setattr(metrics, "SCORES", scores)
    rng = np.random.default_rng(0)
    queries, targets = normalize(rng.normal(size=(metrics.CHUNK + 7, 4))), normalize(rng.normal(size=(40, 4)))
    relevant = [rng.integers(0, 40, 2) for _ in queries]
    got = metrics.retrieval(queries, targets, relevant)
    assert got.map == pytest.approx(twin(queries, targets, [np.unique(r) for r in relevant])["map"], abs=1e-3)


@pytest.mark.parametrize("targets", [1, 40, 10_000, 10**7])
def test_parts_cover_all_queries_in_order_and_are_smaller_for_more_targets(targets):
    found = [i for part in metrics.parts(1000, targets) for i in range(1000)[part]]
    assert found == list(range(1000))
    assert next(metrics.parts(1000, targets)).stop * targets <= max(metrics.SCORES, 16 * targets)


def test_a_perfect_embedding_scores_everything():
    z = np.eye(12, dtype=np.float32)
    got = metrics.retrieval(z, z, [np.array([i]) for i in range(12)])
    assert (got.r1, got.map, got.median_rank) == (1.0, 1.0, 1.0)
    assert got.chance_r1 == pytest.approx(1 / 12)


@pytest.mark.parametrize("width", [7, 32, 768])
@pytest.mark.parametrize("n", [50, metrics.CHUNK + 1])
def test_a_constant_embedding_scores_nothing_whatever_the_size(n, width):
    z = np.tile(normalize(np.random.default_rng(n * width).normal(size=width)), (n, 1))
    got = metrics.retrieval(z, z, [np.array([i]) for i in range(n)])
    assert (got.r1, got.r5, got.r10, got.median_rank) == (0, 0, 0, n)


def test_chance_is_what_a_random_order_reaches():
    rng = np.random.default_rng(0)
    relevant = [rng.choice(20, size=3, replace=False) for _ in range(4000)]
    queries = normalize(rng.normal(size=(4000, 16)))
    got = metrics.retrieval(queries, normalize(rng.normal(size=(20, 16))), relevant)
    assert got.chance_r1 == pytest.approx(3 / 20)
    assert got.r1 == pytest.approx(got.chance_r1, abs=0.02)
