"""Pretrained waveform models as trunks, from checkpoints made here. Synthesizes its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from binder_audio import AUDIO, AudioConfig

import binder
from binder import ConfigError
from binder.testing import EncoderContract, tiny_anchor

RATE = 16_000  # Hz

Settings = dict[str, Any]


def wav2vec2(folder: Path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    shape: Settings = {
        "conv_dim": (16, 16),
        "conv_stride": (20, 16),
        "conv_kernel": (40, 16),
        "num_feat_extract_layers": 2,
    }
    size: Settings = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    groups: Settings = {"num_conv_pos_embedding_groups": 2, "num_conv_pos_embeddings": 8}
    Wav2Vec2Model(Wav2Vec2Config(**shape, **size, **groups)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE).save_pretrained(folder)


def spectrogram_transformer(folder: Path) -> None:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    size: Settings = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    ASTModel(ASTConfig(**size, max_length=100, num_mel_bins=32)).save_pretrained(folder)
    ASTFeatureExtractor(sampling_rate=RATE, max_length=100, num_mel_bins=32).save_pretrained(folder)


def whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    size: Settings = {
        "d_model": 24,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
    }
    heads: Settings = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "vocab_size": 32,
        "num_mel_bins": 20,
    }
    ids: Settings = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}
    WhisperModel(WhisperConfig(**size, **heads, **ids, max_source_positions=100)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20, sampling_rate=RATE, chunk_length=2).save_pretrained(folder)


WRITERS = {"wav2vec2": wav2vec2, "spectrogram": spectrogram_transformer, "whisper": whisper}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    torch.manual_seed(0)
    folders = {name: tmp_path_factory.mktemp("models") / name for name in WRITERS}
    for name, folder in folders.items():
        WRITERS[name](folder)
    return {name: f"transformers:{folder}" for name, folder in folders.items()}


def tone(hz: float, seconds: float = 0.8) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seed: int) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).normal(size=RATE)).astype(np.float32)


class Contract(EncoderContract):
    modality = AUDIO
    model, tune = "wav2vec2", "frozen"

    @pytest.fixture(autouse=True)
    def _config(self, trunks: dict[str, str]) -> None:
        self.config = {"trunk": trunks[self.model], "tune": self.tune, "rank": 2, "window_s": 1.0}

    def items(self, tmp_path: Path) -> list[object]:
        soundfile.write(tmp_path / "a.wav", tone(300), RATE)
        return [tmp_path / "a.wav", (tone(900, 2.3), RATE)]


class TestWav2Vec2(Contract):
    pass


class TestSpectrogramTransformer(Contract):
    model = "spectrogram"


class TestWhisper(Contract):
    model = "whisper"


class TestLora(Contract):
    tune = "lora"


def test_the_features_equal_those_of_the_library(trunks: dict[str, str]) -> None:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder = trunks["wav2vec2"].partition(":")[2]
    model = AUDIO.build(AudioConfig(trunk=trunks["wav2vec2"], window_s=1.0), tiny_anchor()).eval()
    row = model.preprocess((tone(300), RATE))
    given = Wav2Vec2FeatureExtractor.from_pretrained(folder)(
        [row[0].numpy() / 32_768], sampling_rate=RATE, return_tensors="pt"
    )
    with torch.inference_mode():
        want = Wav2Vec2Model.from_pretrained(folder).eval()(**given).last_hidden_state.mean(1)
        torch.testing.assert_close(model.features(row), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", list(WRITERS))
def test_an_aligned_encoder_tells_tones_from_noise(trunks: dict[str, str], model: str, tmp_path: Path) -> None:
    rows = []
    for i in range(24):
        soundfile.write(tmp_path / f"{i}.wav", noise(i) if i % 2 else tone(300 + 10 * i), RATE)
        rows.append({"audio": tmp_path / f"{i}.wav", "text": ["red", "blue"][i % 2]})
    sets = [f"encoder.trunk={trunks[model]}", "train.val_fraction=0", "train.batch_size=8"]
    binder.align("audio", rows, anchor=tiny_anchor(), to="text", out=tmp_path / "run", epochs=40, sets=sets)
    space = binder.Binder(tiny_anchor()).load(tmp_path / "run")
    z = space.embed(audio=[row["audio"] for row in rows])
    found = [["red", "blue"][i] for i in z.cosine(space.embed(text=["red", "blue"])).argmax(1)]
    assert np.mean([f == row["text"] for f, row in zip(found, rows, strict=True)]) > 0.9


def test_a_wrong_sample_rate_names_the_setting(trunks: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"needs a sample rate of 16000 Hz, not 8000: set encoder\.sample_rate=16000"):
        AUDIO.build(AudioConfig(trunk=trunks["wav2vec2"], sample_rate=8000), tiny_anchor())


@pytest.mark.parametrize("trunk", ["wav2vec", "transformers:", "timm:vit"])
def test_a_trunk_of_unknown_kind_is_rejected(trunk: str) -> None:
    with pytest.raises(ConfigError, match=r"trunk.*(speech|none|transformers)"):
        binder.align("audio", [{"audio": "a", "text": "b"}], sets=[f"encoder.trunk={trunk}"])
