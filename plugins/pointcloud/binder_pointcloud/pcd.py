"""PCD, the format of the Point Cloud Library: text, binary, compressed -> points. Free of torch.

Shapes: P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Points
from binder_pointcloud.lines import all_numbers
from binder_pointcloud.subsample import Subsample

TYPES = {f"{letter}{size}": f"<{letter.lower()}{size}" for letter in "UI" for size in (1, 2, 4, 8)}
TYPES |= {"F4": "<f4", "F8": "<f8"}
HEADER = 1 << 16  # bytes within which a header must end
MAX_RATIO = 90  # of compression; LZF stores at most 88 bytes in one
MAX_BYTES = 1 << 29  # when decompressed


@dataclass(frozen=True)
class Field:
    """One field of a point."""

    name: str
    type: str  # NumPy's name
    count: int  # of the numbers in it

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.type[2:]) * self.count


def read_pcd(data: bytes) -> Points:
    """PCD -> its points with their normals and colors. Raises ValueError."""
    fields, count, encoding, start = _header(data)
    names = [field.name for field in fields]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"it has no x, y and z; found: {', '.join(names)[:80]}")
    if encoding == "ascii":
        columns = _text(data, start, fields, count)
    elif encoding == "binary":
        columns = _binary(data, start, fields, count)
    elif encoding in ("binary_compressed", "binaryscompressed"):
        columns = _compressed(data, start, fields, count)
    else:
        raise ValueError(f"its encoding is {encoding[:40]!r}: expected ascii, binary or binary_compressed")
    axes = ("normal_x", "normal_y", "normal_z")
    normals = np.column_stack([columns[axis] for axis in axes]) if set(axes) <= set(names) else None
    packed = next((columns[name] for name in ("rgb", "rgba") if name in names), None)
    return Points(np.column_stack([columns[a] for a in "xyz"]), normals, None if packed is None else _unpacked(packed))


def _header(data: bytes) -> tuple[list[Field], int, str, int]:
    """-> fields, stated number of points, encoding, offset of the points. Nothing is checked against the data yet."""
    found, start = {}, 0
    while "DATA" not in found:
        end = data.find(b"\n", start, HEADER)
        if end < 0:
            raise ValueError("its header has no line DATA")
        words = data[start:end].decode("latin-1").split()
        if words and not words[0].startswith("#"):
            found[words[0].upper()] = words[1:]
        start = end + 1
    names = found.get("FIELDS", found.get("COLUMNS", []))
    counts = [_count(n) for n in found.get("COUNT", ["1"] * len(names))]
    kinds = [kind.upper() + size for kind, size in zip(found.get("TYPE", []), found.get("SIZE", []), strict=False)]
    if not names or not len(names) == len(kinds) == len(counts):
        raise ValueError("its header does not have equally many FIELDS, SIZE, TYPE and COUNT")
    if any(kind not in TYPES for kind in kinds) or min(counts) < 1:
        raise ValueError("its header has an unknown TYPE, SIZE or COUNT")
    width, height = (_count(*found.get(side, ["1"])[:1]) for side in ("WIDTH", "HEIGHT"))
    points = _count(*found["POINTS"][:1]) if found.get("POINTS") else width * height
    fields = [Field(*field) for field in zip(names, (TYPES[kind] for kind in kinds), counts, strict=True)]
    return fields, points, " ".join(found["DATA"]).lower(), start


def _count(word: str = "nothing") -> int:
    """A count in a header. Raises ValueError."""
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"its header says {word[:40]!r} where a count is expected")
    return int(word[:20])


def _text(data: bytes, start: int, fields: list[Field], count: int) -> dict[str, NDArray[Any]]:
    """Text -> each field (P,), its first number if it has several, in the header's type. Raises ValueError."""
    width = sum(field.count for field in fields)
    lines = all_numbers(data, start)
    complete = lines.counts_R == width
    there = len(complete)
    if there < count or (there == count and complete[:-1].all() and not complete.all()):
        raise ValueError(f"truncated: {int(complete.sum())} of {count} points")
    if not complete.all():
        row = int((~complete).argmax())
        raise ValueError(f"point {row + 1} has {lines.counts_R[row]} of {width} numbers")
    if there > count:
        raise ValueError(f"its header says {count} points, but {there} follow")
    rows, at = lines.values_V.reshape(count, width), 0
    columns: dict[str, NDArray[Any]] = {}
    for field in fields:
        values = rows[:, at]
        with np.errstate(invalid="ignore", over="ignore"):
            columns.setdefault(field.name, values if field.name in ("x", "y", "z") else values.astype(field.type))
        at += field.count
    return columns


def _binary(data: bytes, start: int, fields: list[Field], count: int) -> dict[str, NDArray[Any]]:
    """Binary data, point after point -> each field (P,), its first number if it has several. Raises ValueError."""
    size, there = sum(field.size for field in fields), len(data) - start
    if there < size * count:
        raise ValueError(f"truncated: {there // size} of {count} points")
    if there >= size * (count + 1):
        raise ValueError(f"its header says {count} points, but {there // size} follow")
    layout = np.dtype([(str(i), field.type, (field.count,)) for i, field in enumerate(fields)])
    rows = Subsample(count)(np.frombuffer(data, layout, count, start)) if count else np.empty(0, layout)
    columns: dict[str, NDArray[Any]] = {}
    for i, field in enumerate(fields):
        columns.setdefault(field.name, rows[str(i)].reshape(len(rows), field.count)[:, 0])
    return columns


def _compressed(data: bytes, start: int, fields: list[Field], count: int) -> dict[str, NDArray[Any]]:
    """Compressed data, field after field -> each field (P,), its first number if it has several. Raises ValueError."""
    import lzf  # type: ignore[import-not-found]  # a C extension without annotations

    size = sum(field.size for field in fields) * count
    packed, unpacked = (int.from_bytes(data[at : at + 4], "little") for at in (start, start + 4))
    there = len(data) - start - 8
    if there < packed or there < 0:
        raise ValueError(f"truncated: {max(there, 0)} of {packed} bytes" if there >= 0 else "truncated: no points")
    if unpacked != size or size > MAX_RATIO * packed:
        raise ValueError(f"its header says {count} points, but its data {unpacked} bytes from {packed} compressed ones")
    if size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES >> 20} MiB when decompressed; reduce the number of points first")
    body = lzf.decompress(data[start + 8 : start + 8 + packed], size) if size else b""
    if body is None or len(body) != size:
        raise ValueError("its compressed data are damaged")
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for field in fields:
        values = np.frombuffer(body, field.type, count * field.count, at) if count else np.empty(0, field.type)
        columns.setdefault(field.name, values.reshape(count, field.count)[:, 0])
        at += field.size * count
    return columns


def _unpacked(packed_P: NDArray[Any]) -> NDArray[Any]:
    """Colors packed into the bits of a number (P,) -> (P, 3) red, green, blue."""
    bits = packed_P.astype("<f4").view("<u4") if packed_P.dtype.kind == "f" else packed_P.astype(np.uint32)
    return (bits[:, None] >> np.array([16, 8, 0], np.uint32) & 255).astype(np.uint8)
