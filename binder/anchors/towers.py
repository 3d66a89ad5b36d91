"""The towers of a frozen anchor as encoders: its own modalities, image and text.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import logging
import re

from torch import Tensor

from binder.anchors.openclip import Anchor
from binder.encoder import Encoder
from binder.errors import ItemError
from binder.formats.picture import read_image
from binder.modality import Item

log = logging.getLogger(__name__)

LONG_WORD = re.compile(r"\S{513,}")
LONGEST_WORD, LONGEST_TEXT = 512, 20_000  # letters that a tokenizer sees: its time may grow with their square


class ImageTower(Encoder):
    """The anchor's image tower as an encoder with nothing to train."""

    def __init__(self, anchor: Anchor) -> None:
        super().__init__()
        self.anchor = anchor

    def preprocess(self, item: Item) -> Tensor:
        return self.anchor.transform(read_image(item)).unsqueeze(0)

    def features(self, batch: Tensor) -> Tensor:
        return self.anchor.encode_image(batch)

    def head(self, features: Tensor) -> Tensor:
        return features


class TextTower(Encoder):
    """The anchor's text tower as an encoder with nothing to train."""

    def __init__(self, anchor: Anchor) -> None:
        super().__init__()
        self.anchor = anchor
        self.warned = False  # of a text that is cut: once, as there may be a million

    def preprocess(self, item: Item) -> Tensor:
        if not isinstance(item, str):
            raise ItemError(item, f"expected text, got {type(item).__name__}")
        if not item.strip():
            raise ItemError(repr(item[:40]), "empty text")
        if any("\ud800" <= letter <= "\udfff" for letter in item):
            raise ItemError(item[:60].encode("ascii", "backslashreplace").decode(), "holds half a surrogate pair")
        short = LONG_WORD.sub(lambda word: word[0][:LONGEST_WORD], item[:LONGEST_TEXT])
        tokens = self.anchor.tokenizer([short])
        if (int(tokens[0, -1]) != self.anchor.padding or short != item) and not self.warned:
            self.warned = True
            long = "texts that fill the anchor's %d tokens are cut there, such as: %.60s..."
            log.warning(long, tokens.shape[1], item)
        return tokens

    def features(self, batch: Tensor) -> Tensor:
        return self.anchor.encode_text(batch)

    def head(self, features: Tensor) -> Tensor:
        return features
