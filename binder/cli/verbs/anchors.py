"""`binder anchors`."""

from __future__ import annotations

import click

from binder.cli import options, output


@click.group("anchors", cls=options.Group)
def anchors_command() -> None:
    """List the frozen models to align to."""


@anchors_command.command("list")
@options.as_json
def list_anchors(as_json: bool) -> None:
    """List the names that --anchor takes; a local folder, a checkpoint or hf-hub:ORG/REPO works as well."""
    from binder.anchors.openclip import available

    found = available()
    if as_json:
        output.print_json([{"name": name, "summary": summary} for name, summary in found])
    else:
        output.print_table(["name", "what"], found)
