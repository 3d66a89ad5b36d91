"""`binder pairs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import complete, options, output

if TYPE_CHECKING:
    from binder.pairs import PairsReport

MAX_SHOWN = 5  # findings of each kind


class Share(click.ParamType[Any]):
    """A share between 0 and 1, or `auto`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto" or isinstance(value, float):
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r}: expected a share such as 0.7, or auto", param, ctx)


@click.group("pairs", cls=options.Group)
def pairs_command() -> None:
    """Check and clean a manifest of pairs before training."""


@pairs_command.command("check")
@click.argument("pairs", shell_complete=complete.paths)
@click.option(
    "--modality",
    metavar="MODALITY",
    shell_complete=complete.modalities,
    help="The modality to align, if the columns leave a choice.",
)
@click.option(
    "--encoder", metavar="RUN", shell_complete=complete.runs, help="Judge the pairs with this aligned encoder."
)
@options.anchor
@click.option("--split", metavar="COLUMN", help="Column with the split (train, val, ...); `split` by default.")
@click.option(
    "--keep", type=Share(), metavar="SHARE|auto", help="Share of the pairs to keep, those that agree best: 0.7."
)
@click.option(
    "--cosine",
    cls=options.Renamed,
    was="--near",
    type=click.FloatRange(0, 1),
    metavar="COSINE",
    help="Lowest cosine of near-duplicate pictures; 0.995 by default.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the rows that are kept to a new manifest.",
)
@click.option(
    "--html",
    cls=options.Renamed,
    was="--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write one self-contained page with previews.",
)
@options.as_json
@options.device
@options.workers
def check(pairs: str, out: Path | None, html: Path | None, as_json: bool, workers: int | None, **given: Any) -> None:
    """Find duplicates, leaks, imbalance and unreadable items in PAIRS, and how well the two sides of each pair agree.

    Without --encoder, each pair is judged by predictions fitted to the other pairs. --out writes a cleaned manifest
    without rows that are unreadable, repeated or leaked, and with --keep without the pairs that agree least.
    """
    from binder.files import check_target

    count = options.worker_count(workers)
    from binder.pairs import check_pairs
    from binder.pairs.cleaned import write_rows
    from binder.registry import registry
    from binder.report.pairs import as_dict, write_page

    for path in (out, html):
        if path is not None:
            check_target(path)  # fail before the work, not after it
    given = {name: value for name, value in given.items() if value is not None}
    with output.ProgressBar() as progress:
        found = check_pairs(pairs, workers=count, progress=progress, **given)
    if out is not None:
        write_rows(out, found.kept)
    if html is not None:
        write_page(html, found, registry())
    if as_json:
        output.print_json(as_dict(found))
    else:
        _show(found)
    for path in (out, html):
        if path is not None:
            output.say(f"wrote {path}", err=True)
    if len(found.unreadable) >= len(found.rows) and not found.kept:
        sys.exit(2)  # nothing could be read


def _show(found: PairsReport) -> None:
    """The findings as text."""
    from binder.report.pairs import lines

    n = len(found.rows)
    columns = ["modality", "rows", "missing in", "distinct items", "copies", "most repeated"]
    rows = [
        [name, of, n - of, found.distinct[name], len(found.copies.get(name, [])), _repeated(found.most_repeated[name])]
        for name, of in found.columns.items()
    ]
    output.print_table(columns, rows)
    named = lines(found)
    for what, key, count in (
        ("unreadable items", "unreadable", len(found.unreadable)),
        ("rows with the same content as an earlier row", "repeated", len(found.repeated_rows)),
        (f"held-out rows that also occur in training (column {found.split})", "leaks", len(found.leaks)),
        ("groups of files with the same content", "copies", sum(len(groups) for groups in found.copies.values())),
        ("pairs of near-duplicate pictures", "near", found.n_near),
        ("texts too long for the anchor, which truncates them", "cut", len(found.cut)),
        ("words unknown to the anchor", "unknown", len(found.unknown_words)),
    ):
        if count:
            output.say(f"{count} {what}:")
            for line in named[key][:MAX_SHOWN]:
                output.say(f"  {line}")
            if count > MAX_SHOWN:
                output.say(f"  ... and {count - MAX_SHOWN} more")
    if found.wrong_share is None:
        output.say(f"agreement: {found.judged_by}")
    else:
        output.say(
            f"about {found.wrong_share:.0%} of the pairs are wrong, judged by {found.judged_by}; these agree least:"
        )
        for i in sorted(found.agreement, key=lambda i: found.agreement[i])[:MAX_SHOWN]:
            output.say(f"  {found.rows[i].where}: {found.agreement[i]:.2f}")
    output.say(f"{len(found.kept)} of {n} rows are kept, {len(found.dropped)} dropped")


def _repeated(items: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name[:30]} ({times})" for name, times in items[:3]) or "none"
