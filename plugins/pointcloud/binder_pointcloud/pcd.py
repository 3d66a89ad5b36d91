"""PCD, as the Point Cloud Library writes it: text, binary, compressed. Free of torch.

Shapes: P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Points
from binder_pointcloud.drawn import Draw
from binder_pointcloud.lines import all_numbers

TYPES = {f"{letter}{size}": f"<{letter.lower()}{size}" for letter in "UI" for size in (1, 2, 4, 8)}
TYPES |= {"F4": "<f4", "F8": "<f8"}
HEADER = 1 << 16  # bytes in which a header must end
SHRUNK = 90  # LZF makes at most 88 bytes out of one
MOST_BYTES = 1 << 29  # once unpacked


@dataclass(frozen=True)
class Field:
    """One field of a point."""

    name: str
    type: str  # of NumPy
    count: int  # numbers in it

    @property
    def size(self) -> int:
        return int(self.type[2:]) * self.count


def read_pcd(data: bytes) -> Points:
    """A PCD -> its points with their normals and colours. Raises ValueError."""
    fields, count, encoding, start = _header(data)
    names = [field.name for field in fields]
    if not {"x", "y", "z"} <= set(names):
        raise ValueError(f"without x, y and z; found: {', '.join(names)[:80]}")
    if encoding == "ascii":
        columns = _text(data, start, fields, count)
    elif encoding == "binary":
        columns = _binary(data, start, fields, count)
    elif encoding in ("binary_compressed", "binaryscompressed"):
        columns = _compressed(data, start, fields, count)
    else:
        raise ValueError(f"of the encoding {encoding[:40]!r}: expected ascii, binary or binary_compressed")
    axes = ("normal_x", "normal_y", "normal_z")
    normals = np.column_stack([columns[axis] for axis in axes]) if set(axes) <= set(names) else None
    packed = next((columns[name] for name in ("rgb", "rgba") if name in names), None)
    return Points(np.column_stack([columns[a] for a in "xyz"]), normals, None if packed is None else _unpacked(packed))


def _header(data: bytes) -> tuple[list[Field], int, str, int]:
    """-> fields, how many points are claimed, encoding, where the points begin. What it claims is not checked yet."""
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
        raise ValueError("its header does not say FIELDS, SIZE, TYPE and COUNT of the same number")
    if any(kind not in TYPES for kind in kinds) or min(counts) < 1:
        raise ValueError("its header has a TYPE, SIZE or COUNT that PCD does not know")
    width, height = (_count(*found.get(side, ["1"])[:1]) for side in ("WIDTH", "HEIGHT"))
    points = _count(*found["POINTS"][:1]) if found.get("POINTS") else width * height
    fields = [Field(*field) for field in zip(names, (TYPES[kind] for kind in kinds), counts, strict=True)]
    return fields, points, " ".join(found["DATA"]).lower(), start


def _count(word: str = "nothing") -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"its header says {word[:40]!r} where a count is expected")
    return int(word[:20])


def _text(data: bytes, start: int, fields: list[Field], count: int) -> dict[str, NDArray[Any]]:
    """Each field (P,), of several numbers the first, in the type that the header names."""
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
    """The same, of points one after the other."""
    size, there = sum(field.size for field in fields), len(data) - start
    if there < size * count:
        raise ValueError(f"truncated: {there // size} of {count} points")
    if there >= size * (count + 1):
        raise ValueError(f"its header says {count} points, but {there // size} follow")
    layout = np.dtype([(str(i), field.type, (field.count,)) for i, field in enumerate(fields)])
    rows = Draw(count)(np.frombuffer(data, layout, count, start)) if count else np.empty(0, layout)
    columns: dict[str, NDArray[Any]] = {}
    for i, field in enumerate(fields):
        columns.setdefault(field.name, rows[str(i)].reshape(len(rows), field.count)[:, 0])
    return columns


def _compressed(data: bytes, start: int, fields: list[Field], count: int) -> dict[str, NDArray[Any]]:
    """The same, of one field after the other, compressed together."""
    import lzf

    size = sum(field.size for field in fields) * count
    packed, unpacked = (int.from_bytes(data[at : at + 4], "little") for at in (start, start + 4))
    there = len(data) - start - 8
    if there < packed or there < 0:
        raise ValueError(f"truncated: {max(there, 0)} of {packed} bytes" if there >= 0 else "truncated: no points")
    if unpacked != size or size > SHRUNK * packed:
        raise ValueError(f"its header says {count} points, its data {unpacked} bytes of {packed}: they do not fit")
    if size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB once unpacked; thin it out first")
    body = lzf.decompress(data[start + 8 : start + 8 + packed], size) if size else b""
    if body is None or len(body) != size:
        raise ValueError("its compressed data is damaged")
    columns: dict[str, NDArray[Any]] = {}
    at = 0
    for field in fields:
        values = np.frombuffer(body, field.type, count * field.count, at) if count else np.empty(0, field.type)
        columns.setdefault(field.name, values.reshape(count, field.count)[:, 0])
        at += field.size * count
    return columns


def _unpacked(packed_P: NDArray[Any]) -> NDArray[Any]:
    """Colours in the bits of a number -> (P, 3) red, green, blue."""
    bits = packed_P.astype("<f4").view("<u4") if packed_P.dtype.kind == "f" else packed_P.astype(np.uint32)
    return (bits[:, None] >> np.array([16, 8, 0], np.uint32) & 255).astype(np.uint8)
