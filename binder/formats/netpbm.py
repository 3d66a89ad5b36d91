"""PGM and PFM files -> the numbers in them, unscaled (Pillow would stretch them to 8 or 16 bits). Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.errors import ItemError
from binder.formats.content import MAX_TEXT

PFM_COLOR = b"PF"
MAGIC = (b"P2", b"P5", b"Pf", PFM_COLOR)  # first bytes: PGM as text, PGM, PFM with one channel, PFM with three
FIELD = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+([^\s#]+)")  # after whitespace and comments
COMMENT = re.compile(rb"#([^\n\r]*)")
MAX_HEADER = 1 << 16  # bytes, comments included


def read_netpbm(data: bytes, name: str, most_pixels: int) -> tuple[NDArray[Any], str]:
    """The bytes of a file that begins with one of MAGIC -> (H, W) uint8, uint16 or float32, and its comments.

    Raises ItemError where it is damaged, truncated, in color or larger than `most_pixels`.
    """
    kind = data[:2]
    if kind == PFM_COLOR:
        raise ItemError(name, "a PFM file with three channels: expected one (Pf)")
    width, height, last, start = _header(data, name)
    if width * height > most_pixels:
        raise ItemError(name, f"{width} x {height} pixels, more than {most_pixels:,}; make it smaller")
    comments = "\n".join(text.decode("latin-1").strip() for text in COMMENT.findall(data[:start]))
    if kind == b"Pf":
        values = _binary(data, start, width, height, np.dtype("<f4" if last < 0 else ">f4"), name)
        return values[::-1].astype(np.float32), comments  # PFM stores the bottom row first
    if not (last.is_integer() and 0 < last <= 0xFFFF):
        raise ItemError(name, f"not a PGM file: a largest value of {last:g}")
    if kind == b"P5":
        values = _binary(data, start, width, height, np.dtype("u1" if last <= 0xFF else ">u2"), name)
    else:
        values = _text(data, start, width, height, name)
    if values.size and values.max() > last:
        raise ItemError(name, f"damaged: a value of {values.max()}, above the largest in its header, {last:g}")
    return values.astype(np.uint8 if last <= 0xFF else np.uint16), comments


def _header(data: bytes, name: str) -> tuple[int, int, float, int]:
    """Width, height, largest value (in PFM a scale: negative means little-endian), byte where the numbers begin."""
    at, fields = 2, []
    for _ in range(3):
        found = FIELD.match(data[:MAX_HEADER], at)
        if found is None:
            raise ItemError(name, "a PGM or PFM file whose header is truncated or damaged")
        fields.append(found[1])
        at = found.end()
    try:
        width, height, last = int(fields[0]), int(fields[1]), float(fields[2])
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise ItemError(name, "a PGM or PFM file whose header is damaged: expected width, height, largest value")
    return width, height, last, at + 1  # a single whitespace follows


def _binary(data: bytes, start: int, width: int, height: int, kind: np.dtype[Any], name: str) -> NDArray[Any]:
    """The numbers stored as bytes, (H, W). Raises ItemError where some are missing."""
    wanted = width * height * kind.itemsize
    if len(data) - start < wanted:
        raise ItemError(name, f"truncated: {wanted:,} bytes are promised, {max(len(data) - start, 0):,} are there")
    return np.frombuffer(data, kind, width * height, start).reshape(height, width)


def _text(data: bytes, start: int, width: int, height: int, name: str) -> NDArray[np.int64]:
    """The numbers written as text, (H, W). Raises ItemError where some are missing."""
    if len(data) > MAX_TEXT:
        raise ItemError(name, f"more than {MAX_TEXT >> 20} MiB of text; save it in binary (P5)")
    words = COMMENT.sub(b" ", data[start:])
    if re.search(rb"[^\d\s]", words):
        raise ItemError(name, "damaged: a PGM file in text form that holds more than whole numbers")
    values = np.fromstring(words.decode("ascii"), np.int64, sep=" ")
    if len(values) < width * height:
        raise ItemError(name, f"truncated: {width * height:,} values are promised, {len(values):,} are there")
    return values[: width * height].reshape(height, width)
