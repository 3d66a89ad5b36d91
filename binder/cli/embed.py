"""`binder embed`."""

from __future__ import annotations

from pathlib import Path

import click

from binder.cli import options


@click.command("embed")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Parquet file to write.")
@click.option("--anchor", metavar="NAME", help="The anchor, where no --encoder names it; mini by default.")
@options.encoders
@options.as_modality
@options.strict
@options.device
@options.workers
def embed_command(
    files: tuple[str, ...],
    out: Path,
    anchor: str | None,
    encoders: tuple[str, ...],
    modality: str | None,
    strict: bool,
    device: str,
    workers: int | None,
) -> None:
    """Turn items into unit vectors: columns item, modality, vector.

    FILE is an item, a folder of items, or a manifest; with `--as text` it is the text itself.
    """
    from binder.cli.items import collect, encode

    items = collect(files, modality)
    import numpy as np

    from binder.api import Binder
    from binder.vectors_file import write_vectors

    space = Binder.of(encoders, anchor=anchor, device=device, workers=options.worker_count(workers))
    rows = encode(items, space, strict=strict)
    kept = sorted(rows)
    write_vectors(
        out,
        [str(items[i][1]) for i in kept],
        [items[i][0] for i in kept],
        np.stack([rows[i] for i in kept]),
        space.anchor,
    )
    click.echo(f"{len(kept)} vectors of {space.anchor.embed_dim} dimensions in {out}", err=True)
