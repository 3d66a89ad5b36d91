"""`binder anchors`."""

from __future__ import annotations

import click

from binder.cli import options, output


@click.group("anchors")
def anchors_command() -> None:
    """The frozen models there are."""


@anchors_command.command("list")
@options.as_json
def list_anchors(as_json: bool) -> None:
    """Names that --anchor takes. A local folder, a checkpoint or hf-hub:ORG/REPO works too."""
    from binder.anchors.openclip import available

    found = available()
    if as_json:
        output.print_json([{"name": name, "summary": summary} for name, summary in found])
    else:
        output.print_table(["name", "what"], found)
