"""The towers of these anchors as encoders of their own modalities: text, pictures, sound.

Shapes: B batch, W windows, T samples, D embed_dim.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from binder import Encoder, Item, ItemError, PluginError, Span, checked_text, get_modality, read_image
from binder_transformers.rows import ABSENT, FixedRows, TokenRows

if TYPE_CHECKING:
    from binder_transformers.anchor import LibraryAnchor

log = logging.getLogger(__name__)


class LibraryTower(Encoder):
    """Item -> (D,): one modality of a model as an encoder without trainable weights."""

    modality: str

    def __init__(self, anchor: LibraryAnchor, rows: TokenRows | FixedRows) -> None:
        super().__init__()
        self.anchor, self.rows = anchor, rows

    def features(self, batch: Tensor) -> Tensor:
        """Rows -> (B, D), not normalized."""
        return self.anchor.encode(self.modality, self.rows.unpack(batch))

    def head(self, features: Tensor) -> Tensor:
        return features


class TextTower(LibraryTower):
    """Text -> (D,), with the anchor's prompt."""

    modality = "text"
    rows: TokenRows

    def __init__(self, anchor: LibraryAnchor, rows: TokenRows) -> None:
        super().__init__(anchor, rows)
        self.warned = False  # of a truncated text: once, as there may be a million

    def preprocess(self, item: Item) -> Tensor:
        """One text -> (1, K, L)."""
        short = checked_text(item)
        row = self.rows.pack(self.anchor.reading.text(short, self.anchor.prompt))
        if not self.warned and (short != item or (self.rows.may_be_cut(row) and self.anchor.truncates(short))):
            self.warned = True
            long = "texts are truncated after the anchor's %d tokens, for example: %.60s..."
            log.warning(long, self.rows.length, item)
        if bool((row == ABSENT).all()):
            raise ItemError(repr(item[:40]), "no token that the anchor knows")
        return row


class ImageTower(LibraryTower):
    """Picture -> (D,)."""

    modality = "image"

    def preprocess(self, item: Item) -> Tensor:
        """One picture -> (1, ...), for most models (1, 3, H, W)."""
        return self.transform(read_image(item))[None]

    def transform(self, picture: Any) -> Tensor:
        """A PIL picture -> (...), for most models (3, H, W)."""
        return self.rows.pack(self.anchor.reading.image(picture.convert("RGB")))[0]


class AudioTower(LibraryTower):
    """Sound -> (D,): what is longer than the model takes is cut into windows, whose vectors are averaged."""

    modality = "audio"

    def preprocess(self, item: Item) -> Tensor:
        """A sound, or (T,) at the model's rate -> (W, ...)."""
        return self._windows(self._samples(item))

    def segments(self, item: Item, every_s: float) -> Iterator[tuple[Span | None, Tensor]]:
        """A sound -> its segments of `every_s` seconds; a last one of under 0.1 s is left out."""
        samples, rate = self._samples(item), self.anchor.reading.rate
        size = max(1, round(min(every_s, 1e6) * rate))
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            if start == 0 or len(part) >= 0.1 * rate:
                yield Span(start / rate, (start + len(part)) / rate), self._windows(part)

    def _samples(self, item: Item) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A sound -> (T,) at the model's rate. Raises ItemError; PluginError where no plugin can decode it."""
        if isinstance(item, np.ndarray | Tensor):
            samples = np.asarray(item, np.float32)
            if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
                raise ItemError(item, f"expected finite samples (T,), got an array {samples.shape}")
            return samples
        read = get_modality("audio").read
        if read is None:
            raise PluginError("this version of the plugin audio does not hand out samples; update it: binder-audio")
        return np.asarray(read(item, rate=self.anchor.reading.rate), np.float32)

    def _windows(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
        """(T,) -> (W, ...): as many windows of the model's length as cover the samples, evenly spaced."""
        size = self.anchor.reading.longest
        count = max(1, -(-len(samples) // size))
        starts = np.linspace(0, max(0, len(samples) - size), count).round().astype(int)
        return torch.cat([self.rows.pack(self.anchor.reading.audio(samples[at : at + size])) for at in starts])
