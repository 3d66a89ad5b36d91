"""Pictures: the same one in every form is the same; damage, lies and bombs are one line and little memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, features

from binder import ItemError, read_image, read_raster
from binder.formats import picture
from binder.testing import huge_png

GREY = np.add.outer(np.arange(40), 2 * np.arange(60)).astype(np.uint8) + 20  # (40, 60), 20..177
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(values, kind="PNG", **options):
    held = io.BytesIO()
    made = values if isinstance(values, Image.Image) else Image.fromarray(values)
    made.save(held, kind, **options)
    return held.getvalue()


def sixteen(values=GREY):
    return values.astype(np.uint16) * 257


def deep(values=GREY, mode="I;16"):
    """(H, W) -> a PIL image of 16 bits."""
    order = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, values.shape[::-1], sixteen(values).astype(order).tobytes())


def seen(item):
    return np.asarray(read_image(item))


def refused(item):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ItemError) as caught:
            read_image(item)
    assert "\n" not in str(caught.value)
    return caught.value.reason


SAME = {  # each is GREY
    "png": encoded(GREY),
    "png of 16 bits": encoded(deep()),
    "tiff of 16 bits": encoded(deep(), "TIFF"),
    "tiff of 16 bits, big-endian": encoded(deep(mode="I;16B"), "TIFF"),
    "tiff of 16 bits, packed": encoded(deep(), "TIFF", compression="tiff_lzw"),
    "tiff of 32 bits": encoded(Image.fromarray(sixteen().astype(np.int32)), "TIFF"),
    "tiff of floats": encoded((GREY / 255).astype(np.float32), "TIFF"),
    "pgm of 16 bits": b"P5 60 40 65535\n" + sixteen().astype(">u2").tobytes(),
    "bytearray": bytearray(encoded(GREY)),
    "memoryview": memoryview(encoded(GREY)),
    "file": io.BytesIO(encoded(GREY)),
    "uint8": GREY,
    "uint16": sixteen(),
    "uint16, big-endian": sixteen().astype(">u2"),
    "int32": sixteen().astype(np.int32),
    "int64": sixteen().astype(np.int64),
    "float64": GREY / 255,
    "float16": (GREY / 255).astype(np.float16),
    "float (H, W, 1)": (GREY / 255)[:, :, None],
    "(H, W, 2)": np.dstack([GREY, np.full_like(GREY, 255)]),
    "(H, W, 4)": np.dstack([GREY] * 3 + [np.full_like(GREY, 255)]),
    "uint16 (H, W, 3)": np.dstack([sixteen()] * 3),
    "(3, H, W)": np.stack([GREY] * 3),
    "(1, H, W) of floats": (GREY / 255)[None],
    "not contiguous": np.repeat(GREY, 2, axis=1)[:, ::2],
    "tensor": torch.from_numpy(GREY),
    "tensor (3, H, W)": torch.from_numpy(np.stack([GREY] * 3)),
    "tensor (3, H, W) of floats": torch.from_numpy(np.stack([GREY] * 3) / 255),
    "tensor with a gradient": torch.from_numpy(GREY / 255).requires_grad_(),
    "tensor (H, W, 3)": torch.from_numpy(np.dstack([GREY] * 3)),
    "I;16": deep(),
    "I;16B": deep(mode="I;16B"),
    "I": Image.fromarray(sixteen().astype(np.int32)),
    "F": Image.fromarray((GREY / 255).astype(np.float32)),
    **{mode: Image.fromarray(GREY).convert(mode) for mode in ("LA", "P", "RGB", "RGBA", "CMYK", "RGBX", "HSV")},
    "La": Image.fromarray(GREY).convert("LA").convert("La"),
    "RGBa": Image.fromarray(GREY).convert("RGBA").convert("RGBa"),
}


@pytest.mark.parametrize("form", SAME)
def test_one_picture_is_the_same_in_every_form(form):
    exact = form not in ("float16",)
    np.testing.assert_allclose(seen(SAME[form]), np.dstack([GREY] * 3), atol=0 if exact else 1)


def test_truth_values_twelve_bits_and_half_precision_tensors_fill_the_range():
    mask = GREY > 90
    for item in (mask, torch.from_numpy(mask), Image.fromarray(mask), encoded(mask, "TIFF")):
        np.testing.assert_array_equal(seen(item)[:, :, 0], 255 * mask)
    half = torch.from_numpy(GREY / 255).bfloat16()
    np.testing.assert_allclose(seen(half)[:, :, 0], GREY, atol=1)
    entries = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 110), (277, 1), (278, 1), (279, 3)]
    rows = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows
    tiff = tiff.ljust(110 + 12, b"\0").replace(
        struct.pack("<HHIHH", 273, 3, 1, 110, 0), struct.pack("<HHIHH", 273, 3, 1, 122, 0)
    )
    assert seen(tiff + bytes([0xFF, 0xF0, 0x00]))[0, :, 0].tolist() == [255, 0]


def test_what_is_clear_shows_white_whatever_its_bits():
    clear = np.dstack([GREY, np.zeros_like(GREY)])
    for item in (clear, clear / 255, encoded(clear), Image.fromarray(clear)):
        assert (seen(item) == 255).all()
    held = encoded(deep(), transparency=int(sixteen()[3, 4]))
    hidden = GREY[3, 4] == GREY
    np.testing.assert_array_equal(seen(held)[:, :, 0], np.where(hidden, 255, GREY))
    palette = Image.fromarray(GREY).convert("P")
    found = seen(encoded(palette, transparency=int(np.asarray(palette)[3, 4])))[:, :, 0]
    np.testing.assert_array_equal(found, np.where(hidden, 255, GREY))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (GREY.astype(np.float32), "floats from 20 to 177: expected 0 to 1"),
        (GREY / 255 - 0.5, "floats from -0.4"),
        (np.where(GREY > 90, np.nan, 0.5), "floats from nan"),
        (encoded(GREY.astype(np.float32), "TIFF"), "floats from 20 to 177"),
        (Image.fromarray(np.where(GREY > 90, np.nan, 0.5).astype(np.float32)), "not finite"),
        (GREY.astype(np.int64), "int64 from 20 to 177: is it 8 or 16 bits?"),
        (encoded(GREY.astype(np.int32), "TIFF"), "int32 from 20 to 177: is it 8 or 16 bits?"),
        (GREY.astype(np.int32) * 1000, "numbers from 20000 to 177000: expected 8 bits (0 to 255) or 16"),
        (-GREY.astype(np.int16), "numbers from -177 to -20"),
        (GREY.astype(complex), "expected numbers of shape (H, W), (H, W, 3) or (3, H, W), got (40, 60) of complex128"),
        (np.array([["a"] * 8] * 8), "expected numbers of shape"),
        (np.zeros((1, 3, 8, 8)), "got (1, 3, 8, 8) of float64"),
        (np.zeros((8, 8, 5)), "got (8, 8, 5)"),
        (np.zeros(8, np.uint8), "got (8,)"),
        (np.zeros((0, 8), np.uint8), "no pixels: 8 x 0"),
        (np.broadcast_to(np.uint8(1), (10**6, 10**6)), "1000000 x 1000000 pixels, more than"),
        (np.zeros((2, 600), np.uint8), "600 x 2 pixels: one side is more than 250 times the other"),
        (io.StringIO("text"), "open it in binary mode"),
        (object(), "expected a path, bytes, a picture or an array, not object"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript, not a picture of pixels"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"8BPS\0\x01" + bytes(99), "a Photoshop file"),
        (b"\0\0\x01\0\x01\0" + bytes(99), "not a picture that can be decoded: expected PNG, JPEG"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;", "far too many pixels"),
        (huge_png(60_000, 60_000), "far too many pixels"),
        (huge_png(1, 60_000), "one side is more than"),
    ],
)
def test_what_would_be_a_guess_is_refused_by_what_it_is(item, message):
    assert message in refused(item)


def test_a_postscript_picture_that_somebody_opened_starts_no_other_program(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    drawing = Image.open(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"))
    assert "EPS, not a picture of pixels" in refused(drawing)


def test_its_name_is_what_the_caller_says():
    with pytest.raises(ItemError, match=r"^a\.png: cannot be decoded"):
        read_image(encoded(GREY)[:60], name="a.png")


TURNED = {  # by the orientation tag: how the file holds what is to be seen
    1: lambda v: v,
    2: lambda v: v[:, ::-1],
    3: lambda v: v[::-1, ::-1],
    4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: v.swapaxes(0, 1)[::-1],
    7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
    8: lambda v: v.swapaxes(0, 1)[:, ::-1],
}


def tagged(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNED)
def test_an_orientation_tag_turns_every_picture_and_every_raster(orientation):
    grey = np.ascontiguousarray(TURNED[orientation](GREY))
    exif = tagged(orientation)
    held = {
        "PNG": encoded(grey, exif=exif),
        "PNG of 16 bits": encoded(deep(grey), exif=exif),
        "TIFF": encoded(grey, "TIFF", exif=exif),
        "TIFF of 16 bits": encoded(deep(grey), "TIFF", exif=exif, compression="tiff_lzw"),
        "TIFF of 16 bits, big-endian": encoded(deep(grey, "I;16B"), "TIFF", exif=exif),
        "TIFF of 32 bits": encoded(sixteen(grey).astype(np.int32), "TIFF", exif=exif),
        "TIFF of floats": encoded((grey / 255).astype(np.float32), "TIFF", exif=exif),
        "WebP": encoded(grey, "WEBP", lossless=True, exif=exif),
    }
    for form, data in held.items():
        np.testing.assert_array_equal(seen(data)[:, :, 0], GREY, err_msg=form)
        found = read_raster(data).values
        found = found[:, :, 0] if found.ndim == 3 else found
        expected = GREY / np.float32(255) if "floats" in form else sixteen() if "bits" in form else GREY
        np.testing.assert_array_equal(found, expected.astype(found.dtype), err_msg=form)
    smooth = encoded(grey, "JPEG", quality=95, exif=exif)
    assert np.abs(seen(smooth)[:, :, 0].astype(int) - GREY).max() < 6
    assert np.abs(read_raster(smooth).values.astype(int) - GREY).max() < 6
    colour = encoded(np.ascontiguousarray(TURNED[orientation](COLOUR)), exif=exif)
    np.testing.assert_array_equal(seen(colour), COLOUR)
    np.testing.assert_array_equal(read_raster(colour).values, COLOUR)


def test_an_orientation_counts_once_and_a_broken_one_not_at_all():
    once = read_image(encoded(GREY.T.copy()[::-1], exif=tagged(6)))
    np.testing.assert_array_equal(seen(once), np.dstack([GREY] * 3))
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", tagged(9).tobytes(), tagged(0).tobytes()):
        np.testing.assert_array_equal(seen(encoded(GREY, exif=exif))[:, :, 0], GREY)
        np.testing.assert_array_equal(read_raster(encoded(GREY, exif=exif)).values, GREY)


MOVING = {"save_all": True, "append_images": [Image.fromarray(NOISE[::-1])]}
FORMATS = {
    "png": encoded(NOISE),
    "png stored": encoded(NOISE, compress_level=0),
    "png palette": encoded(Image.fromarray(NOISE).convert("P")),
    "png of 16 bits": encoded(deep(NOISE[:, :, 0])),
    "jpeg": encoded(NOISE, "JPEG"),
    "jpeg progressive": encoded(NOISE, "JPEG", progressive=True),
    "gif": encoded(Image.fromarray(NOISE), "GIF"),
    "gif moving": encoded(Image.fromarray(NOISE[:, :, 0]), "GIF", **MOVING),
    "webp": encoded(NOISE, "WEBP"),
    "webp lossless": encoded(NOISE, "WEBP", lossless=True),
    "webp moving": encoded(Image.fromarray(NOISE), "WEBP", save_all=True, append_images=[Image.fromarray(NOISE[::-1])]),
    "bmp": encoded(NOISE, "BMP"),
    "tiff": encoded(NOISE, "TIFF"),
    "tiff lzw": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "tiff deflate": encoded(deep(NOISE[:, :, 0]), "TIFF", compression="tiff_adobe_deflate"),
    "tiff jpeg": encoded(NOISE, "TIFF", compression="jpeg"),
    "ppm": encoded(NOISE, "PPM"),
    "jpeg 2000": encoded(NOISE, "JPEG2000"),
    **({"avif": encoded(NOISE, "AVIF")} if features.check("avif") else {}),
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_picture_cut_off_anywhere_is_refused_or_whole_and_never_half_grey(form, recwarn, capfd):
    data = FORMATS[form]
    whole = seen(data)
    kept = []
    for cut in np.unique(np.linspace(1, len(data) - 1, 40).astype(int)):
        try:
            np.testing.assert_array_equal(seen(data[:cut]), whole, err_msg=f"{cut} of {len(data)}")
            kept.append(cut)
        except ItemError as error:
            assert "truncated" in error.reason or cut < 16, error.reason
    assert not kept or min(kept) > len(data) - 20 or "moving" in form  # nothing but the end mark was missing
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bits_are_one_line_or_a_picture(form, recwarn, capfd):
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(FORMATS[form])
        for place in rng.integers(0, min(len(data), rng.choice((64, len(data)))), 2):
            data[place] ^= 1 << rng.integers(8)
        try:
            assert read_image(bytes(data)).mode == "RGB"
        except ItemError as error:
            assert "\n" not in str(error)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_a_flipped_bit_in_a_png_is_noticed_though_it_decodes():
    data = bytearray(encoded(GREY, compress_level=0))
    data[data.index(b"IDAT") + 500] ^= 1
    for read in (read_image, read_raster):
        with pytest.raises(ItemError, match="a checksum of its pixels does not match"):
            read(bytes(data))


@pytest.mark.parametrize(
    "head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0"]
)
def test_a_beginning_alone_is_one_line(head):
    for rest in (b"", bytes(40), b"\xff" * 400):
        refused(head + rest)


def taller(form, data):
    """The same file, whose header promises twice as many rows."""
    width, height = 60, 40
    said = {
        "png": (b"IHDR" + struct.pack(">II", width, height), b"IHDR" + struct.pack(">II", width, 2 * height)),
        "jpeg": (struct.pack(">HH", height, width), struct.pack(">HH", 2 * height, width)),
        "gif": (struct.pack("<HH", width, height), struct.pack("<HH", width, 2 * height)),
        "bmp": (struct.pack("<ii", width, height), struct.pack("<ii", width, 2 * height)),
        "tiff": (struct.pack("<HHIHH", 257, 3, 1, height, 0), struct.pack("<HHIHH", 257, 3, 1, 2 * height, 0)),
        "ppm": (b"60 40", b"60 80"),
        "webp": (b"\x9d\x01\x2a" + struct.pack("<HH", width, height), b"\x9d\x01\x2a" + struct.pack("<HH", width, 80)),
    }[form]
    old, new = said
    if form == "tiff" and old not in data:
        old, new = (struct.pack("<HHII", 257, 4, 1, rows) for rows in (height, 2 * height))
    assert old in data
    made = data.replace(old, new)
    if form == "png":  # with a checksum that is right
        made = made[:8] + chunk(b"IHDR", made[16:29]) + made[33:]
    return made


PROMISED = {form: data for form, data in FORMATS.items() if form.split()[0] in ("png", "jpeg", "bmp", "tiff", "ppm")}
PROMISED |= {form: FORMATS[form] for form in ("gif", "webp")} | {
    "jpeg in parts": encoded(NOISE, "JPEG", restart_marker_blocks=2),
    "jpeg grey": encoded(NOISE[:, :, 0], "JPEG"),
    "jpeg unthinned": encoded(NOISE, "JPEG", subsampling=0),
}
del PROMISED["jpeg 2000"]


@pytest.mark.parametrize("form", PROMISED)
def test_a_header_that_promises_more_rows_than_there_are_is_refused_and_they_are_not_made_up(form):
    data = PROMISED[form]
    assert seen(data).shape == (40, 60, 3)
    assert "truncated" in refused(taller(form.split()[0], data))
    with pytest.raises(ItemError, match="truncated"):
        read_raster(taller(form.split()[0], data))


def test_a_jpeg_that_was_cut_off_and_closed_again_is_refused():
    for options in ({}, {"subsampling": 0}, {"restart_marker_blocks": 3}):
        data = encoded(NOISE, "JPEG", **options)
        assert "truncated" in refused(data[: 2 * len(data) // 3] + b"\xff\xd9")
    for shade in (0, 128, 255):  # what ends in a flat block of its own is whole
        assert (seen(encoded(np.full((40, 60, 3), shade, np.uint8), "JPEG")) == shade).all()


def test_a_jpeg_of_thousands_of_scans_is_not_decoded():
    data = encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    scans = data[data.index(b"\xff\xda") : -2]
    began = time.monotonic()
    assert "scans of 2000 x 2000 pixels" in refused(data[:-2] + 2000 * scans + b"\xff\xd9")
    assert time.monotonic() - began < 2


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_what_unpacks_to_gigabytes_beside_the_pixels_is_not_unpacked(kind):
    packed = zlib.compress(bytes(100 << 20), 1)
    begin = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\x01\0\0\0"}[kind]
    data = encoded(GREY)
    at = data.index(b"IDAT") - 4
    began = time.monotonic()
    try:
        np.testing.assert_array_equal(seen(data[:at] + chunk(kind, begin + packed) + data[at:])[:, :, 0], GREY)
    except ItemError as error:
        assert "too large" in error.reason
    assert time.monotonic() - began < 2


def test_fifty_thousand_pages_are_not_counted():
    page = encoded(deep(), "TIFF")
    (first,) = struct.unpack_from("<I", page, 4)
    (count,) = struct.unpack_from("<H", page, first)
    directory = page[first + 2 : first + 2 + 12 * count]
    size, pages = 2 + 12 * count + 4, 50_000
    at = len(page) + len(page) % 2
    rest = b"".join(
        struct.pack("<H", count) + directory + struct.pack("<I", at + size * (i + 1) if i + 1 < pages else 0)
        for i in range(pages)
    )
    data = page[: first + 2 + 12 * count] + struct.pack("<I", at) + page[first + size :]
    data = data.ljust(at, b"\0") + rest
    began = time.monotonic()
    np.testing.assert_array_equal(seen(data)[:, :, 0], GREY)  # the first is the picture
    with pytest.raises(ItemError, match="several pictures in one file"):
        read_raster(data)
    assert time.monotonic() - began < 2


def test_a_tile_that_claims_gigabytes_is_refused():
    data = encoded(GREY, "TIFF")
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    entries = data[first + 2 : first + 2 + 12 * count]
    entries = entries.replace(struct.pack("<H", 278), struct.pack("<H", 322), 1)
    tile = next(i for i in range(0, len(entries), 12) if entries[i : i + 2] == struct.pack("<H", 322))
    entries = entries[: tile + 2] + struct.pack("<HIHH", 3, 1, 64_000, 0) + entries[tile + 12 :]
    assert "tiles of 64000" in refused(data[: first + 2] + entries + data[first + 2 + 12 * count :])


def test_a_large_picture_is_made_smaller_and_looks_the_same():
    side = 6400  # 41 megapixels
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    large = Image.frombytes("L", (side, side), np.tile(ramp, (side, 1)).tobytes())
    clear = large.copy()
    clear.putalpha(128)
    for item, expected in ((large, ramp), (clear, ramp / 2 + 127.5)):
        found = read_image(item)
        assert found.mode == "RGB" and 1024 <= found.width == found.height < 2100
        shown = np.asarray(found.resize((64, 64), Image.Resampling.BOX))[:, :, 0]
        np.testing.assert_allclose(shown, np.tile(expected.reshape(64, -1).mean(1), (64, 1)), atol=2)
    found = read_image(encoded(large, "JPEG"))
    assert 1024 <= found.width < 2100


def test_below_that_nothing_is_made_smaller_and_bands_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    items = [rng.integers(0, 256, (300, 200, c), dtype=np.uint8) for c in (1, 3, 4)] + [deep(), GREY / 255]
    whole = [seen(item) for item in items]
    monkeypatch.setattr(picture, "BAND", 1000)
    for item, expected in zip(items, whole, strict=True):
        np.testing.assert_array_equal(seen(item), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_a_small_file_of_a_huge_clear_picture_costs_little_more_than_its_pixels(tmp_path):
    held = Image.new("P", (9_000, 9_000))
    held.putpalette([255, 0, 0] * 256)
    held.save(tmp_path / "a.png", transparency=0, compress_level=1)
    code = (
        "import resource, sys; from binder import read_image; read_image(sys.argv[2]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; found = read_image(sys.argv[1]);"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, found.getpixel((0, 0)))"
    )
    (tmp_path / "b.png").write_bytes(encoded(np.dstack([COLOUR, GREY])))
    command = [sys.executable, "-c", code, tmp_path / "a.png", tmp_path / "b.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, pixel = done.stdout.split(maxsplit=1)
    assert int(megabytes) < 250  # its pixels alone are 81
    assert pixel.strip() == "(255, 255, 255)"


def test_heic_says_what_to_install_or_is_read(monkeypatch):
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refused(data) == "a HEIC picture needs another package: pip install pillow-heif"
    monkeypatch.undo()
    pytest.importorskip("pillow_heif").register_heif_opener()
    held = encoded(Image.fromarray(COLOUR), "HEIF", quality=95)
    assert np.abs(seen(held).astype(int) - COLOUR).mean() < 4
    assert "decoded" in refused(data)
    assert "truncated" in refused(held[: len(held) // 2])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_read():
    assert np.abs(seen(encoded(COLOUR, "AVIF", quality=95)).astype(int) - COLOUR).mean() < 4


def test_a_file_is_read_by_what_is_in_it(tmp_path):
    from binder.registry import registry

    for suffix, data in {".jpe": FORMATS["jpeg"], ".jfif": FORMATS["jpeg"], ".avif": FORMATS["png"]}.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        assert "image" in {m.name for m in registry().by_suffix(suffix)}
        with path.open("rb") as file:
            for item in (path, str(path), data, file):
                assert read_image(item).size == (60, 40)
