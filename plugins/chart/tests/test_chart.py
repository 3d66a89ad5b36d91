"""The chart plugin: the encoder contract, training, previews. All but the last test make their data."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from binder_chart import CHART, ChartConfig
from binder_chart.encoder import ChartEncoder
from binder_chart.picture import picture
from PIL import Image

from binder import ItemError, OpenClipAnchor
from binder.testing import EncoderContract, tiny_anchor, write_tiny_tower

RISING = "year,sales\n" + "".join(f"{2000 + i},{i * i + 3}\n" for i in range(8))
SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"values": [{"name": n, "share": s} for n, s in (("a", 50), ("b", 30), ("c", 20))]},
    "mark": "arc",
    "encoding": {"theta": {"field": "share", "type": "quantitative"}, "color": {"field": "name", "type": "nominal"}},
}


def png(width: int = 60, height: int = 40, **how: object) -> bytes:
    """A picture of two bars."""
    image = Image.new("RGB", (width, height), "white")
    image.paste("navy", (10, 10, 20, height))
    image.paste("red", (30, 20, 40, height))
    held = io.BytesIO()
    image.save(held, "PNG", **how)
    return held.getvalue()


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def encoder(**values: object) -> ChartEncoder:
    torch.manual_seed(0)
    return ChartEncoder(ChartConfig.model_validate(values), tiny_anchor()).eval()


class TestContract(EncoderContract):
    modality = CHART
    config = {"views": 3, "hidden": 8}  # noqa: RUF012

    def items(self, tmp_path: Path) -> list[object]:
        # a file, a table in memory, a spec, a picture as bytes
        return [
            write(tmp_path / "rising.csv", RISING),
            [{"party": name, "seats": seats} for name, seats in (("x", 4), ("y", 9), ("z", 2))],
            SPEC,
            png(),
        ]

    def broken(self, tmp_path: Path) -> list[object]:
        return [
            write(tmp_path / "binary.csv", bytes(range(256))),
            write(tmp_path / "cell.csv", "value\n3\n"),
            write(tmp_path / "wide.csv", ",".join(f"c{i}" for i in range(5_000)) + "\n" + ",".join(["1"] * 5_000)),
            write(tmp_path / "ragged.csv", "a,b,c\n1,2,3\n4,5\n6,7,8\n"),
            write(tmp_path / "words.csv", "name,place\nann,rome\nbob,oslo\n"),
            write(tmp_path / "missing.csv", "a,b\n,\n,\n"),
            write(tmp_path / "cut.json", json.dumps(SPEC)[:80]),
            write(tmp_path / "deep.json", "[" * 100_000),
            write(tmp_path / "text.json", '"a text"'),
            write(tmp_path / "remote.vl.json", json.dumps(SPEC | {"data": {"url": "http://127.0.0.1:9/a.csv"}})),
            write(tmp_path / "cut.png", png(300, 300)[:200]),
            write(tmp_path / "table.png", RISING),
            write(tmp_path / "cut.parquet", b"PAR1" + bytes(100)),
            tmp_path,
            b"",
            [],
            {},
            {"a": 1, "b": 2},
            None,
            3.5,
            ({"a": [1, 2, 3]}, "donut"),
            ({"a": [1, -2, 3]}, "pie"),
            SPEC | {"data": {"values": []}},
        ]


class TestAnotherTower(TestContract):
    """With a pretrained model from timm as tower, from a checkpoint made here."""

    @pytest.fixture(autouse=True)
    def _tower(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        trunk = write_tiny_tower(tmp_path_factory.mktemp("towers") / "tower")
        self.config = {**type(self).config, "trunk": trunk}


def test_untrained_it_is_the_anchor_on_the_drawing() -> None:
    model = encoder()
    assert isinstance(model.anchor, OpenClipAnchor)
    item = {"year": [2001, 2002, 2003], "value": [3, 5, 4]}
    with torch.inference_mode():
        own = torch.nn.functional.normalize(model(model.preprocess(item)))
        image = model.anchor.transform(model.picture(item))[None]
        plain = torch.nn.functional.normalize(model.anchor.encode_image(image))
    torch.testing.assert_close(own, plain)


def test_training_may_prefer_another_way_to_draw() -> None:
    model = encoder()
    item = {"name": list("abc"), "value": [3, 5, 4]}
    with torch.inference_mode():
        upwards = model(model.preprocess(item))
        model.choice.bias[1] = 1.0  # all weight to the second way, horizontal bars
        moved = model(model.preprocess(item))
        names = {"name": ["a rather long name", "another long name", "the longest of them"], "value": [3, 5, 4]}
        right = model(model.preprocess(names))
    assert not torch.allclose(moved, upwards, atol=1e-3)
    torch.testing.assert_close(moved, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("item", [({"name": ["a", "b"], "value": [1, 2]}, "bar"), SPEC, png()])
def test_without_a_choice_the_learned_weights_have_no_effect(item: object) -> None:
    model = encoder()
    with torch.inference_mode():
        before = model(model.preprocess(item))
        model.choice.bias[:] = 1.0
        torch.testing.assert_close(model(model.preprocess(item)), before)


def test_views_are_the_drawing_and_different_variants() -> None:
    model = encoder(views=5)
    item = {"year": [2001, 2002, 2003], "value": [3, 5, 4]}
    views = model.views(item, np.random.default_rng(0))
    assert len(views) == 5
    assert torch.equal(views[:1], model.preprocess(item))
    assert len({view.numpy().tobytes() for view in views}) == 5
    assert not torch.equal(views, model.views(item, np.random.default_rng(1)))


@pytest.mark.parametrize("item", [SPEC, png()], ids=["spec", "picture"])
def test_specs_and_pictures_have_variants(item: object) -> None:
    views = encoder(views=4).views(item, np.random.default_rng(0))
    assert len({view.numpy().tobytes() for view in views}) == 4


def test_a_path_bytes_and_the_object_give_the_same_picture(tmp_path: Path) -> None:
    model = encoder()
    for name, content, held in (
        ("a.csv", RISING, {"year": list(range(2000, 2008)), "sales": [i * i + 3 for i in range(8)]}),
        ("a.vl.json", json.dumps(SPEC), SPEC),
        ("a.png", png(), Image.open(io.BytesIO(png()))),
    ):
        path = write(tmp_path / name, content)
        found = [model.preprocess(item) for item in (path, str(path), path.read_bytes(), held)]
        assert all(torch.equal(found[0], other) for other in found[1:]), name


def test_a_table_its_spec_and_its_picture_look_alike() -> None:
    values = [9, 1, 7, 2, 8]
    item = {"name": list("abcde"), "amount": values}
    mark = {"type": "bar", "color": "#1f77b4"}
    axis = {"field": "name", "type": "nominal", "sort": None}
    spec = {
        "data": {"values": [{"name": n, "amount": v} for n, v in zip("abcde", values, strict=True)]},
        "mark": mark,
        "encoding": {"x": axis, "y": {"field": "amount", "type": "quantitative"}},
    }

    def ink(thing: object) -> np.ndarray:
        """(25,): the share of dark pixels in each of 5 x 5 parts of the picture, without its margins."""
        gray = picture(thing, 200).convert("L").point(lambda value: 255 * (value < 160))
        return np.asarray(gray.crop((26, 6, 194, 178)).resize((5, 5), Image.Resampling.BOX), float).ravel()

    table, drawn = ink(item), ink(spec)
    other = ink({"name": list("abcde"), "amount": [*values[::-1][1:], 9]})
    assert np.corrcoef(table, drawn)[0, 1] > 0.9 > np.corrcoef(other, drawn)[0, 1]
    screenshot = picture(item, 200).resize((400, 300))
    assert np.corrcoef(table, ink(screenshot))[0, 1] > 0.98


def test_the_configured_kind_is_for_tables_that_set_none(tmp_path: Path) -> None:
    stated = write(tmp_path / "stated.csv", "# kind: bar\n" + RISING)
    open_ = write(tmp_path / "open.csv", RISING)
    plain, lines = encoder(), encoder(kind="line")
    assert torch.equal(plain.preprocess(stated), lines.preprocess(stated))
    assert not torch.equal(plain.preprocess(open_), lines.preprocess(open_))


def test_a_wide_picture_is_squeezed_and_not_cropped() -> None:
    wide = Image.new("RGB", (400, 100), "white")
    wide.paste("black", (0, 0, 10, 100))
    wide.paste("black", (390, 0, 400, 100))
    shown = np.asarray(picture(wide, 64).convert("L"))
    assert shown.shape == (64, 64)
    assert shown[:, [0, -1]].max() < 128, "both ends are there"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "CMYK", "L"])
def test_pictures_of_any_mode(mode: str) -> None:
    assert picture(Image.new(mode, (40, 30)), 64).mode == "RGB"


def test_previews_show_names_and_numbers() -> None:
    assert CHART.preview is not None
    shown = CHART.preview({"name": ["one", "two"], "value": [1, 2]})
    assert max(shown.size) <= 400
    blank = CHART.preview({"name": ["", ""], "value": [1, 2]})
    assert shown.tobytes() != blank.tobytes()
    for item in (SPEC, Image.new("RGB", (3000, 2000))):
        assert max(CHART.preview(item).size) <= 400


def test_diagnose_names_versions() -> None:
    assert CHART.diagnose is not None
    found = CHART.diagnose()
    assert {"matplotlib", "vl-convert-python"} <= set(found)
    assert all(isinstance(value, str) for value in found.values())


def test_importing_imports_nothing_heavy() -> None:
    code = (
        "import sys, binder_chart; print(*sorted({'torch', 'matplotlib', 'vl_convert', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_item_error_names_the_file_and_says_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "ragged.csv", "a,b,c\n1,2,3\n4,5\n6,7,8\n")
    with pytest.raises(ItemError, match=r"ragged.csv: row 3: 2 cells, but the header has 3 \(missing cells"):
        encoder().preprocess(path)


def test_real_tables_are_all_drawn_but_those_of_a_single_row() -> None:
    root = os.environ.get("BINDER_DATA")
    if not root:
        pytest.skip("needs real tables: BINDER_DATA is not set")
    folder = Path(root) / "statista"
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pictures = {picture(folder / row["table"], 64).tobytes() for row in rows[::4]}
    assert len(pictures) >= 95, "nearly all of the 100 look different"
