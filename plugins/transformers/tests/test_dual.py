"""CLIP, SigLIP, SigLIP 2 and CLAP of transformers as anchors."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binder_transformers.dual import load
from PIL import Image
from safetensors.torch import load_file, save_file

from binder import AnchorError, ItemError, PluginError
from binder.testing import AnchorContract

TEXTS = ["a red circle", "a photo of a blue square of a circle", "square"]
KINDS = ["clip", "siglip", "siglip2", "clap", "fusion"]


def tone(hz: float = 440, seconds: float = 0.6, rate: int = 8000) -> Any:
    return np.sin(2 * np.pi * hz / rate * np.arange(round(rate * seconds))).astype(np.float32)


def items_of(modality: str) -> list[Any]:
    if modality == "text":
        return TEXTS
    if modality == "audio":
        return [tone(440, 0.6), tone(700, 1.0)]
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((40, 50, 3), (90, 30, 3))]


def embedded(tower: Any, items: list[Any]) -> torch.Tensor:
    with torch.inference_mode():
        z: torch.Tensor = tower(torch.cat([tower.preprocess(item) for item in items]))
    return torch.nn.functional.normalize(z)


def of_the_library(folder: Path, modality: str, items: list[Any]) -> torch.Tensor:
    """What transformers itself gives of each item, written out."""
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    padding = {"padding": "max_length"} if model.config.model_type == "siglip" else {}
    rows = []
    for item in items:
        given: dict[str, Any] = {"images": [item]}
        if modality == "text":
            given = {"text": [item], "truncation": True, **padding}
        if modality == "audio":
            given = {"audio": [item], "sampling_rate": 8000}
        with torch.inference_mode():
            inputs = processor(**given, return_tensors="pt")
            rows.append(getattr(model, f"get_{modality}_features")(**inputs).pooler_output)
    return torch.nn.functional.normalize(torch.cat(rows))


class Contract(AnchorContract):
    kind = "clip"

    @pytest.fixture(autouse=True)
    def _models(self, models):
        self.models = models

    def load(self, tmp_path, seed=0):
        return load(f"transformers:{self.models(self.kind, seed)}")

    def items(self, modality, tmp_path):
        return items_of(modality)


class TestClip(Contract):
    pass


class TestSiglip(Contract):
    kind = "siglip"


class TestSiglip2(Contract):
    kind = "siglip2"


class TestClap(Contract):
    kind = "clap"


@pytest.mark.parametrize("kind", KINDS)
def test_its_vectors_are_those_of_the_library(models, kind):
    anchor = load(f"transformers:{models(kind)}")
    assert list(anchor.towers) == (["text", "audio"] if kind in ("clap", "fusion") else ["text", "image"])
    for modality, tower in anchor.towers.items():
        got, want = embedded(tower, items_of(modality)), of_the_library(models(kind), modality, items_of(modality))
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
        assert (want[0] - want[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_padding_of_a_batch_changes_no_vector(models, kind):
    tower = load(f"transformers:{models(kind)}").tower("text")
    together = embedded(tower, TEXTS)
    alone = torch.cat([embedded(tower, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_batch_is_as_long_as_its_longest_text(models):
    tower = load(f"transformers:{models('clip')}").tower("text")
    batch = torch.cat([tower.preprocess(text) for text in ["square", "a red circle"]])
    assert batch.shape[-1] == 16
    assert tower.rows.unpack(batch)["input_ids"].tolist() == [[2, 13, 3, 0, 0], [2, 7, 10, 12, 3]]
    assert tower.rows.unpack(batch)["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_siglip_sees_its_padding(models):
    tower = load(f"transformers:{models('siglip')}").tower("text")
    assert tower.rows.unpack(tower.preprocess("square"))["input_ids"].tolist() == [[2, 13, 3, *[0] * 13]]


def test_the_logit_scale_is_the_models(models):
    weights = load_file(models("clip") / "model.safetensors")
    assert load(f"transformers:{models('clip')}").logit_scale == pytest.approx(float(weights["logit_scale"].exp()))
    weights = load_file(models("clap") / "model.safetensors")
    assert load(f"transformers:{models('clap')}").logit_scale == pytest.approx(float(weights["logit_scale_t"].exp()))


def test_long_texts_are_cut_with_a_warning_once(models, caplog):
    anchor = load(f"transformers:{models('clip')}")
    fits, long = "a " * 14, "a " * 15
    assert (anchor.truncates(fits), anchor.truncates(long)) == (False, True)
    with caplog.at_level(logging.WARNING):
        anchor.tower("text").preprocess(fits)
        assert not caplog.records
        for _ in range(2):
            anchor.tower("text").preprocess(long)
    assert [r.getMessage()[:52] for r in caplog.records] == ["texts are truncated after the anchor's 16 tokens, fo"]


def test_a_sound_longer_than_the_model_takes_is_heard_to_its_end_in_windows(models):
    tower = load(f"transformers:{models('clap')}").tower("audio")
    sound = np.concatenate([tone(300, 1), tone(900, 1), tone(1500, 0.5)])
    windows = tower.preprocess(sound)
    assert len(windows) == 3
    assert torch.equal(windows[:1], tower.preprocess(sound[:8000]))
    assert torch.equal(windows[-1:], tower.preprocess(sound[-8000:]))
    found = list(tower.segments(sound, 1.0))
    assert [(span.start_s, span.end_s) for span, _ in found] == [(0, 1), (1, 2), (2, 2.5)]
    assert torch.equal(found[1][1], tower.preprocess(sound[8000:16000]))


def test_sounds_are_read_by_the_plugin_audio(models, tmp_path):
    import soundfile

    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(440, 0.6, 16000), 16000)
    tower = load(f"transformers:{models('clap')}").tower("audio")
    same = torch.nn.functional.cosine_similarity(embedded(tower, [path]), embedded(tower, [tone(440, 0.6)]))
    assert same > 0.999
    for bad in (np.zeros((2, 100)), np.array([]), np.full(100, np.nan)):
        with pytest.raises(ItemError, match="expected finite samples"):
            tower.preprocess(bad)


def test_without_the_plugin_audio_one_line_says_how_to_get_it(models, monkeypatch, tmp_path):
    plugins = sys.modules["binder.registry"]  # as if this plugin were the only one
    tower = load(f"transformers:{models('clap')}").tower("audio")
    monkeypatch.setenv("BINDER_PLUGINS", "transformers")
    plugins.registry.cache_clear()
    try:
        with pytest.raises(PluginError, match="binder plugins install audio") as caught:
            tower.preprocess(tmp_path / "tone.wav")
    finally:
        plugins.registry.cache_clear()
    assert "\n" not in str(caught.value)


def test_dtype_is_an_option_and_another_space(models):
    name = f"transformers:{models('clip')}"
    whole, half = load(name), load(f"{name}?dtype=bfloat16")
    assert (whole.name, half.name) == (name, f"{name}?dtype=bfloat16")
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert whole.fingerprint != half.fingerprint
    for modality in whole.towers:
        a, b = (embedded(anchor.tower(modality), items_of(modality)) for anchor in (whole, half))
        assert b.dtype == torch.float32
        assert (a * b).sum(1).min() > 0.99


def test_a_folder_is_found_from_anywhere(models, monkeypatch):
    monkeypatch.chdir(models("clip").parent)
    anchor = load(f"transformers:./{models('clip').name}")
    assert anchor.name == f"transformers:{models('clip')}"
    assert load(anchor.name).fingerprint == anchor.fingerprint


def test_the_fingerprint_is_of_weights_architecture_preprocessing_and_vocabulary(models, altered):
    name = f"transformers:{models('clip')}"
    folder = altered("clip")
    found = [load(name).fingerprint, load(f"transformers:{folder}").fingerprint]
    assert found[0] == found[1]
    for file, change in {
        "config.json": lambda v: v["text_config"].update(hidden_act="gelu"),
        "processor_config.json": lambda v: v["image_processor"].update(image_mean=[0.5, 0.5, 0.5]),
        "tokenizer.json": lambda v: v["model"]["vocab"].update(red=8, photo=10),
    }.items():
        values = json.loads((folder / file).read_text())
        change(values)
        (folder / file).write_text(json.dumps(values))
        found.append(load(f"transformers:{folder}").fingerprint)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_version": "9.9"}))  # which is noise
    assert load(f"transformers:{folder}").fingerprint == found[-1]
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "logit_scale": weights["logit_scale"] + 1}, folder / "model.safetensors", {"format": "pt"})
    found.append(load(f"transformers:{folder}").fingerprint)
    assert len(set(found)) == len(found) - 1


def fails(name: str) -> str:
    with pytest.raises(AnchorError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("anchor ")
    return str(caught.value)


def test_weights_that_are_missing_are_never_random(altered):
    folder = altered("clip")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if k != "visual_projection.weight"}, folder / "model.safetensors")
    assert "lack 1 of its weights, among them visual_projection.weight" in fails(f"transformers:{folder}")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_weights_of_the_older_format_are_opened_for_tensors_only(altered, tmp_path):
    """`pytorch_model.bin` is a pickle; many a well-known model has nothing else."""
    folder, mark = altered("clip"), tmp_path / "ran"
    tensors = load_file(folder / "model.safetensors")
    want = load(f"transformers:{folder}").fingerprint
    torch.save({**tensors, "evil": Evil(mark)}, folder / "pytorch_model.bin")
    assert load(f"transformers:{folder}").fingerprint == want  # beside safetensors it is left alone
    (folder / "model.safetensors").unlink()
    assert "Unpickling" in fails(f"transformers:{folder}")
    assert not mark.exists()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert load(f"transformers:{folder}").fingerprint == want
    (folder / "pytorch_model.bin").unlink()
    assert "no weights are among its files" in fails(f"transformers:{folder}")


def test_code_that_comes_with_a_model_is_never_run(altered):
    folder = altered("clip")
    config = json.loads((folder / "config.json").read_text())
    config.update(model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModel": "mine.Model"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    assert "custom code" in fails(f"transformers:{folder}")
    assert "mine" not in sys.modules


def test_a_model_larger_than_its_weights_is_not_allocated(altered):
    folder = altered("clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(hidden_size=2**16, intermediate_size=2**18)
    (folder / "config.json").write_text(json.dumps(config))
    assert "larger model than the file" in fails(f"transformers:{folder}")


def test_numbers_that_are_not_finite_are_told_with_advice_for_half_precision(altered):
    folder = altered("clip")
    weights = load_file(folder / "model.safetensors")
    key = "visual_projection.weight"
    save_file({**weights, key: weights[key] * 1e30}, folder / "model.safetensors", {"format": "pt"})
    load(f"transformers:{folder}")
    said = fails(f"transformers:{folder}?dtype=float16")
    assert "use dtype=float32 or dtype=bfloat16" in said
    save_file({**weights, key: weights[key] * float("nan")}, folder / "model.safetensors", {"format": "pt"})
    assert "not finite" in fails(f"transformers:{folder}")


def test_a_model_without_its_tokenizer_or_without_any_tower_is_refused(altered, models):
    folder = altered("clip")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "its tokenizer is not among its files" in fails(f"transformers:{folder}")
    assert "a BertModel has no tower for texts, pictures or sounds" in fails(f"transformers:{models('bert')}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("transformers:", "expected transformers:ORG/MODEL"),
        ("transformers:/nowhere/at all", "no such folder; if it was moved"),
        ("transformers:./nowhere", "no such folder"),
        ("transformers:a b/c d", "cannot be a repository on the hub"),
        ("transformers:org/model", "not on this machine, and the hub does not answer"),
        ("transformers:org/model?dtyp=float16", "no option 'dtyp' .did you mean 'dtype'.*options: dtype"),
        ("transformers:org/model?dim=3", "no option 'dim'"),
        ("transformers:org/model?dtype=int8", "dtype=int8: expected float32, bfloat16, float16"),
        ("transformers:org/model?dtype=float16&dtype=float16", "dtype is given twice"),
        ("transformers:" + "x" * 5000, "too long"),
        ("transformers:a\0b", "cannot be a repository"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(name, says):
    import re

    assert re.search(says, fails(name))


def test_a_folder_that_is_no_model_and_damaged_files_are_one_clear_line(altered, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "neither config.json nor modules.json" in fails(f"transformers:{tmp_path}/empty")
    folder = altered("clip")
    (folder / "processor_config.json").write_text("{")
    assert "processor_config.json is damaged" in fails(f"transformers:{folder}")
    folder = altered("siglip")
    (folder / "model.safetensors").write_bytes(b"no weights")
    fails(f"transformers:{folder}")
