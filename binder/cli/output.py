"""What people see: progress on stderr, tables, the list of skipped items. Rich is imported late."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

DELAY = 1.0  # seconds before a bar appears: quick work shows none
FIRST = 3.0  # seconds until the first line
PLAIN_EVERY = 10.0  # seconds between lines where stderr is no terminal


class ProgressBar:
    """A `binder.encode.Progress` on stderr: a bar on a terminal, now and then a line in a log."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = self._began.setdefault(stage, now)
        if sys.stderr.isatty():
            if stage in self._tasks or now - began > DELAY:
                self._draw(stage, done, total)
        elif now - self._said.setdefault(stage, began + FIRST - PLAIN_EVERY) > PLAIN_EVERY or (
            done == total and now - began > PLAIN_EVERY
        ):
            self._said[stage] = now
            click.echo(f"{stage}: {done}/{total} ({self._pace(done, total, now - began)})", err=True)

    def _pace(self, done: int, total: int, seconds: float) -> str:
        """How long it took, how fast it goes, how long it will take."""
        from binder.schedule import spoken

        rate = done / max(seconds, 1e-9)
        left = f", about {spoken((total - done) / rate)} left" if 0 < done < total else ""
        return f"{spoken(seconds)}, {rate:.3g} a second{left}"

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, stage: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(stderr=True),
            )
            self._bar.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, err: bool = False) -> None:
    """A table on stdout (or stderr); numbers are right-aligned, nothing is cut where the output is no terminal."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) for row in rows)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    console = Console(stderr=err)
    if not console.is_terminal:
        console = Console(stderr=err, width=200)
    console.print(drawn)


def retrieval_table(
    rows: Sequence[dict[str, Any]], *, baselines: Sequence[dict[str, Any]] = (), err: bool = False
) -> None:
    """The rows of `binder eval` for people, and beside them the R@1 of each of a card's baselines."""
    before = [{(r["query"], r["target"]): float(r["r1"]) for r in baseline["retrieval"]} for baseline in baselines]
    columns = ["query", "target", "", "n", "targets", "R@1", "R@5", "R@10", "median rank", "mAP", "chance R@1"]
    table(
        [*columns, *(f"{baseline['name']} R@1" for baseline in baselines)],
        [
            [
                row["query"],
                row["target"],
                "trained" if row["trained"] else "emergent",
                row["n"],
                row["n_targets"],
                *(float(row[key]) for key in ("r1", "r5", "r10")),
                f"{row['median_rank']:g}",
                float(row["map"]),
                float(row["chance_r1"]),
                *(cells.get((row["query"], row["target"]), "") for cells in before),
            ]
            for row in rows
        ],
        err=err,
    )
    for baseline in baselines:
        click.echo(f"{baseline['name']}: {baseline['what']}", err=err)


def skipped(problems: Sequence[tuple[str, str]], *, shown: int = 10) -> None:
    """The items that were left out, on stderr: how many, and the first ones with their reason."""
    if not problems:
        return
    click.echo(f"skipped {len(problems)} unreadable item{'s' * (len(problems) > 1)}:", err=True)
    for where, reason in problems[:shown]:
        click.echo(f"  {where}: {reason}" if where else f"  {reason}", err=True)
    if len(problems) > shown:
        click.echo(f"  ... and {len(problems) - shown} more", err=True)


def json_line(value: Any) -> None:
    """One JSON object on one line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))
