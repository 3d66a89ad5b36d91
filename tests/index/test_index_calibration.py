"""Scores that can be compared: a mixed index is ranked by what cosines mean, and says how probable a match is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from binder import ConfigError, Embeddings, Index, StoreError
from binder.index import calibration as calibrating
from binder.space import vectors

DIM, CONCEPTS, EACH = 32, 60, 4
GAPS = {"image": 1.4, "text": 0.7, "audio": 0.0}  # how far each modality lies from the origin


def galleries(seed=0, concepts=CONCEPTS, each=EACH):
    """Items of three modalities that show the same concepts; each modality lies round a place of its own.

    An item's name is its concept, so that n-3-1 shows concept 3.
    """
    rng = np.random.default_rng(seed)
    meanings, places = rng.normal(size=(concepts, DIM)), rng.normal(size=(len(GAPS), DIM))
    names = [f"n-{c}-{i}" for c in range(concepts) for i in range(each)]
    found = {}
    for (modality, gap), place in zip(GAPS.items(), places, strict=True):
        spread = 0.45 * rng.normal(size=(concepts * each, DIM))
        z = vectors.normalize(
            np.repeat(meanings, each, axis=0) + spread + gap * np.sqrt(DIM) * vectors.normalize(place)
        )
        found[modality] = Embeddings(z, "s", [f"{modality[0]}{name}" for name in names], modality)
    return found


def concept(name):
    return name.split("-")[1]


def right(query, hits):
    return np.mean([concept(hit.item) == concept(query.items[0]) for hit in hits])


@pytest.fixture
def index(tmp_path):
    made = Index.create(tmp_path / "media.idx", galleries()["image"])
    made.add(**galleries())
    return made


@pytest.fixture
def calibrated(index):
    index.optimize()
    return index


def queries():
    return [z[i] for z in galleries().values() for i in range(0, CONCEPTS * EACH, 20)]


def test_without_calibration_hits_have_no_probability_and_their_order_is_the_cosine(index):
    hits = index.search(queries()[0])
    assert {hit.probability for hit in hits} == {None}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_by_cosine_the_own_modality_wins_and_by_probability_the_right_ones_do(calibrated):
    by = {how: [(q, calibrated.search(q, k=12, rank_by=how)) for q in queries()] for how in ("score", "probability")}
    share = {how: np.mean([right(q, hits) for q, hits in found]) for how, found in by.items()}
    own = {how: np.mean([hit.modality == q.modality for q, hits in found for hit in hits]) for how, found in by.items()}
    assert share["score"] < 0.7 < 0.9 < share["probability"]
    assert own["probability"] < 0.45 < 0.6 < own["score"]


def test_by_default_several_modalities_are_ranked_by_probability_and_one_by_score(calibrated):
    query = queries()[0]
    names = [(hit.modality, hit.item) for hit in calibrated.search(query)]
    assert names == [(hit.modality, hit.item) for hit in calibrated.search(query, rank_by="probability")]
    assert names != [(hit.modality, hit.item) for hit in calibrated.search(query, rank_by="score")]
    alone = calibrated.search(query, modalities="text")
    assert [hit.score for hit in alone] == sorted((hit.score for hit in alone), reverse=True)
    assert all(0 <= hit.probability <= 1 for hit in alone)


@pytest.mark.parametrize("modality", GAPS)
def test_score_stays_the_cosine_and_its_order_within_a_modality(calibrated, modality):
    query, z = queries()[5], galleries()[modality]
    ranked = calibrated.search(query, k=len(calibrated), rank_by="probability")
    hits = [hit for hit in ranked if hit.modality == modality]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits[:5]:
        assert hit.score == pytest.approx(float(z.vectors[z.items.index(hit.item)] @ query.vectors[0]), abs=1e-6)


def test_probabilities_without_labels_say_about_how_many_hits_are_right(calibrated):
    found = [
        (hit.probability, concept(hit.item) == concept(q.items[0]))
        for q in queries()
        for hit in calibrated.search(q, k=30)
    ]
    p, matches = np.array(found, dtype=float).T
    assert matches[p > 0.9].mean() > 0.9
    assert matches[p < 0.1].mean() < 0.1
    assert abs(p.mean() - matches.mean()) < 0.15


def test_a_sum_and_a_bare_vector_are_ranked_as_their_own_null_says(calibrated):
    a, b = galleries()["text"][0], galleries()["audio"][1]
    hits = calibrated.search(a + b)
    assert concept(a.items[0]) == concept(b.items[0]) and right(a, hits) > 0.9
    assert len({hit.modality for hit in hits}) == 3
    bare = calibrated.search((a + b).vectors[0])
    assert [(hit.item, hit.probability) for hit in bare] == [(hit.item, hit.probability) for hit in hits]


def test_it_is_kept_and_seen_by_others_that_are_open(index):
    other = Index.open(index.location)
    assert other.search(queries()[0])[0].probability is None
    index.calibrate()
    expected = index.search(queries()[0])
    for there in (other, Index.open(index.location)):
        assert [(h.item, h.probability) for h in there.search(queries()[0])] == [
            (h.item, h.probability) for h in expected
        ]
    assert all(m["calibrated"] for m in index.info()["modalities"].values())


def test_judged_hits_change_the_probability_of_their_pair_of_modalities_only(calibrated):
    def probability(asking, target):
        return calibrated.search(galleries()[asking][0], modalities=target, k=1)[0].probability

    before = {pair: probability(*pair) for pair in [("text", "image"), ("audio", "image")]}
    texts = [galleries()["text"][i] for i in range(0, 240, 6)]
    judged = [(q, hit, False) for q in texts for hit in calibrated.search(q, modalities="image", k=3)]
    matches = [
        (q, hit, True)
        for q in map(galleries()["audio"].__getitem__, range(0, 240, 6))
        for hit in calibrated.search(q, modalities="image", k=3)
    ]
    calibrated.calibrate(pairs=[*judged, *matches])
    after = {pair: probability(*pair) for pair in before}
    assert after["text", "image"] < before["text", "image"] - 0.3
    assert after["audio", "image"] > after["text", "image"] + 0.3
    calibrated.optimize()
    assert {pair: probability(*pair) for pair in before} == pytest.approx(after)


def test_what_was_judged_on_no_evidence_still_increases_with_the_cosine():
    start = calibrating.Map(3, -9)
    null = calibrating.Null(100, np.zeros(4, np.float32), np.eye(4, dtype=np.float32), np.ones(4, np.float32), 0)
    calibration = calibrating.Calibration({"image": null}, start)
    query = np.eye(4, dtype=np.float32)[0]
    upside_down = [(query, "text", "image", z, z < 2) for z in np.linspace(0, 6, 200)]
    better = calibrating.refined(calibration, upside_down)
    assert better.probabilities(query, "text", "image", [1, 2, 3]).tolist() == start(np.array([1, 2, 3])).tolist()


def test_rows_that_come_or_go_make_it_stale_until_it_is_optimized(calibrated):
    more = galleries(seed=1)["audio"]
    calibrated.add(audio=Embeddings(more.vectors, "s", [f"more{i}" for i in range(len(more))]))
    hits = calibrated.search(queries()[0], k=50)
    assert {hit.modality for hit in hits if hit.probability is None} <= {"audio"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    with pytest.raises(StoreError, match=r"audio not calibrated, or changed since; .*optimize"):
        calibrated.search(queries()[0], rank_by="probability")
    assert [name for name, m in calibrated.info()["modalities"].items() if not m["calibrated"]] == ["audio"]
    calibrated.search(queries()[0], rank_by="probability", modalities=["image", "text"])
    calibrated.optimize()
    assert all(hit.probability is not None for hit in calibrated.search(queries()[0], rank_by="probability"))


def test_other_vectors_of_the_same_items_make_it_stale(calibrated):
    calibrated.upsert(audio=Embeddings(galleries(seed=1)["audio"].vectors, "s", galleries()["audio"].items))
    assert calibrated.search(queries()[0])[0].probability is None


def test_too_few_rows_are_left_out(index):
    index.add(video=Embeddings(galleries()["image"].vectors[:5], "s", list("abcde")))
    index.optimize()
    assert index.info()["modalities"]["video"]["calibrated"] is False
    assert index.search(queries()[0], modalities=["image", "text"])[0].probability is not None
    with pytest.raises(StoreError, match="video not calibrated"):
        index.search(queries()[0], rank_by="probability")
    hit = index.search(queries()[0], modalities="video", k=1)[0]
    with pytest.raises(StoreError, match="too few rows of video"):
        index.calibrate(pairs=[(queries()[0], hit, True)])


@pytest.mark.parametrize("kind", ["equal", "opposite", "two dimensions"])
def test_odd_vectors_are_calibrated_without_a_number_that_is_none(tmp_path, kind):
    z = (
        np.eye(2, dtype=np.float32)[np.arange(30) % 2]
        if kind == "two dimensions"
        else np.eye(8, dtype=np.float32)[[0] * 30]
    )
    z = z * np.where(np.arange(30) % 2, -1, 1)[:, None].astype(np.float32) if kind == "opposite" else z
    made = Index.create(tmp_path / "odd.idx", Embeddings(z[:1], "s"))
    made.add(image=Embeddings(z, "s", [f"n{i}" for i in range(30)]))
    made.optimize()
    probabilities = [hit.probability for hit in made.search(z[0], k=30)]
    assert np.isfinite(probabilities).all() and probabilities == sorted(probabilities, reverse=True)


def test_without_any_match_few_hits_are_called_probable(tmp_path):
    rng = np.random.default_rng(0)
    made = Index.create(tmp_path / "noise.idx", Embeddings(vectors.normalize(rng.normal(size=(1, DIM))), "s"))
    for modality in ("image", "text"):
        z = vectors.normalize(rng.normal(size=(1500, DIM)))
        made.add(**{modality: Embeddings(z, "s", [f"n{i}" for i in range(1500)])})
    made.optimize()
    asked = vectors.normalize(rng.normal(size=(40, DIM)))
    top = [hit.probability for query in asked for hit in made.search(query, k=1)]
    assert np.mean(top) < 0.3


def test_what_is_kept_is_read_back_and_damage_is_one_line(calibrated):
    text = calibrated.store.note(calibrating.NOTE)
    kept = calibrating.parse(text, "here")
    assert json.loads(calibrating.dumped(kept)) == json.loads(text)
    with pytest.raises(StoreError, match="newer binder"):
        calibrating.parse(json.dumps({**json.loads(text), "format": 99}), "here")
    calibrated.store.set_note(calibrating.NOTE, text[: len(text) // 2])
    with pytest.raises(StoreError, match=r"calibration is damaged .* optimize") as caught:
        calibrated.search(queries()[0])
    assert "\n" not in str(caught.value)
    calibrated.optimize()
    assert calibrated.search(queries()[0])[0].probability is not None


def test_rank_by_that_does_not_exist_or_fit_is_said(calibrated):
    with pytest.raises(ConfigError, match="rank_by"):
        calibrated.search(queries()[0], rank_by="cosine")
    with pytest.raises(ConfigError, match="not in mode text"):
        calibrated.search(text="word", mode="text", rank_by="probability")


def test_the_command_line_knows_rank_by():
    from binder.cli.verbs.search import search_command

    found = CliRunner().invoke(search_command, ["nowhere", "text", "--rank-by", "cosine"])
    assert found.exit_code == 2 and "'score', 'probability'" in found.output


def test_similar_takes_rank_by_and_info_says_how_many_rows_were_looked_at(calibrated):
    from binder.cli.verbs.index import info
    from binder.cli.verbs.search import similar_command

    def items(*how):
        done = CliRunner().invoke(similar_command, [calibrated.location, "in-3-1", "--json", *how])
        assert done.exit_code == 0, done.output
        return [json.loads(line)["item"] for line in done.output.splitlines()]

    assert items("--rank-by", "score") != items("--rank-by", "probability") == items()
    calibrated.add(text=galleries(seed=1)["text"], names=[f"more-{i}" for i in range(CONCEPTS * EACH)])
    lines = {line.split()[0]: line for line in CliRunner().invoke(info, [calibrated.location]).output.splitlines()}
    assert "from 240 of 240 rows" in lines["image"] and "optimize" not in lines["image"]
    assert "optimize" in lines["text"]
