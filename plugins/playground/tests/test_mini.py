"""The playground draws what it is told to, and the shipped mini anchor knows it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from binder_playground import world
from binder_playground.draw import draw

import binder

ROOT = Path(__file__).parents[3]  # of the checkout
MINI = Path(binder.__file__).parent / "anchors" / "mini"


@pytest.mark.parametrize("kind", world.KINDS)
def test_drawing_is_decided_by_the_seed(kind: str) -> None:
    for concept in world.concepts(kind)[:: max(1, len(world.concepts(kind)) // 10)]:
        first, again, other = (np.asarray(draw(concept, np.random.default_rng(seed))) for seed in (1, 1, 2))
        assert first.shape == (64, 64, 3)
        assert (first == again).all()
        assert (first != other).any()
        assert first.std() > 1, "an empty picture"


def test_every_solid_can_be_drawn() -> None:
    for concept in world.concepts("solid"):
        assert np.asarray(draw(concept, np.random.default_rng(0), size=32)).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", world.KINDS)
def test_keys_and_captions_are_unique_and_wordings_true(kind: str) -> None:
    every = world.concepts(kind)
    assert len({c.key for c in every}) == len({world.caption(c) for c in every}) == len(every)
    rng = np.random.default_rng(0)
    for concept in every:
        shown = world.detailed(concept, rng)
        text, claim = world.phrase(shown, rng)
        assert text
        assert claim.true_of(shown)
        assert concept.true_of(shown)


@pytest.mark.parametrize(
    ("concept", "said"),
    [
        (world.Concept("scene", color="red", shape="circle", count=3), "three red circles"),
        (world.Concept("motion", color="orange", shape="star", motion="left"), "an orange star moving left"),
        (world.Concept("motion", color="blue", shape="star", motion="growing"), "a growing blue star"),
        (world.Concept("digit", digit=7), "the digit seven"),
        (world.Concept("chart", chart="line", trend="rising"), "a rising line chart"),
        (world.Concept("chart", chart="area", trend="peak"), "an area chart with a peak"),
        (world.Concept("solid", solid="torus", color="red"), "a red torus"),
    ],
)
def test_captions(concept: world.Concept, said: str) -> None:
    assert world.caption(concept) == said


def test_scenes_show_as_many_shapes_as_they_say() -> None:
    from binder_playground import scenes, shapes
    from scipy.ndimage import label

    rng = np.random.default_rng(3)
    for count in world.COUNTS:
        spots = scenes._spots(world.Concept("scene", color="red", shape="circle", count=count), rng)
        disc = shapes.outline("circle", rng)
        cover = shapes.mask([shapes.placed(disc, x * 64, y * 64, r * 64, 0) for x, y, r in spots], 64)
        assert label(cover > 0.5)[1] == count


def test_motion_frames_and_chart_tables() -> None:
    from binder_playground.charts import table
    from binder_playground.scenes import frames, track

    moving = world.Concept("motion", color="red", shape="circle", motion="right")
    assert len(frames(moving, np.random.default_rng(0), 6)) == 6
    assert (np.diff(track(moving, np.random.default_rng(0), 6).places_T4[:, 0]) > 0).all()
    values = table(world.Concept("chart", chart="line", trend="falling"), np.random.default_rng(0), n=12)
    assert values.shape == (12,)
    assert (values > 0).all()
    assert values[0] > values[-1]


def test_the_parts_of_the_scans_do_not_overlap() -> None:
    from binder_playground.digits import handwritten_split

    train, test = handwritten_split()
    assert (train.ink.shape, test.ink.shape) == ((1437, 8, 8), (360, 8, 8))
    assert not {scan.tobytes() for scan in train.ink} & {scan.tobytes() for scan in test.ink}


@pytest.fixture(scope="module")
def mini():  # type: ignore[no-untyped-def]
    """The shipped model, its tokenizer and its preprocessing, through OpenCLIP's own loading."""
    open_clip = pytest.importorskip("open_clip")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{MINI}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{MINI}", bpe_path=str(MINI / "bpe.txt.gz"))
    return model.eval(), tokenizer, preprocess


def test_all_weights_of_mini_are_loaded(mini) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import load_file

    stored = load_file(MINI / "open_clip_model.safetensors")
    loaded = mini[0].state_dict()
    assert stored.keys() == loaded.keys()
    assert all((stored[name].to(loaded[name].dtype) == loaded[name]).all() for name in stored)
    assert sum(path.stat().st_size for path in MINI.iterdir()) < 10_000_000


# Well below what the card says.
FLOORS = {"scene": 0.9, "motion": 0.82, "digit": 0.9, "chart": 0.88, "solid": 0.88}


def test_mini_knows_the_playground(mini) -> None:  # type: ignore[no-untyped-def]
    import torch

    model, tokenizer, preprocess = mini
    for kind, floor in FLOORS.items():
        every, rng = world.concepts(kind), np.random.default_rng(20_000)
        labels = rng.integers(len(every), size=100)
        images = torch.stack([preprocess(draw(every[i], rng)) for i in labels])
        with torch.no_grad():
            texts = model.encode_text(tokenizer([world.caption(c) for c in every]), normalize=True)
            guesses = (model.encode_image(images, normalize=True) @ texts.T).argmax(dim=1).numpy()
        assert (guesses == labels).mean() >= floor, kind


def test_words_mini_never_saw_stay_apart(mini) -> None:  # type: ignore[no-untyped-def]
    import torch
    from binder_playground.mini.bpe import UNSEEN

    model, tokenizer, _ = mini
    with torch.no_grad():
        vectors = model.encode_text(tokenizer(list(UNSEEN)), normalize=True)
    assert (vectors @ vectors.T - 2 * torch.eye(len(vectors))).max() < 0.95


def test_merges_are_learned_by_count() -> None:
    from collections import Counter

    from binder_playground.mini.bpe import learn_merges

    assert learn_merges(Counter({"aab": 3, "ab": 2, "cd": 1}), 2) == [("a", "b</w>"), ("a", "ab</w>")]


@pytest.mark.slow
def test_the_recipe_makes_an_anchor_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from binder_playground import train_mini
    from binder_playground.mini import evaluation

    config = tomllib.loads((ROOT / "configs/mini.toml").read_text(encoding="utf-8"))
    small = {"workers": 1, "merges": 100, "words": 2000, "pool": dict.fromkeys(config["pool"], 100)}
    monkeypatch.setattr(evaluation, "AMOUNTS", dict.fromkeys(evaluation.AMOUNTS, 20))
    out = tmp_path / "mini"
    for minutes, resume in ((0.02, False), (0.04, True)):
        train_mini.train({**config, **small}, out, minutes, seed=0, device="cpu", resume=resume)
    lines = [json.loads(line) for line in (tmp_path / "mini.work" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] > 0 for line in lines] == [True, True] and lines[0]["step"] < lines[1]["step"]
    made = json.loads((out / "card.json").read_text(encoding="utf-8"))
    shipped = json.loads((MINI / "card.json").read_text(encoding="utf-8"))
    assert made.keys() == shipped.keys() and made["knows"] == shipped["knows"] and made["words"] == shipped["words"]
    assert made["training"]["recipe"] == shipped["training"]["recipe"]
    space = binder.Binder(str(out))
    assert space.embed(text=["three red circles"]).vectors.shape == (1, config["model"]["embed_dim"])
