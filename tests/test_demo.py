"""The demo from its data to its report, on a handful of clips and two steps of training."""

from __future__ import annotations

import json
import re

import pytest

from binder.errors import PluginError
from binder.plugins import registry

pytest.importorskip("binder_audio", reason="the playground speaks: the audio plugin is needed")

from binder.playground import demo, speech


@pytest.fixture
def small(monkeypatch):
    train, test = speech.clips("train", "scene")[:48], speech.clips("test", "scene")[:300]
    monkeypatch.setattr(demo.speech, "clips", lambda split, kind: train if split == "train" else test)
    monkeypatch.setattr(demo, "PICTURES_PER_CLASS", 1)
    encoder = {"trunk": "none", "width": 32, "layers": 1, "heads": 2}
    monkeypatch.setattr(demo, "SHORT", {"train": {"epochs": 1, "batch_size": 24}, "encoder": encoder})
    monkeypatch.setattr(demo, "FULL", demo.SHORT)


def test_metrics_and_report(small, tmp_path):
    registry.cache_clear()
    result = demo.run(tmp_path, reference=True)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    assert result["anchor"]["zero_shot"]["n_classes"] == 500
    cells = {(row["query"], row["target"]): row for row in result["retrieval"]}
    assert set(cells) == {(q, t) for q in ("image", "text", "audio") for t in ("image", "text", "audio") if q != t}
    assert not cells["audio", "text"]["trained"]
    assert cells["audio", "image"]["trained"]
    assert cells["audio", "text"]["n"] == 300
    assert cells["audio", "text"]["chance_r1"] == pytest.approx(1 / 500)
    assert cells["audio", "text"]["supervised_r1"] is not None
    assert cells["audio", "image"]["supervised_r1"] is None
    unheard = {(row["query"], row["target"]): row for row in result["retrieval_unheard"]}
    assert 0 < unheard["audio", "text"]["n"] < 300

    page = (tmp_path / "report.html").read_text()
    assert page.count("data:audio/wav;base64,") == 12
    assert not re.search(r'(src|href)="(?!data:)', page), "the page must be self-contained"


def test_without_the_audio_plugin_it_says_how_to_install_it(small, tmp_path, monkeypatch):
    monkeypatch.setenv("BINDER_PLUGINS", "nothing-of-the-kind")
    registry.cache_clear()
    with pytest.raises(PluginError, match="binder plugins install audio"):
        demo.run(tmp_path)
    registry.cache_clear()
    assert not list(tmp_path.iterdir())
