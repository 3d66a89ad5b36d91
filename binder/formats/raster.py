"""Rasters: grids of measurements (depth, temperature, ...), read as the numbers they are. Free of torch.

Unlike a picture, a raster is never scaled: 16 bits stay 16 bits. Shapes: H height, W width.
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

from binder.errors import ItemError, name_of, one_line
from binder.formats import netpbm
from binder.formats.arrays import NUMPY, ZIP, array_of, arrays_of, from_numpy
from binder.formats.content import read_bytes
from binder.formats.picture import check_pixels, decoding, load, no_stderr, opened, upright
from binder.modality import Item
from binder.scoped import ProcessWide

MIN_SIDE = 4  # pixels: the smallest sensors have eight
MAX_PIXELS = 1 << 25  # enough for 8K; a small file can claim any size and would fill the memory
COLOR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr", "CMYK", "LAB", "HSV")  # of Pillow
MAX_EXR_VALUES = 1 << 27  # in all channels together, which the library reads at once: 512 MB
EXR = b"\x76\x2f\x31\x01"  # the first bytes of an OpenEXR file
INSTALL_EXR = 'pip install "OpenEXR>=3.5"'
EXPECTED = "not a raster that can be decoded: expected PNG, TIFF or npy (or JPEG, npz, PGM, PFM, EXR)"

_no_stdout = ProcessWide(lambda: contextlib.redirect_stdout(io.StringIO()))


@dataclass(frozen=True)
class Raster:
    """What `read_raster` returns."""

    name: str  # of the item, for messages
    values: NDArray[Any]  # (H, W) of integers or floats; (H, W, 3) of uint8 for a color picture
    info: Mapping[str, str] = field(default_factory=dict)  # the file's metadata that is text, keys in lower case


def read_raster(item: Item, channels: Sequence[str] = ()) -> Raster:
    """A path, bytes, an open file, a PIL image, or an array or tensor (H, W) or (H, W, 3) -> Raster.

    Reads PNG, TIFF and anything else that Pillow decodes, at its own bit depth and upright; PGM and PFM; NumPy's npy
    and npz; OpenEXR where that package is installed. The format is detected from the content. `channels` lists names
    of the channel to read in files with several. Raises ItemError for anything else.
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
    if data.startswith(netpbm.MAGIC):
        values, comments = netpbm.read_netpbm(data, name, MAX_PIXELS)
        return Raster(name, values, {"description": comments} if comments else {})
    return _exr(data, name, channels) if data.startswith(EXR) else _picture(data, name)


def checked(raster: Raster) -> Raster:
    """The raster, checked: numbers, of a usable shape; (H, W, 1) and (1, H, W) become (H, W). Raises ItemError."""
    values, name = raster.values, raster.name
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[:, :, 0]
    shape = f"{values.shape} of {values.dtype}"
    if values.dtype.kind not in "iuf" or not (values.ndim == 2 or _is_color(values)):
        raise ItemError(name, f"expected numbers of shape (H, W), or (H, W, 3) of uint8, got {shape}")
    if min(values.shape[:2]) < MIN_SIDE:
        raise ItemError(name, f"expected at least {MIN_SIDE} x {MIN_SIDE} pixels, got {shape}")
    check_pixels(values.shape[1], values.shape[0], name, MAX_PIXELS)
    return Raster(name, values, raster.info)


def diagnose() -> dict[str, str]:
    """Which library reads which format, for `binder doctor`."""
    try:
        exr = f"OpenEXR {version('OpenEXR')}"
    except PackageNotFoundError:
        exr = f"not installed: {INSTALL_EXR}"
    return {"png, tiff": f"Pillow {version('pillow')}", "npy": f"NumPy {version('numpy')}", "exr": exr}


def _is_color(values: NDArray[Any]) -> bool:
    return values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8


def _one_of(arrays: Mapping[str, NDArray[Any]], wanted: Sequence[str], name: str) -> NDArray[Any]:
    """The only grid among the arrays of an npz file, or the one with a `wanted` name. Raises ItemError."""
    grids = {key: array for key, array in arrays.items() if array.ndim > 1}
    names = {key.lower() for key in wanted}
    found = [key for key in grids if len(grids) == 1 or key.lower() in names]
    if len(found) != 1:
        named = f", or one named {' or '.join(wanted)}" if wanted else ""
        raise ItemError(name, f"expected one array (H, W){named}; found: {', '.join(arrays)[:160]}")
    return grids[found[0]]


def _picture(source: bytes | Image.Image, name: str) -> Raster:
    with decoding(name, EXPECTED):
        image = opened(source, name, MAX_PIXELS) if isinstance(source, bytes) else source
        check_pixels(*image.size, name, MAX_PIXELS)
        # in MPO the first picture is the photo and the others its previews; elsewhere nothing says which one is meant
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise ItemError(name, "several pictures in one file: expected one")
        load(image, source if isinstance(source, bytes) else b"", name)
        info = {str(key).lower(): value for key, value in image.info.items() if isinstance(value, str)}
        description = image.getexif().get(270) if image.format == "TIFF" else None  # the tag ImageDescription
        turned = upright(image)
        values = np.asarray(turned.convert("RGB") if turned.mode in COLOR_MODES else turned)
    if values.ndim == 3 and image.mode == "LA":  # gray with transparency, which is dropped
        values = values[:, :, 0]
    return Raster(name, values, {**info, **({"description": description} if isinstance(description, str) else {})})


def _exr(data: bytes, name: str, wanted: Sequence[str]) -> Raster:
    try:
        import OpenEXR
    except ImportError:
        raise ItemError(name, f"reading EXR needs another package: {INSTALL_EXR}") from None
    try:
        with no_stderr, _no_stdout:  # the library prints its warnings to both
            headers = [part.header for part in OpenEXR.File(io.BytesIO(data), header_only=True).parts]
            layers = sum(len(header["channels"]) for header in headers)  # all of them get decoded
            for header in headers:
                (left, top), (right, bottom) = header["dataWindow"]
                size = int(right) - int(left) + 1, int(bottom) - int(top) + 1
                check_pixels(*size, name, min(MAX_PIXELS, MAX_EXR_VALUES // max(layers, 1)))
            channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels()
    except ItemError:
        raise
    except Exception as error:  # the library raises many types
        raise ItemError(name, f"not a readable EXR file, truncated or damaged: {one_line(error)}") from None
    found = [n for n in channels if len(channels) == 1 or {w.lower() for w in wanted} & set(n.lower().split("."))]
    if len(found) != 1:
        named = f", or one named {' or '.join(wanted)}" if wanted else ""
        raise ItemError(name, f"expected one channel{named}; found: {', '.join(channels)[:160]}")
    info = {key.lower(): value for key, value in headers[0].items() if isinstance(value, str)}
    return Raster(name, channels[found[0]].pixels, info)
