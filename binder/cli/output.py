"""What the command line prints: lines, tables, JSON, lists of skipped items. Rich is imported late.

Names, labels and messages may come from untrusted files: they are shown verbatim and never interpreted as markup.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from binder.cli.progress import PLAIN_EVERY, ProgressBar
from binder.report.text import INVISIBLE, visible

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["PLAIN_EVERY", "ProgressBar"]

PIPE_WIDTH = 100_000  # columns assumed where the output is not a terminal, so that nothing is wrapped
MAX_LINE = 600  # characters of a line about a skipped item
NO_RESULT = "–"


def shown(text: object, link: str | None = None) -> Text:
    """Untrusted text as it is printed: no markup, nothing invisible; a link on terminals that support them."""
    from rich.style import Style
    from rich.text import Text

    return Text(visible(text), style=Style(link=link) if link else "")


def say(text: object, *, err: bool = False) -> None:
    """Print a line on stdout or stderr, with control characters escaped."""
    click.echo(visible(text), err=err)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Collection[str] = (), err: bool = False
) -> None:
    """Print a table on stdout or stderr: numbers right-aligned, floats with three decimals, no cell cut off.

    The cell "–" stands for a missing number. The columns `right` are right-aligned, too, whatever they hold. Control
    characters and markup in cells are escaped.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) or row[i] == NO_RESULT for row in rows)
        drawn.add_column(shown(name), justify="right" if numeric or name in right else "left", overflow="fold")
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row)
        drawn.add_row(*(cell if isinstance(cell, Text) else shown(cell) for cell in cells))
    console = Console(stderr=err)
    if not console.is_terminal:
        console = Console(stderr=err, width=PIPE_WIDTH)
    console.print(drawn)


def retrieval_table(
    rows: Sequence[dict[str, Any]], *, baselines: Sequence[dict[str, Any]] = (), err: bool = False
) -> None:
    """Print the rows of `binder eval` as a table, with the first metric of each of a card's baselines."""
    from binder.evaluation.metrics import METRICS, NO_MISS, no_result
    from binder.evaluation.retrieval import figures

    shown = [figures(row, baselines) for row in rows]
    free = [metric.label for metric in METRICS if metric.decimals is None]
    lines = [
        [r["query"], r["target"], "trained" if r["trained"] else "emergent", r["n"], r["n_targets"], *cells.values()]
        for r, cells in zip(rows, shown, strict=True)
    ]
    right = [name for name in shown[0] if name not in free]
    print_table(["query", "target", "", "n", "targets", *shown[0]], lines, right=right, err=err)
    if any(no_result(row["n_targets"]) for row in rows):
        click.echo(f"{NO_RESULT}: {NO_MISS}", err=err)
    for baseline in baselines:
        say(f"{baseline['name']}: {baseline['what']}", err=err)


def skipped(
    problems: Sequence[tuple[str, str]],
    *,
    most: int = 10,
    count: int | None = None,
    head: str = "skipped {} unreadable item",
) -> None:
    """Print how many items were skipped, and the first of them with their reasons, on stderr.

    `count` says how many there are where `problems` has only the first.
    """
    if not problems:
        return
    count = len(problems) if count is None else count
    click.echo(f"{head.format(count)}{'s' * (count > 1)}:", err=True)
    for where, reason in problems[:most]:
        line = f"{where}: {reason}" if where else reason
        say(f"  {line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + '…'}", err=True)
    if count > most:
        click.echo(f"  ... and {count - most} more", err=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON on stdout.

    NaN and infinities, which JSON lacks, become null. Control characters, and characters that stdout cannot encode,
    are written as JSON escapes.
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(value), ensure_ascii=False)
    line = INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], line)
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
    """Writes each record as one line to the current stderr, so that it appears above a progress bar, not inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LogLine("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class LogLine(logging.Formatter):
    """Escapes control characters in records; tracebacks keep their line breaks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return visible(super().formatException(ei), keep="\n")


def any_text_can_be_written() -> None:
    """Let stdout and stderr escape characters that they cannot encode (LC_ALL=C, lone surrogates)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
