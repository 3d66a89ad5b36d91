"""What a processor makes of one item -> rows of one shape, which can be batched, and back.

Processors return several tensors by name, and texts of different lengths; the core wants one tensor of one shape.

Shapes: B batch, K kinds of numbers per token, L tokens of the longest text, N numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Features = Mapping[str, Any]  # what a library's processor returns for one item: tensors (1, ...), and constants
IDS, MASK, LENGTHS, OFFSETS = "input_ids", "attention_mask", "sentence_lengths", "offsets"
ABSENT = -1  # fills a row after its last token


class TokenRows:
    """Texts: the numbers of their tokens, without padding unless the model was trained with it.

    A row is (K, L): the ids, and what else there is per token. The attention mask is 1 where there is a token, so it is
    not stored; padding is put back up to the longest text of a batch.
    """

    def __init__(self, example: Features, length: int, pad: int, padded: bool) -> None:
        kinds = [
            name for name, value in example.items() if isinstance(value, Tensor) and name not in (LENGTHS, OFFSETS)
        ]
        self.names = [IDS, *(name for name in kinds if name != IDS and (padded or name != MASK))]
        self.constants = {name: value for name, value in example.items() if not isinstance(value, Tensor)}
        self.masked, self.lengths, self.flat = MASK in kinds, LENGTHS in example, OFFSETS in example
        self.length, self.pad, self.padded = length, pad, padded

    def pack(self, features: Features) -> Tensor:
        """-> (1, K, L) int32."""
        planes = torch.stack([features[name].view(-1) for name in self.names])
        if not self.padded and MASK in features:
            planes = planes[:, features[MASK].view(-1) > 0]
        planes = planes[:, : self.length]
        return F.pad(planes.int(), (0, self.length - planes.shape[1]), value=ABSENT)[None]

    def may_be_cut(self, row: Tensor) -> bool:
        """Whether (1, K, L) is filled to its end, so that tokens may have been cut off."""
        last = row[0, self.names.index(MASK), -1] if MASK in self.names else row[0, 0, -1] != ABSENT
        return bool(last)

    def unpack(self, batch: Tensor) -> dict[str, Any]:
        """(B, K, L) -> what the processor returns for a batch, as long as its longest text."""
        there = batch[:, 0] != ABSENT
        if self.flat:  # the tokens of all texts one after another, and where each text starts
            counts = there.sum(1)
            return {IDS: batch[:, 0][there].long(), OFFSETS: counts.cumsum(0) - counts, **self.constants}
        longest = max(1, int(there.sum(1).max()))
        batch, there = batch[:, :, :longest].long(), there[:, :longest]
        features = {
            name: batch[:, k].masked_fill(~there, self.pad if name == IDS else 0) for k, name in enumerate(self.names)
        }
        if self.masked and not self.padded:
            features[MASK] = there.long()
        if self.lengths:
            features[LENGTHS] = there.sum(1)
        return {**features, **self.constants}


class FixedRows:
    """Items for which a processor returns tensors of one shape: the numbers of all of them in one row (N,).

    Where there is only one tensor of floats (the pixels of a picture), that is the row.
    """

    def __init__(self, example: Features) -> None:
        self.shapes = {name: (value.shape[1:], value.dtype) for name, value in example.items() if _is_row(value)}
        self.constants = {name: value for name, value in example.items() if not isinstance(value, Tensor)}
        self.plain = len(self.shapes) == 1 and all(dtype.is_floating_point for _, dtype in self.shapes.values())

    def pack(self, features: Features) -> Tensor:
        """-> (1, ...) float32. Raises ValueError where a tensor has another shape than that of other items."""
        for name, (shape, _) in self.shapes.items():
            if features[name].shape[1:] != shape:
                raise ValueError(f"{name}: {tuple(features[name].shape[1:])} instead of {tuple(shape)}")
        if self.plain:
            only: Tensor = next(features[name] for name in self.shapes)
            return only.float()
        return torch.cat([features[name].float().flatten(1) for name in self.shapes], 1)

    def unpack(self, batch: Tensor) -> dict[str, Any]:
        """(B, ...) -> what the processor returns for a batch."""
        if self.plain:
            return {next(iter(self.shapes)): batch, **self.constants}
        sizes = [shape.numel() for shape, _ in self.shapes.values()]
        parts = zip(self.shapes.items(), batch.split(sizes, 1), strict=True)
        found = {name: part.reshape(len(batch), *shape).to(dtype) for (name, (shape, dtype)), part in parts}
        return {**found, **self.constants}


def token_count(features: Features) -> int:
    """How many tokens a text has."""
    counted = features[MASK].sum() if MASK in features else features[IDS].numel()
    return int(counted)


def _is_row(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 1 and len(value) == 1
