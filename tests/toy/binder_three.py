"""A plugin for tests: series of three channels, and points. Imports no torch."""

from __future__ import annotations

from binder import PointConfig, Points, TableConfig, point_modality, read_array, read_table, series_modality


class ThreeConfig(TableConfig):
    channels: tuple[str, ...] = ("x", "y", "z")


def read(item, config):
    return read_table(item).series(
        config.channels, time=config.time, time_unit=config.time_unit, rate_hz=config.file_rate_hz
    )


class DotsConfig(PointConfig):
    pass


def read_dots(item, config):
    return item if isinstance(item, Points) else read_array(item)


THREE = series_modality("three", {".csv", ".npy"}, ThreeConfig, read)
DOTS = point_modality("dots", {".xyz"}, DotsConfig, read_dots)
