"""What is filled in from a sample of the training recordings: which sensors they have. Free of torch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from binder import Item, ItemError
from binder_imu.columns import ACCELERATION, ROTATION
from binder_imu.config import ACCELEROMETER, GYROSCOPE, ImuConfig
from binder_imu.reading import read, sensors_of

SAMPLE = 64  # recordings examined
NEARLY_ALL = 0.9  # if this share has both sensors, both are used and the other recordings are skipped; otherwise one is
CHANNELS = {ACCELERATION: ACCELEROMETER, ROTATION: GYROSCOPE}

log = logging.getLogger(__name__)


def adapt(config: ImuConfig, items: Sequence[Item]) -> ImuConfig:
    """The configuration with the channels and the gravity setting, if open, as a sample of the recordings has them.

    A warning says so where recordings have different sensors. Unreadable recordings are ignored here; they are reported
    when they are read for training.
    """
    if config.model_fields_set & {"channels", "columns"}:
        return config
    found, without = Counter[str](), list[Item]()
    for item in items[:SAMPLE]:
        try:
            kinds, linear = sensors_of(item)
        except ItemError:
            continue
        found["+".join(sorted(kinds))] += 1
        without += [item] if linear else []
    found.pop("", None)
    if not found:
        return config
    both = "+".join(sorted(CHANNELS))
    counts = {kind: found[both] + found[kind] for kind in CHANNELS}
    if found[both] >= NEARLY_ALL * sum(found.values()):
        chosen = list(CHANNELS)
    else:
        chosen = [max(counts, key=lambda kind: counts[kind])]
    usable = found[both] if len(chosen) == len(CHANNELS) else counts[chosen[0]]
    if len(found) > 1:
        counted = ", ".join(f"{count} have {kinds.replace('+', ' and ')}" for kinds, count in found.most_common())
        log.warning(
            "of %d recordings examined, %s: the encoder uses %s, which %d have (set encoder.channels to change that)",
            sum(found.values()), counted, " and ".join(chosen), usable,
        )  # fmt: skip
    update: dict[str, Any] = {
        "channels": tuple(channel for kind in chosen for channel in CHANNELS[kind]),
        "vectors": tuple(CHANNELS[kind] for kind in chosen),
    }
    config = config.model_copy(update=update)
    if "gravity" not in config.model_fields_set and ACCELERATION in chosen and _without_gravity(config, without):
        log.info("the acceleration in the recordings is without gravity")
        return config.model_copy(update={"gravity": "absent"})
    return config


def _without_gravity(config: ImuConfig, items: Sequence[Item]) -> bool:
    """Whether recordings whose column names say that gravity is absent can be read only in that way."""
    absent = config.model_copy(update={"gravity": "absent"})
    return bool(items) and all(not _readable(item, config) and _readable(item, absent) for item in items[:8])


def _readable(item: Item, config: ImuConfig) -> bool:
    try:
        read(item, config)
    except ItemError:
        return False
    return True
