"""`binder pairs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import options, output

if TYPE_CHECKING:
    from binder.pairs import PairsReport

SHOWN = 5  # of each kind of finding


class Share(click.ParamType[Any]):
    """A share of the pairs, or `auto`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto" or isinstance(value, float):
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r}: expected a share such as 0.7, or auto", param, ctx)


@click.group("pairs")
def pairs_command() -> None:
    """Look after a manifest of pairs."""


@pairs_command.command("check")
@click.argument("pairs")
@click.option("--modality", metavar="NAME", help="The side to be aligned, where the columns leave a choice.")
@click.option("--encoder", metavar="RUN", help="Judge the pairs by this aligned encoder.")
@click.option("--anchor", metavar="NAME", help="The anchor, where no --encoder names it; mini by default.")
@click.option("--split", metavar="COLUMN", help="Column that says which rows train; `split` by default.")
@click.option("--keep", type=Share(), metavar="SHARE|auto", help="Keep this share, the best agreeing pairs: 0.7.")
@click.option("--near", type=click.FloatRange(0, 1), help="Cosine from which pictures are near duplicates; 0.995.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows that are kept.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page with previews.")
@options.as_json
@options.device
@options.workers
def check(pairs: str, out: Path | None, report: Path | None, as_json: bool, workers: int | None, **given: Any) -> None:
    """Duplicates, leaks, balance and unreadable items in PAIRS, and how well the two sides of each pair agree.

    Without an encoder, a pair is judged by what the other pairs foretell of it. --out writes a cleaned manifest: what
    is unreadable, repeated or leaked is left out, and with --keep the least agreeing pairs.
    """
    from binder.files import check_target

    count = options.worker_count(workers)
    from binder.pairs import check_pairs
    from binder.pairs.cleaned import write_rows
    from binder.report.pairs import as_dict, write_page

    for path in (out, report):
        if path is not None:
            check_target(path)  # before hours of work
    given = {name: value for name, value in given.items() if value is not None}
    with output.ProgressBar() as progress:
        found = check_pairs(pairs, workers=count, progress=progress, **given)
    if out is not None:
        write_rows(out, found.kept)
    if report is not None:
        write_page(report, found)
    if as_json:
        output.print_json(as_dict(found))
    else:
        _show(found)
    for path in (out, report):
        if path is not None:
            output.say(f"wrote {path}", err=True)
    if len(found.unreadable) >= len(found.rows) and not found.kept:
        sys.exit(2)  # nothing could be read


def _show(found: PairsReport) -> None:
    """The findings as text."""
    from binder.report.pairs import lines

    n = len(found.rows)
    columns = ["modality", "rows", "lacking in", "different items", "copies", "most repeated"]
    rows = [
        [name, of, n - of, found.distinct[name], len(found.copies.get(name, [])), _repeated(found.most_repeated[name])]
        for name, of in found.columns.items()
    ]
    output.print_table(columns, rows)
    named = lines(found)
    for what, key, count in (
        ("unreadable items", "unreadable", len(found.unreadable)),
        ("rows repeat another by content", "repeated", len(found.repeated_rows)),
        (f"held-out rows were seen in training (column {found.split})", "leaks", len(found.leaks)),
        ("groups of files have the same content", "copies", sum(len(groups) for groups in found.copies.values())),
        ("pairs of different pictures are nearly the same", "near", found.n_near),
        ("texts are longer than the anchor reads", "cut", len(found.cut)),
        ("words were never learnt by the anchor", "unknown", len(found.unknown_words)),
    ):
        if count:
            output.say(f"{count} {what}:")
            for line in named[key][:SHOWN]:
                output.say(f"  {line}")
            if count > SHOWN:
                output.say(f"  ... and {count - SHOWN} more")
    if found.wrong_share is None:
        output.say(f"agreement: {found.judged_by}")
    else:
        output.say(
            f"about {found.wrong_share:.0%} of the pairs are wrong, judged by {found.judged_by}; the least agreeing:"
        )
        for i in sorted(found.agreement, key=lambda i: found.agreement[i])[:SHOWN]:
            output.say(f"  {found.rows[i].where}: {found.agreement[i]:.2f}")
    output.say(f"{len(found.kept)} of {n} rows are kept, {len(found.dropped)} dropped")


def _repeated(items: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name[:30]} ({times})" for name, times in items[:3]) or "none"
