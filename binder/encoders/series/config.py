"""The settings of series encoders. Free of torch and NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_validator

from binder.formats.series import Series
from binder.modality import EncoderConfig, Item

MAX_SAMPLES = 1 << 20  # of a window


class SeriesConfig(EncoderConfig):
    """Base of the settings of series encoders. Fields left at None are filled from a sample of the training items."""

    channels: tuple[str, ...] = ("value",)  # what `read` returns, in its order; document the units here
    rate_hz: float | None = Field(None, gt=0, allow_inf_nan=False)  # every item is resampled to it; None: the median
    window_s: float | None = Field(None, gt=0, allow_inf_nan=False)  # seconds embedded at once; longer items are
    # averaged over windows; None: so that 95 % of the items fit into one
    mean: tuple[float, ...] | None = None  # of each channel over the training items, in its unit
    std: tuple[float, ...] | None = None  # likewise, the standard deviation
    bands: int | None = Field(None, ge=8, le=256)  # for fast series: encode the power in so many frequency bands
    vectors: tuple[tuple[str, str, str], ...] = ()  # channels that are x, y, z of one sensor: rotated together
    turn_deg: float = Field(0.0, ge=0, le=180)  # degrees, largest random rotation of `vectors` in training
    width: int = Field(96, ge=16, le=2048)  # channels of the transformer
    layers: int = Field(3, ge=1, le=48)
    heads: int = Field(4, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none

    def plain_columns(self) -> list[list[str]] | None:
        """For each channel, the names in lower case of columns that hold, unchanged, what `read` returns of a table.

        Exported encoders read such tables. None: there is no such column, as `read` works values out.
        """
        return None

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
    """Base of the settings for series in tables: one row per sample, one column per channel."""

    time: str = "time_s"  # column with the time of each sample; where it is missing, one named after a time is taken
    time_unit: Literal["s", "ms", "us", "ns"] = "s"  # of that column; other columns are read in the unit they name
    file_rate_hz: float | None = Field(None, gt=0, allow_inf_nan=False)  # Hz, of files without a column of times


Read = Callable[[Item, Any], Series]  # (item, config) -> series; raises ItemError
