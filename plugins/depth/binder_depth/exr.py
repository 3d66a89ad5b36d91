"""Depth in OpenEXR files, as renderers write it. Free of torch; needs the extra `exr`."""

from __future__ import annotations

import io
from typing import Any

from binder import ItemError, Raster

MAGIC = b"\x76\x2f\x31\x01"  # how an EXR file begins
MOST_PIXELS = 1 << 26


def read_exr(data: bytes, name: str) -> Raster:
    """The bytes of a file -> its channel of depth: the only one, or the one named Z or depth. Raises ItemError."""
    try:
        import OpenEXR  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ItemError(name, "reading EXR needs another package: pip install 'binder-depth[exr]'") from None
    try:
        header = OpenEXR.File(io.BytesIO(data), header_only=True).header()
        (left, top), (right, bottom) = header["dataWindow"]
        if (int(right) - int(left) + 1) * (int(bottom) - int(top) + 1) > MOST_PIXELS:
            raise ItemError(name, f"more than {MOST_PIXELS} pixels; make it smaller")
        channels = OpenEXR.File(io.BytesIO(data), separate_channels=True).channels()
        values = channels[_depth_of(list(channels), name)].pixels
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, MemoryError) as error:
        raise ItemError(name, f"not a readable EXR file: {' '.join(str(error).split())[:160]}") from None
    return Raster(name, values, {k.lower(): v for k, v in header.items() if isinstance(v, str)})


def _depth_of(names: list[str], name: str) -> Any:
    if len(names) == 1:
        return names[0]
    found = [n for n in names if n.rpartition(".")[2].lower() in ("z", "depth") or n.lower().startswith("depth.")]
    if len(found) != 1:
        raise ItemError(name, f"expected one channel, or one named Z or depth; found: {', '.join(names)[:160]}")
    return found[0]
