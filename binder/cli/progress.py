"""Progress on stderr: a bar on a terminal, an occasional line in a log. Rich is imported late."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from binder.report.text import visible

DELAY = 1.0  # seconds before a bar appears, so that quick work shows none
FIRST = 3.0  # seconds until the first line of a stage
PLAIN_EVERY = 10.0  # seconds between the lines of a stage where stderr is not a terminal
MIN_GAP = 6.0  # seconds between any two lines, so at most ten a minute however many stages there are


class ProgressBar:
    """A context manager that shows on stderr how much is done, how fast, and how much time is left.

        with ProgressBar() as progress:
            binder.align(..., progress=progress)

    Your own work reports with `progress(stage, done, total)`. Quick work shows nothing.
    """

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._printed: dict[str, float] = {}
        self._last = float("-inf")
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done <= self._done.get(stage, done - 1):  # the same stage started over: so does its time
            self._began.pop(stage)
            self._printed.pop(stage, None)
        self._done[stage] = done
        began = self._began.setdefault(stage, now)
        if sys.stderr.isatty() or self._bar is not None:  # rich replaces sys.stderr while a bar is shown
            if stage in self._tasks or now - began > DELAY:
                self._draw(stage, done, total, now - began)
        elif self._due(stage, done == total, began, now):
            self._printed[stage] = self._last = now
            click.echo(f"{visible(stage)}: {done}/{total} ({pace(done, total, now - began)})", err=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _due(self, stage: str, over: bool, began: float, now: float) -> bool:
        """Whether to write a line in a log: the first one soon, and one at the end of a long stage."""
        since = now - self._printed.setdefault(stage, began + FIRST - PLAIN_EVERY)
        return now - self._last >= MIN_GAP and (since > PLAIN_EVERY or (over and now - began > PLAIN_EVERY))

    def _draw(self, stage: str, done: int, total: int, seconds: float) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}", markup=False),
                console=Console(stderr=True),
            )
            self._bar.start()
        rate = pace(done, total, seconds)
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(visible(stage), total=total, pace=rate)
        self._bar.update(self._tasks[stage], completed=done, total=total, pace=rate)


def pace(done: int, total: int, seconds: float) -> str:
    """Time spent, rate, and the time left, as in '10 s, 0.5 a second, about 10 s left'."""
    from binder.train.schedule import spoken

    rate = done / max(seconds, 1e-9)
    left = f", about {spoken((total - done) / rate)} left" if 0 < done < total else ""
    return f"{spoken(seconds)}, {rate:.3g} a second{left}"
