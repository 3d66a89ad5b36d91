"""The series encoder: normalized channels, convolutions over time, a small transformer.

Shapes: B batch, W windows, C channels, T samples of a window, L tokens, E width, D embed_dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from binder.encoder import Encoder, Span
from binder.encoders.series import augment as series_augment
from binder.encoders.series.bands import Bands
from binder.encoders.series.config import Read, SeriesConfig
from binder.encoders.series.windows import complete, read_series, segments
from binder.encoders.transformer import Transformer
from binder.errors import ItemError
from binder.modality import Item
from binder.portable import Portable
from binder.portable import series as portable_series
from binder.portable.series import Clean, resample, windows

TOKENS = 32  # roughly, per window: longer windows get a larger stride


class SeriesEncoder(Encoder):
    """C channels over time -> (D,). `read` is a function of the plugin: (item, config) -> Series."""

    mean_C: Tensor
    std_C: Tensor

    def __init__(self, config: SeriesConfig, embed_dim: int, read: Read) -> None:
        super().__init__()
        self.config, self.read = complete(config), read
        config = self.config
        assert config.rate_hz and config.window_s and config.mean and config.std
        self.size = max(2, round(config.window_s * config.rate_hz))  # samples in a window
        self.bands = Bands(self.size, config.bands) if config.bands else None
        channels = len(config.channels) * (config.bands or 1)
        length = self.bands.frames if self.bands else self.size
        self.register_buffer("mean_C", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std_C", torch.tensor(config.std), persistent=False)
        self.stem = Stem(2 * channels + 1, config.width, stride=2 ** max(0, round(math.log2(length / TOKENS))))
        self.trunk = Transformer(config.width, config.layers, config.heads, config.dropout)
        self.project = nn.Linear(self.trunk.out_features, embed_dim)
        place = config.channels.index
        self.vectors = [(place(x), place(y), place(z)) for x, y, z in config.vectors]

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (W, C + 1, T) float32: the channels in their units, and 1 where there is a sample."""
        return self._windows(read_series(self.read, item, self.config))

    def segments(self, item: Item, every_s: float) -> Iterator[tuple[Span, Tensor]]:
        """One item -> the span and the windows (W, C + 1, T) of each of its segments that holds two samples or more."""
        found = False
        for start_s, end_s, segment in segments(read_series(self.read, item, self.config), every_s):
            found = True
            yield Span(start_s, end_s), self._windows(segment)
        if not found:
            raise ItemError(item, f"no segment of {every_s:g} s holds two samples; take longer segments")

    def _windows(self, series: Clean) -> Tensor:
        assert self.config.rate_hz
        return torch.from_numpy(windows(resample(series, self.config.rate_hz, self.size), self.size))

    def portable(self) -> Portable:
        config, count = self.config, len(self.config.channels)
        settings: dict[str, Any] = {
            "channels": list(config.channels),
            "rate_hz": config.rate_hz,
            "size": self.size,
        }
        columns = config.plain_columns()
        if columns is not None:
            settings["columns"] = columns
        takes = (
            f"{'' if columns is None else 'a .csv file with a column time_s and one per channel; '}"
            f"a .npz file of values (S, {count}) for {', '.join(config.channels)}, with time_s (S,) or rate_hz; or a "
            f".npy file of values at {config.rate_hz:g} Hz"
        )
        example = torch.ones(1, count + 1, self.size)
        return Portable((portable_series,), settings, takes, example=example)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C + 1, T) -> (B, C + 1, T)."""
        with torch.no_grad():
            return series_augment.change(
                batch,
                self.std_C,
                vectors=self.vectors,
                turn_deg=self.config.turn_deg,
                strength=self.config.strength,
                generator=generator,
            )

    def features(self, batch: Tensor) -> Tensor:
        """(B, C + 1, T) -> (B, F), from each channel as it is and standardized within the window."""
        valid_B1T = batch[:, -1:]
        x_BCT = (batch[:, :-1] - self.mean_C[:, None]) / self.std_C[:, None] * valid_B1T
        if self.bands:
            x_BCT, valid_B1T = self.bands(x_BCT, valid_B1T)
        count_B11 = valid_B1T.sum(2, keepdim=True).clamp(min=1)
        own_BCT = (x_BCT - x_BCT.sum(2, keepdim=True) / count_B11) * valid_B1T
        spread_BC1 = (own_BCT.square().sum(2, keepdim=True) / count_B11 + 0.01).sqrt()
        h_BLE, valid_BL = self.stem(torch.cat((x_BCT, own_BCT / spread_BC1, valid_B1T), dim=1))
        features_BF: Tensor = self.trunk(h_BLE, valid_BL)
        return features_BF

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        z_BD: Tensor = self.project(features)
        return z_BD


class Stem(nn.Module):
    """(B, c, T) with the validity as its last channel -> (B, L, E) tokens, and which of them are valid, (B, L) bool."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        first = min(stride, 2)
        self.one = nn.Conv1d(channels, width, 7, stride=first, padding=3)
        self.norm = nn.LayerNorm(width)
        self.stride, rest = stride, stride // first
        self.two = nn.Conv1d(width, width, 2 * rest + 3, stride=rest, padding=rest + 1)
        self.place = nn.Conv1d(width, width, 9, padding=4, groups=width)  # a positional encoding by convolution

    def forward(self, x_BcT: Tensor) -> tuple[Tensor, Tensor]:
        h_BET = F.gelu(self.norm(self.one(x_BcT).transpose(1, 2))).transpose(1, 2)
        h_BEL = self.two(h_BET)
        valid_BL = F.max_pool1d(x_BcT[:, -1:], self.stride, ceil_mode=True)[:, 0] > 0
        valid_BL = valid_BL[:, : h_BEL.shape[2]]
        h_BEL = h_BEL.masked_fill(~valid_BL[:, None], 0.0)
        return (h_BEL + self.place(h_BEL)).transpose(1, 2), valid_BL
