"""Measurements on a grid of pixels, as cameras other than ordinary ones write them: PNG, TIFF, NumPy. Free of torch.

Unlike a picture, a raster keeps its numbers: 16 bits stay 16 bits. Shapes: H height, W width.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.bases.content import content
from binder.errors import ItemError
from binder.modality import Item, name_of

FEWEST = 4  # pixels in a row and in a column: the smallest such sensors have eight
MOST_PIXELS = 1 << 26  # what is larger is no single item, or a small file that would fill the memory
COLOURED = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr", "CMYK", "LAB", "HSV")  # Pillow's modes


@dataclass(frozen=True)
class Raster:
    """What `read_raster` found."""

    name: str  # of the item, for messages
    values: NDArray[Any]  # (H, W) of whole numbers or floats; (H, W, 3) of uint8 where it is a colour picture
    info: Mapping[str, str] = field(default_factory=dict)  # what the file says in words, keys in lower case


Decode = Callable[[bytes, str], Raster]  # the file's bytes, its name -> raster; raises ItemError


def read_raster(item: Item, others: Mapping[bytes, Decode] | None = None) -> Raster:
    """Path, bytes or array (H, W) or (H, W, 3) -> Raster. Raises ItemError for whatever is none.

    PNG, TIFF and whatever else Pillow decodes, with the bits they have, and NumPy's npy; which of them is found out
    from the content. `others`: further formats, by how their files begin.
    """
    if isinstance(item, np.ndarray):
        return checked(Raster(name_of(item), item))
    data, name = content(item, " or an array (H, W)", "make it smaller")
    for start, decode in (others or {}).items():
        if data.startswith(start):
            return checked(decode(data, name))
    return checked(_numpy(data, name) if data.startswith(b"\x93NUMPY") else _picture(data, name))


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


def _coloured(values: NDArray[Any]) -> bool:
    return values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8


def _numpy(data: bytes, name: str) -> Raster:
    try:
        return Raster(name, np.load(io.BytesIO(data)))
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise ItemError(name, f"not a readable NumPy file: {' '.join(str(error).split())[:160]}") from None


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
