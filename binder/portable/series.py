"""Series as numbers: resampled to the encoder's rate and cut into windows. Only NumPy: exported encoders run it, too.

Shapes: S samples of a series, C channels, W windows, T samples of a window.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LONGEST = 1024  # samples in a window whose length is chosen from the data
BLOCK = 1 << 16  # samples that are resampled at a time
QUARTERS = 4  # parts of a sampling period over which `resample` integrates
GAP = 10  # median steps: a longer step is a pause, across which interpolated values would be invented
GAP_SAMPLES = 4  # at the encoder's rate: shorter pauses do not matter
FULL = 0.1  # of a window: with fewer samples it is not a window of its own


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


def _interpolate(at: Floats, time_S: Floats, values_SC: Floats) -> Floats:
    return np.stack([np.interp(at, time_S, column) for column in values_SC.T], axis=1)


def _integral(time_S: Floats, values_SC: Floats) -> Floats:
    steps = np.diff(time_S)[:, None] * (values_SC[1:] + values_SC[:-1]) / 2
    return np.concatenate([np.zeros((1, values_SC.shape[1])), np.cumsum(steps, axis=0)])


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[np.float32]:
    """A table, .npz or .npy file of `values` (S, C), with `time_s` (S,), `rate_hz`, or at the encoder's rate.

    Returns (W, C + 1, T). Raises OSError, ValueError.
    """
    rate_hz, channels = settings["rate_hz"], settings["channels"]
    held = _held(item, settings)
    values = np.asarray(held["values"], np.float64)
    own_hz = float(held["rate_hz"]) if "rate_hz" in held else rate_hz
    time = np.asarray(held["time_s"], np.float64) if "time_s" in held else np.arange(len(values)) / own_hz
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(channels) or len(values) < 2:
        raise ValueError(f"expected values (S, {len(channels)}) for {', '.join(channels)}, got {values.shape}")
    if time.shape != (len(values),) or not (np.diff(time) >= 0).all() or not np.median(np.diff(time)) > 0:
        raise ValueError(f"expected {len(values)} rising times in s, one per sample")
    if not (np.isfinite(values).all() and np.isfinite(time).all()):
        raise ValueError("holds numbers that are not finite: interpolate those that are missing")
    return windows(resample(Clean(values, time - time[0]), rate_hz, settings["size"]), settings["size"])


def _held(item: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The arrays in a file, by name: of a table, the columns of the channels and of time."""
    if item.lower().endswith((".csv", ".tsv")):
        return _table(item, settings.get("columns"))
    if item.lower().endswith(".npy"):
        return {"values": np.load(item)}
    if item.lower().endswith(".npz"):
        with np.load(item) as held:
            return dict(held)
    raise ValueError("expected a .csv, .tsv, .npz or .npy file")


def _table(item: str, columns: list[list[str]] | None) -> dict[str, Any]:
    """A table whose header names `time_s` and, for each channel, one of its `columns`. Raises ValueError."""
    if columns is None:
        raise ValueError("expected a .npz or .npy file: what this encoder makes of a table is not plain columns")
    with open(item, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123 - exported programs name files by strings
        lines = list(csv.reader(file, delimiter="\t" if item.lower().endswith(".tsv") else ","))
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    there = [name.strip().lower() for name in header]
    found = [next((there.index(name) for name in names if name in there), None) for names in [["time_s"], *columns]]
    for names, place in zip([["time_s"], *columns], found, strict=True):
        if place is None:
            raise ValueError(f"no column {' or '.join(names)}; columns: {', '.join(header)[:200]}")
    cells = np.array([[row[place] for place in found if place is not None] for row in rows if row], np.float64)
    if cells.ndim != 2:
        raise ValueError("no rows")
    return {"time_s": cells[:, 0], "values": cells[:, 1:]}
