"""The demo from its data to its report, on a handful of items and a few steps of training."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from binder.errors import PluginError
from binder.registry import registry

pytest.importorskip("binder_audio", reason="the demo binds what the plugin audio reads")
pytest.importorskip("binder_video", reason="the demo binds what the plugin video reads")
pytest.importorskip("binder_chart", reason="the demo binds what the plugin chart reads")

from binder.playground import arithmetic, demo, demo_cells, demo_data, speech, world
from binder.playground.demo_data import Gallery


@pytest.fixture
def small(monkeypatch):
    real, concepts = speech.clips, world.concepts
    every = {"scene": 25, "motion": 29, "chart": 3}  # one concept in so many

    moving = {concept.key for concept in concepts("motion")[:: every["motion"]]}

    def few(split=None, kind=None):
        some = [clip for clip in real(split, kind) if clip.kind != "motion" or clip.concept in moving]
        return [
            clip
            for i, clip in enumerate(some)
            if clip.kind == "motion" or (clip.kind, clip.split) == ("word", "test") or i % 80 == 0
        ]

    encoder = {"trunk": "none", "width": 32, "layers": 1, "heads": 2}
    settings = {
        "audio": {"train": {"epochs": 1, "batch_size": 24}, "encoder": encoder},
        "video": {"train": {"epochs": 1}},
        "chart": {"train": {"epochs": 1}},
    }
    monkeypatch.setattr(speech, "clips", few)
    monkeypatch.setattr(demo_data, "some", lambda kind: concepts(kind)[:: every[kind]])
    monkeypatch.setattr(demo_data, "VIDEOS_PER_CLASS", 1)
    monkeypatch.setattr(demo_data, "TABLES_PER_CLASS", 2)
    monkeypatch.setattr(demo, "SHORT", settings)
    monkeypatch.setattr(demo, "FULL", settings)


def test_metrics_and_report(small, tmp_path):
    registry.cache_clear()
    result = demo.run(tmp_path, reference=True)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    names = ("text", "audio", "image", "video", "chart")
    cells = {(row["query"], row["target"]): row for row in result["retrieval"]}
    assert set(cells) == {(q, t) for q in names for t in names if q != t}
    for (query, target), row in cells.items():
        pair = {query, target}
        assert row["trained"] == ("image" in pair)
        assert (row["concept"] is None) == (pair == {"video", "chart"})
        assert (row["supervised_r1"] is None) == (row["trained"] or row["concept"] is None), pair
        assert (row["untrained_r1"] is not None) == (bool(pair & {"video", "chart"}) and bool(pair & {"image", "text"}))
    assert cells["audio", "text"]["concept"] == "colour-shape-count"
    assert cells["video", "image"]["concept"] == "colour-shape"
    assert cells["audio", "chart"]["concept"] == "chart-trend"
    assert cells["audio", "text"]["chance_r1"] == pytest.approx(1 / 20)
    assert {row["kind"] for row in result["arithmetic"]} == {
        "image - text + text", "image - audio + audio", "image.project_out(text) + audio", "video - text + text",
    }  # fmt: skip
    assert all(0 <= row["r1"] <= 1 and row["n"] > 0 for row in result["arithmetic"])

    page = (tmp_path / "report.html").read_text()
    assert re.search("data:audio/(x-)?wav;base64,", page)
    assert "data:video/mp4;base64," in page and "data:image/png;base64," in page
    assert 'alt=""' not in page
    assert not re.search(r'(src|href)="(?!data:)', page), "the page must be self-contained"


def test_without_a_plugin_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BINDER_PLUGINS", "nothing-of-the-kind")
    registry.cache_clear()
    with pytest.raises(PluginError, match="binder plugins install audio"):
        demo.run(tmp_path)
    registry.cache_clear()
    assert not list(tmp_path.iterdir())


def items(modality, concepts, z):
    return Gallery(modality, concepts[0].kind, [c.key for c in concepts], concepts, [True] * len(concepts), z)


def test_a_match_is_an_equal_shared_label():
    red, blue = (world.Concept("scene", colour=c, shape="star", count=1) for c in ("red", "blue"))
    moving = [
        world.Concept("motion", colour=c, shape="star", motion=m) for c in ("red", "blue") for m in ("up", "left")
    ]
    scenes = items("image", [red, blue], np.eye(2, dtype=np.float32))
    videos = items("video", moving, np.eye(2, dtype=np.float32)[[0, 0, 1, 1]])
    asked, searched, facets = demo_cells.shared([scenes, videos], "image", "video")
    assert facets == ("colour", "shape")
    cell = demo_cells.cell(asked, searched, facets)
    assert (cell["n"], cell["n_targets"], cell["r1"], cell["chance_r1"]) == (2, 4, 1.0, 0.5)
    assert demo_cells.shared([videos], "video", "image") is None


def test_sums_are_right_where_colours_and_shapes_have_directions_of_their_own():
    concepts = [world.Concept("scene", colour=c, shape=s, count=1) for c in world.COLOURS for s in world.SHAPES]
    colour = dict(zip(world.COLOURS, np.eye(20, dtype=np.float32)[:10], strict=True))
    shape = dict(zip(world.SHAPES, np.eye(20, dtype=np.float32)[10:], strict=True))
    z = np.stack([(colour[c.colour] + shape[c.shape]) / np.sqrt(2) for c in concepts])
    gallery = items("image", concepts, z)
    assert arithmetic.swaps("swap", gallery, gallery, colour, colour)["r1"] == 1.0
    assert arithmetic.swaps("plus", gallery, gallery, {c: z[None] for c, z in colour.items()})["r1"] == 1.0
    other = dict(zip(world.COLOURS, np.roll(np.eye(20, dtype=np.float32)[:10], 1, 0), strict=True))
    assert arithmetic.swaps("wrong", gallery, gallery, other, other)["r1"] < 0.5
