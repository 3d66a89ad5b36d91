"""Pretrained trunks by name in place of the anchor's tower: of timm and of transformers, from checkpoints made here."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import numpy as np
import pytest
import torch
from binder_shown import SHOWN
from PIL import Image
from safetensors.torch import load_file, save_file
from support import distribution, installed, process_state

import binder
from binder import ConfigError, RunError, image_trunk
from binder.testing import EncoderContract, write_tiny_tower


def pictures(n=2):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(n)]


def write_transformers(folder):
    """A tiny vision transformer as transformers keeps one."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return f"transformers:{folder}"


WRITERS = {"timm": write_tiny_tower, "transformers": write_transformers}


@pytest.fixture(scope="session")
def trunks(tmp_path_factory):
    return {library: write(tmp_path_factory.mktemp(library) / "model") for library, write in WRITERS.items()}


@pytest.fixture(params=list(WRITERS))
def name(request, trunks):
    return trunks[request.param]


def reference(name, picture):
    """What the library itself gives of a picture, written out."""
    library, _, rest = name.partition(":")
    if library == "timm":
        import timm

        model = timm.create_model(rest, pretrained=True, num_classes=0).eval()
        settings = {**timm.data.resolve_model_data_config(model), "crop_pct": 1.0}
        return model(timm.data.create_transform(**settings, is_training=False)(picture)[None])
    from transformers import ViTImageProcessor, ViTModel

    model = ViTModel.from_pretrained(rest, add_pooling_layer=False).eval()
    pixels = ViTImageProcessor.from_pretrained(rest)(images=picture, return_tensors="pt")["pixel_values"]
    return model(pixels).last_hidden_state.mean(1)


class Contract(EncoderContract):
    modality = SHOWN
    library = "timm"
    more: dict[str, Any] = {}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _config(self, trunks):
        self.config = {"trunk": trunks[self.library], **self.more}

    def items(self, tmp_path):
        paths = [tmp_path / f"{i}.png" for i in range(2)]
        for path, picture in zip(paths, pictures(), strict=True):
            picture.save(path)
        return paths


class TestTimm(Contract):
    pass


class TestTransformers(Contract):
    library = "transformers"


class TestLora(Contract):
    more = {"tune": "lora", "rank": 2}  # noqa: RUF012


def test_its_features_are_those_of_the_library_itself(name):
    trunk = image_trunk(name)
    with torch.inference_mode():
        for picture in pictures(2):
            got = trunk(trunk.transform(picture)[None])
            torch.testing.assert_close(got, reference(name, picture))
            assert got.shape == (1, trunk.out_features)


def test_loading_one_leaves_the_process_as_it_was(name, tmp_path):
    image_trunk(name)  # importing its library sets what that wants
    before = process_state()
    image_trunk(name)
    assert process_state() == before
    with pytest.raises(ConfigError):
        image_trunk(f"{name.partition(':')[0]}:{tmp_path}/nowhere")
    assert process_state() == before


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_of_any_kind_are_seen(name, mode):
    trunk = image_trunk(name)
    assert trunk.transform(Image.new(mode, (20, 30))).shape == trunk.transform(Image.new("RGB", (8, 8))).shape


def test_two_loads_have_one_fingerprint_and_other_weights_another(name, tmp_path):
    folder = shutil.copytree(name.split(":")[-1], tmp_path / "copy")
    copy = f"{name.rpartition(':')[0]}:{folder}"
    assert image_trunk(copy).fingerprint == image_trunk(name).fingerprint
    alter(folder)
    assert image_trunk(copy).fingerprint != image_trunk(name).fingerprint


def alter(folder):
    weights = load_file(folder / "model.safetensors")
    key = sorted(weights)[0]
    save_file({**weights, key: weights[key] + 1}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet50", "expected timm:NAME or transformers:NAME"),
        ("timm:", "expected timm:NAME"),
        ("keras:vgg", "expected timm:NAME"),
        ("timm:test_vitt", "no such model of timm .did you mean 'test_vit'"),
        ("timm:local-dir:/nowhere", "no config.json with its weights there; if it was moved"),
        ("transformers:/nowhere", "no config.json with its weights there; if it was moved"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(name, says):
    with pytest.raises(ConfigError, match=says) as caught:
        image_trunk(name)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_lacks_a_weight_never_comes_with_random_ones(name, tmp_path):
    folder = shutil.copytree(name.split(":")[-1], tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    del weights[next(key for key in sorted(weights) if "norm" in key)]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks weights|Missing key"):
        image_trunk(f"{name.rpartition(':')[0]}:{folder}")


def colours(folder, n=24):
    """Pictures of red and of blue noise, each paired with its colour's name."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir()
    for i in range(n):
        noise = rng.integers(0, 90, (32, 32, 3), np.uint8)
        noise[..., 2 * (i % 2)] += 160
        Image.fromarray(noise).save(folder / f"{i}.png")
        rows.append({"shown": folder / f"{i}.png", "text": ["red", "blue"][i % 2]})
    return rows


@pytest.mark.parametrize("tune", ["frozen", "lora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_run_on_a_trunk_learns_is_loaded_again_and_refuses_other_weights(name, tune, anchor, tmp_path):
    folder = shutil.copytree(name.split(":")[-1], tmp_path / "model")
    distribution(tmp_path / "site", "binder-shown", "binder_shown", key="shown")
    with installed(tmp_path / "site", only="shown"):
        rows = colours(tmp_path / "pictures")
        sets = [f"encoder.trunk={name.rpartition(':')[0]}:{folder}", f"encoder.tune={tune}", "train.val_fraction=0"]
        out = tmp_path / "run"
        binder.align("shown", rows, anchor=anchor, to="text", out=out, epochs=30, sets=[*sets, "train.batch_size=8"])
        space = binder.Binder(anchor).load(out)
        z = space.embed(shown=[row["shown"] for row in rows])
        named = z.cosine(space.embed(text=["red", "blue"])).argmax(1)
        assert [["red", "blue"][i] for i in named] == [row["text"] for row in rows]
        second = shutil.copytree(folder, tmp_path / "second")
        alter(second)
        other = f"encoder.trunk={name.rpartition(':')[0]}:{second}"
        with pytest.raises(ConfigError, match=r"init: .*trained on other weights than .* has now"):
            binder.align("shown", rows, anchor=anchor, to="text", out=tmp_path / "next", init=out, sets=[other])
        alter(folder)
        with pytest.raises(RunError, match=r"trained on other weights than .* has now"):
            binder.Binder(anchor).load(out)


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="pip install transformers"):
        image_trunk("transformers:google/vit-base-patch16-224")
