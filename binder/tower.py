"""The anchor's image tower inside an encoder, and the base of everything that can be shown as one picture.

Shapes: B batch, V views, D embed_dim, R rank.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from binder.anchor import Anchor
from binder.encoder import Encoder
from binder.modality import Item, PictureConfig

Tune = Literal["frozen", "lora", "full"]


class Tower(nn.Module):
    """The anchor's image tower: (B, 3, H, W) as `anchor.transform` makes them -> (B, D), not normalised.

    `frozen` has no parameters of its own. `lora` adds a trainable product of rank R to every matrix and convolution
    (Hu et al. 2021), starting at zero. `full` starts as a copy of all weights and trains them. The anchor itself is
    never touched: its forward pass runs with the altered weights put in its place. That takes ten lines for any
    architecture, where an adapter library knows only some layers.
    """

    def __init__(self, anchor: Anchor, tune: Tune = "frozen", rank: int = 8) -> None:
        super().__init__()
        self.anchor, self.tune = anchor, tune
        frozen = {n: p for n, p in anchor.image_parameters().items() if tune == "full" or p.ndim > 1}
        self.names = list(frozen) if tune != "frozen" else []
        self.own = nn.ParameterDict()
        for name in self.names:
            weight = frozen[name].detach()
            if tune == "full":
                self.own[_key(name)] = nn.Parameter(weight.clone())
            else:
                r = min(rank, len(weight), weight[0].numel())
                down = torch.randn(r, weight[0].numel()) / math.sqrt(weight[0].numel())
                self.own[_key(name) + "/down"] = nn.Parameter(down.to(weight))
                self.own[_key(name) + "/up"] = nn.Parameter(torch.zeros(len(weight), r).to(weight))

    def forward(self, batch: Tensor) -> Tensor:
        if self.tune == "frozen":
            with torch.no_grad():
                return self.anchor.encode_image(batch)
        return self.anchor.encode_image(batch, self._weights())

    def _weights(self) -> dict[str, Tensor]:
        if self.tune == "full":
            return {name: self.own[_key(name)] for name in self.names}
        base = self.anchor.image_parameters()
        products = ((n, self.own[_key(n) + "/up"] @ self.own[_key(n) + "/down"]) for n in self.names)
        return {name: base[name] + product.view_as(base[name]) for name, product in products}


class PictureEncoder(Encoder):
    """Anything that can be shown as one picture: the anchor's image tower, then an adapter that starts as identity.

    So before any training it is the anchor itself on that picture. A plugin implements `picture`, and `variant` where
    other drawings of the same item are useful in training.
    """

    def __init__(self, config: PictureConfig, anchor: Anchor) -> None:
        super().__init__()
        self.config, self.anchor = config, anchor
        self.side = int(anchor.transform(Image.new("RGB", (8, 8))).shape[-1])  # pixels that the anchor sees
        self.tower = Tower(anchor, config.tune, config.rank)
        self.adapter = Adapter(anchor.embed_dim, config.hidden or anchor.embed_dim)
        self.frozen_trunk = config.tune == "frozen"
        self.untrained = "the anchor on the picture"

    def picture(self, item: Item) -> Image.Image:
        """One item -> the picture that stands for it. Deterministic. Raises ItemError."""
        raise NotImplementedError

    def variant(self, item: Item, rng: np.random.Generator) -> Image.Image:
        """Training only: one item -> another picture that stands for it as well."""
        return self.picture(item)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, 3, H, W)."""
        return self.anchor.transform(self.picture(item)).unsqueeze(0)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, 3, H, W): the picture and its variants, where a plugin has any."""
        if type(self).variant is PictureEncoder.variant:
            return self.preprocess(item)
        others = [self.variant(item, rng) for _ in range(self.config.views - 1)]
        return torch.stack([self.anchor.transform(picture) for picture in (self.picture(item), *others)])

    def features(self, batch: Tensor) -> Tensor:
        return self.tower(batch)

    def head(self, features: Tensor) -> Tensor:
        return self.adapter(F.normalize(features, dim=-1))


class Adapter(nn.Module):
    """(B, D) -> (B, D): a residual network with one hidden layer that starts as the identity."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, z_BD: Tensor) -> Tensor:
        return z_BD + self.down(F.gelu(self.up(self.norm(z_BD))))


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name may hold no dot
