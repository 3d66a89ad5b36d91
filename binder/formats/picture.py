"""A picture in whatever form it comes -> RGB as people see it: upright, on white, in 8 bits. Free of torch.

What a header says is checked before a decoder makes room for it. Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import io
import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from binder.errors import ItemError, name_of
from binder.formats.arrays import array_of
from binder.formats.content import one_line, read_bytes
from binder.formats.whole import JPEG, check_end, check_header
from binder.modality import Item

# what is opened, by Pillow's names, the common ones first; none of them starts another program, as EPS does
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")
EXPECTED = "not a picture that can be decoded: expected PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")  # of what is a picture, though a broken one
INSTALL_HEIC = "pip install pillow-heif"
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands that a file of this kind names
DRAWINGS = {b"%!PS": "PostScript", b"%PDF": "a PDF", b"<svg": "an SVG drawing", b"8BPS": "a Photoshop file"}

MOST_PIXELS = 2 * 89_478_485  # above it Pillow refuses
MOST_MEMORY = 900 << 20  # bytes, of a file and what decoding it takes
COSTS = {
    "WEBP": 16,
    "AVIF": 16,
    "HEIF": 16,
    "JPEG2000": 24,
    "TIFF": 12,
}  # bytes for each pixel while decoding, measured
USUAL_COST = 4  # of formats that are decoded straight into Pillow's pixels
MOST_OBLONG = 250  # the longer side over the shorter: whatever makes the shorter one fit makes the longer one huge
LARGE = 40_000_000  # pixels from which on a picture is shrunk before anything else is done with it
NEEDED = 1024  # pixels that its shorter side then still has: about twice what the largest towers see
BAND = 1 << 22  # pixels that are converted at a time

NUMBERS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes with more than 8 bits
SIXTEEN = 0xFFFF
SLACK = 1e-3  # by which floats may leave 0..1, as rounding has them
_STDERR = threading.Lock()  # it is one for all threads
TURNS = {  # by the orientation tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(item: Item, name: str | None = None) -> Image.Image:
    """Path, bytes, open file, PIL image, or array or tensor (H, W), (H, W, C) or (C, H, W) -> RGB, upright, on white.

    Arrays hold bytes, 16 bits (0..65535), floats of 0..1 or truth values; C is 1 (grey), 2 (with transparency), 3 or 4.
    What has more than 40 megapixels comes back smaller. Raises ItemError in one line for whatever is no picture, is
    damaged or would be enormous; `name` is how it calls the item.
    """
    name = name or name_of(item)
    data = b""
    with decoding(name):
        if isinstance(item, Image.Image):
            picture = item
            _check_source(picture, name)
        elif (numbers := array_of(item)) is not None:
            picture = _from_array(numbers, name, channels_first=not isinstance(item, np.ndarray | list))
        else:
            data = read_bytes(item, ", a picture or an array")
            picture = opened(data, name)
        factor = _factor(picture.size)
        if factor > 1 and picture.format in JPEG:  # which can be decoded smaller
            width = picture.width
            picture.draft(picture.mode, (picture.width // factor, picture.height // factor))
            factor = max(1, factor // round(width / picture.width))
        load(picture, data, name)
        plain = _turned(picture, _rgb(picture, factor, name))
        if plain is item:  # it stays the caller's
            plain = plain.copy()
        plain.info = {}  # or its orientation would count once more
        return plain


@contextmanager
def decoding(name: str, expected: str = EXPECTED) -> Iterator[None]:
    """Whatever a decoder raises becomes an ItemError of one line, and its warnings are not shown.

    `expected` is what it says where no decoder knows the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ItemError as error:
        raise ItemError(name, error.reason) from None
    except UnidentifiedImageError:
        raise ItemError(name, expected) from None
    except Image.DecompressionBombError:
        raise ItemError(name, "cannot be decoded: far too many pixels; make it smaller") from None
    except MemoryError:
        raise ItemError(name, "cannot be decoded: it needs more memory than there is") from None
    except Exception as error:  # each of the many decoders has its own ways to fail
        raise ItemError(name, f"cannot be decoded, truncated or damaged: {one_line(error)}") from None


def opened(data: bytes, name: str, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The bytes of a file -> its picture, found to be whole as far as its header tells, not decoded yet.

    Of several pictures in one file it is the first. Raises ItemError, and what Pillow raises; see `decoding`.
    """
    beginning = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, what in DRAWINGS.items():
        if beginning.startswith(mark.lower()) or (mark == b"<svg" and beginning.startswith(b"<") and mark in beginning):
            raise ItemError(name, f"{what}, not a picture of pixels: save it as PNG")
    formats: tuple[str, ...] = FORMATS
    if data[4:8] == b"ftyp" and b"avif" not in (brands := data[8:32]) and any(brand in brands for brand in HEIC):
        _learn_heic(name)
        formats = ("HEIF",)
    try:
        picture = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        if not data.startswith(BEGINNINGS) and data[4:8] != b"ftyp":
            raise
        raise ItemError(name, "cannot be decoded: its header is truncated or damaged") from None
    cost = COSTS.get(picture.format or "", USUAL_COST * (2 if picture.info.get("progressive") else 1))
    most = min(most_pixels, (MOST_MEMORY - len(data)) // cost)
    check_pixels(*picture.size, name, most)
    check_header(picture, data, name, most)
    return picture


def load(picture: Image.Image, data: bytes, name: str) -> None:
    """Decode it; `data` is what it was opened from, if it was. Raises ItemError, and what Pillow raises."""
    with silenced() if picture.format == "TIFF" else nullcontext():
        picture.load()
    if data:  # of one that the caller opened nothing else is known
        check_end(picture, data, name)


@contextmanager
def silenced() -> Iterator[None]:
    """What a library in C writes to standard error itself is dropped: an item's fault is told once, in one line."""
    with _STDERR:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)


def check_pixels(width: int, height: int, name: str, most: int) -> None:
    """Raises ItemError for more pixels than `most`, for none, and for a shape that is no picture's."""
    if min(width, height) < 1:
        raise ItemError(name, f"no pixels: {width} x {height}")
    if width * height > most:
        raise ItemError(name, f"{width} x {height} pixels, more than {most:,}; make it smaller")
    if max(width, height) > MOST_OBLONG * min(width, height):
        raise ItemError(name, f"{width} x {height} pixels: one side is more than {MOST_OBLONG} times the other")


def _check_source(picture: Image.Image, name: str) -> None:
    """Raises ItemError for a picture in memory that is too large, or would start another program to be decoded."""
    if picture.format in ("EPS", "WMF"):
        raise ItemError(name, f"{picture.format}, not a picture of pixels: save it as PNG")
    check_pixels(*picture.size, name, MOST_PIXELS)


def upright(picture: Image.Image) -> Image.Image:
    """A decoded picture -> the same, turned as its orientation tag says; its numbers stay as they are."""
    return _turned(picture, picture)


def _turned(said: Image.Image, picture: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(said.getexif().get(274, 1))
    except Exception:  # what cannot be understood turns nothing: the picture itself is whole
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _learn_heic(name: str) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ItemError(name, f"a HEIC picture needs another package: {INSTALL_HEIC}") from None
    register_heif_opener()


def _factor(size: tuple[int, int]) -> int:
    """How many times smaller a picture is made: once as large as it is, if it is not very large."""
    pixels = size[0] * size[1]
    return 1 if pixels <= LARGE else max(min(size) // NEEDED, math.ceil(math.sqrt(pixels / LARGE)))


def _rgb(picture: Image.Image, factor: int, name: str) -> Image.Image:
    """A decoded picture -> RGB on white, `factor` times smaller, in bands: no second copy of a large one is made."""
    scale = _scale_of(picture, name) if picture.mode in NUMBERS else None
    ready = picture.mode == "RGB" and "transparency" not in picture.info
    if factor == 1 and (ready or picture.width * picture.height <= BAND):
        return _plain(picture, scale, name)
    width, height = picture.size
    made = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, BAND // (width * factor))
    for top in range(0, height, rows):
        band = _plain(picture.crop((0, top, width, min(top + rows, height))), scale, name)
        made.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return made


def _plain(picture: Image.Image, scale: float | None, name: str) -> Image.Image:
    """Any of Pillow's modes -> RGB on white; numbers times `scale` are 0..255."""
    seen = picture.info.get("transparency")
    if scale is not None:
        values = np.asarray(picture)
        grey = _bytes(values, scale, name)
        if isinstance(seen, int):  # the number that stands for nothing
            grey[values == seen] = 255
        return Image.fromarray(grey).convert("RGB")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if picture.mode in ("LA", "PA", "RGBA") or seen is not None:  # show it on white, as pages do
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _scale_of(picture: Image.Image, name: str) -> float:
    bits = getattr(picture, "tag_v2", {}).get(258, 16)  # TIFF: 12 bits are 12 bits
    bits = bits[0] if isinstance(bits, tuple) else bits
    if picture.mode.startswith("I;16"):
        return 255 / ((1 << bits) - 1 if isinstance(bits, int) and 8 < bits < 16 else SIXTEEN)
    low, high = picture.getextrema()
    sure = picture.format in ("PNG", "PPM")  # to be of 16 bits
    return _scale(low, high, np.dtype("f4" if picture.mode == "F" else "u2" if sure else "i4"), name)  # type: ignore[arg-type]


def _from_array(values: NDArray[Any], name: str, channels_first: bool) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) -> a picture of bytes. Raises ItemError."""
    shape = values.shape
    if values.ndim == 2:
        values = values[:, :, None]
    elif values.ndim == 3 and shape[0] in (1, 3, 4) and (channels_first or shape[2] not in (1, 2, 3, 4)):
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or values.dtype.kind not in "buif":
        raise ItemError(
            name, f"expected numbers of shape (H, W), (H, W, 3) or (3, H, W), got {shape} of {values.dtype}"
        )
    check_pixels(values.shape[1], values.shape[0], name, MOST_PIXELS)
    if values.dtype == bool:
        made = values * np.uint8(255)
    elif values.dtype == np.uint8:
        made = np.ascontiguousarray(values)
    else:
        scale = _scale(values.min().item(), values.max().item(), values.dtype, name)
        made = np.empty(values.shape, np.uint8)
        rows = max(1, BAND // values.shape[1])
        for top in range(0, len(values), rows):
            made[top : top + rows] = _bytes(values[top : top + rows], scale, name)
    return Image.fromarray(made[:, :, 0] if made.shape[2] == 1 else made)


def _scale(low: float, high: float, dtype: np.dtype[Any], name: str) -> float:
    """What numbers of `low` to `high` are multiplied by to be 0..255. Raises ItemError where that is a guess."""
    if dtype.kind == "f":
        if not (low >= -SLACK and high <= 1 + SLACK):  # NaN, too
            raise ItemError(name, f"floats of {low:.6g} to {high:.6g}: expected 0 to 1, or 8 or 16 bits")
        return 255.0
    if low < 0 or high > SIXTEEN:
        raise ItemError(name, f"numbers of {low} to {high}: expected 8 bits (0 to 255) or 16 (0 to 65535)")
    if dtype != np.uint16 and 0 < high <= 255:
        raise ItemError(name, f"{dtype} of {low} to {high}: of 8 bits or of 16? save it as uint8 or uint16")
    return 255 / SIXTEEN


def _bytes(values: NDArray[Any], scale: float, name: str) -> NDArray[np.uint8]:
    """Numbers that `_scale` has found in their range -> 0..255."""
    levels = values.astype(np.float32) * np.float32(scale)
    if not np.isfinite(levels).all():
        raise ItemError(name, "numbers that are not finite: expected 0 to 1, or 8 or 16 bits")
    return np.rint(levels).clip(0, 255).astype(np.uint8)
