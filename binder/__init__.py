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
    StoreError,
    TrainingError,
    name_of,
)
from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality, PictureConfig

if TYPE_CHECKING:
    from binder.alignment import Result, align
    from binder.anchor import Anchor
    from binder.api import Binder
    from binder.bases.content import decode_text, existing_file, read_array, read_bytes
    from binder.bases.kinds import picture_modality, point_modality, raster_modality, series_modality
    from binder.bases.point_encoder import PointEncoder
    from binder.bases.points import PointConfig, Points
    from binder.bases.raster import Raster, read_raster
    from binder.bases.series_config import Series, SeriesConfig, TableConfig
    from binder.bases.series_encoder import SeriesEncoder
    from binder.bases.shades import stretched
    from binder.bases.table import Table, read_table
    from binder.bases.transformer import Transformer
    from binder.builtin import read_image
    from binder.embeddings import Embeddings
    from binder.encoder import Encoder, Span
    from binder.hub import pull, push
    from binder.index import Hit, Index
    from binder.pairs import PairsReport, check_pairs
    from binder.readers import isolated
    from binder.tower import PictureEncoder, Tower, into_space, picture_tower
    from binder.trunk import Trunk, image_trunk, load_transformers, load_trunk

_LAZY = {
    "Anchor": "binder.anchor",
    "Binder": "binder.api",
    "Embeddings": "binder.embeddings",
    "Encoder": "binder.encoder",
    "Hit": "binder.index",
    "Index": "binder.index",
    "PairsReport": "binder.pairs",
    "PictureEncoder": "binder.tower",
    "PointConfig": "binder.bases.points",
    "PointEncoder": "binder.bases.point_encoder",
    "Points": "binder.bases.points",
    "Raster": "binder.bases.raster",
    "Result": "binder.alignment",
    "Series": "binder.bases.series_config",
    "SeriesConfig": "binder.bases.series_config",
    "SeriesEncoder": "binder.bases.series_encoder",
    "Span": "binder.encoder",
    "Table": "binder.bases.table",
    "TableConfig": "binder.bases.series_config",
    "Tower": "binder.tower",
    "Transformer": "binder.bases.transformer",
    "Trunk": "binder.trunk",
    "align": "binder.alignment",
    "check_pairs": "binder.pairs",
    "decode_text": "binder.bases.content",
    "existing_file": "binder.bases.content",
    "image_trunk": "binder.trunk",
    "into_space": "binder.tower",
    "isolated": "binder.readers",
    "load_transformers": "binder.trunk",
    "load_trunk": "binder.trunk",
    "picture_modality": "binder.bases.kinds",
    "picture_tower": "binder.tower",
    "point_modality": "binder.bases.kinds",
    "pull": "binder.hub",
    "push": "binder.hub",
    "raster_modality": "binder.bases.kinds",
    "read_array": "binder.bases.content",
    "read_bytes": "binder.bases.content",
    "read_image": "binder.builtin",
    "read_raster": "binder.bases.raster",
    "read_table": "binder.bases.table",
    "series_modality": "binder.bases.kinds",
    "stretched": "binder.bases.shades",
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
    "Hit",
    "Index",
    "Item",
    "ItemError",
    "ManifestError",
    "Modality",
    "PairsReport",
    "PictureConfig",
    "PictureEncoder",
    "PluginError",
    "PointConfig",
    "PointEncoder",
    "Points",
    "Raster",
    "Result",
    "RunError",
    "Series",
    "SeriesConfig",
    "SeriesEncoder",
    "SpaceError",
    "Span",
    "StoreError",
    "Table",
    "TableConfig",
    "Tower",
    "TrainingError",
    "Transformer",
    "Trunk",
    "align",
    "check_pairs",
    "decode_text",
    "existing_file",
    "hookimpl",
    "image_trunk",
    "into_space",
    "isolated",
    "load_transformers",
    "load_trunk",
    "name_of",
    "picture_modality",
    "picture_tower",
    "point_modality",
    "pull",
    "push",
    "raster_modality",
    "read_array",
    "read_bytes",
    "read_image",
    "read_raster",
    "read_table",
    "series_modality",
    "stretched",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        import importlib.metadata as metadata

        return metadata.version("modality-binder")
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'binder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
