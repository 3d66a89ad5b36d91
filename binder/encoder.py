"""The base class of encoders.

Shapes: B batch, W windows of one item, D embed_dim of the anchor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from binder.errors import warn_renamed
from binder.modality import Item
from binder.portable import Portable


@dataclass(frozen=True)
class Span:
    """A segment of an item with a time axis, in seconds from its start."""

    start_s: float
    end_s: float


class Encoder(nn.Module):
    """Item -> vector in the anchor's space. A plugin implements `preprocess`, `features` and `head`.

    The vector is neither normalized nor scaled: the core normalizes it, and the temperature belongs to the loss.
    """

    frozen_trunk: bool = False  # nothing in `features` is trained: it runs once per item, and only `head` is trained
    untrained: str | None = None  # what the encoder is before training, where that is a baseline worth reporting

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (W, ...): its windows, which are embedded one by one and averaged; W is 1 for most items.

        Runs on the CPU in worker processes, uses no weights, is deterministic, and returns windows of one shape and
        dtype for every item. Raises ItemError where the item cannot be read.
        """
        raise NotImplementedError

    def segments(self, item: Item, every_s: float) -> Iterator[tuple[Span | None, Tensor]]:
        """One item -> its segments of `every_s` seconds, lazily: the span of each, and its windows (W, ...).

        The windows are what `preprocess` would return for that segment alone. An item without a time axis is one
        segment without a span. Raises ItemError where the item cannot be read.
        """
        yield None, self.preprocess(item)

    def moments(self, item: Item, every_s: float) -> Iterator[tuple[Span | None, Tensor]]:
        """The old name of `segments`, for one release."""
        warn_renamed("Encoder.moments", "Encoder.segments")
        return self.segments(item, every_s)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "moments" in vars(cls) and "segments" not in vars(cls):
            warn_renamed(f"{cls.__name__}.moments", f"{cls.__name__}.segments")
            cls.segments = cls.moments  # type: ignore[method-assign]

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """One item -> (V, ...): what training sees instead of its windows, each of the same shape.

        Override it to vary an item before it is preprocessed (other drawing styles, other frames). The V views are made
        once and cached, and each training step picks one of them. Runs in worker processes.
        """
        return self.preprocess(item)

    def portable(self) -> Portable | None:
        """How items become windows where there is neither torch nor binder, for `binder export`.

        None: the exported encoder is given windows that were prepared elsewhere.
        """
        return None

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, ...) windows -> (B, ...) randomly augmented; in training only, with a `generator` on the CPU.

        Unlike `views` it runs in every step. It is not called where the trunk is frozen.
        """
        return batch

    def lr_scales(self) -> dict[str, float]:
        """Prefixes of parameter names -> factor on their learning rate, below 1 for pretrained weights."""
        return {}

    def features(self, batch: Tensor) -> Tensor:
        """(B, ...) windows -> (B, F) or (B, T, F): the trunk, which may be frozen."""
        raise NotImplementedError

    def head(self, features: Tensor) -> Tensor:
        """What `features` returned -> (B, D): the part that is always trained."""
        raise NotImplementedError

    def forward(self, batch: Tensor) -> Tensor:
        """(B, ...) windows -> (B, D), neither normalized nor scaled."""
        return self.head(self.features(batch))
