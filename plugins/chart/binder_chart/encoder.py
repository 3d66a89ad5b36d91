"""The encoder: drawings of the chart, the anchor's image tower, a learned choice among the drawings, an adapter.

A bare table does not tell how it was drawn. So it is drawn in each of K ways, and the training pairs teach which
drawing to use for which table; before training it is the one chosen by rule.

Shapes: B batch, V views, K ways to draw a table, S side of a picture in pixels, D features of the tower (embed_dim for
the anchor's own), F facts.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from binder import Anchor, Item, PictureEncoder
from binder_chart.config import ChartConfig
from binder_chart.picture import FACTS, Source, picture, pictures, source
from binder_chart.plot import WAYS

OVERSAMPLED = 2  # drawings are so many times larger than the anchor's input; its preprocessing resamples them well


class ChartEncoder(PictureEncoder):
    """Table, spec or picture of a chart -> (D,)."""

    config: ChartConfig

    def __init__(self, config: ChartConfig, anchor: Anchor) -> None:
        super().__init__(config, anchor)
        self.dim = self.tower.out_features
        self.choice = nn.Linear(self.dim + FACTS + WAYS, WAYS)
        nn.init.zeros_(self.choice.weight)
        nn.init.zeros_(self.choice.bias)

    def picture(self, item: Item) -> Image.Image:
        """The picture that represents the item before training."""
        return picture(item, OVERSAMPLED * self.side, self.config.kind)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, K * 3 * S * S + F + K): its pictures, the facts, the picture chosen by rule (one-hot)."""
        return self._row(source(item, self.config.kind))[None]

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, ...): as `preprocess` makes it, then in random styles."""
        found = source(item, self.config.kind)
        return torch.stack([self._row(found), *(self._row(found, rng) for _ in range(self.config.views - 1))])

    def lr_scales(self) -> dict[str, float]:
        return {} if self.config.trunk else {"adapter.": self.config.adapter_lr}

    def features(self, batch: Tensor) -> Tensor:
        """(B, K * 3 * S * S + F + K) -> (B, K * D + F + K)."""
        pixels, rest = torch.split(batch, [batch.shape[1] - FACTS - WAYS, FACTS + WAYS], dim=1)
        x_BK3SS = pixels.reshape(batch.shape[0], WAYS, 3, self.side, self.side)
        if torch.compiler.is_exporting():  # a graph cannot ask how many items have several pictures
            every_BD: Tensor = self.tower(x_BK3SS.flatten(0, 1))
            return torch.cat([every_BD.reshape(batch.shape[0], WAYS * self.dim), rest.to(every_BD.dtype)], dim=1)
        several_B = (x_BK3SS[:, 1:] != x_BK3SS[:, :1]).flatten(1).any(1)  # items with one picture need one pass
        first_BD: Tensor = self.tower(x_BK3SS[:, 0])
        z_BKD = first_BD[:, None].repeat(1, WAYS, 1)
        if several_B.any():
            others: Tensor = self.tower(x_BK3SS[several_B, 1:].flatten(0, 1))
            z_BKD[several_B, 1:] = others.reshape(-1, WAYS - 1, self.dim).to(z_BKD.dtype)
        return torch.cat([z_BKD.flatten(1), rest.to(z_BKD.dtype)], dim=1)

    def head(self, features: Tensor) -> Tensor:
        """(B, K * D + F + K) -> (B, embed_dim): the chosen drawing, moved toward others by learned weights, adapted."""
        towers, facts_BF, chosen_BK = torch.split(features, [WAYS * self.dim, FACTS, WAYS], dim=1)
        z_BKD = functional.normalize(towers.reshape(features.shape[0], WAYS, self.dim), dim=-1)
        own_BD = (chosen_BK[:, :, None] * z_BKD).sum(1)
        scaled_BD = functional.layer_norm(own_BD, (self.dim,))
        weights_BK = self.choice(torch.cat([scaled_BD, facts_BF, chosen_BK], dim=1))
        moved_BD = own_BD + (weights_BK[:, :, None] * (z_BKD - own_BD[:, None])).sum(1)
        z_BD: Tensor = self.adapter(self.into_space(functional.normalize(moved_BD, dim=-1)))
        return z_BD

    def _row(self, found: Source, rng: np.random.Generator | None = None) -> Tensor:
        """A source -> (K * 3 * S * S + F + K,); with `rng` in a random style."""
        shown = [self.transform(image) for image in pictures(found, OVERSAMPLED * self.side, rng)]
        every = torch.stack(shown if len(shown) == WAYS else shown * WAYS)
        chosen = functional.one_hot(torch.tensor(found.chosen), WAYS)
        return torch.cat([every.flatten(), torch.from_numpy(found.facts), chosen])
