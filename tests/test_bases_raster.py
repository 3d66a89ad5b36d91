"""Rasters: their numbers are kept, whatever else is one line."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from binder import ItemError, Raster, read_raster
from binder.bases.raster import MOST_PIXELS


def encoded(values, kind="PNG", **options):
    held = io.BytesIO()
    Image.fromarray(values).save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize(
    ("dtype", "kind"), [("u1", "PNG"), ("u2", "PNG"), ("u2", "TIFF"), ("f4", "TIFF"), ("i4", "TIFF"), ("u1", "TIFF")]
)
def test_numbers_stay_as_they_are(dtype, kind, tmp_path):
    values = (np.arange(48).reshape(6, 8) * (5 if dtype == "u1" else 1365)).astype(dtype)
    path = tmp_path / "a"
    path.write_bytes(encoded(values, kind))
    for item in (path, str(path), path.read_bytes(), values, values[None], values[:, :, None]):
        found = read_raster(item)
        assert found.values.dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_picture_is_three_channels_of_bytes(mode):
    held = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 40)).convert(mode).save(held, "PNG")
    found = read_raster(held.getvalue()).values
    assert (found.shape, found.dtype) == ((6, 8, 3), np.uint8)
    assert np.abs(found[0, 0].astype(int) - (200, 30, 40)).max() < 30


def test_what_a_file_says_in_words_is_kept():
    info = PngInfo()
    info.add_text("Units", "mm")
    values = np.zeros((6, 8), np.uint16)
    assert read_raster(encoded(values, pnginfo=info)).info["units"] == "mm"
    assert read_raster(encoded(values, "TIFF", tiffinfo={270: "units: m"})).info["description"] == "units: m"


def test_other_formats_are_known_by_how_they_begin():
    found = read_raster(b"OWN!1234", {b"OWN!": lambda data, name: Raster(name, np.full((4, 4), len(data)))})
    assert (found.values == 8).all()
    with pytest.raises(ItemError, match="at least 4 x 4"):
        read_raster(b"OWN!", {b"OWN!": lambda data, name: Raster(name, np.zeros((1, 1)))})


def png_of(width, height):
    """A PNG of a few bytes that says how large it is."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(9))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@pytest.mark.parametrize(("width", "height"), [(MOST_PIXELS // 4 + 1, 4), (10_000, 9_000), (200_000, 200_000)])
def test_a_small_file_that_says_it_is_huge_fills_no_memory(width, height):
    with pytest.raises(ItemError, match=f"{MOST_PIXELS}"):
        read_raster(png_of(width, height))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b" \n", "empty"),
        ("no.png", "no.png: no such file"),
        (b"GARBAGE", "expected PNG, TIFF or npy"),
        (png_of(20, 20), "cannot be decoded"),
        (b"\x93NUMPY\x01\x00", "not a readable NumPy file"),
        (np.zeros((5, 8, 4), np.uint8), r"expected numbers of shape \(H, W\)"),
        (np.zeros((5, 8, 3), np.float32), r"expected numbers of shape \(H, W\)"),
        (np.zeros((5, 8), bool), r"expected numbers of shape \(H, W\)"),
        (np.zeros((3, 8)), "at least 4 x 4 pixels"),
        (7, r"expected a path, bytes or an array \(H, W\), not int"),
    ],
)
def test_what_is_no_raster_is_one_line(item, message):
    with pytest.raises(ItemError, match=message) as caught:
        read_raster(item)
    assert "\n" not in str(caught.value)
