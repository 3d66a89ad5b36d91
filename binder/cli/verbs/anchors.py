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
    """List the names that --anchor takes, and how others are named; a local folder works as well."""
    from binder.registry import registry

    kinds = registry().anchor_kinds()
    known = [(*entry, False) for kind in kinds for entry in (kind.list() if kind.list else ())]
    others = [(f"{kind.prefix}...", kind.summary, True) for kind in kinds if kind.prefix]
    if as_json:
        found = [{"name": name, "summary": summary, "prefix": prefix} for name, summary, prefix in known + others]
        output.print_json(found)
    else:
        output.print_table(["name", "what"], [(name, summary) for name, summary, _ in others + known])
