"""Two training loops timed side by side in one process: fair on a machine that does other things meanwhile."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path


class Turns:
    """A progress callback for `binder.align` or `training.train`: their steps and another loop's, taken in turns.

    After every `block` steps of binder the other loop takes as many. Both are timed in CPU seconds of this process.
    What happens between two steps counts to the later one: checks and checkpoints are left out by the medians.
    """

    def __init__(self, other: Iterator[object] | None = None, block: int = 20, skip: int = 5) -> None:
        self.other, self.block, self.skip = other, block, skip
        self.ours: list[float] = []  # CPU seconds of each step
        self.theirs: list[float] = []
        self.stages: dict[str, float] = {}  # CPU seconds by what `align` said it was doing
        self.last = time.process_time()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.process_time()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self.last
        if stage == "training":
            self.ours.append(now - self.last)
            if self.other is not None and done % self.block == 0:
                self._let_other()
        self.last = time.process_time()

    def _let_other(self) -> None:
        for _ in range(self.block):
            began = time.process_time()
            next(self.other)  # type: ignore[arg-type]
            self.theirs.append(time.process_time() - began)

    def medians(self) -> tuple[float, float]:
        """Median CPU seconds of a step of binder and of the other loop, the first few of each left out."""
        return statistics.median(self.ours[self.skip :]), statistics.median(self.theirs[self.skip :])


def memory_mb() -> float:
    """The most memory this process has held, in MB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0.0)
