"""The encoder on a pretrained model from transformers: wav2vec 2.0, HuBERT, WavLM, Whisper, AST and others.

Shapes: B batch, T samples of a window, F features of the model, D embed_dim.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from binder import Anchor, ConfigError, Tower, Trunk, into_space, load_transformers, load_trunk
from binder_audio.base import SoundEncoder
from binder_audio.config import AudioConfig


class WaveformEncoder(SoundEncoder):
    """Sound -> (D,): the mean of the model's last hidden states, then a linear map."""

    def __init__(self, config: AudioConfig, anchor: Anchor) -> None:
        super().__init__(config)
        self.tower = Tower(waveform_trunk(self.config, anchor.device), self.config.tune, self.config.rank)
        self.project = into_space(self.tower, anchor)
        self.frozen_trunk = self.config.tune == "frozen"

    def features(self, batch: Tensor) -> Tensor:
        """(B, T) -> (B, F)."""
        features_BF: Tensor = self.tower(batch)
        return features_BF

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        z_BD: Tensor = self.project(features)
        return z_BD


def waveform_trunk(config: AudioConfig, device: torch.device | str) -> Trunk:
    """The model that the configuration names. Raises ConfigError, also where it needs another sample rate."""
    assert config.trunk and config.window_s
    second = np.zeros(round(config.window_s * config.sample_rate), np.int16)
    return load_trunk(config.trunk, {"transformers": partial(_load, config.sample_rate)}, second, device)


def _load(rate: int, name: str) -> tuple[nn.Module, Any]:
    """A model from transformers -> the module, and the function that turns a window into its input."""
    from transformers import AutoFeatureExtractor

    auto: Any = AutoFeatureExtractor  # its methods have no annotations
    extractor = auto.from_pretrained(name)
    if extractor.sampling_rate != rate:
        needed = extractor.sampling_rate
        raise ConfigError(
            f"trunk 'transformers:{name}' needs a sample rate of {needed} Hz, not {rate}: "
            f"set encoder.sample_rate={needed}"
        )
    model: Any = load_transformers(name)
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return _MeanToken(getattr(model, "audio_model", model), extractor, rate), torch.from_numpy


class _MeanToken(nn.Module):
    """(B, T) int16 or float -> (B, F): the mean over the model's last hidden states."""

    def __init__(self, model: nn.Module, extractor: Any, rate: int) -> None:
        super().__init__()
        self.model, self.extractor, self.rate = model, extractor, rate

    def forward(self, batch: Tensor) -> Tensor:
        wave = batch.float() / 32_768 if not batch.is_floating_point() else batch.float()
        rows = list(wave.cpu().numpy())  # feature extractors take NumPy arrays
        inputs = self.extractor(rows, sampling_rate=self.rate, return_tensors="pt").to(batch.device)
        mean_BF: Tensor = self.model(**inputs).last_hidden_state.mean(1)
        return mean_BF
