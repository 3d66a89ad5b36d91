"""The toy's encoder, in a module that spawned workers can import."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from binder import Encoder, ItemError, Span


class ToyEncoder(Encoder):
    def __init__(self, config, anchor) -> None:
        super().__init__()
        self.config = config
        self.shift = int(anchor.fingerprint[:4], 16) / 2**16 if config.anchored else 0.0
        self.hidden = nn.Linear(8, config.width).requires_grad_(not config.frozen)
        if config.frozen:
            self.frozen_trunk, self.untrained = True, "a random projection"
        self.drop = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, anchor.embed_dim)
        if config.tied:
            self.alias = self.out
        self.steps = 0

    def preprocess(self, item):
        try:
            x = np.load(item) if not isinstance(item, np.ndarray) else item
        except (OSError, ValueError, EOFError) as error:
            raise ItemError(item, f"not a NumPy file: {error}") from None
        if x.ndim not in (1, 2) or x.shape[-1] != 8:
            raise ItemError(item, f"expected 8 numbers, got shape {x.shape}")
        return torch.from_numpy(x.astype(np.float32).reshape(-1, 8)) + self.shift

    def segments(self, item, every_s):
        rows = self.preprocess(item)  # one a second
        if len(rows) == 1:
            yield None, rows
            return
        for start in range(0, len(rows), int(every_s)):
            piece = rows[start : start + int(every_s)]
            yield Span(float(start), float(start + len(piece))), piece

    def augment(self, batch, generator):
        return batch + self.config.noise * torch.randn(batch.shape, generator=generator)

    def features(self, batch):
        return self.drop(torch.tanh(self.hidden(batch)))

    def head(self, features):
        z = self.out(features)
        if self.training:
            self.steps += 1
            if self.config.nan_after and self.steps > self.config.nan_after:
                z = z * torch.nan
        if self.config.sqrt_zero:
            z = z + (features * 0).sqrt().sum(1, keepdim=True)
        return z
