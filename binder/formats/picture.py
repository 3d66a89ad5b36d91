"""A picture in any form -> 8-bit RGB as people see it: upright, on a white background. Free of torch.

The size in a header is checked before a decoder allocates memory for it. Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from binder.errors import ItemError, name_of, one_line
from binder.formats.arrays import array_of
from binder.formats.content import read_bytes
from binder.formats.whole import JPEG_FORMATS, check_end, check_header
from binder.modality import Item
from binder.scoped import ProcessWide, no_warnings

# Pillow's names of the formats that are opened, the common ones first; none of them starts another program, as EPS does
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")
EXPECTED = "not a picture that can be decoded: expected PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
# files that begin so are pictures, even if broken
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
INSTALL_HEIC = "pip install pillow-heif"
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands in the header of such a file
DRAWINGS = {b"%!PS": "PostScript", b"%PDF": "a PDF", b"<svg": "an SVG drawing", b"8BPS": "a Photoshop file"}

MAX_PIXELS = 2 * 89_478_485  # Pillow's own limit
MAX_MEMORY = 900 << 20  # bytes, for a file and decoding it
COSTS = {"WEBP": 16, "AVIF": 16, "HEIF": 16, "JPEG2000": 24, "TIFF": 12}  # bytes per pixel while decoding, measured
USUAL_COST = 4  # of formats that are decoded straight into Pillow's pixels
MAX_ASPECT = 250  # longer side over shorter: resizing the shorter side to what a model takes would make the other huge
LARGE = 40_000_000  # pixels above which a picture is shrunk before anything else is done with it
NEEDED = 1024  # pixels its shorter side then still has: about twice what the largest models take
BAND = 1 << 22  # pixels that are converted at a time

NUMERIC_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes with more than 8 bits
SIXTEEN = 0xFFFF
SLACK = 1e-3  # by which floats may exceed 0..1, for rounding
TURNS = {  # by the value of the EXIF orientation tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(item: Item, name: str | None = None) -> Image.Image:
    """A path, bytes, an open file, a PIL image, or an array (H, W), (H, W, C), (C, H, W) -> RGB, upright, on white.

    Arrays and tensors hold 8 bits, 16 bits (0..65535), floats in 0..1 or booleans; C is 1 (gray), 2 (gray and alpha), 3
    or 4. Pictures of more than 40 megapixels come back smaller. Raises ItemError for anything that is not a picture, is
    damaged or would be enormous; `name` is what the message calls the item.
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
        if factor > 1 and picture.format in JPEG_FORMATS:  # which can be decoded at a smaller size
            width = picture.width
            picture.draft(picture.mode, (picture.width // factor, picture.height // factor))
            factor = max(1, factor // round(width / picture.width))
        load(picture, data, name)
        plain = _turned(picture, _rgb(picture, factor, name))
        if plain is item:  # which stays the caller's
            plain = plain.copy()
        plain.info = {}  # or its orientation would be applied again
        return plain


@contextmanager
def decoding(name: str, expected: str = EXPECTED) -> Iterator[None]:
    """Turns anything a decoder raises into an ItemError, and hides its warnings.

    `expected` is the message where no decoder knows the file.
    """
    try:
        with no_warnings:
            yield
    except ItemError as error:
        raise ItemError(name, error.reason) from None
    except UnidentifiedImageError:
        raise ItemError(name, expected) from None
    except Image.DecompressionBombError:
        raise ItemError(name, "cannot be decoded: far too many pixels; make it smaller") from None
    except MemoryError:
        raise ItemError(name, "cannot be decoded: it needs more memory than there is") from None
    except Exception as error:  # each decoder fails in its own way
        raise ItemError(name, f"cannot be decoded, truncated or damaged: {one_line(error)}") from None


def opened(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """The bytes of a file -> its first picture, whose header has been checked, not decoded yet.

    Raises ItemError, and whatever Pillow raises: call it within `decoding`.
    """
    beginning = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, what in DRAWINGS.items():
        if beginning.startswith(mark.lower()) or (mark == b"<svg" and beginning.startswith(b"<") and mark in beginning):
            raise ItemError(name, f"{what}, not a picture of pixels: save it as PNG")
    try:
        if data[4:8] == b"ftyp" and b"avif" not in (brands := data[8:32]) and any(brand in brands for brand in HEIC):
            picture = _opened_heic(data, name)
        else:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, SyntaxError):
        if not data.startswith(MAGIC) and data[4:8] != b"ftyp":
            raise
        raise ItemError(name, "cannot be decoded: its header is truncated or damaged") from None
    cost = COSTS.get(picture.format or "", USUAL_COST * (2 if picture.info.get("progressive") else 1))
    most = min(most_pixels, (MAX_MEMORY - len(data)) // cost)
    check_pixels(*picture.size, name, most)
    check_header(picture, data, name, most)
    return picture


def load(picture: Image.Image, data: bytes, name: str) -> None:
    """Decode an opened picture; `data` is its file, b"" if unknown. Raises ItemError, and whatever Pillow raises."""
    with no_stderr if picture.format == "TIFF" else nullcontext():
        picture.load()
    if data:
        check_end(picture, data, name)


@contextmanager
def _stderr_dropped() -> Iterator[None]:
    """Drops what C libraries write to standard error: an item's fault is reported once, as its ItemError."""
    try:
        kept = os.dup(2)
    except OSError:  # the process has no standard error
        yield
        return
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


no_stderr = ProcessWide(_stderr_dropped)


def check_pixels(width: int, height: int, name: str, most: int) -> None:
    """Raises ItemError for no pixels, for more than `most`, and for an extreme aspect ratio."""
    if min(width, height) < 1:
        raise ItemError(name, f"no pixels: {width} x {height}")
    if width * height > most:
        raise ItemError(name, f"{width} x {height} pixels, more than {most:,}; make it smaller")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ItemError(name, f"{width} x {height} pixels: one side is more than {MAX_ASPECT} times the other")


def _check_source(picture: Image.Image, name: str) -> None:
    """Raises ItemError for a PIL image that is too large, or that another program would have to decode."""
    if picture.format in ("EPS", "WMF"):
        raise ItemError(name, f"{picture.format}, not a picture of pixels: save it as PNG")
    check_pixels(*picture.size, name, MAX_PIXELS)


def upright(picture: Image.Image) -> Image.Image:
    """A decoded picture, turned as its orientation tag says; its values are unchanged."""
    return _turned(picture, picture)


def _turned(tagged: Image.Image, picture: Image.Image) -> Image.Image:
    """`picture`, turned as the orientation tag of `tagged` says."""
    try:
        turn = TURNS.get(tagged.getexif().get(274, 1))
    except Exception:  # damaged metadata turns nothing: the picture itself is fine
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _opened_heic(data: bytes, name: str) -> Image.Image:
    """The first picture of a HEIC file, without registering a format with Pillow for the whole process."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ItemError(name, f"a HEIC picture needs another package: {INSTALL_HEIC}") from None
    open_heic: Callable[[io.BytesIO], Image.Image] = HeifImageFile  # which has no type hints of its own
    return open_heic(io.BytesIO(data))


def _factor(size: tuple[int, int]) -> int:
    """By how much a very large picture is shrunk; 1 for any other."""
    pixels = size[0] * size[1]
    return 1 if pixels <= LARGE else max(min(size) // NEEDED, math.ceil(math.sqrt(pixels / LARGE)))


def _rgb(picture: Image.Image, factor: int, name: str) -> Image.Image:
    """A decoded picture -> RGB on white, `factor` times smaller; band by band, so that no second full copy is made."""
    scale = _scale_of(picture, name) if picture.mode in NUMERIC_MODES else None
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
    """A picture in any of Pillow's modes -> RGB on white; `scale` brings the values of numeric modes to 0..255."""
    transparent = picture.info.get("transparency")
    if scale is not None:
        values = np.asarray(picture)
        gray = _bytes(values, scale, name)
        if isinstance(transparent, int):  # the value that stands for transparent
            gray[values == transparent] = 255
        return Image.fromarray(gray).convert("RGB")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    if picture.mode in ("LA", "PA", "RGBA") or transparent is not None:  # show it on white, as web pages do
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _scale_of(picture: Image.Image, name: str) -> float:
    """The factor that brings a numeric picture's values to 0..255. Raises ItemError."""
    bits = getattr(picture, "tag_v2", {}).get(258, 16)  # TIFF's BitsPerSample: 12 bits are not 16
    bits = bits[0] if isinstance(bits, tuple) else bits
    if picture.mode.startswith("I;16"):
        return 255 / ((1 << bits) - 1 if isinstance(bits, int) and 8 < bits < 16 else SIXTEEN)
    low, high = picture.getextrema()
    sixteen = picture.format in ("PNG", "PPM")  # which have no other numeric depth
    return _scale(low, high, np.dtype("f4" if picture.mode == "F" else "u2" if sixteen else "i4"), name)  # type: ignore[arg-type]


def _from_array(values: NDArray[Any], name: str, channels_first: bool) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) -> an 8-bit picture. Raises ItemError."""
    shape = values.shape
    if values.ndim == 2:
        values = values[:, :, None]
    elif values.ndim == 3 and shape[0] in (1, 3, 4) and (channels_first or shape[2] not in (1, 2, 3, 4)):
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or values.dtype.kind not in "buif":
        raise ItemError(
            name, f"expected numbers of shape (H, W), (H, W, 3) or (3, H, W), got {shape} of {values.dtype}"
        )
    check_pixels(values.shape[1], values.shape[0], name, MAX_PIXELS)
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
    """The factor that brings values from `low` to `high` to 0..255. Raises ItemError where it would be a guess."""
    if dtype.kind == "f":
        if not (low >= -SLACK and high <= 1 + SLACK):  # NaN, too
            raise ItemError(name, f"floats from {low:.6g} to {high:.6g}: expected 0 to 1, or 8 or 16 bits")
        return 255.0
    if low < 0 or high > SIXTEEN:
        raise ItemError(name, f"numbers from {low} to {high}: expected 8 bits (0 to 255) or 16 (0 to 65535)")
    if dtype != np.uint16 and 0 < high <= 255:
        raise ItemError(name, f"{dtype} from {low} to {high}: is it 8 or 16 bits? save it as uint8 or uint16")
    return 255 / SIXTEEN


def _bytes(values: NDArray[Any], scale: float, name: str) -> NDArray[np.uint8]:
    """Values within the range of `_scale` -> 0..255. Raises ItemError for values that are not finite."""
    levels = values.astype(np.float32) * np.float32(scale)
    if not np.isfinite(levels).all():
        raise ItemError(name, "numbers that are not finite: expected 0 to 1, or 8 or 16 bits")
    made: NDArray[np.uint8] = np.rint(levels).clip(0, 255).astype(np.uint8)
    return made
