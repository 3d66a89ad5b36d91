"""How long a run is, and its learning rate on the way."""

from __future__ import annotations

import math

from binder.config import AlignConfig
from binder.train.distributed import ALONE, Group

USUAL_STEPS, LEAST_EPOCHS = 1000, 10  # of a run of which nothing is asked: the larger of the two


def total_steps(n: int, config: AlignConfig, group: Group = ALONE) -> int:
    """Steps of the whole run over `n` rows: `epochs` or `steps`, whichever is less; else the default."""
    per_epoch, asked = steps_per_epoch(n, config, group), config.train
    wanted = [asked.epochs * per_epoch] if asked.epochs else []
    wanted += [asked.steps] if asked.steps else []
    return min(wanted) if wanted else max(LEAST_EPOCHS * per_epoch, math.ceil(USUAL_STEPS / per_epoch) * per_epoch)


def plan(n: int, config: AlignConfig, group: Group = ALONE) -> str:
    """How long a run over `n` rows is, and why, in words."""
    total, per_epoch = total_steps(n, config, group), steps_per_epoch(n, config, group)
    said = f"{total:,} steps of {config.train.batch_size * group.size} pairs, {total / per_epoch:.3g} epochs"
    if config.train.minutes:
        return f"{said} or {config.train.minutes:g} minutes, whichever comes first"
    if config.train.steps or config.train.epochs:
        return said
    why = f"{LEAST_EPOCHS} epochs" if total == LEAST_EPOCHS * per_epoch else f"{USUAL_STEPS:,} steps in whole epochs"
    return f"{said} (by default {why}; --set train.steps=... or --minutes makes it shorter)"


def steps_per_epoch(n: int, config: AlignConfig, group: Group = ALONE) -> int:
    """Batches in one pass over `n` rows; the last one may be smaller."""
    return max(1, math.ceil(n / (config.train.batch_size * group.size)))


def progress_of(step: int, seconds: float, total: int, config: AlignConfig) -> float:
    """How far the run is, 0..1: by steps, or by time where that comes first."""
    by_time = seconds / (config.train.minutes * 60) if config.train.minutes else 0.0
    return max(step / total, by_time)


def rate_at(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then half a cosine down to zero."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def spoken(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
