"""Retrieval metrics against an obvious ranking, with ties and several matches."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import FAST

from binder import align
from binder.artifact import run_folder
from binder.artifact.model_card import model_card
from binder.evaluation import metrics
from binder.evaluation.metrics import METRICS, Metric, recall
from binder.evaluation.retrieval import figures
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
    assert (got["n"], got["n_targets"]) == (n_queries, n_targets)
    for name, value in twin(queries, targets, relevant).items():
        assert got[name] == pytest.approx(value, abs=1e-9), name
    assert got["chance_r1"] == pytest.approx(np.mean([len(r) / n_targets for r in relevant]))


@pytest.mark.parametrize("scores", [metrics.SCORES, 40 * 20])
def test_more_queries_than_a_chunk_are_ranked_alike(monkeypatch, scores):
    monkeypatch.setattr(metrics, "SCORES", scores)
    rng = np.random.default_rng(0)
    queries, targets = normalize(rng.normal(size=(metrics.CHUNK + 7, 4))), normalize(rng.normal(size=(40, 4)))
    relevant = [rng.integers(0, 40, 2) for _ in queries]
    got = metrics.retrieval(queries, targets, relevant)
    assert got["map"] == pytest.approx(twin(queries, targets, [np.unique(r) for r in relevant])["map"], abs=1e-3)


@pytest.mark.parametrize("targets", [1, 40, 10_000, 10**7])
def test_parts_cover_all_queries_in_order_and_are_smaller_for_more_targets(targets):
    found = [i for part in metrics.parts(1000, targets) for i in range(1000)[part]]
    assert found == list(range(1000))
    assert next(metrics.parts(1000, targets)).stop * targets <= max(metrics.SCORES, 16 * targets)


def test_a_perfect_embedding_scores_everything():
    z = np.eye(12, dtype=np.float32)
    got = metrics.retrieval(z, z, [np.array([i]) for i in range(12)])
    assert (got["r1"], got["map"], got["median_rank"]) == (1.0, 1.0, 1.0)
    assert got["chance_r1"] == pytest.approx(1 / 12)


@pytest.mark.parametrize("width", [7, 32, 768])
@pytest.mark.parametrize("n", [50, metrics.CHUNK + 1])
def test_a_constant_embedding_scores_nothing_whatever_the_size(n, width):
    z = np.tile(normalize(np.random.default_rng(n * width).normal(size=width)), (n, 1))
    got = metrics.retrieval(z, z, [np.array([i]) for i in range(n)])
    assert (got["r1"], got["r5"], got["r10"], got["median_rank"]) == (0, 0, 0, n)


def test_chance_is_what_a_random_order_reaches():
    rng = np.random.default_rng(0)
    relevant = [rng.choice(20, size=3, replace=False) for _ in range(4000)]
    queries = normalize(rng.normal(size=(4000, 16)))
    got = metrics.retrieval(queries, normalize(rng.normal(size=(20, 16))), relevant)
    assert got["chance_r1"] == pytest.approx(3 / 20)
    assert got["r1"] == pytest.approx(got["chance_r1"], abs=0.02)


# --- another metric: all it takes is a record in the list of them


def ndcg_at_10(ranks):
    gain = 1 / np.log2(1 + ranks)
    best = 1 / np.log2(1 + np.arange(1, 1 + min(10, len(ranks))))
    return gain[ranks <= 10].sum() / best.sum()


NDCG = Metric("ndcg10", "nDCG@10", ndcg_at_10, decimals=4, logged=True)
WORST = Metric("worst_rank", "worst rank", lambda ranks: ranks[-1], np.max, higher_is_better=False, decimals=None)


@pytest.fixture
def more():
    """Three more metrics."""
    added = [recall(2, chance=lambda matches, targets: min(1.0, 2 * matches / targets)), NDCG, WORST]
    METRICS.extend(added)
    yield
    del METRICS[-len(added) :]


def test_what_is_added_equals_its_twin(more):
    rng = np.random.default_rng(3)
    queries, targets = normalize(rng.normal(size=(20, 5))), normalize(rng.normal(size=(15, 5)))
    relevant = [rng.choice(15, size=int(rng.integers(1, 14)), replace=False) for _ in queries]
    second, gains, worst = [], [], []
    for query, right in zip(queries, relevant, strict=True):
        order = sorted(range(15), key=lambda j: -float(query @ targets[j]))
        places = [place for place, j in enumerate(order, start=1) if j in right]
        second.append(places[0] <= 2)
        ideal = sum(1 / math.log2(1 + place) for place in range(1, 1 + min(10, len(places))))
        gains.append(sum(1 / math.log2(1 + place) for place in places if place <= 10) / ideal)
        worst.append(places[-1])
    got = metrics.retrieval(queries, targets, relevant)
    assert got["r2"] == pytest.approx(np.mean(second))
    assert got["ndcg10"] == pytest.approx(np.mean(gains))
    assert got["worst_rank"] == max(worst)
    assert got["chance_r2"] == pytest.approx(np.mean([min(1, 2 * len(r) / 15) for r in relevant]))


def test_a_metric_that_is_added_appears_wherever_there_are_metrics(more, toy, toys, anchor_folder, binder, tmp_path):
    run = tmp_path / "run"
    card = align("toy", toys / "pairs.csv", anchor=str(anchor_folder), to="image", out=run, **FAST).card
    row = next(r for r in card.metrics["retrieval"] if (r["query"], r["target"]) == ("toy", "image"))
    assert {"r2", "ndcg10", "worst_rank", "chance_r2"} <= row.keys()
    assert run_folder.read_card(run).metrics == card.metrics
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()[1:]]
    assert steps[-1]["image_ndcg10"] == pytest.approx(row["ndcg10"], abs=1e-4)
    assert "image_r2" not in steps[-1]

    page = (run / "report.html").read_text()
    for label in ("R@2", "nDCG@10", "worst rank", "chance R@2"):
        assert f'<th scope="col">{label}</th>' in page
    assert f"<td>{row['ndcg10']:.4f}</td>" in page and f"<td>{100 * row['r2']:.1f}&thinsp;%</td>" in page
    assert "Lower is better: median rank, worst rank." in page
    assert page.count("nDCG@10 ") == 1  # the curve of it

    text = model_card(card, "me/toy")
    assert "| mAP | R@2 | nDCG@10 | worst rank | chance R@1 | chance R@2 | " in text
    assert f"| {row['ndcg10']:.4f} | {row['worst_rank']:g} |" in text

    evaluation = ("eval", toys / "pairs.csv", "--encoder", run, "--workers", 0)
    head, *lines = binder(*evaluation)[1].splitlines()
    assert head.split("mAP")[1].split() == ["R@2", "nDCG@10", "worst", "rank", "chance", "R@1", "chance", "R@2"]
    said = json.loads(binder(*evaluation, "--json")[1])["retrieval"]
    for line, found in zip(lines, said, strict=False):  # a footnote follows
        assert f"{found['ndcg10']:.4f}  {found['worst_rank']:g} " in line
        assert line.split()[:2] == [found["query"], found["target"]]


def test_a_card_from_before_a_metric_was_added_shows_none_of_it(toy, run, more):
    card = run_folder.read_card(run)
    assert "ndcg10" not in card.metrics["retrieval"][0]
    shown = figures(card.metrics["retrieval"][0], card.metrics["baselines"])
    assert (shown["nDCG@10"], shown["worst rank"], shown["chance R@2"]) == ("–", "–", "")
    assert shown["R@1"] == f"{card.metrics['retrieval'][0]['r1']:.3f}"
    assert "nDCG@10" in model_card(card, "me/toy")


def test_few_targets_are_no_result_for_the_metrics_that_cannot_miss(more):
    assert metrics.no_result(1) == ["r1", "r5", "r10", "r2"]
    assert metrics.no_result(2) == ["r5", "r10", "r2"]
    assert metrics.no_result(11) == []
    row = {"n_targets": 5, "r1": 0.25, "r5": 1.0, "median_rank": 2.0}
    assert [metric.text(metric.of(row)) for metric in METRICS[:4]] == ["0.250", "–", "–", "2"]
