"""binder: any modality in the space of a frozen CLIP.

Importing this package imports no torch; names that need it are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from binder.anchors.kind import AnchorKind
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
    one_line,
)
from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality, PictureConfig

if TYPE_CHECKING:
    from binder.anchors.base import Anchor
    from binder.anchors.openclip import OpenClipAnchor
    from binder.anchors.towers import checked_text
    from binder.anchors.trunk import Trunk, image_trunk, load_transformers, load_trunk, loading_model
    from binder.api import Binder
    from binder.artifact.export import Exported, export
    from binder.artifact.hub import pull, push
    from binder.cli.options import common_options
    from binder.cli.output import print_json, print_table, say
    from binder.cli.progress import ProgressBar
    from binder.encoder import Encoder, Span
    from binder.encoders.kinds import picture_modality, point_modality, raster_modality, series_modality
    from binder.encoders.picture import PictureEncoder, Tower, into_space, picture_tower
    from binder.encoders.points.config import PointConfig, Points
    from binder.encoders.points.encoder import PointEncoder
    from binder.encoders.series.config import SeriesConfig, TableConfig
    from binder.encoders.series.encoder import SeriesEncoder
    from binder.encoders.transformer import Transformer
    from binder.evaluation.metrics import retrieval
    from binder.files import write_text
    from binder.formats.arrays import read_array
    from binder.formats.content import decode_text, existing_file, read_bytes
    from binder.formats.picture import read_image
    from binder.formats.raster import Raster, read_raster
    from binder.formats.series import Series
    from binder.formats.table import Table, read_table
    from binder.index import Hit, Index
    from binder.pairs import PairsReport, check_pairs
    from binder.portable import ExportFormat, Portable
    from binder.portable.raster import stretched
    from binder.readers import isolated
    from binder.registry import get_modality
    from binder.report.page import render_page, shown_item
    from binder.space.embeddings import Embeddings
    from binder.train.align import Result, align
    from binder.train.tensorboard import tensorboard_writer

_LAZY = {
    "Anchor": "binder.anchors.base",
    "Binder": "binder.api",
    "Embeddings": "binder.space.embeddings",
    "Encoder": "binder.encoder",
    "ExportFormat": "binder.portable",
    "Exported": "binder.artifact.export",
    "Hit": "binder.index",
    "Index": "binder.index",
    "OpenClipAnchor": "binder.anchors.openclip",
    "PairsReport": "binder.pairs",
    "PictureEncoder": "binder.encoders.picture",
    "PointConfig": "binder.encoders.points.config",
    "PointEncoder": "binder.encoders.points.encoder",
    "Points": "binder.encoders.points.config",
    "Portable": "binder.portable",
    "ProgressBar": "binder.cli.progress",
    "Raster": "binder.formats.raster",
    "Result": "binder.train.align",
    "Series": "binder.formats.series",
    "SeriesConfig": "binder.encoders.series.config",
    "SeriesEncoder": "binder.encoders.series.encoder",
    "Span": "binder.encoder",
    "Table": "binder.formats.table",
    "TableConfig": "binder.encoders.series.config",
    "Tower": "binder.encoders.picture",
    "Transformer": "binder.encoders.transformer",
    "Trunk": "binder.anchors.trunk",
    "align": "binder.train.align",
    "check_pairs": "binder.pairs",
    "checked_text": "binder.anchors.towers",
    "common_options": "binder.cli.options",
    "decode_text": "binder.formats.content",
    "existing_file": "binder.formats.content",
    "export": "binder.artifact.export",
    "get_modality": "binder.registry",
    "image_trunk": "binder.anchors.trunk",
    "into_space": "binder.encoders.picture",
    "isolated": "binder.readers",
    "load_transformers": "binder.anchors.trunk",
    "load_trunk": "binder.anchors.trunk",
    "loading_model": "binder.anchors.trunk",
    "picture_modality": "binder.encoders.kinds",
    "picture_tower": "binder.encoders.picture",
    "point_modality": "binder.encoders.kinds",
    "print_json": "binder.cli.output",
    "print_table": "binder.cli.output",
    "pull": "binder.artifact.hub",
    "push": "binder.artifact.hub",
    "raster_modality": "binder.encoders.kinds",
    "read_array": "binder.formats.arrays",
    "read_bytes": "binder.formats.content",
    "read_image": "binder.formats.picture",
    "read_raster": "binder.formats.raster",
    "read_table": "binder.formats.table",
    "render_page": "binder.report.page",
    "retrieval": "binder.evaluation.metrics",
    "say": "binder.cli.output",
    "series_modality": "binder.encoders.kinds",
    "shown_item": "binder.report.page",
    "stretched": "binder.portable.raster",
    "tensorboard_writer": "binder.train.tensorboard",
    "write_text": "binder.files",
}

__all__ = [
    "Anchor",
    "AnchorError",
    "AnchorKind",
    "Binder",
    "BinderError",
    "Config",
    "ConfigError",
    "Embeddings",
    "Encoder",
    "EncoderConfig",
    "ExportFormat",
    "Exported",
    "Hit",
    "Index",
    "Item",
    "ItemError",
    "ManifestError",
    "Modality",
    "OpenClipAnchor",
    "PairsReport",
    "PictureConfig",
    "PictureEncoder",
    "PluginError",
    "PointConfig",
    "PointEncoder",
    "Points",
    "Portable",
    "ProgressBar",
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
    "checked_text",
    "common_options",
    "decode_text",
    "existing_file",
    "export",
    "get_modality",
    "hookimpl",
    "image_trunk",
    "into_space",
    "isolated",
    "load_transformers",
    "load_trunk",
    "loading_model",
    "name_of",
    "one_line",
    "picture_modality",
    "picture_tower",
    "point_modality",
    "print_json",
    "print_table",
    "pull",
    "push",
    "raster_modality",
    "read_array",
    "read_bytes",
    "read_image",
    "read_raster",
    "read_table",
    "render_page",
    "retrieval",
    "say",
    "series_modality",
    "shown_item",
    "stretched",
    "tensorboard_writer",
    "write_text",
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
