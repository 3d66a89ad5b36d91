"""Finds truncated and damaged pictures that Pillow decodes anyway, filling what is missing with gray or black.

Free of torch.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from binder.errors import ItemError

JPEG_FORMATS = ("JPEG", "MPO")  # Pillow's names
ENDS_EARLY = "cannot be decoded, truncated: it ends before the last of its {} x {} pixels"
MAX_SCANNED = 1 << 32  # pixels times scans of a JPEG: some seconds of decoding
RESTARTS = [bytes((0xFF, mark)) for mark in range(0xD0, 0xD8)]  # JPEG's restart markers, between parts of a scan
END = b"\xff\xd9"  # JPEG's end marker
PROBE = b"\x5a\xa7\x3c\x91" * 64  # varied bits without a JPEG marker
CORNER = 3  # pixels a side, of the last block: far enough from its neighbors that their color does not bleed into it
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's color types
# left, top, step across, step down of the passes of an interlaced PNG
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
STEP = 1 << 20  # bytes that are decompressed at a time
TILE_SIDES = (322, 323)  # TIFF's tags TileWidth and TileLength


def check_header(picture: Any, data: bytes, name: str, most_pixels: int) -> None:
    """Check an opened picture against the bytes it came from, before it is decoded. Raises ItemError."""
    if picture.format == "PNG":
        _check_parts(data, name)
    elif picture.format == "TIFF":
        _check_tiles(picture, name, most_pixels)
    elif picture.format in JPEG_FORMATS:
        _check_scans(picture, data, name)


def check_end(picture: Image.Image, data: bytes, name: str) -> None:
    """Raises ItemError for a decoded picture whose data ended before its last row; decoders fill that up silently."""
    if picture.format in JPEG_FORMATS:
        ends = _jpeg_ends_early(picture, data)
    else:
        ends = picture.format == "PNG" and _png_ends_early(picture, data)
    if ends:
        raise ItemError(name, ENDS_EARLY.format(*picture.size))


def _jpeg_ends_early(picture: Image.Image, data: bytes) -> bool:
    """Whether the last blocks of a decoded JPEG are missing.

    Missing blocks are flat. So is the last block of a few complete pictures; those are decoded once more with a probe
    appended to the data, which shows in the pixels only where the data ended too early.
    """
    end = data.rfind(END)
    width, height = picture.size
    corner = product(range(max(width - CORNER, 0), width), range(max(height - CORNER, 0), height))
    last = picture.getpixel((width - 1, height - 1))
    if end < 0 or any(picture.getpixel(place) != last for place in corner):
        return False
    between, _ = _first_scan(data)
    if between:  # then a probe would be skipped, as each part ends with a restart marker: count those instead
        frame = Image.open(io.BytesIO(data), formats=("JPEG",))
        layers: Any = getattr(frame, "layer")  # noqa: B009  # (number, blocks across, blocks down, table) per channel
        across, down = (max(layer[side] for layer in layers) if len(layers) > 1 else 1 for side in (1, 2))
        blocks = -(-frame.width // (8 * across)) * -(-frame.height // (8 * down))
        return sum(data.count(mark) for mark in RESTARTS) < -(-blocks // between) - 1
    other = Image.open(io.BytesIO(data[:end] + PROBE + data[end:]), formats=("JPEG",))
    other.draft(picture.mode, picture.size)
    return ImageChops.difference(picture, other).getbbox() is not None


def _png_ends_early(picture: Image.Image, data: bytes) -> bool:
    """Whether rows of a decoded PNG are missing: they are zeros, and the compressed data is too short for them."""
    width, height = picture.size
    bits, kind, interlaced = data[24], data[25], data[28]
    if not interlaced and np.asarray(picture.crop((0, height - 1, width, height))).any():
        return False
    missing = sum(
        -(-(height - top) // down) * (1 + (-(-(width - left) // across) * bits * CHANNELS[kind] + 7) // 8)
        for left, top, across, down in (PASSES if interlaced else ((0, 0, 1, 1),))
        if left < width and top < height
    )
    packed, at = zlib.decompressobj(), 8
    while missing > 0 and not packed.eof and at + 12 <= len(data):
        length, part = struct.unpack_from(">I4s", data, at)
        held = data[at + 8 : at + 8 + length] if part == b"IDAT" else b""
        while held and missing > 0 and not packed.eof:
            missing -= len(packed.decompress(held, STEP))
            held = packed.unconsumed_tail
        at += 12 + length
    return missing > 0


def _check_parts(data: bytes, name: str) -> None:
    """Check the CRCs of a PNG's pixel data, which Pillow ignores: a flipped bit would be another value."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        whole = kind in (b"IDAT", b"PLTE") and end <= len(data)
        if whole and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ItemError(name, "cannot be decoded, damaged: a checksum of its pixels does not match")
        at = end


def _check_tiles(picture: Any, name: str, most_pixels: int) -> None:
    """Check a TIFF's tiles and strips: Pillow allocates a tile however large it is, and leaves missing strips black."""
    for side in (picture.tag_v2.get(tag, 1) for tag in TILE_SIDES):
        if not isinstance(side, int) or not 0 < side * side <= most_pixels:
            raise ItemError(name, f"cannot be decoded: tiles of {side} pixels a side")
    boxes = [tile[1] for tile in picture.tile if tile[1]]  # left, top, right, bottom
    reached = tuple(max((box[side] for box in boxes), default=0) for side in (2, 3))
    stored = {picture.size, picture.size[::-1]}  # the size may be given before or after turning it upright
    if not any(reached[0] >= width and reached[1] >= height for width, height in stored):
        width, height = picture.size
        raise ItemError(name, f"cannot be decoded, truncated: strips for {reached} of {width} x {height} pixels")


def _check_scans(picture: Any, data: bytes, name: str) -> None:
    """Check the number of scans of a JPEG: each of them takes as long as decoding the whole picture."""
    width, height = picture.size
    if not picture.info.get("progressive") and _first_scan(data)[1] == len(picture.layer):
        return  # one scan holds everything
    scans = data.count(b"\xff\xda")
    if width * height * scans > MAX_SCANNED:
        raise ItemError(name, f"cannot be decoded: {scans} scans of {width} x {height} pixels")


def _first_scan(data: bytes) -> tuple[int, int]:
    """From a JPEG's header: blocks between two restart markers (0 for none), and channels in the first scan."""
    at, between = 2, 0
    while at + 6 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            return between, data[at + 4]
        if kind == 0xDD:
            between = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 1 if kind == 0xFF else 2 + length
    return between, 0
