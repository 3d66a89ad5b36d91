"""The trainable encoder: the thermal picture in grey, the anchor's image tower, an adapter."""

from __future__ import annotations

import numpy as np
from PIL.Image import Image

from binder import Item, PictureEncoder
from binder_thermal.config import ThermalConfig
from binder_thermal.drawing import draw
from binder_thermal.reading import read


class ThermalEncoder(PictureEncoder):
    """Thermal picture -> (D,)."""

    config: ThermalConfig

    def picture(self, item: Item) -> Image:
        return draw(read(item, self.config))

    def variant(self, item: Item, rng: np.random.Generator) -> Image:
        return draw(read(item, self.config), rng)
