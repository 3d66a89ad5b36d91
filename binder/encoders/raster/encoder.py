"""The encoder of rasters: it draws the measurements as a gray picture for the image tower.

Shapes: V views, H height, W width, D embed_dim.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from binder.anchors.base import Anchor
from binder.anchors.exported import picture_portable
from binder.encoders.picture import PictureEncoder
from binder.encoders.raster.shades import Read, Tone, draw_grid, read_grid
from binder.modality import Item, PictureConfig
from binder.portable import Portable, picture, raster
from binder.portable.raster import tone

OVERSAMPLED = 2  # drawn this much larger than the anchor's input: its own downsampling is better than ours


class RasterEncoder(PictureEncoder):
    """Raster -> (D,). `read` and `tone` are functions of the plugin: see `raster_modality`."""

    def __init__(
        self, config: PictureConfig, anchor: Anchor, read: Read, tone: Tone, tone_module: str | None = None
    ) -> None:
        super().__init__(config, anchor)
        self.read, self.tone, self.tone_module = read, tone, tone_module

    def picture(self, item: Item) -> Image:
        return draw_grid(read_grid(self.read, item, self.config, OVERSAMPLED * self.side), self.tone, self.config)

    def portable(self) -> Portable:
        if self.tone is not tone and self.tone_module is None:
            return super().portable()  # of the gray pictures
        own = [importlib.import_module(self.tone_module)] if self.tone_module else []
        config = self.config.model_dump(mode="json", exclude=set(PictureConfig.model_fields))
        return picture_portable(
            self.transform,
            (picture, raster, *own),
            "a .npy file of measurements (H, W) as the plugin reads them, NaN where there are none",
            side=OVERSAMPLED * self.side,
            config=config if own else {},
        )

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, 3, H, W): its picture and random variants, read once."""
        grid = read_grid(self.read, item, self.config, OVERSAMPLED * self.side)
        drawn = [draw_grid(grid, self.tone, self.config, rng if i else None) for i in range(self.config.views)]
        return torch.stack([self.transform(picture) for picture in drawn])
