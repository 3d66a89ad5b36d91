"""The anchor's image tower inside an encoder: as it is, with low-rank additions, or trained as a copy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from binder import Modality, PictureConfig, PictureEncoder, Tower, read_image
from binder.encoders.picture import Standardize
from binder.testing import EncoderContract


class Shown(PictureEncoder):
    def picture(self, item):
        return read_image(item)

    def variant(self, item, rng):
        return read_image(item).rotate(int(rng.integers(360)))


SHOWN = Modality(name="shown", suffixes=frozenset({".png"}), config=PictureConfig, build=Shown)


def pictures(n=4):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(n)]


def batch(anchor):
    return torch.stack([anchor.transform(picture) for picture in pictures()])


class TestFrozen(EncoderContract):
    modality = SHOWN

    def items(self, tmp_path):
        paths = [tmp_path / f"{i}.png" for i in range(2)]
        for path, picture in zip(paths, pictures(), strict=False):
            picture.save(path)
        return paths


class TestLora(TestFrozen):
    config = {"tune": "lora", "rank": 2}  # noqa: RUF012


class TestFull(TestFrozen):
    config = {"tune": "full"}  # noqa: RUF012


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_untrained_it_is_the_anchor(anchor, tune):
    encoder = Shown(PictureConfig(tune=tune), anchor).eval()
    with torch.inference_mode():
        expected = F.normalize(anchor.encode_image(batch(anchor)), dim=-1)
        torch.testing.assert_close(F.normalize(encoder(batch(anchor)), dim=-1), expected)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_training_it_leaves_the_anchor_alone_and_reaches_every_matrix(anchor, tune):
    before = anchor.checksum()
    tower = Tower(anchor.image_trunk, tune, rank=2)
    optimizer = torch.optim.SGD(tower.parameters(), lr=1.0)
    start = tower(batch(anchor)).detach()
    for _ in range(2):  # the first step moves only the factor that starts at zero
        optimizer.zero_grad()
        tower(batch(anchor)).square().sum().backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in tower.parameters() if p.ndim > 1)
    assert not torch.allclose(tower(batch(anchor)), start)
    assert anchor.checksum() == before
    assert all(p.grad is None for p in anchor.model.parameters())


def test_what_is_kept_of_it(anchor):
    assert not Tower(anchor.image_trunk).state_dict()
    low, full = (
        sum(p.numel() for p in Tower(anchor.image_trunk, tune, rank=2).parameters()) for tune in ("lora", "full")
    )
    assert 0 < low < full == sum(p.numel() for p in anchor.image_trunk.weights().values())


def test_a_copy_shares_the_frozen_anchor(anchor):
    encoder = Shown(PictureConfig(), anchor)
    assert copy.deepcopy(encoder).anchor is anchor
    assert copy.deepcopy(encoder).adapter.up.weight is not encoder.adapter.up.weight


def test_views_are_the_picture_and_its_variants(anchor):
    encoder = Shown(PictureConfig(views=3), anchor)
    views = encoder.views(pictures()[0], np.random.default_rng(0))
    assert len(views) == 3
    assert torch.equal(views[:1], encoder.preprocess(pictures()[0]))
    assert not torch.equal(views[1], views[2])


def test_features_are_standardized_by_all_that_was_seen_and_constant_ones_say_nothing():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal([5, -100, 3], [0.001, 50, 0], (60, 3))).float()
    layer = Standardize(3).train()
    assert torch.equal(Standardize(3).eval()(x), x)  # before it saw anything
    for part in x.split([7, 1, 52]):
        layer(part)
    found, seen = layer.eval()(x), x.double()
    expected = ((seen - seen.mean(0)) / seen.std(0, correction=0))[:, :2]
    torch.testing.assert_close(found[:, :2].double(), expected, atol=1e-2, rtol=1e-2)
    assert torch.equal(found[:, 2], torch.zeros(60))
    assert torch.equal(layer(x[:1]), found[:1])
    assert layer(x.unflatten(0, (6, 10))).shape == (6, 10, 3)
