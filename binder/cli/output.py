"""What people see: lines, tables, JSON, the list of skipped items. Rich is imported late.

Names, labels and messages come from other people's files: all are shown as they are, none is read as markup.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from binder.cli.progress import PLAIN_EVERY, ProgressBar
from binder.report.text import UNSEEN, visible

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["PLAIN_EVERY", "ProgressBar"]

WIDEST = 100_000  # letters of a line where the output is no terminal: nothing is folded there
LONGEST = 600  # letters of a line about a skipped item
NO_RESULT = "–"


def shown(text: object, link: str | None = None) -> Text:
    """What is printed of a text from outside: no markup, nothing invisible; a link where the terminal knows links."""
    from rich.style import Style
    from rich.text import Text

    return Text(visible(text), style=Style(link=link) if link else "")


def say(text: object, *, err: bool = False) -> None:
    """Print a line, on stdout or on stderr. Control characters in it are shown, not obeyed."""
    click.echo(visible(text), err=err)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, err: bool = False) -> None:
    """Print a table, on stdout or on stderr: numbers right-aligned, floats with three decimals, no cell cut off.

    The cell "–" stands for a number that is missing. Control characters and markup in cells are shown, not obeyed.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) or row[i] == NO_RESULT for row in rows)
        drawn.add_column(shown(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row)
        drawn.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in cells))
    console = Console(stderr=err)
    if not console.is_terminal:
        console = Console(stderr=err, width=WIDEST)
    console.print(drawn)


def retrieval_table(
    rows: Sequence[dict[str, Any]], *, baselines: Sequence[dict[str, Any]] = (), err: bool = False
) -> None:
    """The rows of `binder eval` for people, and beside them the R@1 of each of a card's baselines."""
    from binder.evaluation.metrics import NO_MISS, RATES, trivial

    before = [{(r["query"], r["target"]): float(r["r1"]) for r in baseline["retrieval"]} for baseline in baselines]
    columns = ["query", "target", "", "n", "targets", "R@1", "R@5", "R@10", "median rank", "mAP", "chance R@1"]
    shares = [{key: NO_RESULT if key in trivial(r["n_targets"]) else float(r[key]) for key in RATES} for r in rows]
    print_table(
        [*columns, *(f"{baseline['name']} R@1" for baseline in baselines)],
        [
            [
                row["query"],
                row["target"],
                "trained" if row["trained"] else "emergent",
                row["n"],
                row["n_targets"],
                *share.values(),
                f"{row['median_rank']:g}",
                float(row["map"]),
                float(row["chance_r1"]),
                *(cells.get((row["query"], row["target"]), "") for cells in before),
            ]
            for row, share in zip(rows, shares, strict=True)
        ],
        err=err,
    )
    if any(NO_RESULT in share.values() for share in shares):
        click.echo(f"{NO_RESULT}: {NO_MISS}", err=err)
    for baseline in baselines:
        say(f"{baseline['name']}: {baseline['what']}", err=err)


def skipped(problems: Sequence[tuple[str, str]], *, most: int = 10) -> None:
    """The items that were left out, on stderr: how many, and the first ones with their reason."""
    if not problems:
        return
    click.echo(f"skipped {len(problems)} unreadable item{'s' * (len(problems) > 1)}:", err=True)
    for where, reason in problems[:most]:
        line = f"{where}: {reason}" if where else reason
        say(f"  {line if len(line) <= LONGEST else line[: LONGEST - 1] + '…'}", err=True)
    if len(problems) > most:
        click.echo(f"  ... and {len(problems) - most} more", err=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on stdout.

    NaN and infinities, which JSON lacks, become null. Control characters, and letters that stdout cannot encode, are
    written as JSON escapes.
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(value), ensure_ascii=False)
    line = UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], line)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(json.loads(line))
    click.echo(line)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


class LogHandler(logging.StreamHandler[TextIO]):
    """Records as one visible line each, on what is stderr when they come: above a progress bar, not into it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LogLine("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class LogLine(logging.Formatter):
    """Nothing from outside is obeyed by a terminal; a traceback that follows keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return visible(super().formatException(ei), keep="\n")


def any_text_can_be_written() -> None:
    """Letters that stdout and stderr have no bytes for (LC_ALL=C, half surrogate pairs) are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
