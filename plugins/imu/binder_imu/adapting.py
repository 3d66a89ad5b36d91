"""Which sensors recordings have: found out from a sample of them. Free of torch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from binder import Item, ItemError
from binder_imu.columns import ACCELERATION, ROTATION
from binder_imu.config import ACCELEROMETER, GYROSCOPE, ImuConfig
from binder_imu.reading import held, read

SAMPLE = 64  # recordings that are looked at
NEARLY_ALL = 0.9  # of them have both sensors: then the others are given up, and else the second sensor is
CHANNELS = {ACCELERATION: ACCELEROMETER, ROTATION: GYROSCOPE}

log = logging.getLogger(__name__)


def adapt(config: ImuConfig, items: Sequence[Item]) -> ImuConfig:
    """The channels of the sensors that the recordings have, and whether gravity is in them, where nobody said so.

    Recordings of several kinds are said in a warning. Those that cannot be read are reported when their turn comes.
    """
    if config.model_fields_set & {"channels", "columns"}:
        return config
    found, without = Counter[str](), list[Item]()
    for item in items[:SAMPLE]:
        try:
            kinds, linear = held(item)
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
        said = ", ".join(f"{count} have {kinds.replace('+', ' and ')}" for kinds, count in found.most_common())
        log.warning(
            "of %d recordings looked at, %s: the encoder sees %s, which %d have (set encoder.channels to decide)",
            sum(found.values()), said, " and ".join(chosen), usable,
        )  # fmt: skip
    update: dict[str, Any] = {
        "channels": tuple(channel for kind in chosen for channel in CHANNELS[kind]),
        "vectors": tuple(CHANNELS[kind] for kind in chosen),
    }
    config = config.model_copy(update=update)
    if "gravity" not in config.model_fields_set and ACCELERATION in chosen and _without_gravity(config, without):
        log.info("the recordings hold acceleration without gravity")
        return config.model_copy(update={"gravity": "absent"})
    return config


def _without_gravity(config: ImuConfig, items: Sequence[Item]) -> bool:
    """Whether recordings that are said to be without gravity can be read only as that."""
    absent = config.model_copy(update={"gravity": "absent"})
    return bool(items) and all(not _readable(item, config) and _readable(item, absent) for item in items[:8])


def _readable(item: Item, config: ImuConfig) -> bool:
    try:
        read(item, config)
    except ItemError:
        return False
    return True
