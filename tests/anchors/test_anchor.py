"""The frozen anchor: its vectors are OpenCLIP's own, and it never comes with random weights."""

from __future__ import annotations

import json
import logging
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from binder import AnchorError, ItemError, OpenClipAnchor
from binder.anchors import openclip as anchors
from binder.anchors import towers
from binder.testing import tiny_anchor, write_tiny_checkpoint

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


def fails(name) -> str:
    with pytest.raises(AnchorError) as caught:
        anchors.load(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return write_tiny_checkpoint(tmp_path / "tiny")


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_its_vectors_are_those_of_open_clip_itself(anchor, anchor_folder, picture):
    import open_clip

    name = f"local-dir:{anchor_folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    texts = ["a red circle", "Ünïcode"]
    image_tower, text_tower = towers.ImageTower(anchor), towers.TextTower(anchor)
    with torch.inference_mode():
        want = model.encode_image(torch.stack([preprocess(picture), preprocess(picture.rotate(90))]))
        got = image_tower(torch.cat([image_tower.preprocess(picture), image_tower.preprocess(picture.rotate(90))]))
        torch.testing.assert_close(got, want)
        want = model.encode_text(open_clip.get_tokenizer(name)(texts))
        torch.testing.assert_close(text_tower(torch.cat([text_tower.preprocess(t) for t in texts])), want)
    assert got.shape[1] == anchor.embed_dim == 32


def test_model_slash_file_loads_the_same_weights(anchor, anchor_folder, monkeypatch):
    import open_clip

    config = json.loads((anchor_folder / CONFIG).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-for-tests", config)
    loaded = anchors.load(f"tiny-for-tests/{anchor_folder / WEIGHTS}")
    assert loaded.checksum() == anchor.checksum()
    assert loaded.name == f"tiny-for-tests/{anchor_folder / WEIGHTS}"
    broken = anchor_folder.parent / "broken.safetensors"
    broken.write_bytes((anchor_folder / WEIGHTS).read_bytes()[:1000])
    fails(f"tiny-for-tests/{broken}")


def test_a_local_name_is_kept_absolute_so_that_cards_work_from_any_folder(anchor_folder, monkeypatch):
    monkeypatch.chdir(anchor_folder.parent)
    assert anchors.load(anchor_folder.name).name == str(anchor_folder)


@pytest.mark.parametrize("key", ["logit_scale", "visual.proj", "transformer.resblocks.0.mlp.c_fc.weight"])
def test_a_checkpoint_that_lacks_a_weight_is_an_error_never_random_weights(folder, key):
    weights = load_file(folder / WEIGHTS)
    del weights[key]
    save_file(weights, folder / WEIGHTS)
    assert key in fails(folder)


def test_a_checkpoint_with_a_wrongly_shaped_weight_is_an_error(folder):
    weights = load_file(folder / WEIGHTS)
    weights["visual.proj"] = torch.zeros(32, 31)
    save_file(weights, folder / WEIGHTS)
    assert "visual.proj" in fails(folder)


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "noise"])
def test_damaged_weights_are_an_error_never_random_weights(folder, damage):
    whole = (folder / WEIGHTS).read_bytes()
    if damage == "gone":
        (folder / WEIGHTS).unlink()
    else:
        (folder / WEIGHTS).write_bytes({"empty": b"", "short": whole[:-100], "noise": bytes(1000)}[damage])
    assert str(folder) in fails(folder)


def test_a_damaged_configuration_is_an_error(folder):
    (folder / CONFIG).write_text("{")
    assert str(folder) in fails(folder)


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path):
    assert fails(tmp_path) == f"anchor folder {tmp_path}: no open_clip_config.json in it"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("minni", "unknown anchor 'minni'"),
        ("ViT-B-33/openai", "did you mean 'ViT-B-32'"),
        ("ViT-B-32", "MODEL/TAG"),
        ("ViT-B-32/openay", "did you mean 'openai'"),
        ("ViT-B-32/no/such.safetensors", "neither a file nor a pretrained tag"),
        ("", "no open_clip_config.json"),
    ],
)
def test_an_unknown_name_is_one_clear_line(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in fails(name)


@pytest.mark.parametrize("name", ["hf-hub:no-such-org/no-such-model", "ViT-B-32/laion2b_s34b_b79k"])
def test_offline_a_pretrained_anchor_is_one_clear_line_at_once(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    began = time.monotonic()
    message = fails(name)
    assert message.startswith(f"anchor {name!r} could not be loaded: its weights are not on this machine")
    assert "offline, use 'mini', a local folder or MODEL/CHECKPOINT_FILE" in message
    assert time.monotonic() - began < 30


def test_pretrained_anchors_can_be_listed():
    names = [name for name, _ in anchors.available()]
    assert "ViT-B-32/openai" in names
    assert len(set(names)) == len(names)


def test_the_fingerprint_is_stable_and_changes_with_the_weights(anchor, folder, tmp_path):
    assert anchors.load(str(folder)).fingerprint == anchor.fingerprint
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    assert anchors.load(str(other)).fingerprint != anchor.fingerprint


def change(folder, part, **values):
    config = json.loads((folder / CONFIG).read_text())
    place = config
    for key in part.split("."):
        place = place[key]
    place.update(values)
    (folder / CONFIG).write_text(json.dumps(config))
    return anchors.load(str(folder)).fingerprint


def test_the_fingerprint_changes_with_the_preprocessing(anchor, folder):
    assert change(folder, "preprocess_cfg", mean=[0.5, 0.5, 0.4]) != anchor.fingerprint


def test_the_fingerprint_changes_with_what_the_same_weights_are_used_for(anchor, folder):
    heads = change(folder, "model_cfg.vision_cfg", head_width=8)
    both = change(folder, "model_cfg", quick_gelu=True)
    assert len({anchor.fingerprint, heads, both}) == 3


def test_the_fingerprint_changes_with_the_vocabulary():
    first = tiny_anchor()

    def shifted(texts):
        return (first.tokenizer(texts) + 1) % 49408

    preprocess = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert OpenClipAnchor("same", first.model, preprocess, first.tokenizer).fingerprint == first.fingerprint
    assert OpenClipAnchor("other", first.model, preprocess, shifted).fingerprint != first.fingerprint


def test_pickled_it_leaves_the_weights_behind_and_still_preprocesses(anchor, picture):
    both = towers.ImageTower(anchor), towers.TextTower(anchor)
    packed = pickle.dumps(both)
    assert not any(p.view(-1)[:8].numpy().tobytes() in packed for p in anchor.model.parameters() if p.ndim > 1)
    image, text = pickle.loads(packed)
    assert torch.equal(image.preprocess(picture), both[0].preprocess(picture))
    assert torch.equal(text.preprocess("a cat"), both[1].preprocess("a cat"))
    assert image.anchor.fingerprint == anchor.fingerprint
    with pytest.raises(AnchorError, match="a worker process has no weights"):
        image(image.preprocess(picture))
    assert anchor.model is not None  # the original keeps its own


def test_it_is_frozen_in_eval_mode_and_out_of_its_towers_state(anchor):
    assert not any(p.requires_grad for p in anchor.model.parameters())
    assert not any(m.training for m in anchor.model.modules())
    tower = towers.ImageTower(anchor).train()
    assert not tower.state_dict()
    assert not any(m.training for m in anchor.model.modules())


def test_the_checksum_sees_a_single_changed_weight(folder):
    own = anchors.load(str(folder))
    before = own.checksum()
    assert own.checksum() == before
    with torch.no_grad():
        next(own.model.parameters()).view(-1)[-1] += 1e-6
    assert own.checksum() != before


@pytest.mark.parametrize("item", [7, "", "  \n", b"bytes", None])
def test_what_is_no_text_is_an_item_error(anchor, item):
    with pytest.raises(ItemError):
        towers.TextTower(anchor).preprocess(item)


def test_texts_longer_than_the_context_are_cut_with_one_warning(anchor, caplog):
    tower = towers.TextTower(anchor)
    with caplog.at_level(logging.WARNING):
        tower.preprocess("a short text")
        assert not caplog.messages
        tower.preprocess("word " * 50)
        tower.preprocess("another " * 50)
    (message,) = caplog.messages
    assert "truncated after the anchor's 16 tokens" in message and "word word" in message


def test_a_tokenizer_that_pads_with_another_number_gives_no_false_warning(caplog):
    base = tiny_anchor()

    def padded_with_one(texts):
        tokens = base.tokenizer(texts)
        return torch.where(tokens == 0, 1, tokens)

    preprocess = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    tower = towers.TextTower(OpenClipAnchor("other", base.model, preprocess, padded_with_one))
    tower.preprocess("a short text")
    assert not caplog.messages
    tower.preprocess("word " * 50)
    assert len(caplog.messages) == 1


def test_pictures_of_every_kind_become_upright_rgb(tmp_path, picture):
    from binder import read_image

    path = tmp_path / "x.png"
    picture.save(path)
    same = [path, str(path), path.read_bytes(), picture, np.asarray(picture)]
    assert len({read_image(item).tobytes() for item in same}) == 1
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert read_image(clear).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(np.zeros((4, 6), np.uint8)).size == (6, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (40, 60)


@pytest.mark.parametrize("content", [None, b"", b"not a picture", bytes(range(256)) * 8])
def test_what_is_no_picture_is_an_item_error_of_one_line(tmp_path, content):
    from binder import read_image

    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ItemError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_picture_is_an_item_error(tmp_path, picture):
    from binder import read_image

    path = tmp_path / "x.png"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ItemError, match="cannot be decoded"):
        read_image(path)
    with pytest.raises(ItemError):
        read_image(np.zeros((2, 2, 7), np.float64))
    with pytest.raises(ItemError):
        read_image(3)
