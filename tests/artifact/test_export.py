"""Exported encoders: their programs, run without torch and binder, give binder's vectors."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binder_shown import SHOWN
from binder_three import DOTS, THREE, DotsConfig, ThreeConfig
from PIL import Image
from support import distribution, installed, one_line, one_line_error

import binder as package
from binder import (
    Binder,
    Encoder,
    Modality,
    PictureConfig,
    PluginError,
    Points,
    RunError,
    export,
    raster_modality,
    registry,
)
from binder import read_array as read_grid_file
from binder.anchors.exported import picture_portable, steps_of, text_portable
from binder.artifact import graphs
from binder.artifact.program import program
from binder.data.encode import encode
from binder.portable import Portable, arrays, picture, points, raster, run, series, text
from binder.readers.guard import guarded

ONLY = """import runpy, sys
sys.modules.update(dict.fromkeys({gone!r}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")"""
GONE = ("torch", "binder", "open_clip", "torchvision")


def read_heat(item, config):
    return read_grid_file(item)


HEAT = raster_modality("heat", {".npy"}, PictureConfig, read_heat)


def alone(folder: Path, items: Sequence[object], gone: Sequence[str] = GONE) -> tuple[int, list[dict[str, Any]], str]:
    """Run an exported folder's program where some packages cannot be imported -> status, its lines, stderr."""
    command = [sys.executable, "-I", "-c", ONLY.format(gone=tuple(gone)), str(folder / "run.py"), *map(str, items)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=folder.parent)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def space_with(anchor, modality: Modality, config) -> Binder:
    """A space with a random encoder of a modality."""
    space = Binder(anchor)
    torch.manual_seed(0)
    space.encoders[modality.name] = guarded(modality, "toys 1").build(config, anchor).eval().requires_grad_(False)
    return space


def same_vectors(space: Binder, modality: str, items: Sequence[Any], folder: Path, given: Sequence[object]) -> None:
    """What the program prints for `given` is what binder computes of `items`."""
    status, lines, err = alone(folder, given)
    assert (status, err) == (0, "")
    assert [line["item"] for line in lines] == [str(item) for item in given]
    wanted = encode(space.encoders[modality], items, strict=True).vectors
    np.testing.assert_allclose([line["vector"] for line in lines], wanted, atol=1e-4, rtol=0)


def signals(folder: Path) -> tuple[list[Path], list[Path]]:
    """Tables for binder, and what `read` returns for them: short, long, irregular with a pause."""
    rng = np.random.default_rng(0)
    tables, held = [], []
    for name, time_s in {
        "short": np.arange(30) / 50,
        "long": np.arange(700) / 120,
        "paused": np.sort(np.concatenate([rng.random(150) * 2, 4 + rng.random(150) * 2])),
    }.items():
        values = rng.normal(size=(len(time_s), 3)).cumsum(0)
        tables.append(folder / f"{name}.csv")
        rows = np.column_stack([time_s, values])
        np.savetxt(tables[-1], rows, fmt="%.17g", delimiter=",", header="time_s,x,y,z", comments="")
        held.append(folder / f"{name}.npz")
        np.savez(held[-1], values=values, time_s=time_s)
    return tables, held


@pytest.mark.parametrize("bands", [None, pytest.param(16, marks=pytest.mark.slow)])
def test_series(anchor, tmp_path, bands):
    config = ThreeConfig(rate_hz=50.0, window_s=2.0, mean=(0.1, 0, 0), std=(3.0, 2.0, 1.0), bands=bands)
    space, (tables, held) = space_with(anchor, THREE, config), signals(tmp_path)
    made = export(space, "three", tmp_path / "out")
    assert made.difference < 1e-5
    same_vectors(space, "three", tables, tmp_path / "out", held)
    settings = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    assert settings == {"channels": ["x", "y", "z"], "rate_hz": 50.0, "size": 100}


@pytest.mark.slow
def test_points_with_normals_and_colors(anchor, tmp_path):
    config = DotsConfig(points=128, groups=16, neighbors=8, up="y", normals=True, colors=True, width=32, layers=1)
    space, rng = space_with(anchor, DOTS, config), np.random.default_rng(0)
    items = []
    for number, count in enumerate((60, 900)):
        rows = np.column_stack(
            [rng.normal(size=(count, 3)) * (1, 2, 3), rng.normal(size=(count, 3)), rng.random((count, 3))]
        )
        rows[3] = np.nan
        items.append(tmp_path / f"{number}.npy")
        np.save(items[-1], rows)
    export(space, "dots", tmp_path / "out")
    held = [Points(rows[:, :3], rows[:, 3:6], rows[:, 6:]) for rows in map(np.load, items)]
    same_vectors(space, "dots", held, tmp_path / "out", items)


@pytest.mark.slow
def test_rasters(anchor, tmp_path):
    space, rng = space_with(anchor, HEAT, PictureConfig()), np.random.default_rng(0)
    items = []
    for number, shape in enumerate(((24, 32), (301, 200), (90, 700))):
        values = rng.normal(20, 5, shape).astype(np.float32)
        values[3:5, 7], values[10:20, 2:9] = np.nan, np.nan
        items.append(tmp_path / f"{number}.npy")
        np.save(items[-1], values)
    export(space, "heat", tmp_path / "out")
    same_vectors(space, "heat", items, tmp_path / "out", items)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("tune", ["frozen", pytest.param("lora", marks=SLOW), pytest.param("full", marks=SLOW)])
def test_pictures_with_the_anchors_tower_inside(anchor, tmp_path, tune):
    space = space_with(anchor, SHOWN, PictureConfig(tune=tune))
    for weight in space.encoders["shown"].parameters():  # as training leaves them: LoRA starts at zero
        torch.nn.init.normal_(weight, std=0.1)
    items = pictures(tmp_path)
    made = export(space, "shown", tmp_path / "out")
    tower = sum(weight.numel() for name, weight in anchor.model.named_parameters() if name.startswith("visual."))
    assert 4 * tower < made.bytes < 4 * sum(weight.numel() for weight in anchor.model.parameters())
    same_vectors(space, "shown", items, tmp_path / "out", items)


def pictures(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    found = []
    for number, (width, height) in enumerate(((40, 30), (31, 200), (500, 333))):
        found.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(found[-1])
    return found


@pytest.mark.slow
def test_the_anchors_own_tower_of_texts(tmp_path):
    space = Binder("mini")
    texts = ["a red circle", "Seven  BLUE squares, don't!", "Ünïcode “quotes” ½ 日本語 &amp; <b>"]
    made = export(space, "text", tmp_path / "text", items=texts)
    assert made.compared == 3
    same_vectors(space, "text", texts, tmp_path / "text", texts)
    facts = json.loads((tmp_path / "text" / "model.json").read_text())
    assert (facts["space"], facts["logit_scale"]) == (space.space, space.anchor.logit_scale)


@pytest.mark.slow
def test_the_anchors_own_tower_of_pictures(tmp_path):
    space, seen = Binder("mini"), pictures(tmp_path)
    turned = Image.open(seen[2])
    turned.getexif()[274] = 6  # turned by a quarter
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif(), quality=100)
    clear = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 70, 4), np.uint8), "RGBA")
    clear.save(tmp_path / "clear.png")
    seen += [tmp_path / "turned.jpg", tmp_path / "clear.png"]
    real = Path(os.environ.get("BINDER_DATA", tmp_path / "none")) / "flickr8k_1k"
    seen += sorted(real.rglob("*.jpg"))[:5]  # real photographs, where there are any
    export(space, "image", tmp_path / "image", items=seen)
    same_vectors(space, "image", seen, tmp_path / "image", seen)


def test_weights_of_a_large_model_lie_in_a_file_of_their_own(anchor, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "LARGE", 1000)
    space, items = space_with(anchor, SHOWN, PictureConfig()), pictures(tmp_path)
    made = export(space, "shown", tmp_path / "out")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("model.onnx*")}
    assert set(sizes) == {"model.onnx", "model.onnx.data"}
    assert made.bytes == sum(sizes.values())
    same_vectors(space, "shown", items, tmp_path / "out", items)
    import onnx

    (windows,) = onnx.load(tmp_path / "out" / "model.onnx", load_external_data=False).graph.input
    assert (windows.name, windows.type.tensor_type.shape.dim[0].dim_param) == ("windows", "batch")


@pytest.mark.slow
def test_by_torch_export_without_weights_that_are_not_used(anchor, tmp_path):
    space, items = space_with(anchor, SHOWN, PictureConfig()), pictures(tmp_path)
    made = export(space, "shown", tmp_path / "out", format="torch")
    assert (made.model, made.needs) == ("model.pt2", ("numpy", "torch", "pillow"))
    assert made.bytes < 4 * sum(weight.numel() for weight in anchor.model.parameters())  # not its text tower
    status, lines, err = alone(tmp_path / "out", items, gone=("binder", "onnxruntime"))
    assert (status, err) == (0, "")
    wanted = encode(space.encoders["shown"], items).vectors
    np.testing.assert_allclose([line["vector"] for line in lines], wanted, atol=1e-5, rtol=0)


def test_on_the_command_line_an_encoder_that_does_not_say_how_takes_prepared_arrays(binder, toy, run, toys, tmp_path):
    error = one_line_error(binder("export", run, "--out", tmp_path / "out"))
    assert "does not say what its windows look like: give an item of which they are made as an example (--item" in error
    status, out, _ = binder("export", run, "--out", tmp_path / "out", "--item", toys / "3.npy", "--json")
    assert status == 0
    told = json.loads(out)
    assert (told["model"], told["items"], told["needs"]) == ("model.onnx", 1, ["numpy", "onnxruntime"])
    assert "a .npy file of prepared windows (W, 8)" in told["takes"]
    space = Binder.of(run)
    windows = space.encoders["toy"].preprocess(toys / "3.npy").numpy()
    np.save(tmp_path / "windows.npy", np.concatenate([windows, windows]))
    status, lines, _ = alone(tmp_path / "out", [tmp_path / "windows.npy"])
    np.testing.assert_allclose(lines[0]["vector"], space.embed(toy=toys / "3.npy").vectors[0], atol=1e-5)
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (facts["modality"], facts["plugin"], facts["trained_against"]) == ("toy", "toy", ["text"])
    assert not Path(facts["anchor"]).is_absolute()


@pytest.mark.slow
def test_on_the_command_line_a_tower_of_an_anchor(binder, anchor_folder, tmp_path):
    status, out, _ = binder("export", anchor_folder, "--modality", "text", "--out", tmp_path / "out")
    assert status == 0
    assert "MB, text in the space of" in out
    assert f"python {tmp_path / 'out' / 'run.py'} ITEM...  (ITEM is a text; needs numpy, onnxruntime, ftfy)" in out


def test_what_is_wrong_with_the_command_is_said_in_a_line(binder, toy, run, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    assert "exists already" in one_line_error(binder("export", run, "--out", tmp_path / "there"))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.toml").write_text("")
    assert "not finished" in one_line_error(binder("export", unfinished, "--out", tmp_path / "out"))
    assert "a run has one modality" in one_line_error(
        binder("export", run, "--modality", "text", "--out", tmp_path / "out")
    )
    assert "(did you mean 'onnx'?)" in one_line_error(
        binder("export", run, "--format", "onx", "--out", tmp_path / "out")
    )
    assert "cuda" in one_line_error(binder("export", run, "--device", "cuda:77", "--out", tmp_path / "out"))
    assert "no encoder for 'sonar'" in one_line_error(
        binder("export", "mini", "--modality", "sonar", "--out", tmp_path / "out")
    )
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    missing = one_line_error(binder("export", "mini", "--modality", "text", "--out", tmp_path / "out"))
    assert 'needs the package onnxscript: pip install "onnx>=1.17" "onnxscript>=0.5" "onnxruntime>=1.20"' in missing
    assert not list(tmp_path.glob("*out*"))


class Odd(Encoder):
    """An encoder of a plugin, one line of whose forward is given."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.line, self.weight = forward, torch.nn.Linear(4, 32)

    def preprocess(self, item):
        return torch.ones(1, 4)

    def forward(self, batch):
        return self.weight(self.line(batch))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (lambda x: x if x.sum() > 0 else -x, "asks a question of its numbers"),
        (lambda x: x + torch.zeros(len(x), 1), "fixes the size of the batch"),
        (lambda x: torch.from_numpy(x.numpy() + 1), "its forward leaves torch"),
        (lambda x: torch.special.bessel_j0(x), "ONNX has no counterpart of prims.bessel_j0; try --format torch"),
        (lambda x: x * torch.tensor([random.random(), 1, 1, 1]), "gives other vectors than the encoder"),
    ],
)
def test_why_an_encoder_cannot_be_exported(anchor, tmp_path, line, reason):
    space = Binder(anchor)
    space.encoders["odd"] = Odd(line).eval()
    with pytest.raises(RunError) as caught:
        export(space, "odd", tmp_path / "out", items=["x"])
    assert reason in one_line(caught)
    assert not list(tmp_path.iterdir())


def test_how_a_parent_prepares_items_is_not_taken_for_a_class_that_prepares_them_otherwise(anchor, tmp_path):
    space = space_with(anchor, SHOWN, PictureConfig())
    own = space.encoders["shown"]

    class Cropped(type(own)):  # type: ignore[misc]
        def preprocess(self, item):
            return super().preprocess(item)[:, :, ::2, ::2].repeat(1, 1, 2, 2)

    own.__class__ = Cropped
    item = pictures(tmp_path)[0]
    made = export(space, "shown", tmp_path / "out", items=[item])
    assert "prepared windows (W, 3, 32, 32)" in made.takes


def test_preparing_that_differs_from_binders_is_found_with_an_item(anchor, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "shortened", lambda words: words)
    tower = Binder(anchor).encoders["text"]
    monkeypatch.setattr(type(tower), "preprocess", lambda self, item: self.anchor.tokenizer([item[::-1]]))
    with pytest.raises(RunError) as caught:
        export(Binder(anchor), "text", tmp_path / "out", items=["a red circle"])
    assert "prepares it otherwise than binder" in one_line(caught)


def test_the_program_says_in_a_line_what_it_cannot_do(tmp_path):
    export(Binder("mini"), "text", tmp_path / "out")
    status, lines, err = alone(tmp_path / "out", ["a circle", " "])
    assert (status, len(lines), err) == (1, 1, "error:  : empty text\n")
    status, lines, err = alone(tmp_path / "out", ["a circle", "Ünïcode"], gone=(*GONE, "ftfy"))
    assert (status, len(lines), err) == (2, 1, "error: Ünïcode: needs ftfy: pip install ftfy\n")
    assert alone(tmp_path / "out", ["a"], gone=(*GONE, "onnxruntime"))[::2] == (
        2,
        "error: onnxruntime is missing: pip install onnxruntime\n",
    )
    facts = json.loads((tmp_path / "out" / "model.json").read_text())
    (tmp_path / "out" / "model.json").write_text(json.dumps({**facts, "format": run.FORMAT + 1}))
    status, lines, err = alone(tmp_path / "out", ["a circle"])
    assert (status, lines) == (2, [])
    assert err == f"error: model.json: of format {run.FORMAT + 1}, this run.py knows {run.FORMAT}: export it again\n"


@pytest.mark.parametrize("code", [(series,), (points,), (picture,), (picture, raster), (text,), (arrays,)])
def test_a_program_is_one_tidy_file(code, tmp_path):
    (tmp_path / "run.py").write_text(program(code, what="What.", takes="a thing", needs="numpy", model="model.onnx"))
    (tmp_path / "run.py").read_text().index("def windows_of(")
    for how in (["check", "--select", "E,F,I,B"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *how, "--isolated", "--line-length", "120", tmp_path / "run.py"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_program_whose_modules_need_others_is_refused():
    with pytest.raises(PluginError) as caught:
        program((raster,), what="", takes="", needs="", model="")
    assert "it imports pixels of binder.portable.picture, which is not among its modules" in one_line(caught)


PROBES = [
    "a photo of two red circles",
    "It's  SNAKE_case, 0123 <b>&amp;amp;</b> don't WE'LL !!!'s",
    "Ünïcode “quotes” ½ ١٢ Ⅳ 日本語 🙂 é",
    "<start_of_text> <end_of_text> x<end_of_text>y",
    "tabs\tand\nlines\x00\x1b[31m \u2028 \xa0",
    "x" * 600,
    " ".join(["long"] * 300),
    "ab" * 3 + " aaaa aaaaa",
]


@pytest.mark.parametrize("name", ["mini", "tiny"])
def test_tokens_are_those_of_openclip(name, anchor, tmp_path):
    tower = (Binder("mini").anchor if name == "mini" else anchor).towers["text"]
    portable = tower.portable()
    for file, data in portable.files.items():
        (tmp_path / file).write_bytes(data)
    for probe in PROBES:
        made = text.windows_of(probe, {**portable.settings, "folder": str(tmp_path)})
        np.testing.assert_array_equal(made, tower.preprocess(probe).numpy(), err_msg=probe)


def test_a_tokenizer_of_another_kind_is_given_as_arrays(anchor):
    assert text_portable(lambda texts: None, torch.zeros(1, 5)).code == (arrays,)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, (32, 48)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_openclips_preprocessing(mode, size, interpolation):
    from open_clip.transform import image_transform

    how = {"resize_mode": mode, "interpolation": interpolation, "fill_color": 7}
    transform = image_transform(size, is_train=False, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), **how)
    steps = steps_of(transform)
    assert steps is not None
    rng = np.random.default_rng(0)
    for width, height in ((30, 20), (20, 30), (33, 33), (301, 97), (97, 640)):
        drawn = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        np.testing.assert_allclose(picture.pixels(drawn, steps), transform(drawn).numpy(), atol=1e-6)


def test_pixels_are_those_of_a_tower_of_timm(tmp_path):
    from binder.anchors.trunk import image_trunk
    from binder.testing import write_tiny_tower

    trunk = image_trunk(write_tiny_tower(tmp_path / "tower"))
    portable = picture_portable(trunk.transform)
    assert portable.code == (picture,)
    seen = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8))
    np.testing.assert_allclose(picture.pixels(seen, portable.settings["steps"]), trunk.transform(seen), atol=1e-6)


def test_steps_that_do_not_do_what_the_transform_does_are_not_taken():
    class Resize:  # a name that is known, with another meaning
        size, interpolation = 16, Image.Resampling.BICUBIC

        def __call__(self, seen):
            return seen.resize((16, 16)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    from torchvision import transforms

    mirrored = transforms.Compose([Resize(), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    portable = picture_portable(mirrored)
    assert isinstance(portable, Portable)
    assert portable.code == (arrays,)
    assert portable.example is not None


FORMAT = """
import json
import numpy as np
from binder import ExportFormat, hookimpl

def write(space, modality, folder):
    (folder / "facts.json").write_text(json.dumps([modality, space.space]))

def load(folder):
    return lambda item: np.full(32, 32**-0.5, np.float32)

@hookimpl
def binder_register_exports():
    return [{record}]
"""


def test_a_plugin_may_bring_a_format(binder, anchor_folder, tmp_path):
    record = 'ExportFormat("facts", "{folder}/facts.json has the facts", write, load, ("json",))'
    (tmp_path / "fake_facts.py").write_text(FORMAT.replace("{record}", record))
    distribution(tmp_path, "binder-facts", "fake_facts", key="facts")
    command = ("export", anchor_folder, "--modality", "text", "--format", "facts", "--out", tmp_path / "out")
    with installed(tmp_path, only="facts"):
        status, out, _ = binder(*command)
        assert status == 0
        assert f"{tmp_path / 'out'}/facts.json has the facts  (needs json)" in out
        assert json.loads((tmp_path / "out" / "facts.json").read_text())[0] == "text"
        other = one_line_error(binder(*command[:-1], tmp_path / "other", "--item", "a circle"))
        assert "a circle: the exported model gives other vectors than the encoder" in other
        assert not (tmp_path / "other").exists()
        unknown = one_line_error(binder(*command[:-3], "fact", "--out", tmp_path / "other"))
        assert "'fact' (did you mean 'facts'?): expected onnx or torch or facts" in unknown


def test_a_format_of_a_plugin_that_is_not_installed_says_how_to_get_it(binder, toy, anchor_folder, tmp_path):
    command = ("export", anchor_folder, "--modality", "text", "--out", tmp_path / "out")
    error = one_line_error(binder(*command, "--format", "sentence-transformers"))
    assert "format 'sentence-transformers' needs a plugin: binder plugins install transformers --from PLACE" in error


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ('"facts"', "binder_register_exports must return binder.ExportFormat records, got str"),
        ('ExportFormat("Facts", "", write, load)', "export format 'Facts': expected a lower-case name"),
        ('ExportFormat("facts", "", write, None)', "export format 'facts': load must be a function"),
    ],
)
def test_a_wrong_record_of_a_format_breaks_its_plugin_alone(tmp_path, record, problem):
    (tmp_path / "fake_facts.py").write_text(FORMAT.replace("{record}", record))
    distribution(tmp_path, "binder-facts", "fake_facts", key="facts")
    with installed(tmp_path, only="facts"):
        found = registry.registry()
        assert found.export_formats() == {}
        assert problem in str(found.plugins[-1].error)


def test_the_function_is_public():
    assert package.export is export
