"""The hooks that a plugin may implement; its module is an entry point of the group `binder`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from binder.anchors.kind import AnchorKind
    from binder.modality import Modality
    from binder.portable import ExportFormat

PROJECT = "binder"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def binder_register_modalities() -> Sequence[Modality]:  # type: ignore[empty-body]
    """Return the modalities that this plugin provides."""


@hookspec
def binder_register_anchors() -> Sequence[AnchorKind]:  # type: ignore[empty-body]
    """Return the kinds of anchors that this plugin can load."""


@hookspec
def binder_register_exports() -> Sequence[ExportFormat]:  # type: ignore[empty-body]
    """Return the formats in which this plugin can export an encoder."""


@hookspec
def binder_register_commands(cli: click.Group) -> None:
    """Add commands to the `binder` command line."""
