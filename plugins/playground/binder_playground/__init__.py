"""A small world that is drawn and spoken offline: the demo, its data, and the recipe of the anchor `mini`.

`world` says what there is in it and how people say it, `draw` draws it, `speech` has it spoken by synthetic voices,
`clips` and `tables` write it as videos and tables. `binder demo` is in `demo`, the recipe in `mini` and `train_mini`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def binder_register_commands(cli: click.Group) -> None:
    """Add `binder demo`."""
    from binder_playground.demo.command import demo_command

    cli.add_command(demo_command)
