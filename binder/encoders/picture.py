"""Encoders that use an image tower: the tower, frozen or tuned, and the base class for items drawn as a picture.

Shapes: B batch, V views, F features of the tower, D embed_dim, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from binder.anchors.base import Anchor
from binder.anchors.exported import picture_portable
from binder.anchors.trunk import Trunk, image_trunk
from binder.encoder import Encoder
from binder.errors import ConfigError
from binder.modality import Item, PictureConfig
from binder.portable import Portable

Tune = Literal["frozen", "lora", "full"]


class Tower(nn.Module):
    """A trunk inside an encoder: (B, ...) as its `transform` makes the rows -> (B, F), not normalized.

    `frozen` has no parameters of its own. `lora` adds a trainable product of rank R to every matrix and convolution
    (Hu et al. 2021), starting at zero. `full` trains a copy of all weights. The trunk itself never changes: its forward
    pass runs with the modified weights swapped in, which takes ten lines and works for any architecture, where adapter
    libraries support only some layers.
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
            register: Callable[[Callable[..., None]], Any] = self.register_load_state_dict_pre_hook
            register(_check_trunk)

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


def anchors_trunk(anchor: Anchor) -> Trunk:
    """The anchor's own picture tower. Raises ConfigError if there is none."""
    trunk = anchor.image_trunk
    if trunk is None:
        raise ConfigError(
            f"anchor {anchor.name} has no picture tower to build on; name one: --set encoder.trunk=timm:NAME or "
            "transformers:NAME"
        )
    return trunk


def picture_tower(config: PictureConfig, anchor: Anchor) -> Tower:
    """The tower that a configuration asks for: the anchor's own, or a pretrained one, on the anchor's device.

    Raises ConfigError where it should be the anchor's, and that has none.
    """
    trunk = image_trunk(config.trunk, anchor.device) if config.trunk else anchors_trunk(anchor)
    return Tower(trunk, config.tune, config.rank)


def into_space(tower: Tower, anchor: Anchor) -> nn.Module:
    """(..., F) -> (..., D): the identity for the anchor's own tower, else a linear map of standardized features."""
    if not tower.trunk.fingerprint:
        return nn.Identity()
    return nn.Sequential(Standardize(tower.out_features), nn.Linear(tower.out_features, anchor.embed_dim))


class Standardize(nn.Module):
    """(..., F) -> (..., F): each feature with mean 0 and variance 1 over everything seen in training.

    The features a pretrained trunk returns for two items often differ by a hundredth of their length, which a linear
    map alone would take long to amplify. Unlike in batch normalization, an item does not depend on others in its batch.
    """

    count: Tensor
    mean_F: Tensor
    spread_F: Tensor  # sum of squared differences from the mean

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("spread_F", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._take_in(x.detach().flatten(0, -2))
        variance_F = self.spread_F / self.count.clamp(min=1)
        constant_F = variance_F <= 1e-10 * self.mean_F.square()  # up to rounding: such a feature says nothing
        standard = (x - self.mean_F) * variance_F.rsqrt().masked_fill(constant_F, 0.0)
        return torch.where(self.count > 0, standard, x)  # no `if`, which an exported encoder could not ask

    @torch.no_grad()
    def _take_in(self, x_NF: Tensor) -> None:
        """Update mean and spread with a batch (Chan, Golub and LeVeque, The American Statistician, 1983)."""
        count = self.count + len(x_NF)
        mean_F = x_NF.mean(0)
        moved_F = mean_F - self.mean_F
        self.spread_F += (x_NF - mean_F).square().sum(0) + moved_F.square() * self.count * len(x_NF) / count
        self.mean_F += moved_F * len(x_NF) / count
        self.count.copy_(count)


class PictureEncoder(Encoder):
    """An item drawn as one picture -> (D,): the anchor's image tower, then an adapter that starts as the identity.

    So before training it is the anchor on that picture; with another trunk a linear map comes in between. A plugin
    implements `picture`, and `variant` where other drawings of the same item help training.
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
        """One item -> its picture, always the same one. Raises ItemError."""
        raise NotImplementedError

    def variant(self, item: Item, rng: np.random.Generator) -> Image.Image:
        """One item -> a random variant of its picture; in training only."""
        return self.picture(item)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, 3, H, W)."""
        return self.transform(self.picture(item)).unsqueeze(0)

    def portable(self) -> Portable:
        return picture_portable(self.transform, takes="a picture of the item, as the plugin draws it: PNG for instance")

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, 3, H, W): the picture and its variants, where a plugin has any."""
        if type(self).variant is PictureEncoder.variant:
            return self.preprocess(item)
        others = [self.variant(item, rng) for _ in range(self.config.views - 1)]
        return torch.stack([self.transform(picture) for picture in (self.picture(item), *others)])

    def features(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, F)."""
        features: Tensor = self.tower(batch)
        return features

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        z_BD: Tensor = self.adapter(self.into_space(F.normalize(features, dim=-1)))
        return z_BD


class DrawnEncoder(PictureEncoder):
    """Item -> (D,), drawn by the functions `draw` and, in training, `vary` of a plugin: see `picture_modality`."""

    def __init__(
        self,
        config: PictureConfig,
        anchor: Anchor,
        draw: Callable[[Item, Any], Image.Image],
        vary: Callable[[Item, Any, np.random.Generator], Image.Image] | None,
    ) -> None:
        super().__init__(config, anchor)
        self.draw, self.vary = draw, vary

    def picture(self, item: Item) -> Image.Image:
        return self.draw(item, self.config)

    def variant(self, item: Item, rng: np.random.Generator) -> Image.Image:
        return self.vary(item, self.config, rng) if self.vary else self.picture(item)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, 3, H, W), V being 1 where the plugin cannot vary it."""
        return super().views(item, rng) if self.vary else self.preprocess(item)


class Adapter(nn.Module):
    """(B, D) -> (B, D): a residual network with one hidden layer that starts as the identity."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, z_BD: Tensor) -> Tensor:
        adapted_BD: Tensor = z_BD + self.down(F.gelu(self.up(self.norm(z_BD))))
        return adapted_BD


def _key(name: str) -> str:
    return name.replace(".", "/")  # the name of a parameter must not contain a dot


def _bytes(fingerprint: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(fingerprint[:16])), dtype=torch.uint8)


def _check_trunk(tower: Any, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Raises RuntimeError for a state that was trained on other weights than the trunk has now."""
    kept = state.get(f"{prefix}made_on")
    if kept is not None and not torch.equal(kept.cpu(), tower.made_on.cpu()):
        raise RuntimeError(f"trained on other weights than {tower.trunk.name} has now")
