"""`binder pull`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pull")
@click.argument("source", metavar="hf:ORG/NAME")
@click.argument("run", type=click.Path(path_type=Path))
def pull_command(source: str, run: Path) -> None:
    """Fetch an aligned encoder from the model hub into the new folder RUN."""
    from binder.artifact.hub import pull

    click.echo(f"the encoder is in {pull(source, run)}")
