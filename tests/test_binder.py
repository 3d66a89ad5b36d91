"""A Binder as an object: what it says of itself, where it is, its pickle; its encoders as Modules."""

from __future__ import annotations

import copy
import pickle
import shutil

import numpy as np
import pytest
import torch
from support import distribution, installed, one_line

import binder
from binder import Binder, ConfigError, PictureConfig, SpaceError
from binder.encoders.picture import picture_tower
from binder.registry import registry
from binder.testing import tiny_anchor, write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def space(run, anchor_folder):
    return Binder(str(anchor_folder)).load(run)


def devices(encoder: torch.nn.Module) -> set[str]:
    return {tensor.device.type for tensor in [*encoder.parameters(), *encoder.buffers()]}


# -- what it says of itself


def test_it_says_anchor_space_what_is_loaded_and_where(space, run):
    said = repr(space)
    assert said.startswith(f"Binder(anchor {space.anchor.name}, space {space.space[:8]}: image, text; ")
    assert said.endswith(f"loaded: toy from {run}; on cpu)")
    space.encoders["other"] = space.encoders["toy"]
    assert "other from memory" in repr(space)
    assert "loaded" not in repr(Binder(space.anchor))


# -- where it is


def test_it_moves_with_everything_it_holds(run, anchor_folder):
    space = Binder(str(anchor_folder)).load(run)
    space.encoders["drawn"] = torch.nn.Sequential(picture_tower(PictureConfig(), space.anchor))  # a trunk is no Module
    assert space.to("cpu") is space
    assert space.device == torch.device("cpu")
    space.to("meta")
    assert space.device.type == "meta" and "on meta" in repr(space)
    assert devices(space.encoders["toy"]) == {"meta"}
    assert {p.device.type for p in space.encoders["drawn"][0].trunk.weights().values()} == {"meta"}


def test_a_pretrained_trunk_moves_along(anchor):
    trunk = binder.Trunk("made", torch.nn.Linear(2, 3), torch.tensor, 3)
    space = Binder(anchor)
    space.encoders["drawn"] = binder.Tower(trunk)
    space.encoders = {"drawn": space.encoders["drawn"]}
    space.anchor = tiny_anchor()  # the session's stays where it is
    space.to("meta")
    assert trunk.model.weight.device.type == "meta"


def test_it_still_encodes_after_a_move(space, toys):
    before = space.toy(toys / "0.npy").vectors
    np.testing.assert_array_equal(space.to("cpu").to(torch.device("cpu")).toy(toys / "0.npy").vectors, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_it_encodes_on_a_gpu_and_back(space, toys):
    before = [space.toy(toys / "0.npy").vectors, space.text("red").vectors]
    space.to("cuda")
    assert devices(space.encoders["toy"]) == {"cuda"}
    there = [space.toy(toys / "0.npy").vectors, space.text("red").vectors]
    assert pickle.loads(pickle.dumps(space)).device.type == "cuda"
    space.to("cpu")
    back = [space.toy(toys / "0.npy").vectors, space.text("red").vectors]
    for a, b, c in zip(before, there, back, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-3)
        np.testing.assert_allclose(c, a, atol=1e-6)


def test_a_device_that_is_not_there_is_refused_and_nothing_moves(space):
    for name in ("quantum", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{name}'"):
            space.to(name)
    assert devices(space.encoders["toy"]) == {"cpu"}


# -- pickles


def test_it_pickles_whole(space, run, toys):
    space.batch_size = 7
    for other in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space), pickle.loads(pickle.dumps(space.to("cpu")))):
        assert repr(other) == repr(space)
        assert (other.batch_size, other.runs, other.anchor.name) == (7, space.runs, space.anchor.name)
        np.testing.assert_array_equal(other.toy(toys / "0.npy").vectors, space.toy(toys / "0.npy").vectors)
        np.testing.assert_array_equal(other.text("red").vectors, space.text("red").vectors)
    assert len(pickle.dumps(space)) < 2000, "names, not weights"


def test_an_anchor_that_was_loaded_by_name_elsewhere_is_found_again(anchor, toys):
    other = pickle.loads(pickle.dumps(Binder(anchor)))
    assert other.space == anchor.fingerprint


def test_an_anchor_that_has_no_name_is_refused():
    with pytest.raises(ConfigError, match="cannot be pickled: its anchor 'tiny' was made in memory") as caught:
        pickle.dumps(Binder(tiny_anchor()))
    one_line(caught)


def test_an_anchor_whose_name_is_that_of_another_is_refused(anchor_folder):
    anchor = tiny_anchor(seed=5)
    anchor.name = str(anchor_folder)
    with pytest.raises(ConfigError, match=r"cannot be pickled: .* loads another one, of space") as caught:
        pickle.dumps(Binder(anchor))
    one_line(caught)


def test_an_encoder_in_no_run_folder_is_refused(space):
    space.encoders["mine"] = copy.deepcopy(space.encoders["toy"])
    with pytest.raises(ConfigError, match="cannot be pickled: its encoder for 'mine' is in no run folder") as caught:
        pickle.dumps(space)
    one_line(caught)


def test_a_tower_that_was_replaced_is_refused(space):
    space.encoders["image"] = copy.deepcopy(space.encoders["toy"])
    with pytest.raises(ConfigError, match="its encoder for 'image' is in no run folder"):
        pickle.dumps(space)


def test_an_encoder_that_was_trained_since_is_refused(space, toys):
    step(space, toys)
    with pytest.raises(ConfigError, match="encoder for 'toy' was changed since it was loaded") as caught:
        pickle.dumps(space)
    one_line(caught)


def test_encoding_and_moving_change_nothing(space, toys):
    space.toy([toys / "0.npy", toys / "1.npy"])
    space.to("cpu")
    assert pickle.loads(pickle.dumps(space)).space == space.space


def test_plugins_that_were_handed_in_are_refused(anchor_folder):
    from binder.registry import Registry

    with pytest.raises(ConfigError, match="plugins were handed in") as caught:
        pickle.dumps(Binder(str(anchor_folder), registry=Registry([])))
    one_line(caught)
    pickle.dumps(Binder(str(anchor_folder), registry=registry()))


def test_an_encoder_under_a_name_of_ones_own_comes_back(tmp_path, toys, anchor_folder, toy_site):
    site = tmp_path / "site"
    distribution(site, "binder-toy-anchor", "binder_toy_anchor", key="omni")
    with installed(toy_site, site):
        out = tmp_path / "run"
        binder.align("toy", toys / "pairs.csv", anchor="omni:0", as_new="mine", to="text", epochs=1, out=out)
        space = Binder("omni:0").load(out)
        other = pickle.loads(pickle.dumps(space))
        np.testing.assert_array_equal(other.mine(toys / "0.npy").vectors, space.mine(toys / "0.npy").vectors)


def test_a_name_that_means_another_anchor_now_is_told(tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "anchor")
    kept = pickle.dumps(Binder(str(folder)))
    shutil.rmtree(folder)
    write_tiny_checkpoint(folder, seed=1)
    with pytest.raises(SpaceError, match="pickled in space") as caught:
        pickle.loads(kept)
    one_line(caught)


# -- encoders as Modules


def step(space: Binder, toys) -> list[float]:
    """Some steps of training of one's own -> the loss after each."""
    encoder = space.encoders["toy"].requires_grad_(True).train()
    batch = torch.cat([encoder.preprocess(toys / f"{i}.npy") for i in range(4)]).to(space.device)
    target = torch.as_tensor(space.text(["red", "green", "blue", "seven"])).to(space.device)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        z = torch.nn.functional.normalize(encoder(batch), dim=-1)
        loss = -(z * target).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in encoder.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_an_encoder_is_a_module_with_gradients(space, toys):
    encoder = space.encoders["toy"]
    assert isinstance(encoder, torch.nn.Module) and isinstance(encoder, binder.Encoder)
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.training
    windows = encoder.preprocess(toys / "0.npy")
    z = torch.nn.functional.normalize(encoder(windows), dim=-1)
    np.testing.assert_allclose(z.numpy(), space.toy(toys / "0.npy").vectors, atol=1e-6)
    windows.requires_grad_(True)  # of a frozen encoder, with respect to what goes in
    encoder(windows).sum().backward()
    assert windows.grad is not None and bool(windows.grad.abs().sum())


def test_training_it_takes_effect_and_leaves_the_anchor_alone(space, toys):
    before, checksum = space.toy(toys / "0.npy").vectors, space.anchor.checksum()
    losses = step(space, toys)
    assert losses[-1] < losses[0]
    assert np.abs(space.toy(toys / "0.npy").vectors - before).max() > 1e-3
    assert space.encoders["toy"].training, "embedding leaves it in training"
    assert space.anchor.checksum() == checksum


def test_gradients_reach_what_goes_into_the_anchors_own_towers(space, toys):
    tower = space.encoders["image"]
    pixels = tower.preprocess(toys / "0.png").requires_grad_(True)
    tower(pixels).sum().backward()
    assert bool(pixels.grad.abs().sum())
