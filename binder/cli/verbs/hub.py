"""`binder push` and `binder pull`."""

from __future__ import annotations

from pathlib import Path

import click

from binder.cli import complete, options


@click.command("push", cls=options.Command)
@click.argument("run", type=click.Path(path_type=Path), shell_complete=complete.runs)
@click.argument("to", metavar="hf:ORG/NAME")
@click.option(
    "--license",
    cls=options.Renamed,
    was="--licence",
    metavar="NAME",
    help="License of the weights, by its short name on the Hub: apache-2.0.",
)
@click.option("--private", is_flag=True, help="Make the repository private if it is new.")
def push_command(run: Path, to: str, license: str | None, private: bool) -> None:
    """Upload the aligned encoder in the run folder RUN to the Hugging Face Hub, with a model card and without data."""
    from binder.artifact.hub import push

    click.echo(f"pushed to {push(run, to, license=license, private=private)}")


@click.command("pull", cls=options.Command)
@click.argument("source", metavar="hf:ORG/NAME")
@click.argument("run", type=click.Path(path_type=Path))
def pull_command(source: str, run: Path) -> None:
    """Download an aligned encoder from the Hugging Face Hub into the new folder RUN."""
    from binder.artifact.hub import pull

    click.echo(f"the encoder is in {pull(source, run)}")
