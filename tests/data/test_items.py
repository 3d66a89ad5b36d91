"""What `Binder.embed` takes for one item, for several and for none, by modality, and how it refuses the rest."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from support import distribution, installed, one_line

from binder import Binder, BinderError, Index
from binder.testing import tiny_anchor

SERIES = """
from binder import TableConfig, hookimpl, read_table, series_modality

class Config(TableConfig):
    channels: tuple[str, ...] = ("x", "y")
    rate_hz: float | None = 8.0
    window_s: float | None = 2.0

def read(item, config):
    return read_table(item).series(config.channels, rate_hz=config.rate_hz)

SWING = series_modality("swing", {".csv"}, Config, read)

@hookimpl
def binder_register_modalities():
    return [SWING]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    Image.fromarray(PIXELS).save(folder / "a.png")
    pd.DataFrame(WAVE, columns=["x", "y"]).to_csv(folder / "a.csv", index=False)
    (folder / "fake_swing.py").write_text(SERIES)
    distribution(folder, "binder-swing", "fake_swing", key="swing")
    return folder


@pytest.fixture(scope="module")
def space(folder):
    with installed(folder, only="swing"):
        space = Binder(tiny_anchor())
        kind = space.registry.get("swing")
        space.encoders["swing"] = kind.build(kind.config(), space.anchor)
        yield space


PIXELS = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
WAVE = np.random.default_rng(0).normal(size=(16, 2))


class Opened(io.BytesIO):
    """An open file whose name is known."""

    name = "somewhere.bin"


def polars(*cells: Any) -> Any:
    """A column as polars has it: its type is called String."""

    class Column(list[Any]):
        dtype = "String"

    return Column(cells)


Given = Callable[[Any], Any]  # (the path of a good file, its content as bytes, a word) -> what is given
# what is given, then for pictures, text and series: how many rows there are, or the beginning of what is said instead
NOT_TEXT, NOT_PICTURE, NOT_SERIES = "expected text", "expected a path, bytes, a picture or an array", "expected a path"
OF_SHAPE = "expected numbers of shape"
TABLE: dict[str, tuple[Given, Any, Any, Any]] = {
    # one item
    "a path": (lambda g: g.path, 1, NOT_TEXT, 1),
    "a string": (lambda g: g.text, 1, 1, 1),
    "bytes": (lambda g: g.data, 1, NOT_TEXT, 1),
    "bytearray": (lambda g: bytearray(g.data), 1, NOT_TEXT, 1),
    "memoryview": (lambda g: memoryview(g.data), 1, NOT_TEXT, 1),
    "an open file": (lambda g: io.BytesIO(g.data), 1, "an open file; give its text", 1),
    "a file opened as text": (
        lambda g: io.StringIO("x"),
        "a file opened as text",
        "an open file; give its text",
        "a file",
    ),
    "a string of no letters": (lambda g: "", "an empty path", "empty text", "an empty path"),
    "a picture": (lambda g: Image.fromarray(PIXELS), 1, NOT_TEXT, NOT_SERIES),
    "an array (H, W, C)": (lambda g: PIXELS, 1, NOT_TEXT, "expected an array of shape"),
    "an array (H, W)": (lambda g: PIXELS[:, :, 0], 1, NOT_TEXT, "expected an array of shape"),
    "a tensor (C, H, W)": (lambda g: torch.rand(3, 8, 9), 1, NOT_TEXT, "expected an array of shape"),
    "a tensor that needs gradients": (lambda g: torch.rand(3, 8, 9, requires_grad=True), 1, NOT_TEXT, "expected an"),
    "an array (S, C)": (lambda g: WAVE, "floats from", NOT_TEXT, 1),
    "a tensor (S, C)": (lambda g: torch.tensor(WAVE), "floats from", NOT_TEXT, 1),
    "an array with its rate": (lambda g: (WAVE, 8.0), NOT_PICTURE, NOT_TEXT, 1),
    "a data frame": (lambda g: pd.DataFrame(WAVE, columns=["x", "y"]), "floats from", NOT_TEXT, 1),
    "a table of Arrow's": (lambda g: pa.table({"x": WAVE[:, 0], "y": WAVE[:, 1]}), "floats from", NOT_TEXT, 1),
    "a mapping of columns": (lambda g: {"x": WAVE[:, 0], "y": WAVE[:, 1]}, NOT_PICTURE, NOT_TEXT, 1),
    "a text in an array": (lambda g: np.array(g.text), 1, 1, 1),
    # several
    "a list": (lambda g: [g.text, g.text], 2, 2, 2),
    "a list of paths": (lambda g: [g.path, g.path], 2, NOT_TEXT, 2),
    "a list of bytes": (lambda g: [g.data, bytearray(g.data)], 2, NOT_TEXT, 2),
    "a list of open files": (lambda g: [Opened(g.data), Opened(g.data)], 2, "somewhere.bin: an open file", 2),
    "a tuple": (lambda g: (g.text, g.text), 2, 2, 2),
    "a tuple of paths": (lambda g: (g.path, g.text), 2, NOT_TEXT, 2),
    "a tuple of arrays": (lambda g: (WAVE, WAVE), "floats from", NOT_TEXT, 2),
    "a tuple of pictures": (lambda g: (Image.fromarray(PIXELS), PIXELS), 2, NOT_TEXT, NOT_SERIES),
    "a tuple of arrays with rates": (lambda g: ((WAVE, 8.0), (WAVE, 8.0)), NOT_PICTURE, NOT_TEXT, 2),
    "a generator": (lambda g: (g.text for _ in range(3)), 3, 3, 3),
    "a map": (lambda g: map(str, [g.text]), 1, 1, 1),
    "values of a mapping": (lambda g: {"a": g.text}.values(), 1, 1, 1),
    "an array of texts": (lambda g: np.array([g.text, g.text]), 2, 2, 2),
    "an array of objects": (lambda g: np.array([g.text, g.text], object), 2, 2, 2),
    "an array of paths": (lambda g: np.array([g.path, g.path], object), 2, NOT_TEXT, 2),
    "a pandas Series": (lambda g: pd.Series([g.text, g.text]), 2, 2, 2),
    "a pandas Series of objects": (lambda g: pd.Series([g.text, g.text], dtype=object), 2, 2, 2),
    "a pandas Series of categories": (lambda g: pd.Series([g.text, g.text], dtype="category"), 2, 2, 2),
    "a pandas Series of Arrow's": (lambda g: pd.Series([g.text], dtype=pd.ArrowDtype(pa.string())), 1, 1, 1),
    "a pandas Index": (lambda g: pd.Index([g.text]), 1, 1, 1),
    "a column of polars": (lambda g: polars(g.text, g.text), 2, 2, 2),
    "a column of Arrow's": (lambda g: pa.chunked_array([[g.text], [g.text]]), 2, 2, 2),
    "a stack (N, H, W, C)": (lambda g: np.stack([PIXELS] * 4), 4, NOT_TEXT, "expected an array of shape"),
    "a stack of one": (lambda g: PIXELS[None], 1, NOT_TEXT, "expected an array of shape"),
    "a batch (N, C, H, W)": (lambda g: torch.rand(2, 3, 8, 9), 2, NOT_TEXT, "expected an array of shape"),
    "a list of tensors": (lambda g: [torch.rand(3, 8, 9)], 1, NOT_TEXT, "expected an array of shape"),
    # none
    "an empty list": (lambda g: [], 0, 0, 0),
    "an empty tuple": (lambda g: (), 0, 0, 0),
    "an empty generator": (lambda g: iter(()), 0, 0, 0),
    "an empty array": (lambda g: np.array([], object), 0, 0, 0),
    "an empty Series": (lambda g: pd.Series([], dtype=object), 0, 0, 0),
    "an empty stack": (lambda g: np.empty((0, 8, 9, 3), np.uint8), 0, NOT_TEXT, "expected an array of shape"),
    # what is no item
    "nothing": (lambda g: None, "item 0: missing", "item 0: missing", "item 0: missing"),
    "a missing cell": (lambda g: pd.Series([g.text, None]), "item 1: missing", "item 1: missing", "item 1: missing"),
    "a missing cell of pandas": (
        lambda g: pd.Series([g.text, pd.NA], dtype=object),
        "item 1: missing",
        "item 1: missing",
        "item 1: missing",
    ),
    "a set": (lambda g: {g.text}, "a set has no order", "a set has no order", "a set has no order"),
    "a number": (lambda g: 3, NOT_PICTURE, NOT_TEXT, NOT_SERIES),
    "a list of numbers": (lambda g: [1.0, 2.0], NOT_PICTURE, NOT_TEXT, NOT_SERIES),
    "a list of lists": (lambda g: [[g.text]], "holds items itself", "holds items itself", "holds items itself"),
    "an array of arrays of texts": (
        lambda g: np.array([[g.text] * 2]),
        "holds items itself",
        "holds items itself",
        "holds items itself",
    ),
    "a generator of generators": (
        lambda g: iter([iter([g.text])]),
        "holds items itself",
        "holds items itself",
        "holds items itself",
    ),
    "pairs": (lambda g: zip([g.path], [1], strict=True), NOT_PICTURE, NOT_TEXT, 1),  # (a table, its rate)
    "a URL": (lambda g: "https://x.org/a.png", "is a URL", 1, "is a URL"),
    "a type": (lambda g: Path, NOT_PICTURE, NOT_TEXT, NOT_SERIES),
    "an array of bytes": (lambda g: np.array([b"x"]), OF_SHAPE, NOT_TEXT, "expected"),
    "an empty array of numbers": (lambda g: np.array([]), OF_SHAPE, NOT_TEXT, "expected an array of shape"),
}


@pytest.mark.parametrize("modality", ["image", "text", "swing"])
@pytest.mark.parametrize("kind", TABLE)
def test_what_embed_takes(space, folder, kind, modality):
    path = folder / ("a.csv" if modality == "swing" else "a.png")
    good = SimpleNamespace(path=path, text="a word" if modality == "text" else str(path), data=path.read_bytes())
    give, *expected = TABLE[kind]
    wanted = expected[["image", "text", "swing"].index(modality)]
    if isinstance(wanted, str):
        with pytest.raises(BinderError) as caught:
            space.embed(**{modality: give(good)})
        assert wanted in one_line(caught)
    else:
        z = space.embed(**{modality: give(good)})
        assert (z.shape, z.modality, len(z.items)) == ((wanted, 32), modality, wanted)


def test_the_rows_of_a_stack_are_its_pictures(space):
    stack = np.stack([PIXELS, 255 - PIXELS])
    pictures = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    batch = torch.tensor(stack).permute(0, 3, 1, 2)
    for given in (stack, batch, batch / 255):
        np.testing.assert_allclose(space.image(given).vectors, space.image(pictures).vectors, atol=1e-5)


def test_an_open_file_can_be_given_again(space, folder):
    with (folder / "a.png").open("rb") as file:
        file.read(10)
        z = space.image([file, file])
        assert file.tell() == 10
    np.testing.assert_array_equal(z.vectors[0], z.vectors[1])
    np.testing.assert_array_equal(z.vectors[:1], space.image(folder / "a.png").vectors)


@pytest.mark.parametrize("modality", ["image", "text", "swing"])
def test_a_data_frame_with_a_column_of_items_is_not_taken_for_one(space, modality):
    for frame in (pd.DataFrame({modality: ["a"], "label": ["b"]}), pa.table({modality: ["a"]})):
        with pytest.raises(BinderError, match=rf"give that column alone: table\['{modality}'\]"):
            space.embed(**{modality: frame})


def test_vectors_are_no_items(space):
    with pytest.raises(BinderError, match="Embeddings are vectors already"):
        space.image(space.text("red"))


def test_nothing_is_nothing_everywhere(space, tmp_path):
    assert space.classify(["a", "b"], swing=[]) == []
    assert (space.embed(swing=[], every_s=1.0)).shape == (0, 32)
    assert space.encode("text", []).vectors.shape == (0, 32)
    assert space.text([]).cosine(space.text(["a", "b"])).shape == (0, 2)
    with pytest.raises(BinderError, match="no aligned encoder"):
        Binder(space.anchor, registry=space.registry).embed(swing=[])
    index = Index.create(tmp_path / "x.idx", space)
    assert (index.add(image=[]).inserted, len(index)) == (0, 0)


def test_items_that_cannot_be_read_are_left_out_of_an_index_by_their_place(space, folder, tmp_path):
    index = Index.create(tmp_path / "x.idx", space)
    added = index.add(image=[folder / "a.png", None, "https://x.org/a.png", ""])
    assert added.inserted == 1
    assert sorted(added.failed) == [
        ("''", "an empty path"),
        ("https://x.org/a.png", "is a URL; binder reads files: download it first"),
        ("item 1", "missing"),
    ]
