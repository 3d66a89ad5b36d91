"""What the anchors of both libraries have in common: which towers a model has, and what names its space.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from binder import Anchor, AnchorError, BinderError, Encoder, Trunk, one_line
from binder_transformers import files
from binder_transformers.names import Name
from binder_transformers.reading import LONGEST, Reading
from binder_transformers.rows import Features, FixedRows, TokenRows, token_count
from binder_transformers.towers import AudioTower, ImageTower, TextTower

log = logging.getLogger(__name__)

LONG_TEXT = "a " * 10_000  # longer than what any model reads
PROBES = ("a photo of two red circles", "Ünïcode 0123, snake_case!")  # different vocabularies split them differently
SIZES = ((64, 48), (40, 90))  # of pictures: a model that reads each at its own size makes different tensors of them


class LibraryAnchor(Anchor):
    """A frozen model of transformers or sentence-transformers. Derive from it, with `encode`."""

    def __init__(self, name: Name, model: nn.Module, reading: Reading, modalities: Sequence[str]) -> None:
        super().__init__(str(name), model, embed_dim=0, fingerprint="")
        self.reading = reading
        self.modalities = tuple(modalities)  # those with a tower

    def encode(self, modality: str, features: Features) -> Tensor:
        """What the processor returns for a batch -> (B, D) float32, not normalized."""
        raise NotImplementedError

    @cached_property
    def towers(self) -> Mapping[str, Encoder]:
        found: dict[str, Encoder] = {}
        for modality in self.modalities:
            if modality == "text":
                found[modality] = TextTower(self, self._token_rows())
            else:
                tower = {"image": ImageTower, "audio": AudioTower}[modality]
                found[modality] = tower(self, FixedRows(self._example(modality)))
        return found

    @property
    def image_trunk(self) -> Trunk | None:
        """The picture tower for encoders that build on it: (B, ...) -> (B, D), not normalized; None without one."""
        tower = self.towers.get("image")
        if not isinstance(tower, ImageTower):
            return None
        side = _ImageSide(self, tower)
        trunk = Trunk(self.name, side, tower.transform, self.embed_dim)
        example = tower.transform(Image.new("RGB", SIZES[0]))[None].to(self.device)
        trunk.part = _used(side, example)
        return trunk

    def truncates(self, text: str) -> bool:
        rows = self.towers["text"].rows if "text" in self.towers else None
        if not isinstance(rows, TokenRows):
            return False
        return token_count(self.reading.text(text, self.prompt, whole=True)) > rows.length

    def settle(self, name: Name, folder: Path) -> None:
        """Find out which towers work, how long vectors are, and the space's name. Raises AnchorError."""
        with half_precision_explained(name):
            widths = {modality: self._width(modality) for modality in self.modalities}
        self.modalities = tuple(modality for modality, width in widths.items() if width)
        if not self.modalities:
            raise AnchorError(f"anchor {self.name!r}: has no tower that gives one vector for a text, picture or sound")
        self.embed_dim = widths[self.modalities[0]]
        if any(width not in (0, self.embed_dim) for width in widths.values()):
            raise AnchorError(f"anchor {self.name!r}: its towers give vectors of different lengths: {widths}")
        said: list[Any] = [{**name.options, "dtype": name.dtype}]
        if "text" in self.modalities:
            with explained(name, "tokenizer"):
                rows = self._token_rows()
                said += [rows.pack(self.reading.text(text, self.prompt)).tolist() for text in PROBES]
        if "audio" in self.modalities:
            said.append(self.reading.rate)
        self.fingerprint = files.fingerprint(folder, f"anchor {self.name!r}", said)
        with half_precision_explained(name):
            self.try_out({modality: _item(modality, self.reading) for modality in self.modalities})

    def _width(self, modality: str) -> int:
        """The length of a modality's vectors; 0 where the model has no one vector for an item."""
        first, second = self._example(modality), self._example(modality, 1)
        if modality != "text" and not _same_shapes(first, second):
            log.warning("anchor %s reads %ss at their own size, in varying shapes: left out", self.name, modality)
            return 0
        with torch.inference_mode():
            rows = self._token_rows() if modality == "text" else FixedRows(first)
            z = self.encode(modality, rows.unpack(rows.pack(first).to(self.device)))
        return int(z.shape[1]) if isinstance(z, Tensor) and z.ndim == 2 and len(z) == 1 else 0

    def _example(self, modality: str, number: int = 0) -> Features:
        if modality == "text":
            return self.reading.text("a", self.prompt)
        if modality == "image":
            return self.reading.image(Image.new("RGB", SIZES[number]))
        return self.reading.audio(_tone(self.reading.rate)[: self.reading.rate // (1 + number)])

    def _token_rows(self) -> TokenRows:
        short, long = self._example("text"), self.reading.text(LONG_TEXT, self.prompt)
        padded = "attention_mask" in short and not bool(short["attention_mask"].all())
        if "offsets" not in short and short["input_ids"].shape == long["input_ids"].shape:
            padded = True  # trained with padding to a fixed length
        length = long["input_ids"].numel() if padded else min(token_count(long), LONGEST)
        return TokenRows(short, length, self.reading.pad, padded)


class _ImageSide(nn.Module):
    """The model with its picture tower as its forward pass."""

    def __init__(self, anchor: LibraryAnchor, tower: ImageTower) -> None:
        super().__init__()
        self.model = anchor.model
        self.encode, self.rows = partial(anchor.encode, "image"), tower.rows

    def forward(self, batch: Tensor) -> Tensor:
        z_BD: Tensor = self.encode(self.rows.unpack(batch))
        return z_BD


def _used(side: nn.Module, example: Tensor) -> tuple[str, ...]:
    """The names of the parameters on which the output depends, found by walking back from it."""
    names = {}
    leaves = {name: weight.detach().requires_grad_() for name, weight in side.named_parameters()}
    for name, leaf in leaves.items():
        names[id(leaf)] = name
    with torch.enable_grad():
        output = functional_call(side, leaves, (example,))
    seen, waiting, found = set(), [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) in names:
            found.add(names[id(variable)])
        waiting += [following for following, _ in node.next_functions]
    return tuple(sorted(found))


def _same_shapes(first: Features, second: Features) -> bool:
    return all(first[name].shape == second[name].shape for name in first if isinstance(first[name], Tensor))


def _tone(rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    wave: np.ndarray[Any, np.dtype[np.float32]] = np.sin(2 * np.pi * 440 / rate * np.arange(rate)).astype(np.float32)
    return wave


def _item(modality: str, reading: Reading) -> Any:
    """An item on which a tower is tried out, without a plugin that decodes it."""
    return {"text": "a", "image": Image.new("RGB", SIZES[0]), "audio": _tone(reading.rate)}[modality]


@contextlib.contextmanager
def explained(name: Name, what: str) -> Iterator[None]:
    """Turns what a library raises about a part of a model into an AnchorError."""
    try:
        yield
    except BinderError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {one_line(error)}"
        raise AnchorError(f"anchor {str(name)!r} could not be loaded: its {what}: {said}") from error


@contextlib.contextmanager
def half_precision_explained(name: Name) -> Iterator[None]:
    """The same for its towers; where half precision may be to blame, with the advice to use another."""
    try:
        with explained(name, "towers"):
            yield
    except AnchorError as error:
        if name.dtype == "float16" and "finite" in str(error):
            advice = "float16 is too small for its numbers: use dtype=float32 or dtype=bfloat16"
            raise AnchorError(f"{error}; {advice}") from error
        raise
