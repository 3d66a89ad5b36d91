"""The base class of a modality's encoder.

Shapes: B batch, W windows of one item, D embed_dim of the anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from binder.modality import Item


@dataclass(frozen=True)
class Span:
    """The part of an item that one window covers, in seconds."""

    start_s: float
    end_s: float


class Encoder(nn.Module):
    """Item -> vector in the anchor's space. A plugin implements `preprocess`, `features` and `head`.

    The vector is neither normalised nor scaled: the core normalises, once, and the temperature lives in the loss.
    """

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (W, ...): the windows that are embedded one by one and averaged; W is 1 for most items.

        Runs on CPU in worker processes, reads no weights, is deterministic, and gives every window the same
        shape and dtype whatever the item. Raises ItemError where the item cannot be read.
        """
        raise NotImplementedError

    def spans(self, item: Item) -> list[Span] | None:
        """Start and end of each of the W windows, or None for items that have no time axis."""
        return None

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, ...) altered at random. Training only; `generator` is on CPU."""
        return batch

    def lr_scales(self) -> dict[str, float]:
        """Prefixes of parameter names -> factor on their learning rate; below 1 where weights were trained before."""
        return {}

    def features(self, batch: Tensor) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, F): the trunk, which may be frozen."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D): the part that is always trained."""
        raise NotImplementedError

    def forward(self, batch: Tensor) -> Tensor:
        """(B, ...) as `preprocess` made it -> (B, D), neither normalised nor scaled."""
        return self.head(self.features(batch))
