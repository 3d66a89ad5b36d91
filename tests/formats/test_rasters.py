"""Rasters: their numbers are kept and drawn in grey, whatever else is one line. And bare numbers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from binder import ItemError, PictureConfig, raster_modality, read_array, read_bytes, read_raster
from binder.formats.raster import MAX_PIXELS
from binder.testing import huge_png, tiny_anchor


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


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (10_000, 9_000, f"10000 x 9000 pixels, more than {MAX_PIXELS:,}"),
        (200_000, 200_000, "far too many pixels"),
        (1, 100_000, "one side is more than 250 times the other"),
    ],
)
def test_a_small_file_that_says_it_is_huge_fills_no_memory(width, height, message):
    with pytest.raises(ItemError, match=message):
        read_raster(huge_png(width, height))
    if width * height < 1e9:
        with pytest.raises(ItemError, match=message if height != width else "pixels"):
            read_raster(np.broadcast_to(np.uint16(1), (height, width)) if width > 3 else np.zeros((height, 4)))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b" \n", "empty"),
        ("no.png", "no.png: no such file"),
        (b"GARBAGE", "expected PNG, TIFF or npy"),
        (huge_png(20, 20), "cannot be decoded"),
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


def read_own(item, config):
    """A format of one's own: OWN!, then 16 x 16 bytes, of which 255 was not measured."""
    if isinstance(item, np.ndarray):
        return item
    values = np.frombuffer(read_bytes(item)[4:], np.uint8).reshape(16, 16).astype(float)
    return np.where(values == 255, np.nan, values)


OWN = raster_modality("own", {".own"}, PictureConfig, read_own)


def drawn(item):
    """(H, W) 0..255: what the anchor's image tower is shown; it sees 32 x 32 pixels."""
    return np.asarray(OWN.build(PictureConfig(), tiny_anchor()).picture(item).convert("L")).astype(int)


def ramp(side=16):
    return np.tile(np.linspace(10, 90, side), (side, 1))


def test_a_format_of_ones_own_is_drawn_from_its_lowest_to_its_highest():
    shown = drawn(b"OWN!" + ramp().astype(np.uint8).tobytes())
    assert (shown[:, 0] == 0).all()
    assert (shown[:, -1] == 255).all()
    assert (np.diff(shown, axis=1) >= 0).all()


def test_a_dead_pixel_is_mended_and_a_hole_is_black():
    values = ramp()
    values[5, 9], values[10:15, 9:14], values[0, 0] = np.nan, np.inf, 10_000  # the last is broken, and sets no range
    shown, whole = drawn(values), drawn(ramp())
    assert abs(shown[5, 9] - whole[5, 9]) < 10
    assert shown[12, 11] == 0
    assert np.abs(shown[:9, 1:] - whole[:9, 1:]).max() < 10


def test_a_large_raster_is_brought_down_by_medians_which_speckles_do_not_move():
    values, rng = np.where(ramp(512) > 50, 90.0, 10.0), np.random.default_rng(0)
    shown = drawn(np.where(rng.random(values.shape) < 0.1, rng.choice((np.nan, 0, 100), values.shape), values))
    assert shown.shape == (64, 64)
    assert set(np.unique(shown)) == {0, 255}


def test_training_reads_once_and_sees_variants_of_which_the_first_is_the_picture():
    reads = []
    modality = raster_modality("own", (), PictureConfig, lambda item, _: reads.append(item) or item)
    encoder = modality.build(PictureConfig(views=4), tiny_anchor())
    views = encoder.views(ramp(), np.random.default_rng(0))
    assert (len(reads), len(views)) == (1, 4)
    np.testing.assert_array_equal(views[0], encoder.preprocess(ramp())[0])
    assert all(not np.allclose(views[0], view) for view in views[1:])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.full((8, 8), np.nan), "no pixel was measured"),
        (np.zeros((8, 8, 3), np.uint8), "a color picture"),
        (np.zeros((8, 8), "U3"), "expected numbers of shape"),
        (np.zeros((2, 8)), "at least 4 x 4 pixels"),
        (3, "expected a path or bytes, not int"),
        (b"", "<0 bytes>: empty"),
    ],
)
def test_what_a_reading_function_cannot_have_meant_is_one_line(item, message):
    with pytest.raises(ItemError, match=message) as caught:
        drawn(item)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"1,2.5\n-3,4e2\n", b"1 2.5\n-3 4e2", b"# x y\n1\t2.5\r\n -3  4e2 \r\n"])
def test_bare_numbers_are_read_however_they_are_parted(text, tmp_path):
    (tmp_path / "a.txt").write_bytes(text)
    for item in (text, tmp_path / "a.txt", np.array([[1, 2.5], [-3, 400]])):
        np.testing.assert_array_equal(read_array(item), [[1, 2.5], [-3, 400]])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"1 2\n3\n", "not a table of numbers"),
        (b"one two", "not a table of numbers"),
        (b"# nothing else\n", "not a table of numbers"),
        (b"\x93NUMPY\x01\x00", "not a readable NumPy file"),
        (b"\xff\xfe\x00" * 9, "truncated or damaged utf-16 text"),
        (None, "expected a path, bytes or an array, not NoneType"),
        ("no\0name", "not a path: it holds a NUL"),
        (Path(__file__).parent, "not a file"),
    ],
)
def test_what_holds_no_numbers_is_one_line(item, message):
    with pytest.raises(ItemError, match=message) as caught:
        read_array(item)
    assert "\n" not in str(caught.value)


VALUES = np.random.default_rng(0).integers(0, 60_000, (12, 20)).astype(np.uint16)
FLOATS = (VALUES / 7).astype(np.float32)


def saved(save, *values, **named):
    held = io.BytesIO()
    save(held, *values, **named)
    return held.getvalue()


HELD = {  # each is VALUES or FLOATS
    "png": encoded(VALUES),
    "tiff": encoded(VALUES, "TIFF"),
    "tiff lzw": encoded(VALUES, "TIFF", compression="tiff_lzw"),
    "tiff of floats": encoded(FLOATS, "TIFF", compression="tiff_adobe_deflate"),
    "pgm": b"P5\n# units: mm\n20 12\n# from a camera\n60000\n" + VALUES.astype(">u2").tobytes(),
    "pgm as text": b"P2 20 12 60000\n" + "\n".join(" ".join(map(str, row)) for row in VALUES.tolist()).encode(),
    "pfm": b"Pf\n20 12\n-1.0\n" + FLOATS[::-1].astype("<f4").tobytes(),
    "pfm, big-endian": b"Pf\n20 12\n1.0\n" + FLOATS[::-1].astype(">f4").tobytes(),
    "npy": saved(np.save, VALUES),
    "npz": saved(np.savez_compressed, depth=VALUES, camera=np.float64(525.0)),
}


def whole(form):
    return FLOATS if "floats" in form or "pfm" in form else VALUES


@pytest.mark.parametrize("form", HELD)
def test_every_format_keeps_its_numbers_in_a_path_bytes_and_an_open_file(form, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(HELD[form])
    with path.open("rb") as file:
        for item in (path, HELD[form], bytearray(HELD[form]), file, io.BytesIO(HELD[form])):
            np.testing.assert_array_equal(read_raster(item, ("depth",)).values, whole(form))


@pytest.mark.parametrize("form", HELD)
def test_a_raster_cut_off_anywhere_is_refused_or_whole(form, recwarn, capfd):
    data = HELD[form]
    for cut in np.unique(np.linspace(1, len(data) - 1, 60).astype(int)):
        try:
            values = read_raster(data[:cut]).values
        except ItemError as error:
            assert "\n" not in str(error)
        else:
            compared = slice(0, 19) if form == "pgm as text" else slice(None)  # of the last number a digit may lack
            np.testing.assert_array_equal(values[:, compared], whole(form)[:, compared])
            assert cut > 0.9 * len(data), "what is whole lacks no more than what the format says at its end"
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", HELD)
def test_flipped_bits_in_a_raster_are_one_line_or_numbers(form, recwarn, capfd):
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(HELD[form])
        for place in rng.integers(0, min(len(data), rng.choice((40, len(data)))), 2):
            data[place] ^= 1 << rng.integers(8)
        try:
            assert read_raster(bytes(data)).values.size
        except ItemError as error:
            assert "\n" not in str(error)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"P5 20 12 60000\n" + bytes(100), "truncated: 480 bytes are promised, 100 are there"),
        (b"P2 4 4 9\n1 2 3", "truncated: 16 values are promised, 3 are there"),
        (b"P2 4 4 9\n1 2 three", "more than whole numbers"),
        (b"P2 4 4 9\n" + b"10 " * 16, "damaged: a value of 10, above the largest in its header, 9"),
        (b"P5 99999999 99999999 255\n", "99999999 x 99999999 pixels, more than"),
        (b"P5 -4 4 255\n" + bytes(16), "header is damaged"),
        (b"P5 4 4 70000\n" + bytes(99), "a largest value of 70000"),
        (b"P5 4 4\n", "header is truncated"),
        (b"P5" + b"\n# a comment" * 9000, "header is truncated"),
        (b"PF\n4 4\n-1\n" + bytes(192), "a PFM file with three channels: expected one"),
        (b"Pf\n4 4\n-1\n" + bytes(60), "truncated: 64 bytes are promised, 60 are there"),
        (saved(np.savez, a=VALUES, b=VALUES), "expected one array (H, W), or one named depth; found: a, b"),
        (
            encoded(VALUES, "TIFF", save_all=True, append_images=[Image.fromarray(VALUES)]),
            "several pictures in one file",
        ),
        (np.zeros((8, 4000)), "4000 x 8 pixels: one side is more than 250 times the other"),
        (np.zeros((4, 16_000_000), np.uint8), "16000000 x 4 pixels, more than"),
    ],
)
def test_what_promises_more_than_it_holds_says_so(item, message):
    with pytest.raises(ItemError) as caught:
        read_raster(item, ("depth",))
    assert message in caught.value.reason


def test_what_a_pgm_says_in_its_comments_is_kept():
    assert read_raster(HELD["pgm"]).info["description"] == "units: mm\nfrom a camera"
    assert read_raster(HELD["pgm as text"]).info == {}


def test_pictures_in_memory_and_tensors_are_rasters_too():
    import torch

    for item in (Image.fromarray(VALUES.astype(np.int32)), torch.from_numpy(VALUES.astype(np.int32)), VALUES.tolist()):
        np.testing.assert_array_equal(read_raster(item).values, VALUES)


def test_of_a_jpeg_with_previews_the_first_is_the_picture():
    grey = Image.fromarray((VALUES >> 8).astype(np.uint8))
    found = read_raster(saved(lambda held: grey.save(held, "MPO", save_all=True, append_images=[grey.resize((5, 4))])))
    assert found.values.shape == (12, 20)


def test_exr_promises_are_checked_and_a_cut_one_is_refused(tmp_path, capfd):
    exr = pytest.importorskip("OpenEXR")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Z": np.tile(FLOATS, (20, 1))}).write(str(tmp_path / "a.exr"))
    data = (tmp_path / "a.exr").read_bytes()
    np.testing.assert_array_equal(read_raster(data).values, np.tile(FLOATS, (20, 1)))
    for cut in np.linspace(5, len(data) - 1, 30).astype(int):
        with pytest.raises(ItemError, match="truncated or damaged"):
            read_raster(data[:cut])
    place = data.index(b"dataWindow\0box2i\0") + 21
    for window in ((0, 0, 10**9, 10**9), (0, 0, 10**6, 11), (19, 11, 0, 0), (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)):
        with pytest.raises(ItemError, match=r"pixels|truncated or damaged"):
            read_raster(data[:place] + np.array(window, "<i4").tobytes() + data[place + 16 :])
    layers = {f"layer{i}": np.zeros((600, 600), np.float16) for i in range(400)}
    exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, layers).write(str(tmp_path / "b.exr"))
    with pytest.raises(ItemError, match="600 x 600 pixels, more than 335,544"):
        read_raster(tmp_path / "b.exr", ("layer7",))
    assert capfd.readouterr() == ("", "")
