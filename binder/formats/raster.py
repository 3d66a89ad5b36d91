"""Measurements on a grid of pixels, as cameras other than ordinary ones write them. Free of torch.

Unlike a picture, a raster keeps its numbers: 16 bits stay 16 bits. Shapes: H height, W width.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from binder.errors import ItemError, name_of
from binder.formats.arrays import NUMPY, ZIP, array_of, arrays_of, from_numpy
from binder.formats.content import one_line, read_bytes
from binder.formats.netpbm import KINDS as NETPBM
from binder.formats.netpbm import read_netpbm
from binder.formats.picture import check_pixels, decoding, load, opened, silenced, upright
from binder.modality import Item

FEWEST = 4  # pixels in a row and in a column: the smallest such sensors have eight
MOST_PIXELS = 1 << 25  # of an item, an 8K one among them; a small file that says more would fill the memory
COLOURED = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr", "CMYK", "LAB", "HSV")  # Pillow's modes
MOST_EXR_VALUES = 1 << 27  # of all channels together, which that library reads at once: 512 MB
EXR = b"\x76\x2f\x31\x01"  # how an OpenEXR file begins
INSTALL_EXR = 'pip install "OpenEXR>=3.5"'
EXPECTED = "not a raster that can be decoded: expected PNG, TIFF or npy (or JPEG, npz, PGM, PFM, EXR)"


@dataclass(frozen=True)
class Raster:
    """What `read_raster` found."""

    name: str  # of the item, for messages
    values: NDArray[Any]  # (H, W) of whole numbers or floats; (H, W, 3) of uint8 where it is a colour picture
    info: Mapping[str, str] = field(default_factory=dict)  # what the file says in words, keys in lower case


def read_raster(item: Item, channels: Sequence[str] = ()) -> Raster:
    """Path, bytes, open file, PIL image, or array or tensor (H, W) or (H, W, 3) -> Raster.

    PNG, TIFF and whatever else Pillow decodes, with the bits they have and the right way up, PGM and PFM, NumPy's npy
    and npz, and OpenEXR where that is installed; which of them is found out from the content. `channels`: what the one
    to be read may be called in a file that names several. Raises ItemError for whatever is none.
    """
    name = name_of(item)
    if isinstance(item, Image.Image):
        return checked(_picture(item, name))
    held = array_of(item)
    if held is not None:
        return checked(Raster(name, held))
    return checked(_from_bytes(read_bytes(item, " or an array (H, W)"), name, channels))


def _from_bytes(data: bytes, name: str, channels: Sequence[str]) -> Raster:
    if data.startswith(NUMPY):
        return Raster(name, from_numpy(data, name))
    if data.startswith(ZIP):
        return Raster(name, _one_of(arrays_of(data, name), channels, name))
    if data.startswith(NETPBM):
        values, comments = read_netpbm(data, name, MOST_PIXELS)
        return Raster(name, values, {"description": comments} if comments else {})
    return _exr(data, name, channels) if data.startswith(EXR) else _picture(data, name)


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
    check_pixels(values.shape[1], values.shape[0], name, MOST_PIXELS)
    return Raster(name, values, raster.info)


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    try:
        exr = f"OpenEXR {version('OpenEXR')}"
    except PackageNotFoundError:
        exr = f"not installed: {INSTALL_EXR}"
    return {"png, tiff": f"Pillow {version('pillow')}", "npy": f"NumPy {version('numpy')}", "exr": exr}


def _coloured(values: NDArray[Any]) -> bool:
    return values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8


def _one_of(arrays: Mapping[str, NDArray[Any]], wanted: Sequence[str], name: str) -> NDArray[Any]:
    """Of the arrays of an npz file the only grid, or the one that is called so. Raises ItemError."""
    grids = {key: array for key, array in arrays.items() if array.ndim > 1}
    called = {key.lower() for key in wanted}
    found = [key for key in grids if len(grids) == 1 or key.lower() in called]
    if len(found) != 1:
        named = f", or one named {' or '.join(wanted)}" if wanted else ""
        raise ItemError(name, f"expected one array (H, W){named}; found: {', '.join(arrays)[:160]}")
    return grids[found[0]]


def _picture(source: bytes | Image.Image, name: str) -> Raster:
    with decoding(name, EXPECTED):
        image = opened(source, name, MOST_PIXELS) if isinstance(source, bytes) else source
        check_pixels(*image.size, name, MOST_PIXELS)
        # of these the first is the picture and the rest are its previews; elsewhere nobody says which is meant
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise ItemError(name, "several pictures in one file: expected one")
        load(image, source if isinstance(source, bytes) else b"", name)
        said = {str(key).lower(): value for key, value in image.info.items() if isinstance(value, str)}
        description = image.getexif().get(270) if image.format == "TIFF" else None  # the tag ImageDescription
        turned = upright(image)
        values = np.asarray(turned.convert("RGB") if turned.mode in COLOURED else turned)
    if values.ndim == 3 and image.mode == "LA":  # grey and how much of it is seen
        values = values[:, :, 0]
    return Raster(name, values, {**said, **({"description": description} if isinstance(description, str) else {})})


def _exr(data: bytes, name: str, wanted: Sequence[str]) -> Raster:
    try:
        import OpenEXR
    except ImportError:
        raise ItemError(name, f"reading EXR needs another package: {INSTALL_EXR}") from None
    try:
        with silenced(), contextlib.redirect_stdout(io.StringIO()):  # the library prints its warnings to both
            headers = [part.header for part in OpenEXR.File(io.BytesIO(data), header_only=True).parts]
            layers = sum(len(header["channels"]) for header in headers)  # all of them are decoded
            for header in headers:
                (left, top), (right, bottom) = header["dataWindow"]
                size = int(right) - int(left) + 1, int(bottom) - int(top) + 1
                check_pixels(*size, name, min(MOST_PIXELS, MOST_EXR_VALUES // max(layers, 1)))
            channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels()
    except ItemError:
        raise
    except Exception as error:  # the library's own are many
        raise ItemError(name, f"not a readable EXR file, truncated or damaged: {one_line(error)}") from None
    found = [n for n in channels if len(channels) == 1 or {w.lower() for w in wanted} & set(n.lower().split("."))]
    if len(found) != 1:
        named = f", or one named {' or '.join(wanted)}" if wanted else ""
        raise ItemError(name, f"expected one channel{named}; found: {', '.join(channels)[:160]}")
    said = {key.lower(): value for key, value in headers[0].items() if isinstance(value, str)}
    return Raster(name, channels[found[0]].pixels, said)
