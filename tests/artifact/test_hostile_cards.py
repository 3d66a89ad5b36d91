"""Run folders whose card, weights or state are not what they say: one line each, in bounded memory."""

from __future__ import annotations

import json
import math
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import one_line

from binder import ConfigError, RunError
from binder.artifact import run_folder
from binder.registry import registry

CARDS = {
    "deep": "[" * 50_000 + "]" * 50_000,
    "deeper keys": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "infinite format": '{"format": Infinity}',
    "infinite after all": '{"format": 1e999}',
    "not a number": '{"logit_scale": NaN}',
    "a long number": '{"format": ' + "9" * 5000 + "}",
    "newer": '{"format": 99}',
    "a list": "[]",
    "nothing": "null",
    "text": '"card"',
    "wrong types": '{"format": "one", "modality": 7}',
    "other bytes": b"\xff\xfe\x00",
    "empty": "",
}


@pytest.mark.parametrize("name", CARDS)
def test_a_hostile_card_is_one_line(tmp_path, name):
    text = CARDS[name]
    (tmp_path / "card.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError) as caught:
        run_folder.read_card(tmp_path)
    assert "card.json" in one_line(caught)


def test_a_card_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "card.json").open("wb") as file:
        file.truncate(2**33)  # of holes
    began = time.monotonic()
    with pytest.raises(RunError, match="larger than 64 MiB"):
        run_folder.read_card(tmp_path)
    assert time.monotonic() - began < 5


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def changed(folder, **values):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **values}))


@pytest.mark.usefixtures("toy")
def test_an_encoder_that_is_not_what_its_card_says_is_one_line(copy, anchor):
    weights = load_file(copy / "encoder.safetensors")
    name = max(weights, key=lambda key: weights[key].numel())
    holes = weights[name].clone()
    holes.view(-1)[0] = math.nan
    bad = {
        "holds numbers that are not finite": {**weights, name: holes},
        "expected": {**weights, name: weights[name].to(torch.int32)},
        "size mismatch": {**weights, name: weights[name].flatten()},
        "Unexpected key": {**weights, "more": torch.zeros(1)},
    }
    for says, tensors in bad.items():
        save_file(tensors, copy / "encoder.safetensors")
        with pytest.raises(RunError) as caught:
            run_folder.load(copy, anchor, registry())
        assert says in one_line(caught)
    save_file(weights, copy / "encoder.safetensors")
    data = (copy / "encoder.safetensors").read_bytes()
    for lie in (data[:-4], (2**60).to_bytes(8, "little") + data[8:], data[:8] + b"[" * 100 + data[108:], b""):
        (copy / "encoder.safetensors").write_bytes(lie)
        with pytest.raises(RunError) as caught:
            run_folder.load(copy, anchor, registry())
        one_line(caught)
    (copy / "encoder.safetensors").write_bytes(data)
    changed(copy, embed_dim=10**9)
    with pytest.raises(RunError, match="embed_dim is 1000000000, the anchor has 32"):
        run_folder.load(copy, anchor, registry())
    changed(copy, embed_dim=32)
    assert run_folder.load(copy, anchor, registry()).card.embed_dim == 32


@pytest.mark.parametrize("state", [7, [], {}, {"encoder": {}}, {"step": "one"}, {"model": torch.zeros(2)}])
def test_a_state_of_another_kind_is_one_line(tmp_path, state):
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(RunError) as caught:
        run_folder.read_state(tmp_path)
    assert "not a checkpoint of a run" in one_line(caught)


@pytest.fixture
def sketch(monkeypatch):
    """A modality that sees through a picture tower, known to the registry."""
    from binder.encoders.picture import PictureEncoder
    from binder.modality import Modality, PictureConfig
    from binder.registry import registry

    made = Modality("sketch", frozenset({".sketch"}), PictureConfig, PictureEncoder)
    found = registry()
    own, owner = found.get, found.owner
    monkeypatch.setattr(found, "get", lambda name: made if name == "sketch" else own(name))
    monkeypatch.setattr(found, "owner", lambda name: owner("image" if name == "sketch" else name))
    return made


def test_an_encoder_whose_trunk_has_moved_is_loaded_where_its_new_place_is_named(sketch, tmp_path, anchor):
    from binder.testing import write_tiny_tower

    name = write_tiny_tower(tmp_path / "tower")
    encoder = sketch.build(sketch.config(trunk=name), anchor)
    card = run_folder.Card(
        modality="sketch",
        plugin="builtin",
        plugin_version="0",
        anchor=anchor.name,
        metrics={},
        space=anchor.fingerprint,
        embed_dim=anchor.embed_dim,
        trained_against=["text"],
        data="",
        logit_scale=1.0,
        n_train=1,
        n_val=0,
        binder_version="0",
        created="",
        config={"trunk": name},
    )
    run_folder.write_aligned(tmp_path / "run", card, encoder.state_dict())
    (tmp_path / "tower").rename(tmp_path / "moved")
    with pytest.raises(ConfigError) as caught:
        run_folder.load(tmp_path / "run", anchor, registry())
    assert "if it was moved, give its new path" in one_line(caught)
    found = run_folder.load(tmp_path / "run", anchor, registry(), trunk=f"timm:{tmp_path / 'moved'}")
    assert found.encoder.state_dict().keys() == encoder.state_dict().keys()
