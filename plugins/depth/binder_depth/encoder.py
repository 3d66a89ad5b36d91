"""The trainable encoder: the depth map as a picture, the anchor's image tower, an adapter."""

from __future__ import annotations

import numpy as np
from PIL import Image

from binder import Anchor, Item, PictureEncoder
from binder_depth.config import DepthConfig
from binder_depth.drawing import draw
from binder_depth.reading import read

OVERSAMPLED = 2  # drawn this many times larger than the anchor sees it, whose own resampling is the better one


class DepthEncoder(PictureEncoder):
    """Depth map -> (D,)."""

    config: DepthConfig

    def __init__(self, config: DepthConfig, anchor: Anchor) -> None:
        super().__init__(config, anchor)
        self.side = OVERSAMPLED * int(self.transform(Image.new("RGB", (8, 8))).shape[-1])

    def picture(self, item: Item) -> Image.Image:
        return draw(read(item, self.config), self.config, self.side)

    def variant(self, item: Item, rng: np.random.Generator) -> Image.Image:
        return draw(read(item, self.config), self.config, self.side, rng)
