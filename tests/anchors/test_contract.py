"""The contract of anchors, which OpenCLIP's keep, and what it catches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from binder import Anchor, Item
from binder.anchors import openclip
from binder.testing import AnchorContract, write_tiny_checkpoint


class TestOpenClip(AnchorContract):
    def load(self, tmp_path: Path, seed: int = 0) -> Anchor:
        return openclip.load(str(write_tiny_checkpoint(tmp_path / f"tiny{seed}", seed)))

    def items(self, modality: str, tmp_path: Path) -> Sequence[Item]:
        if modality == "text":
            return ["a red circle", "a much longer text about squares, circles and lines"]
        rng = np.random.default_rng(0)
        return [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((40, 50, 3), (90, 30, 3))]


class TestMini(TestOpenClip):
    def load(self, tmp_path: Path, seed: int = 0) -> Anchor:
        return openclip.load("mini") if seed == 0 else super().load(tmp_path, seed)


def test_an_anchor_that_changes_its_weights_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = TestOpenClip()
    anchor = contract.load(tmp_path)
    encode = anchor.encode_text  # type: ignore[attr-defined]

    def changing(tokens):  # type: ignore[no-untyped-def]
        next(iter(anchor.model.parameters())).data += 1
        return encode(tokens)

    monkeypatch.setattr(anchor, "encode_text", changing)
    with pytest.raises(AssertionError):
        contract.test_nothing_is_trained_and_encoding_changes_no_weight(anchor, tmp_path)


def test_a_tower_that_trains_is_caught(tmp_path: Path) -> None:
    contract = TestOpenClip()
    anchor = contract.load(tmp_path)
    next(iter(anchor.model.parameters())).requires_grad_()
    with pytest.raises(AssertionError):
        contract.test_nothing_is_trained_and_encoding_changes_no_weight(anchor, tmp_path)
