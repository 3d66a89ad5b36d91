"""The toy's anchors: sums of hashed words, and a linear map of the toy's eight numbers."""

from __future__ import annotations

import hashlib
import zlib
from functools import cached_property

import numpy as np
import torch
from torch import nn

from binder import Anchor, AnchorError, Encoder, ItemError, checked_text

BINS, DIM = 512, 24


class Words(Encoder):
    def __init__(self, anchor):
        super().__init__()
        self.anchor = anchor

    def preprocess(self, item):
        text = checked_text(item)
        if self.anchor.prompt == "query":
            text = f"query {text}"
        counts = torch.zeros(1, BINS)
        for word in text.lower().split():
            counts[0, zlib.crc32(word.encode()) % BINS] += 1
        return counts

    def features(self, batch):
        return self.anchor.model.words(batch)

    def head(self, features):
        return features


class Toys(Encoder):
    def __init__(self, anchor):
        super().__init__()
        self.anchor = anchor

    def preprocess(self, item):
        try:
            return torch.from_numpy(np.load(item).astype(np.float32))[None]
        except (OSError, ValueError, EOFError) as error:
            raise ItemError(item, f"not a NumPy file: {error}") from None

    def features(self, batch):
        return self.anchor.model.toys(batch)

    def head(self, features):
        return features


class ToyAnchor(Anchor):
    prompts = ("query", "document")

    def __init__(self, name, kinds):
        seed = name.partition(":")[2]
        if seed == "broken":
            raise OSError("no such\nfile")
        if not seed.isdigit():
            raise AnchorError(f"anchor {name!r}: expected a number after the colon")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            model = nn.ModuleDict({"words": nn.Linear(BINS, DIM), "toys": nn.Linear(8, DIM)})
        super().__init__(name, model, embed_dim=DIM, fingerprint=hashlib.md5(name.encode()).hexdigest())
        self.kinds = kinds

    @cached_property
    def towers(self):
        return {name: {"text": Words, "toy": Toys}[name](self) for name in self.kinds}
