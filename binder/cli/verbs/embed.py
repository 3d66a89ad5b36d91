"""`binder embed`."""

from __future__ import annotations

from pathlib import Path

import click

from binder.cli import complete, options, output


@click.command("embed", cls=options.Command)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete.paths)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to write: .parquet, .csv, .jsonl or .npz.",
)
@options.anchor
@options.prompt
@options.every
@options.encoders
@options.trunk
@options.as_modality
@options.strict
@options.device
@options.workers
def embed_command(
    files: tuple[str, ...],
    out: Path,
    anchor: str | None,
    prompt: str | None,
    every: float | None,
    encoders: tuple[str, ...],
    trunk: str | None,
    modality: str | None,
    strict: bool,
    device: str,
    workers: int | None,
) -> None:
    """Compute unit vectors of items and write them with columns item, modality, vector (--every: also start_s, end_s).

    FILE is an item, a folder of items, or a manifest; with --as text it is the text itself.
    """
    from binder.space.vectors_file import check_target, write_vectors

    check_target(out)  # before anything is encoded
    count = options.worker_count(workers)
    from binder.api import Binder
    from binder.cli.items import collect, encode

    space = Binder.of(encoders, anchor=anchor, prompt=prompt, trunk=trunk, device=device, workers=count)
    items = collect(files, modality, space)
    rows = encode(items, space, strict=strict, every_s=every)
    write_vectors(
        out,
        [str(items[row.position][1]) for row in rows],
        [items[row.position][0] for row in rows],
        [row.vector for row in rows],
        space.anchor,
        spans=[row.span for row in rows] if every is not None else None,
    )
    output.say(f"{len(rows)} vectors of {space.anchor.embed_dim} dimensions in {out}", err=True)
