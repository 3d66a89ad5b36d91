"""The two towers of a CLIP as encoders of its own modalities, image and text.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torch import Tensor

from binder.anchors.exported import picture_portable, text_portable
from binder.encoder import Encoder
from binder.errors import ItemError
from binder.formats.picture import read_image
from binder.modality import Item
from binder.portable import Portable
from binder.portable.text import shortened

if TYPE_CHECKING:
    from binder.anchors.openclip import OpenClipAnchor

log = logging.getLogger(__name__)


def checked_text(item: Item) -> str:
    """A text that a tokenizer can be given, its longest words and its end cut off. Raises ItemError."""
    if not isinstance(item, str):
        raise ItemError(item, f"expected text, got {type(item).__name__}")
    if not item.strip():
        raise ItemError(repr(item[:40]), "empty text")
    if any("\ud800" <= letter <= "\udfff" for letter in item):
        raise ItemError(item[:60].encode("ascii", "backslashreplace").decode(), "holds half a surrogate pair")
    return shortened(item)


class ImageTower(Encoder):
    """Picture -> (D,): the anchor's image tower as an encoder without trainable weights."""

    def __init__(self, anchor: OpenClipAnchor) -> None:
        super().__init__()
        self.anchor = anchor

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, 3, H, W)."""
        pixels: Tensor = self.anchor.transform(read_image(item))
        return pixels.unsqueeze(0)

    def portable(self) -> Portable:
        return picture_portable(self.anchor.transform)

    def features(self, batch: Tensor) -> Tensor:
        return self.anchor.encode_image(batch)

    def head(self, features: Tensor) -> Tensor:
        return features


class TextTower(Encoder):
    """Text -> (D,): the anchor's text tower as an encoder without trainable weights."""

    def __init__(self, anchor: OpenClipAnchor) -> None:
        super().__init__()
        self.anchor = anchor
        self.warned = False  # of a truncated text: once, as there may be a million

    def preprocess(self, item: Item) -> Tensor:
        """One text -> (1, L) tokens."""
        short = checked_text(item)
        tokens: Tensor = self.anchor.tokenizer([short])
        if (int(tokens[0, -1]) != self.anchor.padding or short != item) and not self.warned:
            self.warned = True
            long = "texts are truncated after the anchor's %d tokens, for example: %.60s..."
            log.warning(long, tokens.shape[1], item)
        return tokens

    def portable(self) -> Portable:
        return text_portable(self.anchor.tokenizer, self.preprocess("a"))

    def features(self, batch: Tensor) -> Tensor:
        return self.anchor.encode_text(batch)

    def head(self, features: Tensor) -> Tensor:
        return features
