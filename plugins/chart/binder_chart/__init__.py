"""Charts for binder: tables, Vega-Lite specs, pictures of charts. Importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Modality, hookimpl
from binder_chart.config import PICTURE_SUFFIXES, ChartConfig
from binder_chart.preview import diagnose, preview

if TYPE_CHECKING:
    from binder import Anchor, Encoder

__all__ = ["CHART", "ChartConfig"]


def build(config: ChartConfig, anchor: Anchor) -> Encoder:
    """An encoder into `anchor`'s space; untrained it is the anchor's image tower on the picture."""
    from binder_chart.encoder import ChartEncoder

    return ChartEncoder(config, anchor)


CHART = Modality(
    name="chart",
    suffixes=frozenset({".csv", ".tsv", ".parquet", ".json"}) | PICTURE_SUFFIXES,
    config=ChartConfig,
    build=build,
    preview=preview,
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [CHART]
