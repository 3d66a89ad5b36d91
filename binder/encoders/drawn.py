"""The picture encoder of a plugin that is one drawing function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL.Image import Image
from torch import Tensor

from binder.anchors.openclip import Anchor
from binder.encoders.picture import PictureEncoder
from binder.modality import Item, PictureConfig


class DrawnEncoder(PictureEncoder):
    """Draws an item with the plugin's function, and with another one, where there is one, for training."""

    def __init__(
        self,
        config: PictureConfig,
        anchor: Anchor,
        draw: Callable[[Item, Any], Image],
        vary: Callable[[Item, Any, np.random.Generator], Image] | None,
    ) -> None:
        super().__init__(config, anchor)
        self.draw, self.vary = draw, vary

    def picture(self, item: Item) -> Image:
        return self.draw(item, self.config)

    def variant(self, item: Item, rng: np.random.Generator) -> Image:
        return self.vary(item, self.config, rng) if self.vary else self.picture(item)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        return super().views(item, rng) if self.vary else self.preprocess(item)
