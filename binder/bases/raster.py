"""Measurements on a grid of pixels, as cameras other than ordinary ones write them. Free of torch.

Unlike a picture, a raster keeps its numbers: 16 bits stay 16 bits. Shapes: H height, W width.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.bases.content import NUMPY, from_numpy, one_line, read_bytes
from binder.errors import ItemError, name_of
from binder.modality import Item

FEWEST = 4  # pixels in a row and in a column: the smallest such sensors have eight
MOST_PIXELS = 1 << 26  # what is larger is no single item, or a small file that would fill the memory
COLOURED = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr", "CMYK", "LAB", "HSV")  # Pillow's modes
EXR = b"\x76\x2f\x31\x01"  # how an OpenEXR file begins
INSTALL_EXR = 'pip install "OpenEXR>=3.5"'


@dataclass(frozen=True)
class Raster:
    """What `read_raster` found."""

    name: str  # of the item, for messages
    values: NDArray[Any]  # (H, W) of whole numbers or floats; (H, W, 3) of uint8 where it is a colour picture
    info: Mapping[str, str] = field(default_factory=dict)  # what the file says in words, keys in lower case


def read_raster(item: Item, channels: Sequence[str] = ()) -> Raster:
    """Path, bytes or array (H, W) or (H, W, 3) -> Raster. Raises ItemError for whatever is none.

    PNG, TIFF and whatever else Pillow decodes, with the bits they have, NumPy's npy, and OpenEXR where that is
    installed; which of them is found out from the content. `channels`: what the one to be read may be called in a file
    that names several, as renderers write it.
    """
    name = name_of(item)
    if isinstance(item, np.ndarray):
        return checked(Raster(name, item))
    data = read_bytes(item, " or an array (H, W)")
    if data.startswith(NUMPY):
        return checked(Raster(name, from_numpy(data, name)))
    return checked(_exr(data, name, channels) if data.startswith(EXR) else _picture(data, name))


def checked(raster: Raster) -> Raster:
    """The same, found to be numbers of a usable shape; (H, W, 1) becomes (H, W). Raises ItemError."""
    values, name = raster.values, raster.name
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    shape = f"{values.shape} of {values.dtype}"
    if values.dtype.kind not in "iuf" or not (values.ndim == 2 or _coloured(values)):
        raise ItemError(name, f"expected numbers of shape (H, W), or (H, W, 3) of uint8, got {shape}")
    if min(values.shape[:2]) < FEWEST:
        raise ItemError(name, f"expected at least {FEWEST} x {FEWEST} pixels, got {shape}")
    check_size(values.shape[1], values.shape[0], name)
    return Raster(name, values, raster.info)


def check_size(width: int, height: int, name: str) -> None:
    """Raises ItemError for more pixels than any item has. A decoder asks before it makes room for them."""
    if width * height > MOST_PIXELS:
        raise ItemError(name, f"{width} x {height} pixels, more than {MOST_PIXELS}; make it smaller")


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    try:
        exr = f"OpenEXR {version('OpenEXR')}"
    except PackageNotFoundError:
        exr = f"not installed: {INSTALL_EXR}"
    return {"png, tiff": f"Pillow {version('pillow')}", "npy": f"NumPy {version('numpy')}", "exr": exr}


def _coloured(values: NDArray[Any]) -> bool:
    return values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8


def _picture(data: bytes, name: str) -> Raster:
    from PIL import Image

    try:
        with warnings.catch_warnings():  # Pillow warns of large pictures; here they are an error
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        check_size(*image.size, name)
        if getattr(image, "n_frames", 1) > 1:
            raise ItemError(name, f"{getattr(image, 'n_frames', 0)} pictures in one file: expected one")
        image.load()
        values = np.asarray(image.convert("RGB") if image.mode in COLOURED else image)
    except Image.UnidentifiedImageError:
        raise ItemError(name, "not a raster that can be decoded: expected PNG, TIFF or npy") from None
    except (OSError, ValueError, TypeError, AttributeError, SyntaxError, EOFError, MemoryError) as error:
        raise ItemError(name, f"cannot be decoded: {error}") from None
    except Image.DecompressionBombError:
        raise ItemError(name, f"more than {MOST_PIXELS} pixels; make it smaller") from None
    if values.ndim == 3 and image.mode == "LA":  # grey and how much of it is seen
        values = values[:, :, 0]
    said = {str(key).lower(): value for key, value in image.info.items() if isinstance(value, str)}
    description = image.getexif().get(270) if image.format == "TIFF" else None  # the tag ImageDescription
    return Raster(name, values, {**said, **({"description": description} if isinstance(description, str) else {})})


def _exr(data: bytes, name: str, wanted: Sequence[str]) -> Raster:
    try:
        import OpenEXR
    except ImportError:
        raise ItemError(name, f"reading EXR needs another package: {INSTALL_EXR}") from None
    try:
        header = OpenEXR.File(io.BytesIO(data), header_only=True).header()
        (left, top), (right, bottom) = header["dataWindow"]
        check_size(int(right) - int(left) + 1, int(bottom) - int(top) + 1, name)
        channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels()
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise ItemError(name, f"not a readable EXR file: {one_line(error)}") from None
    found = [n for n in channels if len(channels) == 1 or {w.lower() for w in wanted} & set(n.lower().split("."))]
    if len(found) != 1:
        named = f", or one named {' or '.join(wanted)}" if wanted else ""
        raise ItemError(name, f"expected one channel{named}; found: {', '.join(channels)[:160]}")
    said = {key.lower(): value for key, value in header.items() if isinstance(value, str)}
    return Raster(name, channels[found[0]].pixels, said)
