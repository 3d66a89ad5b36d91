"""What is checked on a sample of the training items: that the unit is known. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

from binder import ConfigError, Item, ItemError, read_raster
from binder_depth.config import DepthConfig
from binder_depth.reading import CHANNELS, SET_UNITS, stated_unit

SAMPLE = 8  # items whose unit is looked up


def adapt(config: DepthConfig, items: Sequence[Item]) -> DepthConfig:
    """The configuration unchanged. Raises ConfigError where neither it nor any file of the sample states the unit."""
    readable = []
    for item in items[:SAMPLE] if config.units is None else ():
        try:
            readable.append(read_raster(item, CHANNELS))
        except ItemError:
            continue  # reported when it is read for training
    if readable and not any(map(stated_unit, readable)):
        raise ConfigError(f"depth: {readable[0].name} does not state its unit: {SET_UNITS}")
    return config
