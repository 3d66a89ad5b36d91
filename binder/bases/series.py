"""Series: C channels over time, at any rate. Resampled, cut into windows, measured. Free of torch.

Shapes: S samples of a series, C channels, W windows, T samples of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from binder.errors import ItemError
from binder.modality import EncoderConfig, Item

Floats = NDArray[np.floating[Any]]

SAMPLE = 128  # items that `adapt_series` reads: enough for two numbers a channel
SHORTEST, LONGEST = 16, 1024  # samples of a window that is chosen by the data
LONGEST_BANDS = 32_768  # the same where the samples are summed up in bands
QUARTERS = 4  # of a period, in which `resample` sums up
DEFAULT_RATE_HZ, DEFAULT_WINDOW_S = 50.0, 2.0  # where nothing is known of the data


class SeriesConfig(EncoderConfig):
    """Base for encoders of series. Fields left at None are filled from a sample of the training items."""

    channels: tuple[str, ...] = ("value",)  # what the reading function returns, in its order; say the units here
    rate_hz: float | None = Field(None, gt=0)  # Hz; every item is resampled to it. From the data: the usual rate
    window_s: float | None = Field(None, gt=0)  # s embedded at once, longer items are averaged. From the data: 95 % fit
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
        unknown = {c for triple in self.vectors for c in triple} - set(self.channels)
        if unknown:
            raise ValueError(f"vectors: {min(unknown)!r} is not among the channels {', '.join(self.channels)}")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")
        return self


class TableConfig(SeriesConfig):
    """Base for encoders of series that are tables: a row for each sample, a column for each channel."""

    time: str = "time_s"  # column that says when a sample was taken, where there is one
    time_unit: Literal["s", "ms", "us", "ns"] = "s"
    file_rate_hz: float | None = Field(None, gt=0)  # Hz, rate of files that have no such column


@dataclass(frozen=True)
class Series:
    """What a reading function returns: samples, and when they were taken.

    `values` (S, C) or, of one channel, (S,). Either `rate_hz`, or `time_s` (S,) in rising seconds for samples that
    are not evenly spaced.
    """

    values: Floats
    rate_hz: float | None = None
    time_s: Floats | None = None


Read = Callable[[Item, Any], Series]  # (item, config) -> series; raises ItemError


@dataclass(frozen=True)
class Clean:
    """A series that was found to be usable: float64, at least two samples, rising times from 0 on."""

    values_SC: Floats
    time_S: Floats

    @property
    def rate_hz(self) -> float:
        return 1 / float(np.median(np.diff(self.time_S)))

    @property
    def duration_s(self) -> float:
        return float(self.time_S[-1]) + 1 / self.rate_hz


def read_series(read: Read, item: Item, config: SeriesConfig) -> Clean:
    """What `read` returns of the item, checked. Raises ItemError in one line for whatever is no usable series."""
    series = read(item, config)
    values = np.asarray(series.values)
    if values.ndim == 1:
        values = values[:, None]
    if values.dtype.kind not in "iufb":
        raise ItemError(item, f"expected numbers, got values of type {values.dtype}")
    if values.ndim != 2 or values.shape[1] != len(config.channels):
        expected = f"(samples, {len(config.channels)}) for {', '.join(config.channels)}"
        raise ItemError(item, f"expected values of shape {expected}, got {values.shape}")
    if len(values) < 2:
        raise ItemError(item, f"too short: {len(values)} samples, at least 2 are needed")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ItemError(item, f"sample {row + 1} of {config.channels[column]} is {values[row, column]}")
    return Clean(values.astype(np.float64), _times(series, len(values), item))


def resample(series: Clean, rate_hz: float) -> Floats:
    """(S, C) at any times -> (S', C) float32 at `rate_hz`, its first sample at time 0.

    Between samples the series is taken as straight lines. Where samples are dropped, each new one is the mean around
    it under a triangle two periods wide, so that fast changes do not turn up as slow ones.
    """
    count = max(2, math.floor(series.time_S[-1] * rate_hz + 1e-6) + 1)
    if rate_hz > series.rate_hz / 1.5:
        return _interpolate(np.arange(count) / rate_hz, series.time_S, series.values_SC).astype(np.float32)
    edges = np.arange(-QUARTERS, QUARTERS * (count + 1) + 1) / (QUARTERS * rate_hz)
    last = series.time_S[-1]
    total = _interpolate(edges, series.time_S, _integral(series.time_S, series.values_SC))
    total += np.minimum(edges, 0)[:, None] * series.values_SC[0]  # before the first and after the last sample
    total += np.maximum(edges - last, 0)[:, None] * series.values_SC[-1]  # it goes on as it was
    means = np.diff(total, axis=0) * QUARTERS * rate_hz
    around = np.lib.stride_tricks.sliding_window_view(means, 2 * QUARTERS, axis=0)[::QUARTERS][:count]
    triangle = np.minimum(np.arange(1, 4 * QUARTERS, 2), np.arange(4 * QUARTERS - 1, 0, -2))
    return (around @ (triangle / triangle.sum())).astype(np.float32)


def windows(values_SC: Floats, size: int) -> NDArray[np.float32]:
    """(S, C), samples a window -> (W, C + 1, size): the channels, and 1 where there is a sample, 0 after the end.

    A longer series is cut into evenly spread windows, the first at its start and the last at its end. Up to a tenth
    of a window is left out where another window would bring no more than that.
    """
    length, channels = values_SC.shape
    count = max(1, math.ceil(length / size - 0.1))
    if count == 1:
        starts = [max(0, (length - size) // 2)]
    else:
        starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    cut = np.zeros((count, channels + 1, size), np.float32)
    for row, start in zip(cut, starts, strict=True):
        part = values_SC[start : start + size]
        row[:channels, : len(part)] = part.T
        row[channels, : len(part)] = 1
    return cut


def pieces(series: Clean, every_s: float) -> Iterator[tuple[float, float, Clean]]:
    """Start, end in s and the samples of each piece of `every_s` seconds; pieces with fewer than 2 are left out."""
    end_s = series.duration_s
    for i in range(math.ceil(end_s / every_s - 1e-9)):
        start, stop = i * every_s, min((i + 1) * every_s, end_s)
        first, last = np.searchsorted(series.time_S, [start - 1e-9, (i + 1) * every_s - 1e-9])
        if last - first >= 2:
            time = series.time_S[first:last]
            yield start, stop, Clean(series.values_SC[first:last], time - time[0])


def adapt_series(read: Read, config: SeriesConfig, items: Sequence[Item]) -> SeriesConfig:
    """Fill the rate, the window and the channels' statistics that the user left open from a sample of the items.

    Items that cannot be read are left out: they are reported when their turn comes.
    """
    if None in (config.rate_hz, config.window_s, config.mean, config.std):
        found = []
        for item in items[:SAMPLE]:
            try:
                found.append(read_series(read, item, config))
            except ItemError:
                continue
        if found:
            config = _measured(config, found)
    return complete(config)


def complete(config: SeriesConfig) -> SeriesConfig:
    """The configuration with what is still open filled by what serves where nothing is known of the data."""
    channels = len(config.channels)
    values = {
        "rate_hz": DEFAULT_RATE_HZ,
        "window_s": DEFAULT_WINDOW_S,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }
    return config.model_copy(update={key: value for key, value in values.items() if getattr(config, key) is None})


def _measured(config: SeriesConfig, found: Sequence[Clean]) -> SeriesConfig:
    new: dict[str, Any] = {}
    rate = config.rate_hz or _rounded(float(np.median([series.rate_hz for series in found])))
    new["rate_hz"] = rate
    if config.window_s is None:
        usual = float(np.percentile([series.duration_s for series in found], 95))
        longest = LONGEST_BANDS if config.bands else LONGEST
        new["window_s"] = _rounded(min(max(usual, SHORTEST / rate), longest / rate))
    samples = np.concatenate([series.values_SC for series in found])
    if config.mean is None:
        new["mean"] = tuple(_rounded(x) for x in samples.mean(0))
    if config.std is None:
        # of what tells items apart; a channel that never changes is left as it is
        new["std"] = tuple(_rounded(x) if x > 1e-12 else 1.0 for x in samples.std(0))
    return config.model_copy(update=new)


def _times(series: Series, count: int, item: Item) -> Floats:
    if (series.rate_hz is None) == (series.time_s is None):
        raise ItemError(item, "expected either a rate in Hz or the samples' times in s")
    if series.time_s is None:
        rate = series.rate_hz
        if not isinstance(rate, int | float | np.number) or not 0 < rate < math.inf:
            raise ItemError(item, f"not a rate in Hz: {rate!r}")
        return np.arange(count) / float(rate)
    time = np.asarray(series.time_s, np.float64)
    if time.shape != (count,) or not np.isfinite(time).all():
        raise ItemError(item, f"expected {count} times in s, one a sample")
    steps = np.diff(time)
    if (steps < 0).any():
        raise ItemError(item, f"the times do not rise: after sample {int((steps < 0).argmax()) + 1} they go back")
    if not np.median(steps) > 0:
        raise ItemError(item, "the times stand still: most samples have the same time")
    return time - time[0]


def _interpolate(at: Floats, time_S: Floats, values_SC: Floats) -> Floats:
    return np.stack([np.interp(at, time_S, column) for column in values_SC.T], axis=1)


def _integral(time_S: Floats, values_SC: Floats) -> Floats:
    steps = np.diff(time_S)[:, None] * (values_SC[1:] + values_SC[:-1]) / 2
    return np.concatenate([np.zeros((1, values_SC.shape[1])), np.cumsum(steps, axis=0)])


def _rounded(x: float) -> float:
    return float(f"{x:.3g}")
