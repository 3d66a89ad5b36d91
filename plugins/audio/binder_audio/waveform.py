"""An encoder on a pretrained model of waveforms: wav2vec 2.0, HuBERT, WavLM, Whisper, AST and others of transformers.

Shapes: B batch, T samples of a window, F features of the model, D embed_dim.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from binder import Anchor, ConfigError, Tower, Trunk, into_space, load_transformers, load_trunk
from binder_audio.config import AudioConfig
from binder_audio.sound import SoundEncoder


class WaveformEncoder(SoundEncoder):
    """Sound -> (D,): the mean of the model's last tokens, then a linear map."""

    def __init__(self, config: AudioConfig, anchor: Anchor) -> None:
        super().__init__(config)
        self.tower = Tower(waveform_trunk(self.config, anchor.device), self.config.tune, self.config.rank)
        self.project = into_space(self.tower, anchor)
        self.frozen_trunk = self.config.tune == "frozen"

    def features(self, batch: Tensor) -> Tensor:
        """(B, T) -> (B, F)."""
        return self.tower(batch)

    def head(self, features: Tensor) -> Tensor:
        return self.project(features)


def waveform_trunk(config: AudioConfig, device: torch.device | str) -> Trunk:
    """The model that the configuration names. Raises ConfigError, also where it hears at another sample rate."""
    assert config.trunk and config.window_s
    second = np.zeros(round(config.window_s * config.sample_rate), np.int16)
    return load_trunk(config.trunk, {"transformers": partial(_load, config.sample_rate)}, second, device)


def _load(rate: int, name: str) -> tuple[nn.Module, Any]:
    from transformers import AutoFeatureExtractor

    extractor = AutoFeatureExtractor.from_pretrained(name)
    if extractor.sampling_rate != rate:
        wanted = f"set encoder.sample_rate={extractor.sampling_rate}"
        raise ConfigError(f"trunk 'transformers:{name}' hears at {extractor.sampling_rate} Hz, not {rate}: {wanted}")
    model = load_transformers(name)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return _Tokens(getattr(model, "audio_model", model), extractor, rate), torch.from_numpy


class _Tokens(nn.Module):
    """(B, T) int16 or float -> (B, F)."""

    def __init__(self, model: nn.Module, extractor: Any, rate: int) -> None:
        super().__init__()
        self.model, self.extractor, self.rate = model, extractor, rate

    def forward(self, batch: Tensor) -> Tensor:
        wave = batch.float() / 32_768 if not batch.is_floating_point() else batch.float()
        rows = list(wave.cpu().numpy())  # extractors are written in NumPy
        given = self.extractor(rows, sampling_rate=self.rate, return_tensors="pt").to(batch.device)
        return self.model(**given).last_hidden_state.mean(1)
