"""An image tower inside an encoder, and the base of everything that can be shown as one picture.

Shapes: B batch, V views, F features of the tower, D embed_dim, R rank.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from binder.anchors.openclip import Anchor
from binder.anchors.trunk import Trunk, image_trunk
from binder.encoder import Encoder
from binder.modality import Item, PictureConfig

Tune = Literal["frozen", "lora", "full"]


class Tower(nn.Module):
    """A trunk inside an encoder, (B, ...) as its `transform` makes the rows -> (B, F), not normalised.

    `frozen` has no parameters of its own. `lora` adds a trainable product of rank R to every matrix and convolution
    (Hu et al. 2021), starting at zero. `full` starts as a copy of all weights and trains them. The trunk itself is
    never touched: its forward pass runs with the altered weights put in its place. That takes ten lines for any
    architecture, where an adapter library knows only some layers.
    """

    def __init__(self, trunk: Trunk, tune: Tune = "frozen", rank: int = 8) -> None:
        super().__init__()
        self.trunk, self.tune, self.out_features = trunk, tune, trunk.out_features
        frozen = {n: p for n, p in trunk.weights().items() if tune == "full" or p.ndim > 1}
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
        if trunk.fingerprint:
            self.register_buffer("made_on", _bytes(trunk.fingerprint))
            self.register_load_state_dict_pre_hook(_check_trunk)

    def forward(self, batch: Tensor) -> Tensor:
        if self.tune == "frozen":
            with torch.no_grad():
                return self.trunk(batch)
        return self.trunk(batch, self._weights())

    def _weights(self) -> dict[str, Tensor]:
        if self.tune == "full":
            return {name: self.own[_key(name)] for name in self.names}
        base = self.trunk.weights()
        products = ((n, self.own[_key(n) + "/up"] @ self.own[_key(n) + "/down"]) for n in self.names)
        return {name: base[name] + product.view_as(base[name]) for name, product in products}


def picture_tower(config: PictureConfig, anchor: Anchor) -> Tower:
    """The tower that a configuration names: the anchor's own, or a pretrained one on the anchor's device."""
    trunk = image_trunk(config.trunk, anchor.device) if config.trunk else anchor.image_trunk
    return Tower(trunk, config.tune, config.rank)


def into_space(tower: Tower, anchor: Anchor) -> nn.Module:
    """(..., F) -> (..., D): nothing for the anchor's own tower, a linear map of standardised features for any other."""
    if not tower.trunk.fingerprint:
        return nn.Identity()
    return nn.Sequential(Standardise(tower.out_features), nn.Linear(tower.out_features, anchor.embed_dim))


class Standardise(nn.Module):
    """(..., F) -> (..., F): each feature with mean 0 and variance 1 over all that was seen in training.

    What a pretrained trunk gives of two items often differs by a hundredth of its length, which a linear map alone
    would take long to magnify. Unlike batch normalisation no item depends on the others of its batch.
    """

    count: Tensor
    mean_F: Tensor
    spread_F: Tensor  # sum of squared differences to the mean

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("spread_F", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._take_in(x.detach().flatten(0, -2))
        if not self.count:
            return x
        variance_F = self.spread_F / self.count
        constant_F = variance_F <= 1e-10 * self.mean_F.square()  # but for rounding: it says nothing
        return (x - self.mean_F) * variance_F.rsqrt().masked_fill(constant_F, 0.0)

    @torch.no_grad()
    def _take_in(self, x_NF: Tensor) -> None:
        """Update mean and spread by a batch, as Chan, Golub and LeVeque (The American Statistician, 1983) do."""
        count = self.count + len(x_NF)
        mean_F = x_NF.mean(0)
        moved_F = mean_F - self.mean_F
        self.spread_F += (x_NF - mean_F).square().sum(0) + moved_F.square() * self.count * len(x_NF) / count
        self.mean_F += moved_F * len(x_NF) / count
        self.count.copy_(count)


class PictureEncoder(Encoder):
    """Anything that can be shown as one picture: the anchor's image tower, then an adapter that starts as identity.

    So before any training it is the anchor itself on that picture; with another trunk a linear map comes first. A
    plugin implements `picture`, and `variant` where other drawings of the same item are useful in training.
    """

    def __init__(self, config: PictureConfig, anchor: Anchor) -> None:
        super().__init__()
        self.config, self.anchor = config, anchor
        self.tower = picture_tower(config, anchor)
        self.transform = self.tower.trunk.transform
        self.side = int(self.transform(Image.new("RGB", (8, 8))).shape[-1])  # pixels that the tower sees
        self.into_space = into_space(self.tower, anchor)
        self.adapter = Adapter(anchor.embed_dim, config.hidden or anchor.embed_dim)
        self.frozen_trunk = config.tune == "frozen"
        self.untrained = None if config.trunk else "the anchor on the picture"

    def picture(self, item: Item) -> Image.Image:
        """One item -> the picture that stands for it. Deterministic. Raises ItemError."""
        raise NotImplementedError

    def variant(self, item: Item, rng: np.random.Generator) -> Image.Image:
        """Training only: one item -> another picture that stands for it as well."""
        return self.picture(item)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, 3, H, W)."""
        return self.transform(self.picture(item)).unsqueeze(0)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, 3, H, W): the picture and its variants, where a plugin has any."""
        if type(self).variant is PictureEncoder.variant:
            return self.preprocess(item)
        others = [self.variant(item, rng) for _ in range(self.config.views - 1)]
        return torch.stack([self.transform(picture) for picture in (self.picture(item), *others)])

    def features(self, batch: Tensor) -> Tensor:
        return self.tower(batch)

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        return self.adapter(self.into_space(F.normalize(features, dim=-1)))


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


def _bytes(fingerprint: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(fingerprint[:16])), dtype=torch.uint8)


def _check_trunk(tower: Any, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Refuse what was trained on other weights than the trunk has now."""
    kept = state.get(f"{prefix}made_on")
    if kept is not None and not torch.equal(kept.cpu(), tower.made_on.cpu()):
        raise RuntimeError(f"trained on other weights than {tower.trunk.name} has now")
