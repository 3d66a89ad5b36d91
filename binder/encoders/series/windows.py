"""Series at any sampling rate -> windows at the encoder's rate, and statistics of the training items. Free of torch.

Shapes: S samples of a series, C channels, W windows, T samples of a window.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from binder.encoders.series.clean import MAX_VALUE, rising, times, whole
from binder.encoders.series.config import MAX_SAMPLES, Read, SeriesConfig
from binder.errors import ConfigError, ItemError
from binder.formats.clock import short
from binder.formats.delimited import MAX_CELLS
from binder.formats.table import check_count
from binder.modality import Item
from binder.portable.series import LONGEST, Clean, Floats

SAMPLE = 128  # items that `adapt_series` reads: enough for two statistics per channel
SHORTEST = 16  # samples in a window whose length is chosen from the data; LONGEST at most
LONGEST_BANDS = 32_768  # the same with `bands`
MANY = 2000  # samples in a window above which training is slow
DEFAULT_RATE_HZ, DEFAULT_WINDOW_S = 50.0, 2.0  # where there is no data to choose them from
RARER = 300  # a rate that many times lower than expected means another unit of time, not another rate

log = logging.getLogger(__name__)


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


def _rounded(x: float) -> float:
    return float(f"{x:.3g}")
