"""What can be set of an encoder of series. Free of torch and NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_validator

from binder.formats.series import Series
from binder.modality import EncoderConfig, Item

MAX_SAMPLES = 1 << 20  # of a window


class SeriesConfig(EncoderConfig):
    """Base for encoders of series. Fields left at None are filled from a sample of the training items."""

    channels: tuple[str, ...] = ("value",)  # what the reading function returns, in its order; say the units here
    rate_hz: float | None = Field(
        None, gt=0, allow_inf_nan=False
    )  # Hz; every item is resampled to it. From the data: the usual
    window_s: float | None = Field(None, gt=0, allow_inf_nan=False)  # s embedded at once, longer items are averaged.
    # From the data: 95 % fit
    mean: tuple[float, ...] | None = None  # of each channel over the training items, in its unit
    std: tuple[float, ...] | None = None  # likewise, the standard deviation
    bands: int | None = Field(None, ge=8, le=256)  # sum the samples up in so many bands of frequency: for fast series
    vectors: tuple[tuple[str, str, str], ...] = ()  # channels that are x, y, z of one sensor: turned together
    turn_deg: float = Field(0.0, ge=0, le=180)  # degrees, largest random turn of `vectors` in training
    width: int = Field(96, ge=16, le=2048)  # channels of the transformer
    layers: int = Field(3, ge=1, le=48)
    heads: int = Field(4, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none

    @model_validator(mode="after")
    def _fits(self) -> SeriesConfig:
        if not self.channels:
            raise ValueError("channels: expected at least one name")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.channels):
                raise ValueError(f"{name}: expected {len(self.channels)} numbers, one a channel, got {len(values)}")
        if not all(math.isfinite(x) for x in self.mean or ()) or not all(0 < x < math.inf for x in self.std or ()):
            raise ValueError("mean and std: expected finite numbers, std above 0")
        if self.rate_hz and self.window_s and self.rate_hz * self.window_s > MAX_SAMPLES:
            size = f"{self.rate_hz * self.window_s:,.0f}"
            raise ValueError(f"window_s x rate_hz: {size} samples a window, at most {MAX_SAMPLES:,}")
        unknown = {c for triple in self.vectors for c in triple} - set(self.channels)
        if unknown:
            raise ValueError(f"vectors: {min(unknown)!r} is not among the channels {', '.join(self.channels)}")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")
        return self


class TableConfig(SeriesConfig):
    """Base for encoders of series that are tables: a row for each sample, a column for each channel."""

    time: str = "time_s"  # column that says when a sample was taken; without it, one whose name says time and unit
    time_unit: Literal["s", "ms", "us", "ns"] = "s"  # of that column; another one's unit is what its name says
    file_rate_hz: float | None = Field(None, gt=0, allow_inf_nan=False)  # Hz, rate of files that have no such column


Read = Callable[[Item, Any], Series]  # (item, config) -> series; raises ItemError
