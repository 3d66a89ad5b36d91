"""`binder index`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from binder.cli import complete, hits, options, output

if TYPE_CHECKING:
    from binder.index import Added, Index

place = click.argument("index", metavar="INDEX", shell_complete=complete.indexes)


@click.group("index", cls=options.Group)
def index_command() -> None:
    """Keep items and their vectors in a searchable index. INDEX is a folder, or s3://BUCKET/NAME."""


@index_command.command("create")
@place
@options.anchor
@options.encoders
@options.trunk
def create(index: str, anchor: str | None, encoders: tuple[str, ...], trunk: str | None) -> None:
    """Create an empty index in the space of an anchor. It records which encoders it is filled with."""
    from binder.api import Binder
    from binder.index import Index

    made = Index.create(index, Binder.of(encoders, anchor=anchor, trunk=trunk))
    output.say(f"{index}: new index, anchor {made.record.anchor}, {made.record.embed_dim} dimensions", err=True)


@index_command.command("add")
@place
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete.paths)
@options.every
@click.option("--force", is_flag=True, help="Encode again what looks unchanged.")
@hits.locations
@options.as_modality
@options.as_json
@options.strict
@options.device
@options.workers
def add(
    index: str,
    files: tuple[str, ...],
    every: float | None,
    force: bool,
    modality: str | None,
    as_json: bool,
    strict: bool,
    workers: int | None,
    **where: Any,
) -> None:
    """Add new and changed items; to resume after an interruption, run the same command again.

    FILE is an item, a folder of items, a manifest (its other columns become metadata) or a file of vectors (from
    `binder embed` or `binder index export`); with --as text it is the text itself.
    """
    count = options.worker_count(workers)
    from binder.index import Index, load_space

    there = Index.open(index, load=lambda record: load_space(record, **where, workers=count))
    how: dict[str, Any] = {"every_s": every, "force": force, "strict": strict}
    with output.ProgressBar() as progress:
        given: dict[str, Any] = {modality: list(files)} if modality else {}
        added = there.add(*(() if modality else files), progress=progress, **how, **given)
    output.skipped(added.failed)
    output.say(f"{_summary(added)}; {len(there)} in {index}", err=as_json)
    if as_json:
        output.print_json({**_counts(added), "failed": _failures(added), "rows": len(there)})
    _stop_if_nothing_could_be_read(added)


@index_command.command("reembed")
@place
@click.option(
    "--anchor",
    metavar="NAME",
    shell_complete=complete.anchors,
    help="The anchor of the new space, where no --encoder implies it.",
)
@options.encoders
@options.prompt
@options.trunk
@click.option("--out", required=True, metavar="NEW", help="Where the new index is made: a folder, or s3://BUCKET/NAME.")
@hits.modalities
@options.as_json
@options.strict
@options.device
@options.workers
def reembed(
    index: str,
    out: str,
    encoders: tuple[str, ...],
    modalities: tuple[str, ...],
    as_json: bool,
    strict: bool,
    workers: int | None,
    **where: Any,
) -> None:
    """Move an index to another space: encode its items again, into a new index. INDEX is only read.

    What the anchor itself encodes needs no --encoder, all else needs one that is aligned to it. Items keep their names,
    texts and metadata, and are cut into segments as before. To resume after an interruption, or to take in what has
    changed since, run the same command again. Items that cannot be encoded again, as their file is gone or they were
    added as vectors, are listed.
    """
    if where["anchor"] is None and not encoders:
        raise click.UsageError("give the anchor of the new space (--anchor), or an --encoder that implies it")
    count = options.worker_count(workers)
    from binder.index import Index, load_target

    there, chosen = Index.open(index), modalities or None
    space = load_target(there.store, chosen, encoders, **where, workers=count)
    with output.ProgressBar() as progress:
        moved = there.reembed(out, space, modalities=chosen, strict=strict, progress=progress)
    output.skipped(moved.failed, count=moved.left, head="cannot move {} item")
    rows = len(Index.open(out))
    output.say(f"{_summary(moved)}; {rows} in {out}", err=as_json)
    if as_json:
        output.print_json({**_counts(moved), "left": moved.left, "failed": _failures(moved), "rows": rows})
    _stop_if_nothing_could_be_read(moved)


@index_command.command("delete")
@place
@click.argument("items", nargs=-1, metavar="[ITEM]...", shell_complete=complete.paths)
@click.option(
    "--where", metavar="CONDITION", help="Delete what meets this SQL condition: \"license = 'cc' AND seconds < 30\"."
)
@hits.modalities
def delete(index: str, items: tuple[str, ...], where: str | None, modalities: tuple[str, ...]) -> None:
    """Delete items by path, text or name (a folder: everything below it), or all that meet a condition.

    Only rows of the index are deleted, never the files themselves.
    """
    there = _open(index)
    if where is not None and not items:
        deleted = there.delete(where=where, modalities=modalities or None)
    elif items and where is None:
        named: list[dict[str, Any]] = [{name: list(items)} for name in modalities or there.modalities()]
        deleted = sum(there.delete(**one) for one in named)
    else:
        raise click.UsageError("give ITEMs or --where CONDITION, not both")
    output.say(f"{deleted} rows deleted, {len(there)} left in {index}", err=True)


@index_command.command("info")
@place
@options.as_json
def info(index: str, as_json: bool) -> None:
    """Show what the index contains."""
    found = _open(index).info()
    if as_json:
        output.print_json(found)
        return
    size = f", {found['bytes'] / 2**20:.1f} MiB" if found["bytes"] is not None else ""
    output.say(f"{index}: anchor {found['anchor']}, space {found['space'][:8]}, {found['embed_dim']} dimensions{size}")
    rows = [
        [
            name,
            m["rows"],
            m["search"],
            _calibrated(m),
            ", ".join(f"{column} ({kind})" for column, kind in m["metadata"].items()) or "-",
        ]
        for name, m in found["modalities"].items()
    ]
    output.print_table(["modality", "rows", "search", "calibrated", "metadata"], rows)
    for name, run in found["encoders"].items():
        output.say(f"{name} is encoded with {run}")


@index_command.command("optimize")
@place
@click.option(
    "--keep-versions",
    cls=options.Renamed,
    was="--keep",
    type=options.Duration(),
    default="10min",
    show_default=True,
    help="Keep old versions younger than this.",
)
def optimize(index: str, keep_versions: float) -> None:
    """Compact small files, update the search structures, calibrate, and delete old versions.

    Calibration estimates, from a sample of each modality and without labels, what a cosine is worth: hits then have a
    probability, and hits of several modalities are ranked by it. It stays valid until the number of rows has changed by
    a quarter.
    """
    _open(index).optimize(keep_versions_s=keep_versions)


@index_command.command("verify")
@place
@click.option("--files", is_flag=True, help="Also compare the items' files with what was added.")
@options.as_json
def verify(index: str, files: bool, as_json: bool) -> None:
    """Read the whole index and report damage; exit status 1 if there is any."""
    there = _open(index)
    with output.ProgressBar() as progress:
        problems = there.verify(files=files, progress=progress)
    if as_json:
        output.print_json({"problems": problems})
    else:
        for problem in problems:
            output.say(problem)
    output.say(f"{len(there)} rows, {len(problems) or 'no'} problem{'s' * (len(problems) != 1)}", err=True)
    if problems:
        raise SystemExit(1)


@index_command.command("export")
@place
@click.argument("file", shell_complete=complete.paths)
@hits.modalities
def export(index: str, file: str, modalities: tuple[str, ...]) -> None:
    """Write all rows with their vectors to one .parquet or .arrow FILE, which `binder index add` reads."""
    count = _open(index).export(file, modalities=modalities or None)
    output.say(f"{count} rows in {file}", err=True)


def _open(index: str) -> Index:
    from binder.index import Index

    return Index.open(index)


def _calibrated(modality: dict[str, Any]) -> str:
    sampled, rows = modality["calibrated_from"], modality["calibrated_at"]
    if sampled is None:
        return "no"
    return f"from {sampled} of {rows} rows" + ("" if modality["calibrated"] else ", out of date: optimize")


def _summary(added: Added) -> str:
    return f"{added.inserted} rows added, {added.updated} updated, {added.unchanged} unchanged"


def _counts(added: Added) -> dict[str, int]:
    return {"inserted": added.inserted, "updated": added.updated, "unchanged": added.unchanged}


def _failures(added: Added) -> list[dict[str, str]]:
    return [{"item": item, "reason": reason} for item, reason in added.failed]


def _stop_if_nothing_could_be_read(added: Added) -> None:
    if added.failed and not (added.inserted or added.updated or added.unchanged):
        sys.exit(2)
