"""A plugin for tests: series of three channels, and points. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from binder import ItemError, PointConfig, Points, TableConfig, point_modality, read_table, series_modality


class ThreeConfig(TableConfig):
    channels: tuple[str, ...] = ("x", "y", "z")


def read(item, config):
    return read_table(item).series(
        config.channels, time=config.time, time_unit=config.time_unit, rate_hz=config.file_rate_hz
    )


class DotsConfig(PointConfig):
    pass


def read_dots(item, config):
    if isinstance(item, Points):
        return item
    try:
        if not Path(item).read_text().strip():
            raise ItemError(item, "empty")
        rows = np.loadtxt(item, ndmin=2)
    except (OSError, ValueError, TypeError) as error:
        raise ItemError(item, f"not a table of points: {error}") from None
    return Points(
        rows[:, :3], rows[:, 3:6] if rows.shape[1] >= 6 else None, rows[:, 6:9] if rows.shape[1] == 9 else None
    )


THREE = series_modality("three", {".csv", ".npy"}, ThreeConfig, read)
DOTS = point_modality("dots", {".xyz"}, DotsConfig, read_dots)
