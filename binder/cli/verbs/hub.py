"""`binder push` and `binder pull`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("push")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("to", metavar="hf:ORG/NAME")
@click.option("--licence", metavar="NAME", help="Licence of the weights by the hub's short name: apache-2.0.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
def push_command(run: Path, to: str, licence: str | None, private: bool) -> None:
    """Put the finished run of the folder RUN on the model hub, with a generated model card and without any data."""
    from binder.artifact.hub import push

    click.echo(f"pushed to {push(run, to, licence=licence, private=private)}")


@click.command("pull")
@click.argument("source", metavar="hf:ORG/NAME")
@click.argument("run", type=click.Path(path_type=Path))
def pull_command(source: str, run: Path) -> None:
    """Fetch an aligned encoder from the model hub into the new folder RUN."""
    from binder.artifact.hub import pull

    click.echo(f"the encoder is in {pull(source, run)}")
