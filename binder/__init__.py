"""binder: any modality in the space of a frozen CLIP.

Importing this package imports no torch; names that need it are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from binder.config import Config
from binder.errors import (
    AnchorError,
    BinderError,
    ConfigError,
    ItemError,
    ManifestError,
    PluginError,
    RunError,
    SpaceError,
    TrainingError,
)
from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality, PictureConfig

if TYPE_CHECKING:
    from binder.alignment import Result, align
    from binder.anchor import Anchor
    from binder.api import Binder, Embeddings
    from binder.encoder import Encoder, Span
    from binder.tower import PictureEncoder, Tower

_LAZY = {
    "Anchor": "binder.anchor",
    "Binder": "binder.api",
    "Embeddings": "binder.api",
    "Encoder": "binder.encoder",
    "PictureEncoder": "binder.tower",
    "Result": "binder.alignment",
    "Span": "binder.encoder",
    "Tower": "binder.tower",
    "align": "binder.alignment",
}

__all__ = [
    "Anchor",
    "AnchorError",
    "Binder",
    "BinderError",
    "Config",
    "ConfigError",
    "Embeddings",
    "Encoder",
    "EncoderConfig",
    "Item",
    "ItemError",
    "ManifestError",
    "Modality",
    "PictureConfig",
    "PictureEncoder",
    "PluginError",
    "Result",
    "RunError",
    "SpaceError",
    "Span",
    "Tower",
    "TrainingError",
    "align",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'binder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
