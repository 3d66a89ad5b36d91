"""Series at any sampling rate -> windows at the encoder's rate, and statistics of the training items. Free of torch.

Shapes: S samples of a series, C channels, W windows, T samples of a window.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.encoders.series.clean import MAX_VALUE, rising, times, whole
from binder.encoders.series.config import MAX_SAMPLES, Read, SeriesConfig
from binder.errors import ConfigError, ItemError
from binder.formats.clock import short
from binder.formats.delimited import MAX_CELLS
from binder.formats.table import check_count
from binder.modality import Item

Floats = NDArray[np.floating[Any]]

SAMPLE = 128  # items that `adapt_series` reads: enough for two statistics per channel
SHORTEST, LONGEST = 16, 1024  # samples in a window whose length is chosen from the data
LONGEST_BANDS = 32_768  # the same with `bands`
MANY = 2000  # samples in a window above which training is slow
BLOCK = 1 << 16  # samples that are resampled at a time
QUARTERS = 4  # parts of a sampling period over which `resample` integrates
DEFAULT_RATE_HZ, DEFAULT_WINDOW_S = 50.0, 2.0  # where there is no data to choose them from
GAP = 10  # median steps: a longer step is a pause, across which interpolated values would be invented
GAP_SAMPLES = 4  # at the encoder's rate: shorter pauses do not matter
RARER = 300  # a rate that many times lower than expected means another unit of time, not another rate
FULL = 0.1  # of a window: with fewer samples it is not a window of its own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clean:
    """A series that has been checked: float64, at least two samples, ascending times from 0."""

    values_SC: Floats
    time_S: Floats

    @cached_property
    def step_s(self) -> float:
        """The median time between two samples."""
        return float(np.median(np.diff(self.time_S)))

    @property
    def rate_hz(self) -> float:
        return 1 / self.step_s

    @property
    def duration_s(self) -> float:
        return float(self.time_S[-1]) + self.step_s

    @property
    def recorded_s(self) -> float:
        """The duration without the pauses."""
        steps = np.diff(self.time_S)
        return self.duration_s - float(steps[steps > GAP * self.step_s].sum())

    def pauses(self, rate_hz: float) -> NDArray[np.intp]:
        """The positions of the samples before each pause that matters at `rate_hz`."""
        return np.flatnonzero(np.diff(self.time_S) > max(GAP * self.step_s, GAP_SAMPLES / rate_hz))


def read_series(read: Read, item: Item, config: SeriesConfig) -> Clean:
    """Item -> the series that `read` returns for it, checked. Raises ItemError where it is not usable.

    Missing values (NaN, infinite) are interpolated where they are few or a channel has a lower rate than the others,
    trimmed at the ends, and become pauses where there are many in a row; more than a tenth of them is an error.
    """
    series = read(item, config)
    values = np.asarray(series.values)
    if values.ndim == 1:
        values = values[:, None]
    if values.dtype.kind not in "iufb":
        raise ItemError(item, f"expected numbers, got values of type {str(values.dtype)[:60]}")
    if values.ndim != 2 or values.shape[1] != len(config.channels):
        expected = f"(samples, {len(config.channels)}) for {', '.join(config.channels)}"
        raise ItemError(item, f"expected values of shape {expected}, got {values.shape}")
    if len(values) < 2:
        raise ItemError(item, f"too short: {len(values)} samples, at least 2 are needed")
    check_count(values.size, item)
    values = values.astype(np.float64, copy=False)
    values, time = rising(values, times(series, len(values), item), item, timed=series.time_s is not None)
    if not (values.min() >= -MAX_VALUE and values.max() <= MAX_VALUE):  # also for NaN
        values, time = whole(values, time, config.channels, item)
    clean = Clean(values, time - time[0])
    if config.rate_hz:
        _fits(clean, config.rate_hz, item)
    return clean


def _fits(series: Clean, rate_hz: float, item: Item) -> None:
    """Raises ItemError for a series that is far too long or too short at the encoder's rate: its unit must be wrong."""
    expected = f"where encoder.rate_hz expects one each {short(1 / rate_hz)} s: are its times in another unit?"
    if series.rate_hz * RARER < rate_hz:
        raise ItemError(item, f"a sample each {short(series.step_s)} s, {expected}")
    if series.duration_s * rate_hz < 0.5 and len(series.time_S) > SHORTEST:
        raise ItemError(item, f"a sample each {short(series.step_s)} s, {expected}")
    channels = series.values_SC.shape[1]
    if series.duration_s * rate_hz * channels > MAX_CELLS:
        check_count(series.recorded_s * rate_hz * channels, item)


def resample(series: Clean, rate_hz: float, longest: int = LONGEST) -> Floats:
    """(S, C) at any times -> (S', C) float32 at `rate_hz`, from time 0 on; NaN within pauses.

    Upsampling interpolates linearly. Downsampling averages under a triangle two sampling periods wide, to avoid
    aliasing. The grid starts anew after a pause. Pauses are shortened to `longest` samples, and further where all of
    them together would be far longer than the rest.
    """
    pauses = series.pauses(rate_hz)
    if not len(pauses):
        count = max(2, math.floor(series.time_S[-1] * rate_hz + 1e-6) + 1)
        return _on_grid(series.time_S, series.values_SC, count, series.rate_hz, rate_hz)
    time, values, seen = _shortened(series, pauses, rate_hz, longest)
    made = _on_grid(time, values, len(seen), series.rate_hz, rate_hz)
    made[~seen] = np.nan
    return made


def _on_grid(time: Floats, values: Floats, count: int, own_hz: float, rate_hz: float) -> Floats:
    """Samples (S, C) at ascending times from 0 -> (count, C) float32 at `rate_hz`."""
    made = np.empty((count, values.shape[1]), np.float32)
    for first in range(0, count, BLOCK):  # in blocks, so that a long recording needs little additional memory
        place = np.arange(first, min(first + BLOCK, count))
        if rate_hz > own_hz / 1.5:
            near, at = _near(time, place[0] / rate_hz, place[-1] / rate_hz), place / rate_hz
            made[place] = _interpolate(at, time[near], values[near])
        else:
            made[place] = _averaged(time, values, place, rate_hz)
    return made


def _averaged(time: Floats, values: Floats, place: NDArray[np.int64], rate_hz: float) -> Floats:
    """The means of samples (S, C) under triangles around consecutive points of the grid, whose numbers are `place`."""
    edges = np.arange(QUARTERS * (place[0] - 1), QUARTERS * (place[-1] + 2) + 1) / (QUARTERS * rate_hz)
    near = _near(time, edges[0], edges[-1])
    time, values = time[near], values[near]
    total = _interpolate(edges, time, _integral(time, values))
    total += np.minimum(edges - time[0], 0)[:, None] * values[0]  # before the first sample and after the last,
    total += np.maximum(edges - time[-1], 0)[:, None] * values[-1]  # the values stay what they are there
    means = np.diff(total, axis=0) * QUARTERS * rate_hz
    around = np.lib.stride_tricks.sliding_window_view(means, 2 * QUARTERS, axis=0)[::QUARTERS][: len(place)]
    triangle = np.minimum(np.arange(1, 4 * QUARTERS, 2), np.arange(4 * QUARTERS - 1, 0, -2))
    averages: Floats = around @ (triangle / triangle.sum())
    return averages


def _near(time: Floats, first: float, last: float) -> slice:
    """The samples between these times, and one more at each end."""
    begin, end = np.searchsorted(time, [first, last], "right")
    return slice(max(0, begin - 1), end + 1)


def _shortened(
    series: Clean, pauses: NDArray[np.intp], rate_hz: float, longest: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Times and values with pauses shortened to whole samples of the grid, and which of its samples were recorded.

    Two extra samples in the middle of each pause hold the values at its ends, so that the sides do not mix.
    """
    time, values = series.time_S, series.values_SC
    first, last = np.append(0, pauses + 1), np.append(pauses, len(time) - 1)  # of each stretch
    length = np.floor((time[last] - time[first]) * rate_hz + 1e-6).astype(np.int64) + 1  # in samples of the grid
    empty = (time[first[1:]] - time[first[:-1]]) * rate_hz - length[:-1]
    most = max(2, min(longest, 4 * int(length.sum()) // len(pauses)))  # bounded by the samples there are
    empty = np.clip(np.round(empty), 2, most).astype(np.int64)
    place = np.append(0, np.cumsum(length[:-1] + empty))  # of each stretch on the grid
    moved = time - np.repeat(time[first] - place / rate_hz, last - first + 1)
    change = np.zeros(place[-1] + length[-1] + 1, np.int64)
    np.add.at(change, place, 1)
    np.add.at(change, place + length, -1)
    middle = (moved[pauses] + moved[pauses + 1]) / 2
    between = np.repeat(pauses + 1, 2)
    ends = np.stack([values[pauses], values[pauses + 1]], axis=1).reshape(-1, values.shape[1])
    return (
        np.insert(moved, between, np.repeat(middle, 2)),
        np.insert(values, between, ends, axis=0),
        np.cumsum(change[:-1]) > 0,
    )


def windows(values_SC: Floats, size: int) -> NDArray[np.float32]:
    """(S, C) -> (W, C + 1, size): the channels, and their validity: 1 for a sample, 0 in pauses and after the end.

    A longer series is cut into evenly spaced windows, the first at its start and the last at its end. No window is
    added for less than a tenth of one, and windows that pauses leave with fewer samples than that are dropped.
    """
    length, channels = values_SC.shape
    count = max(1, math.ceil(length / size - FULL))
    if count == 1:
        starts = [max(0, (length - size) // 2)]
    else:
        starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    seen = ~np.isnan(values_SC[:, 0])
    paused = not seen.all()
    cut = np.zeros((count, channels + 1, size), np.float32)
    for row, start in zip(cut, starts, strict=True):
        part, there = values_SC[start : start + size], seen[start : start + size]
        row[:channels, : len(part)] = np.where(there, part.T, 0) if paused else part.T
        row[channels, : len(part)] = there
    if paused and count > 1:
        share = cut[:, channels].mean(1)
        cut = cut[share >= min(FULL, share.max())]
    return cut


def segments(series: Clean, every_s: float) -> Iterator[tuple[float, float, Clean]]:
    """Start and end in s and the samples of each segment of `every_s` seconds with at least two samples."""
    end_s = series.duration_s
    place_S = np.floor(series.time_S / every_s + 1e-9)  # the number of the segment that holds each sample
    firsts = np.append(np.flatnonzero(np.diff(place_S, prepend=-1)), len(place_S))
    for first, last in pairwise(firsts):
        if last - first >= 2:
            start = float(place_S[first]) * every_s
            time = series.time_S[first:last]
            yield start, min(start + every_s, end_s), Clean(series.values_SC[first:last], time - time[0])


def adapt_series(read: Read, config: SeriesConfig, items: Sequence[Item]) -> SeriesConfig:
    """Fill the rate, window and statistics that the user left open from a sample of the items.

    Items that cannot be read are left out here; encoding them reports the error.
    """
    if None in (config.rate_hz, config.window_s, config.mean, config.std):
        found: list[_Measures] = []
        numbers = 0
        for item in items[:SAMPLE]:
            try:
                series = read_series(read, item, config)
            except Exception as error:  # also a bug in `read`, which is reported when the item is encoded
                log.debug("left out: %s", error)
                continue
            found.append(_Measures.of(series))
            numbers += series.values_SC.size
            if numbers > MAX_CELLS:
                break
        if found:
            config = _measured(config, found)
    config = complete(config)
    size = round((config.rate_hz or 0) * (config.window_s or 0))
    if size > MANY and not config.bands:
        log.warning(
            "%s samples a window make training slow: lower encoder.rate_hz (now %g) or encoder.window_s (now %g)",
            f"{size:,}", config.rate_hz, config.window_s,
        )  # fmt: skip
    return config


def complete(config: SeriesConfig) -> SeriesConfig:
    """The configuration with the fields that are still None filled with defaults. Raises ConfigError."""
    channels = len(config.channels)
    values = {
        "rate_hz": DEFAULT_RATE_HZ,
        "window_s": DEFAULT_WINDOW_S,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
    }
    made = config.model_copy(update={key: value for key, value in values.items() if getattr(config, key) is None})
    if (made.rate_hz or 0) * (made.window_s or 0) > MAX_SAMPLES:
        size = f"{(made.rate_hz or 0) * (made.window_s or 0):,.0f}"
        raise ConfigError(f"encoder.window_s x encoder.rate_hz: {size} samples a window, at most {MAX_SAMPLES:,}")
    return made


@dataclass(frozen=True)
class _Measures:
    """What `adapt_series` keeps of an item."""

    rate_hz: float
    recorded_s: float
    count: int
    mean_C: Floats
    square_C: Floats  # the variance

    @classmethod
    def of(cls, series: Clean) -> _Measures:
        values = series.values_SC
        return cls(series.rate_hz, series.recorded_s, len(values), values.mean(0), values.var(0))


def _measured(config: SeriesConfig, found: Sequence[_Measures]) -> SeriesConfig:
    """The configuration with rate, window and statistics filled from the measured items."""
    new: dict[str, Any] = {}
    rate = config.rate_hz or _rounded(float(np.median([series.rate_hz for series in found])))
    new["rate_hz"] = rate
    if config.window_s is None:
        usual = float(np.percentile([series.recorded_s for series in found], 95))
        longest = LONGEST_BANDS if config.bands else LONGEST
        new["window_s"] = _rounded(min(max(usual, SHORTEST / rate), longest / rate))
    share = np.array([series.count for series in found])[:, None] / sum(series.count for series in found)
    mean = (share * [series.mean_C for series in found]).sum(0)
    apart = np.array([series.square_C + (series.mean_C - mean) ** 2 for series in found])
    if config.mean is None:
        new["mean"] = tuple(_rounded(x) for x in mean)
    if config.std is None:
        # over all samples of all items; a channel that never changes is not scaled
        new["std"] = tuple(_rounded(x) if x > 1e-12 else 1.0 for x in np.sqrt((share * apart).sum(0)))
    return config.model_copy(update=new)


def _interpolate(at: Floats, time_S: Floats, values_SC: Floats) -> Floats:
    return np.stack([np.interp(at, time_S, column) for column in values_SC.T], axis=1)


def _integral(time_S: Floats, values_SC: Floats) -> Floats:
    steps = np.diff(time_S)[:, None] * (values_SC[1:] + values_SC[:-1]) / 2
    return np.concatenate([np.zeros((1, values_SC.shape[1])), np.cumsum(steps, axis=0)])


def _rounded(x: float) -> float:
    return float(f"{x:.3g}")
