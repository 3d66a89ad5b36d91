"""The record by which a plugin describes a kind of anchor to the core. Free of torch, so that listing them is fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from binder.errors import PluginError

if TYPE_CHECKING:
    from binder.anchors.base import Anchor

PREFIX = re.compile(r"[a-z][a-z0-9-]{0,19}:|")


@dataclass(frozen=True)
class AnchorKind:
    """Models of one library that can be anchors, named with a prefix.

    Plugins return these records from the hook `binder_register_anchors`. The module that makes them imports torch only
    inside `load`.
    """

    prefix: str  # with which the names of these anchors begin, such as "st:"; the core's own have none
    summary: str  # one line for `binder anchors list`: which models, how they are named
    load: Callable[[str, str], Anchor]  # (name with the prefix, device) -> the frozen anchor; raises AnchorError
    list: Callable[[], Sequence[tuple[str, str]]] | None = None  # (name, description) of those known by name


def check(kind: AnchorKind) -> None:
    """Raises PluginError for a record with a wrong field, which the message names."""
    if not isinstance(kind.prefix, str) or not PREFIX.fullmatch(kind.prefix):
        raise PluginError(f"anchors: prefix {kind.prefix!r} must be lower case and end with a colon, such as 'mine:'")
    for field in ("load", "list"):
        value = getattr(kind, field)
        if not (callable(value) or (value is None and field == "list")):
            raise PluginError(f"anchors {kind.prefix!r}: {field} must be a function, got {type(value).__name__}")
