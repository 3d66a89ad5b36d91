"""The length of a run and the schedule of its learning rate."""

from __future__ import annotations

import math

from binder.config import AlignConfig
from binder.train.distributed import ALONE, Group

DEFAULT_STEPS, DEFAULT_EPOCHS = 1000, 10  # by default a run is as long as the longer of the two


def total_steps(n: int, config: AlignConfig, group: Group = ALONE) -> int:
    """Steps of a run over `n` rows: `epochs` or `steps`, whichever is shorter; else the default."""
    per_epoch, asked = steps_per_epoch(n, config, group), config.train
    wanted = [asked.epochs * per_epoch] if asked.epochs else []
    wanted += [asked.steps] if asked.steps else []
    return min(wanted) if wanted else max(DEFAULT_EPOCHS * per_epoch, math.ceil(DEFAULT_STEPS / per_epoch) * per_epoch)


def plan(n: int, config: AlignConfig, group: Group = ALONE) -> str:
    """The length of a run over `n` rows in words, and where it comes from."""
    total, per_epoch = total_steps(n, config, group), steps_per_epoch(n, config, group)
    said = f"{total:,} steps of {config.train.batch_size * group.size} pairs, {total / per_epoch:.3g} epochs"
    if config.train.minutes:
        return f"{said} or {config.train.minutes:g} minutes, whichever comes first"
    if config.train.steps or config.train.epochs:
        return said
    why = (
        f"{DEFAULT_EPOCHS} epochs"
        if total == DEFAULT_EPOCHS * per_epoch
        else f"{DEFAULT_STEPS:,} steps in whole epochs"
    )
    return f"{said} (by default {why}; --set train.steps=... or --minutes makes it shorter)"


def steps_per_epoch(n: int, config: AlignConfig, group: Group = ALONE) -> int:
    """Batches in an epoch of `n` rows; the last one may be smaller."""
    return max(1, math.ceil(n / (config.train.batch_size * group.size)))


def progress_of(step: int, seconds: float, total: int, config: AlignConfig) -> float:
    """Progress of a run, 0..1: by steps or by time, whichever is further."""
    by_time = seconds / (config.train.minutes * 60) if config.train.minutes else 0.0
    return max(step / total, by_time)


def rate_at(progress: float, warmup: float) -> float:
    """Learning rate as a share of its peak: linear warmup, then cosine decay to zero."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def spoken(seconds: float) -> str:
    """A duration in words: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
