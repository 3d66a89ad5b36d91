"""This project's own plugins, installed or not, as `known_plugins.toml` lists them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class KnownPlugin:
    """A plugin of this project, installed or not."""

    distribution: str
    folder: str  # in a checkout
    summary: str
    wheel: str = ""  # in a release: the URL of its wheel, with a hash
    commands: Sequence[str] = ()  # that it adds to `binder`
    anchors: Sequence[
        str
    ] = ()  # the prefixes of anchors that it loads; without both, it provides the modality of its name
    exports: Sequence[str] = ()  # the formats that it adds to `binder export`
    needs: Sequence[str] = ()  # names of other known plugins to install with it


@cache
def known_plugins() -> Mapping[str, KnownPlugin]:
    """This project's plugins by name, installed or not, from `known_plugins.toml`."""
    table = tomllib.loads((Path(__file__).parent / "known_plugins.toml").read_text(encoding="utf-8"))
    return {name: KnownPlugin(**entry) for name, entry in table.items()}
