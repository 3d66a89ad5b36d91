"""Checks the samples and times of a series as they come from a file, and bridges or cuts what is missing.

Free of torch. Shapes: S samples, C channels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.errors import ItemError, name_of
from binder.formats import clock
from binder.formats.series import Series
from binder.modality import Item

Floats = NDArray[np.floating[Any]]

RATE_RANGE = (1e-9, 1e12)  # Hz, of any sensor
MAX_VALUE = 1e30  # larger values are not measurements, and may not fit into single precision
MAX_MISSING = 0.1  # share of the samples
YEAR_S = 3.15e7  # a longer step, and many times the median one, means that somebody set the clock
REGULAR = 1.8  # nearly all steps of a channel with a lower sampling rate are below this many times its median step
NEARLY_ALL = 95  # percent
BRIDGED = 10  # median steps of a channel, the longest gap that is interpolated

log = logging.getLogger(__name__)


def times(series: Series, count: int, item: Item) -> Floats:
    """The times of a series' samples (S,), in s. Raises ItemError where they are missing or invalid."""
    if (series.rate_hz is None) == (series.time_s is None):
        raise ItemError(item, "expected either a rate in Hz or the samples' times in s")
    if series.time_s is not None:
        time = np.asarray(series.time_s)
        if time.shape != (count,) or time.dtype.kind not in "iuf":
            raise ItemError(item, f"expected {count} times in s, one per sample")
        return time.astype(np.float64, copy=False)
    rate = series.rate_hz
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise ItemError(item, f"not a rate in Hz: {' '.join(repr(rate).split())[:60]}")
    if not RATE_RANGE[0] <= rate <= RATE_RANGE[1]:  # also for NaN
        said = f"{rate:g}" if isinstance(rate, float | np.floating) else str(rate)[:20] if rate < 10**20 else "huge"
        raise ItemError(item, f"not a rate in Hz: {said}")
    return np.arange(count) / float(rate)


def rising(values_SC: Floats, time_S: Floats, item: Item, timed: bool = True) -> tuple[Floats, Floats]:
    """Samples and times -> the same, with ascending times; a few samples without a time are left out.

    `timed` says that the times came with the series and were not made from a rate. Raises ItemError where they go back,
    stand still, jump by years, cannot be in seconds, or where many are missing.
    """
    known = np.isfinite(time_S)
    if not known.all():
        lost = len(known) - int(known.sum())
        if lost > MAX_MISSING * len(known):
            raise ItemError(item, f"sample {int(known.argmin()) + 1} has no time, as {lost} of {len(known)} have none")
        values_SC, time_S = values_SC[known], time_S[known]
    if len(time_S) < 2:
        raise ItemError(item, f"too short: {len(time_S)} samples with a time, at least 2 are needed")
    with np.errstate(over="ignore"):
        steps = np.diff(time_S)
    low, high = float(steps.min()), float(steps.max())
    if low < 0:
        raise ItemError(item, f"the times do not rise: after sample {int((steps < 0).argmax()) + 1} they go back")
    usual = float(np.median(steps))
    if not usual > 0:
        raise ItemError(item, "the times stand still: most samples have the same time")
    problem = clock.unit_problem("s", float(time_S[0]), usual)
    if timed and problem:
        raise ItemError(item, f"time_s {problem.partition(': set')[0]}; expected seconds")
    if high > max(YEAR_S, 1000 * usual):
        raise ItemError(item, f"the times jump by {clock.short(high)} s after sample {int(steps.argmax()) + 1}")
    return values_SC, time_S


def whole(values_SC: Floats, time_S: Floats, channels: Sequence[str], item: Item) -> tuple[Floats, Floats]:
    """Samples of which some are missing -> samples and times without gaps in any channel.

    The series is trimmed to the part in which all channels have values, at least half of it. Channels that lack a few
    values, or have a lower sampling rate than the others, are interpolated linearly. Samples in longer gaps are left
    out, at most a tenth of them. Raises ItemError where more is missing.
    """
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(values_SC) & (np.abs(values_SC) <= MAX_VALUE)
    count = len(seen)
    begin = int(seen.argmax(0).max())
    end = count - int(seen[::-1].argmax(0).max())
    if not seen.any(0).all() or end - begin < max(2, count / 2):
        raise ItemError(item, _missing(values_SC, seen, channels))
    if (~seen[begin:end].any(1)).sum() > MAX_MISSING * (end - begin):
        raise ItemError(item, _missing(values_SC, seen, channels))
    values, lost = values_SC.copy(), np.zeros(count, bool)
    for i in np.flatnonzero(~seen[begin:end].all(0)):
        at = np.flatnonzero(seen[:, i])
        steps = np.diff(time_S[at])
        usual = float(np.median(steps))
        if seen[begin:end, i].mean() < 1 - MAX_MISSING and np.percentile(steps, NEARLY_ALL) > REGULAR * usual:
            raise ItemError(item, _missing(values_SC, seen, channels))
        values[:, i] = np.interp(time_S, time_S[at], values[at, i])
        for k in np.flatnonzero((steps > BRIDGED * usual) & (np.diff(at) > 1)):
            lost[at[k] + 1 : at[k + 1]] = True
    kept = np.flatnonzero(~lost[begin:end]) + begin
    if len(kept) < (1 - MAX_MISSING) * (end - begin):
        raise ItemError(item, _missing(values_SC, seen, channels))
    cut, left_out = count - (end - begin), end - begin - len(kept)
    log.debug("%s: %d of %d samples cut off, %d left out as a pause", name_of(item), cut, count, left_out)
    return values[kept], time_S[kept]


def _missing(values_SC: Floats, seen_SC: NDArray[np.bool_], channels: Sequence[str]) -> str:
    """A message: the first missing value in the channel that lacks most, and how many it lacks."""
    worst = int(seen_SC.sum(0).argmin())
    row = int(seen_SC[:, worst].argmin())
    lost = int((~seen_SC[:, worst]).sum())
    said = f"sample {row + 1} of {channels[worst]} is {values_SC[row, worst]:g}"
    return f"{said}; {lost} of {len(seen_SC)} are missing, and at most a tenth may be"
