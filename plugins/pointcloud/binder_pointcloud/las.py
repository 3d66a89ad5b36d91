"""LAS and LAZ -> points. Free of torch."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points
from binder_pointcloud.subsample import Subsample

MAX_POINTS = 50_000_000  # more would exceed the time allowed for an item
CHUNK = 500_000  # points decompressed at once
RECORD = 54  # bytes of the smallest record between header and points
COLORS = ("red", "green", "blue")


def read_las(data: bytes, config: PointConfig) -> Points:
    """LAS or LAZ -> its points, relative to the first one, and colors if configured.

    Raises ValueError, and whatever laspy and lazrs raise for damaged data.
    """
    import laspy  # type: ignore[import-untyped]  # has no annotations

    _check_header(data)
    reader = laspy.LasReader(io.BytesIO(data), laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False)
    head = reader.header
    scales = np.asarray(head.scales, np.float64)
    if not (np.isfinite(scales).all() and scales.all()):
        raise ValueError(f"its header has the scales {', '.join(map(str, head.scales))}")
    colored = config.colors and "red" in head.point_format.dimension_names
    try:
        places, levels = _read_points(reader, head.point_count, colored)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # raised by lazrs for damaged data; not an Exception
            raise ValueError("its compressed points are damaged") from None
        raise
    xyz = (places - places[0]) * scales  # the origin does not matter
    if levels is None:
        return Points(xyz)
    # 16 bits by the standard, but many programs write 8
    return Points(xyz, None, levels / 65_535 if levels.max() > 255 else levels.astype(np.uint8))


def _read_points(reader: Any, count: int, colored: bool) -> tuple[NDArray[np.int64], NDArray[np.uint16] | None]:
    """Integer coordinates (P, 3), and colors (P, 3) if wanted. Raises ValueError where truncated."""
    subsample, places, levels, there = Subsample(count), [], [], 0
    for chunk in reader.chunk_iterator(CHUNK):
        there += len(chunk)
        kept = subsample(chunk.array)
        places.append(np.column_stack([kept[axis] for axis in "XYZ"]).astype(np.int64))
        if colored:
            levels.append(np.column_stack([kept[name] for name in COLORS]))
    if there != count:
        raise ValueError(f"truncated: {there} of {count} points")
    return np.concatenate(places), np.concatenate(levels) if colored else None


def _check_chunks(data: bytes, start: int, each: int) -> None:
    """Raises ValueError for an impossible table of chunks, each of which begins with an uncompressed point."""
    place = int.from_bytes(data[start : start + 8], "little", signed=True)
    if place == -1:  # written to a stream: the offset is at the end of the file
        place = int.from_bytes(data[-8:], "little", signed=True)
    if not start + 8 <= place <= len(data) - 8:
        raise ValueError(f"truncated: its table of chunks should begin at byte {place} of {len(data)}")
    chunks = int.from_bytes(data[place + 4 : place + 8], "little")
    if chunks * each > place - start:
        raise ValueError(f"its header says {chunks} chunks in {place - start} bytes")


def _check_header(data: bytes) -> None:
    """Raises ValueError where the header states more than the bytes that follow can contain."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    if not data.startswith(b"LASF"):
        raise ValueError("it does not begin with LASF")
    size, start, records, kind, each = number(94, 2), number(96, 4), number(100, 4), number(104, 1), number(105, 2)
    count = number(247, 8) if data[25:26] >= b"\4" else number(107, 4)
    there = len(data) - start
    if len(data) < 227 or not 227 <= size <= start or there < 0:
        raise ValueError(f"truncated: its points should begin at byte {start} of {len(data)}")
    if records * RECORD > start - size:
        raise ValueError(f"its header says {records} records, but there are {start - size} bytes for them")
    if not count or not each:
        raise ValueError("it contains no points")
    if kind < 128 and count * each > there:  # larger numbers mean compressed
        raise ValueError(f"truncated: {there // each} of {count} points")
    if kind >= 128:
        _check_chunks(data, start, each)
    if count > MAX_POINTS:
        raise ValueError(
            f"{count} points, more than {MAX_POINTS // 1_000_000} million; reduce the number of points first"
        )
