"""LAS and LAZ -> points. Free of torch."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points
from binder_pointcloud.drawn import Draw

MOST_POINTS = 50_000_000  # more take longer than an item may
PIECE = 500_000  # points unpacked at once
RECORD = 54  # bytes, the smallest record between header and points
COLOURS = ("red", "green", "blue")


def read_las(data: bytes, config: PointConfig) -> Points:
    """A LAS or LAZ -> its points about one of them, and colours where the configuration asks for them.

    Raises ValueError, and whatever laspy and lazrs raise for damage.
    """
    import laspy

    _check(data)
    reader = laspy.LasReader(io.BytesIO(data), laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False)
    head = reader.header
    scales = np.asarray(head.scales, np.float64)
    if not (np.isfinite(scales).all() and scales.all()):
        raise ValueError(f"its header says the scales {', '.join(map(str, head.scales))}")
    coloured = config.colors and "red" in head.point_format.dimension_names
    try:
        places, levels = _pieces(reader, head.point_count, coloured)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # what lazrs raises for damage; no Exception
            raise ValueError("its compressed points are damaged") from None
        raise
    xyz = (places - places[0]) * scales  # where the origin is does not count
    if levels is None:
        return Points(xyz)
    # 16 bits by the standard; many write 8
    return Points(xyz, None, levels / 65_535 if levels.max() > 255 else levels.astype(np.uint8))


def _pieces(reader: Any, count: int, coloured: bool) -> tuple[NDArray[np.int64], NDArray[np.uint16] | None]:
    """Whole coordinates (P, 3), and colours (P, 3)."""
    draw, places, levels, there = Draw(count), [], [], 0
    for piece in reader.chunk_iterator(PIECE):
        there += len(piece)
        kept = draw(piece.array)
        places.append(np.column_stack([kept[axis] for axis in "XYZ"]).astype(np.int64))
        if coloured:
            levels.append(np.column_stack([kept[name] for name in COLOURS]))
    if there != count:
        raise ValueError(f"truncated: {there} of {count} points")
    return np.concatenate(places), np.concatenate(levels) if coloured else None


def _check_chunks(data: bytes, start: int, each: int) -> None:
    """The same of the table of compressed chunks, each of which begins with a point that is not compressed."""
    place = int.from_bytes(data[start : start + 8], "little", signed=True)
    if place == -1:  # written where no going back was possible
        place = int.from_bytes(data[-8:], "little", signed=True)
    if not start + 8 <= place <= len(data) - 8:
        raise ValueError(f"truncated: its table of chunks is to begin at byte {place} of {len(data)}")
    chunks = int.from_bytes(data[place + 4 : place + 8], "little")
    if chunks * each > place - start:
        raise ValueError(f"its header says {chunks} chunks in {place - start} bytes")


def _check(data: bytes) -> None:
    """Raises ValueError where the header claims more than the bytes that follow can hold."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    if not data.startswith(b"LASF"):
        raise ValueError("it does not begin with LASF")
    size, start, records, kind, each = number(94, 2), number(96, 4), number(100, 4), number(104, 1), number(105, 2)
    count = number(247, 8) if data[25:26] >= b"\4" else number(107, 4)
    there = len(data) - start
    if len(data) < 227 or not 227 <= size <= start or there < 0:
        raise ValueError(f"truncated: its points are to begin at byte {start} of {len(data)}")
    if records * RECORD > start - size:
        raise ValueError(f"its header says {records} records, but there are {start - size} bytes for them")
    if not count or not each:
        raise ValueError("it holds no points")
    if kind < 128 and count * each > there:  # larger numbers: compressed
        raise ValueError(f"truncated: {there // each} of {count} points")
    if kind >= 128:
        _check_chunks(data, start, each)
    if count > MOST_POINTS:
        raise ValueError(f"{count} points, more than {MOST_POINTS // 1_000_000} million; thin it out first")
