"""The base class of a modality's encoder.

Shapes: B batch, W windows of one item, D embed_dim of the anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from binder.modality import Item


@dataclass(frozen=True)
class Span:
    """A part of an item that has a time axis, in seconds from its start."""

    start_s: float
    end_s: float


class Encoder(nn.Module):
    """Item -> vector in the anchor's space. A plugin implements `preprocess`, `features` and `head`.

    The vector is neither normalised nor scaled: the core normalises, once, and the temperature lives in the loss.
    """

    frozen_trunk: bool = False  # nothing in `features` is trained: it runs once per item, and training sees the head
    untrained: str | None = None  # what the encoder is before any training, where that is a result to compare with

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (W, ...): the windows that are embedded one by one and averaged; W is 1 for most items.

        Runs on CPU in worker processes, reads no weights, is deterministic, and gives every window the same
        shape and dtype whatever the item. Raises ItemError where the item cannot be read.
        """
        raise NotImplementedError

    def moments(self, item: Item, every_s: float) -> Iterator[tuple[Span | None, Tensor]]:
        """The item cut into pieces of `every_s` seconds: of each its span and its windows (W, ...), lazily.

        The windows are those `preprocess` would give of that piece alone. An item without a time axis is one
        moment without a span. Raises ItemError where the item cannot be read.
        """
        yield None, self.preprocess(item)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """Training only: one item -> (V, ...) what is seen of it in place of its windows, each in the same shape.

        Override it to alter an item before it is preprocessed (drawn in other styles, other frames); the V views
        are made once and cached, and a step draws one of them. Runs in worker processes.
        """
        return self.preprocess(item)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, ...) altered at random. Training only; `generator` is on CPU.

        Unlike `views` it is new in every step; it is not called where the trunk is frozen.
        """
        return batch

    def lr_scales(self) -> dict[str, float]:
        """Prefixes of parameter names -> factor on their learning rate; below 1 where weights were trained before."""
        return {}

    def features(self, batch: Tensor) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, F), or (B, T, F): the trunk, which may be frozen."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """What `features` gave -> (B, D): the part that is always trained."""
        raise NotImplementedError

    def forward(self, batch: Tensor) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, D), neither normalised nor scaled."""
        return self.head(self.features(batch))
