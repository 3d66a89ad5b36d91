"""For authors of plugins: the contracts that every encoder and every anchor must pass, and a tiny random anchor.

class TestMine(EncoderContract):
    modality = MINE
    config = {"width": 32}

    def items(self, tmp_path): ...   # at least two different readable items
    def broken(self, tmp_path): ...  # unreadable items: empty, truncated, of another format

class TestMyAnchor(AnchorContract):
    def load(self, tmp_path, seed=0): ...      # the anchor, as users load it; with another seed, of other weights
    def items(self, modality, tmp_path): ...   # at least two different readable items of each of its modalities
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from binder.anchors.base import Anchor
from binder.config import validate
from binder.encoder import Encoder
from binder.errors import AnchorError, ConfigError, ItemError
from binder.formats.picture import read_image
from binder.modality import Item, Modality

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
TINY_PREPROCESS = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def tiny_anchor(seed: int = 0) -> Anchor:
    """A small CLIP of OpenCLIP's architecture with random weights, D = 32. For tests only."""
    import open_clip

    from binder.anchors.openclip import OpenClipAnchor

    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    return OpenClipAnchor("tiny", _tiny_model(seed), TINY_PREPROCESS, tokenizer)


def write_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the same model to a folder in OpenCLIP's layout, which `--anchor FOLDER` loads."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": TINY, "preprocess_cfg": TINY_PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(_tiny_model(seed).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_tiny_tower(folder: Path) -> str:
    """Write a small vision transformer of timm with random weights -> its name as a trunk. For tests only."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit", num_classes=0), str(folder), safe_serialization=True)
    return f"timm:local-dir:{folder}"


def _tiny_model(seed: int) -> torch.nn.Module:
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = CLIP(**json.loads(json.dumps(TINY)))
    return model


def huge_png(width: int, height: int) -> bytes:
    """A tiny PNG file whose header claims this size; it must be rejected before memory for its pixels is allocated."""
    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


class EncoderContract:
    """The tests that every encoder must pass. Inherit from it and provide `modality` and `items`."""

    modality: Modality
    config: dict[str, Any] = {}  # noqa: RUF012  # of a small encoder, so that the tests are fast

    def items(self, tmp_path: Path) -> Sequence[Item]:
        """At least two different readable items."""
        raise NotImplementedError

    def broken(self, tmp_path: Path) -> Sequence[Item]:
        """Items that cannot be read. A missing file, an empty one and one of random bytes are always tested as well."""
        return []

    @pytest.fixture
    def anchor(self) -> Anchor:
        return tiny_anchor()

    @pytest.fixture
    def encoder(self, anchor: Anchor, tmp_path: Path) -> Encoder:
        config = validate(self.modality.config, self.config, self.modality.name)
        if self.modality.adapt is not None:
            config = self.modality.adapt(config, self.items(tmp_path))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.modality.build(config, anchor).eval()

    def test_windows_have_one_shape(self, encoder: Encoder, tmp_path: Path) -> None:
        windows = [encoder.preprocess(item) for item in self.items(tmp_path)]
        assert len({(x.shape[1:], x.dtype) for x in windows}) == 1
        assert all(len(x) >= 1 for x in windows)

    def test_segments_follow_each_other_in_the_shape_of_windows(self, encoder: Encoder, tmp_path: Path) -> None:
        for item in self.items(tmp_path):
            whole, segments = encoder.preprocess(item), list(encoder.segments(item, 0.5))
            assert segments
            assert {(x.shape[1:], x.dtype) for _, x in segments} == {(whole.shape[1:], whole.dtype)}
            spans = [span for span, _ in segments if span is not None]
            assert len(spans) == (0 if segments[0][0] is None else len(segments))
            assert all(0 <= s.start_s < s.end_s <= s.start_s + 0.5 + 1e-6 for s in spans)
            assert all(a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(spans))

    def test_views_have_the_shape_of_windows_and_follow_their_generator(self, encoder: Encoder, tmp_path: Path) -> None:
        for item in self.items(tmp_path):
            whole = encoder.preprocess(item)
            first, second = (encoder.views(item, np.random.default_rng(1)) for _ in range(2))
            assert (first.shape[1:], first.dtype) == (whole.shape[1:], whole.dtype)
            assert torch.equal(first, second)

    def test_a_frozen_trunk_has_nothing_to_train(self, encoder: Encoder, tmp_path: Path) -> None:
        if encoder.frozen_trunk:
            assert not encoder.features(self._batch(encoder, tmp_path)).requires_grad

    def test_forward_gives_a_finite_row_of_the_anchors_width(
        self, encoder: Encoder, anchor: Anchor, tmp_path: Path
    ) -> None:
        z_BD = self._embed(encoder, tmp_path)
        assert z_BD.shape[1] == anchor.embed_dim
        assert torch.isfinite(z_BD).all()

    def test_different_items_get_different_vectors(self, encoder: Encoder, tmp_path: Path) -> None:
        z_BD = self._embed(encoder, tmp_path)
        assert not torch.allclose(z_BD[0], z_BD[-1], atol=1e-6)

    def test_a_row_alone_equals_the_row_in_a_batch(self, encoder: Encoder, tmp_path: Path) -> None:
        batch = self._batch(encoder, tmp_path)
        with torch.inference_mode():
            together, alone = encoder(batch), torch.cat([encoder(row[None]) for row in batch])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_the_same_item_twice_gives_the_same_bytes(self, encoder: Encoder, tmp_path: Path) -> None:
        first, second = self._embed(encoder, tmp_path), self._embed(encoder, tmp_path)
        assert first.numpy().tobytes() == second.numpy().tobytes()

    def test_gradients_reach_every_trainable_parameter(self, encoder: Encoder, tmp_path: Path) -> None:
        encoder.train()
        batch = self._batch(encoder, tmp_path)
        torch.manual_seed(0)
        encoder(batch.repeat(8, *[1] * (batch.ndim - 1))).square().sum().backward()
        missing = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing, f"no gradient: {missing}"

    def test_augment_keeps_shape_and_follows_its_generator(self, encoder: Encoder, tmp_path: Path) -> None:
        batch = self._batch(encoder, tmp_path)
        before = batch.clone()
        first, second = (encoder.augment(batch, torch.Generator().manual_seed(1)) for _ in range(2))
        assert first.shape[0] == batch.shape[0]
        assert torch.equal(first, second)
        assert torch.equal(batch, before), "augment changed its input"
        assert encoder(first).shape[0] == batch.shape[0]

    def test_pickled_for_a_worker_it_still_preprocesses(self, encoder: Encoder, tmp_path: Path) -> None:
        copy = pickle.loads(pickle.dumps(encoder))
        item = self.items(tmp_path)[0]
        assert torch.equal(copy.preprocess(item), encoder.preprocess(item))

    def test_the_anchors_weights_are_not_in_the_state_dict(self, encoder: Encoder, anchor: Anchor) -> None:
        own = {t.data_ptr() for t in encoder.state_dict().values() if t.numel()}
        assert not own & {p.data_ptr() for p in anchor.model.parameters()}

    def test_state_dict_round_trip(self, encoder: Encoder, anchor: Anchor, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(encoder.state_dict(), buffer)
        buffer.seek(0)
        before = self._embed(encoder, tmp_path)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(1.0)
        encoder.load_state_dict(torch.load(buffer, weights_only=True))
        assert torch.equal(self._embed(encoder, tmp_path), before)

    def test_broken_items_raise_item_error(self, encoder: Encoder, tmp_path: Path) -> None:
        suffix = sorted(self.modality.suffixes)[0] if self.modality.suffixes else ".bin"
        empty, noise = tmp_path / f"empty{suffix}", tmp_path / f"noise{suffix}"
        empty.write_bytes(b"")
        noise.write_bytes(bytes(range(256)) * 16)
        for item in [tmp_path / f"missing{suffix}", empty, noise, *self.broken(tmp_path)]:
            with pytest.raises(ItemError) as caught:
                encoder.preprocess(item)
            assert "\n" not in str(caught.value), f"more than one line for {item}"

    def test_an_unknown_config_key_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no_such_key"):
            validate(self.modality.config, {"no_such_key": 1}, self.modality.name)

    def test_importing_the_plugin_imports_no_torch(self) -> None:
        module = self.modality.config.__module__
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"importing {module} imports torch {result.stderr}"

    def test_preview_draws_something(self, tmp_path: Path) -> None:
        if self.modality.preview is not None:
            picture = self.modality.preview(self.items(tmp_path)[0])
            assert min(picture.size) >= 16
            low, high = picture.convert("L").getextrema()
            assert low != high, "the preview is a single color"

    def _batch(self, encoder: Encoder, tmp_path: Path) -> torch.Tensor:
        return torch.cat([encoder.preprocess(item) for item in self.items(tmp_path)])

    def _embed(self, encoder: Encoder, tmp_path: Path) -> torch.Tensor:
        with torch.inference_mode():
            z_BD: torch.Tensor = encoder(self._batch(encoder, tmp_path))
        return z_BD


class AnchorContract:
    """The tests that every anchor must pass. Inherit from it and provide `load` and `items`."""

    def load(self, tmp_path: Path, seed: int = 0) -> Anchor:
        """The anchor, loaded as users load it; for each seed, of other weights."""
        raise NotImplementedError

    def items(self, modality: str, tmp_path: Path) -> Sequence[Item]:
        """At least two different readable items of a modality that the anchor encodes."""
        raise NotImplementedError

    @pytest.fixture
    def anchor(self, tmp_path: Path) -> Anchor:
        return self.load(tmp_path)

    def test_each_tower_gives_finite_rows_of_the_anchors_width(self, anchor: Anchor, tmp_path: Path) -> None:
        assert anchor.towers
        for name in anchor.towers:
            z_BD = self._embed(anchor, name, tmp_path)
            assert z_BD.shape == (len(self.items(name, tmp_path)), anchor.embed_dim)
            assert z_BD.dtype == torch.float32
            assert torch.isfinite(z_BD).all()

    def test_windows_have_one_shape(self, anchor: Anchor, tmp_path: Path) -> None:
        for name, tower in anchor.towers.items():
            windows = [tower.preprocess(item) for item in self.items(name, tmp_path)]
            assert len({(x.shape[1:], x.dtype) for x in windows}) == 1
            assert all(len(x) == 1 for x in windows)

    def test_different_items_get_different_vectors(self, anchor: Anchor, tmp_path: Path) -> None:
        for name in anchor.towers:
            z_BD = self._embed(anchor, name, tmp_path)
            assert not torch.allclose(z_BD[0], z_BD[-1], atol=1e-6)

    def test_a_row_alone_equals_the_row_in_a_batch(self, anchor: Anchor, tmp_path: Path) -> None:
        for name, tower in anchor.towers.items():
            batch = torch.cat([tower.preprocess(item) for item in self.items(name, tmp_path)])
            with torch.inference_mode():
                together, alone = tower(batch), torch.cat([tower(row[None]) for row in batch])
            torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_the_same_item_twice_gives_the_same_bytes(self, anchor: Anchor, tmp_path: Path) -> None:
        for name in anchor.towers:
            first, second = (self._embed(anchor, name, tmp_path) for _ in range(2))
            assert first.numpy().tobytes() == second.numpy().tobytes()

    def test_nothing_is_trained_and_encoding_changes_no_weight(self, anchor: Anchor, tmp_path: Path) -> None:
        before = anchor.checksum()
        for name, tower in anchor.towers.items():
            tower(torch.cat([tower.preprocess(item) for item in self.items(name, tmp_path)]))
            assert not any(parameter.requires_grad for parameter in tower.parameters())
        assert not any(parameter.requires_grad for parameter in anchor.model.parameters())
        assert not any(module.training for module in anchor.model.modules())
        assert anchor.checksum() == before

    def test_pickled_for_a_worker_it_preprocesses_and_has_no_weights(self, anchor: Anchor, tmp_path: Path) -> None:
        largest = max(anchor.model.parameters(), key=torch.Tensor.numel).detach().flatten()
        for name, tower in anchor.towers.items():
            pickled = pickle.dumps(tower)
            assert largest[:64].numpy().tobytes() not in pickled
            item = self.items(name, tmp_path)[0]
            assert torch.equal(pickle.loads(pickled).preprocess(item), tower.preprocess(item))
        with pytest.raises(AnchorError, match="no weights"):
            _ = pickle.loads(pickle.dumps(anchor)).model

    def test_the_fingerprint_names_the_space(self, anchor: Anchor, tmp_path: Path) -> None:
        assert self.load(tmp_path).fingerprint == anchor.fingerprint
        assert self.load(tmp_path, seed=1).fingerprint != anchor.fingerprint
        assert 0 < anchor.logit_scale < float("inf")

    def test_broken_items_raise_item_error(self, anchor: Anchor, tmp_path: Path) -> None:
        noise = tmp_path / "noise.bin"
        noise.write_bytes(bytes(range(256)) * 16)
        (tmp_path / "empty.bin").write_bytes(b"")
        files: list[Item] = [tmp_path / "missing.bin", tmp_path / "empty.bin", noise]
        for name, tower in anchor.towers.items():
            for item in ["", " ", 3.5, None, "half \ud800"] if name == "text" else files:
                with pytest.raises(ItemError) as caught:
                    tower.preprocess(item)
                assert "\n" not in str(caught.value), f"more than one line for {item}"

    def test_each_prompt_gives_vectors_and_an_unknown_one_is_an_error(self, anchor: Anchor, tmp_path: Path) -> None:
        for prompt in anchor.prompts:
            prompted = anchor.with_prompt(prompt)
            assert prompted.prompt == prompt
            assert torch.isfinite(self._embed(prompted, "text", tmp_path)).all()
        with pytest.raises(AnchorError, match="no_such_prompt"):
            anchor.with_prompt("no_such_prompt")

    def test_encoders_can_build_on_the_picture_tower(self, anchor: Anchor, tmp_path: Path) -> None:
        trunk = anchor.image_trunk
        if trunk is not None:
            pictures = [read_image(item) for item in self.items("image", tmp_path)]
            batch = torch.stack([trunk.transform(picture) for picture in pictures])
            torch.testing.assert_close(trunk(batch), self._embed(anchor, "image", tmp_path), atol=1e-5, rtol=1e-4)
            own = {name: p.detach().clone().requires_grad_() for name, p in trunk.weights().items()}
            trunk(batch, own).square().sum().backward()
            assert own
            assert [name for name, parameter in own.items() if parameter.grad is None] == []

    def _embed(self, anchor: Anchor, name: str, tmp_path: Path) -> torch.Tensor:
        tower = anchor.tower(name)
        with torch.inference_mode():
            z_BD: torch.Tensor = tower(torch.cat([tower.preprocess(item) for item in self.items(name, tmp_path)]))
        return z_BD
