"""PLY, text or binary of either byte order -> points. Free of torch.

Shapes: V vertices, F triangles, R rows of an element, T numbers in the lists of all rows.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points
from binder_pointcloud.lines import Ints, Lines, all_numbers, as_integers, check_count
from binder_pointcloud.subsample import Subsample
from binder_pointcloud.surface import Mesh, check_faces, sampled, triangles

TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "long": "i8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float": "f4",
    "double": "f8",
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
PLURALS = {"vertex": "vertices", "face": "faces"}
HEADER = 1 << 20  # bytes within which a header must end
MAX_ELEMENTS = 100
MAX_UNEVEN = 5_000_000  # rows with lists of different lengths, which are read one by one
CORNERS = ("vertex_indices", "vertex_index")
COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class Property:
    """A number, or a list of numbers, in each row."""

    name: str
    type: str  # NumPy's name, with the byte order
    count_type: str | None = None  # of the length before a list


@dataclass
class Element:
    """An element of the header, such as vertices or faces, and its rows."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)  # (R,), or (T,) for lists
    lengths: dict[str, Ints] = field(default_factory=dict)  # (R,) of lists

    def truncated(self, there: int) -> ValueError:
        """The error to raise where there are only so many rows."""
        return ValueError(f"truncated: {there} of {self.count} {PLURALS.get(self.name, self.name + ' rows')}")

    def together(self, names: tuple[str, ...]) -> NDArray[Any] | None:
        """(R, 3) of three columns; None if one is missing."""
        return np.column_stack([self.columns[n] for n in names]) if set(names) <= set(self.columns) else None


def read_ply(data: bytes, config: PointConfig) -> Points:
    """PLY -> its points with normals and colors, or points sampled from its faces if it has any. Raises ValueError."""
    order, elements, start = _header(data)
    if order:
        at = start
        for element in elements:
            at = _binary(data, at, element)
        if data[at:].strip(b"\0 \t\r\n"):
            raise ValueError(f"{len(data) - at} more bytes follow than its header says")
    else:
        _text(data, start, elements)
    found = {element.name: element for element in elements}
    vertex, face = found.get("vertex"), found.get("face")
    if vertex is None or not vertex.count:
        raise ValueError("it contains no points")
    if not set("xyz") <= set(vertex.columns):
        raise ValueError(f"it has no x, y and z; found: {', '.join(vertex.columns)[:80]}")
    if face is not None and face.count:
        return sampled(_mesh(vertex, face), config)
    # a new selection for each column: all of them select the same rows
    scalars = {name: column for name, column in vertex.columns.items() if name not in vertex.lengths}
    vertex.columns = {name: Subsample(vertex.count)(column) for name, column in scalars.items()}
    xyz = np.column_stack([vertex.columns[axis] for axis in "xyz"])
    return Points(xyz, vertex.together(("nx", "ny", "nz")), _colors(vertex))


def _mesh(vertex: Element, face: Element) -> Mesh:
    """Vertices and faces -> the mesh. Raises ValueError."""
    lists = [name for name in CORNERS if name in face.lengths] or list(face.lengths)
    if not lists:
        raise ValueError("its faces have no list of vertices")
    corners, sizes = face.columns[lists[0]], face.lengths[lists[0]]
    indices = as_integers(corners, "a vertex") if corners.dtype.kind == "f" else corners.astype(np.int64)
    made, of = triangles(indices, sizes)
    vertices = np.column_stack([vertex.columns[axis] for axis in "xyz"])
    own = _colors(face)
    return Mesh(vertices, check_faces(made, vertex.count), _colors(vertex), None if own is None else own[of])


def _colors(element: Element) -> NDArray[Any] | None:
    """(R, 3): uint8, or from 0 to 1; None if there are none."""
    found = element.together(COLORS)
    if found is None:
        found = element.together(("diffuse_red", "diffuse_green", "diffuse_blue"))
    return found / 65_535 if found is not None and found.dtype == np.uint16 else found


def _header(data: bytes) -> tuple[str, list[Element], int]:
    """-> byte order ('' for text), elements, offset of the rows. Nothing is checked against the data yet."""
    end = data.find(b"end_header", 0, HEADER)
    if not data.startswith((b"ply\n", b"ply\r", b"ply ")) or end < 0:
        raise ValueError("its header does not begin with ply and end with end_header")
    order, elements = None, []
    for line in data[:end].decode("latin-1").splitlines()[1:]:
        match line.split():
            case ["format", kind, *_]:
                order = ORDERS.get(kind)
            case ["element", name, count] if count.isascii() and count.isdigit():
                elements.append(Element(name, int(count[:20])))
            case ["property", "list", count_type, kind, name] if elements and {count_type, kind} <= set(TYPES):
                elements[-1].properties.append(Property(name, f"{order}{TYPES[kind]}", f"{order}{TYPES[count_type]}"))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append(Property(name, f"{order}{TYPES[kind]}"))
            case ["element" | "property", *_]:
                raise ValueError(f"its header has the line {line.strip()[:60]!r}")
    if len(elements) > MAX_ELEMENTS:
        raise ValueError(f"its header has {len(elements)} elements")
    if order is None:
        raise ValueError("its header does not have the format ascii, binary_little_endian or binary_big_endian")
    start = end + len(b"end_header")
    start += len(data[start : start + 64]) - len(data[start : start + 64].lstrip(b" \t"))
    return order, elements, start + (2 if data[start : start + 2] == b"\r\n" else 1)


def _binary(data: bytes, at: int, element: Element) -> int:
    """Reads the rows of an element from offset `at` on into its columns -> the offset after them. Raises ValueError."""
    smallest = sum(np.dtype(p.count_type or p.type).itemsize for p in element.properties)
    if element.count and smallest * element.count > len(data) - at:
        raise element.truncated(max(len(data) - at, 0) // smallest)
    if not element.count or not smallest:
        return at
    layout = _even_layout(data, at, element)
    end = at + layout.itemsize * element.count
    rows = np.frombuffer(data, layout, element.count, at) if end <= len(data) else None
    lists = [(i, p) for i, p in enumerate(element.properties) if p.count_type]
    if rows is None and not lists:
        raise element.truncated((len(data) - at) // layout.itemsize)
    if rows is None or any((rows[f"n{i}"] != rows[f"n{i}"][0]).any() for i, _ in lists):
        return _walk(data, at, element)
    for i, p in enumerate(element.properties):
        element.columns[p.name] = rows[f"v{i}"].reshape(-1) if p.count_type else rows[f"v{i}"]
        if p.count_type:
            element.lengths[p.name] = np.full(element.count, rows[f"n{i}"][0], np.int64)
    return end


def _even_layout(data: bytes, at: int, element: Element) -> np.dtype[Any]:
    """The type of a row if all lists are as long as those of the first row. Raises ValueError."""
    parts: list[Any] = []
    for i, p in enumerate(element.properties):
        if p.count_type is None:
            parts.append((f"v{i}", p.type))
            at += np.dtype(p.type).itemsize
            continue
        kind = np.dtype(p.count_type)
        if at + kind.itemsize > len(data):
            raise element.truncated(0)
        length = _length(np.frombuffer(data, kind, 1, at)[0], len(data))
        parts += [(f"n{i}", p.count_type), (f"v{i}", p.type, (length,))]
        at += kind.itemsize + length * np.dtype(p.type).itemsize
    return np.dtype(parts)


def _length(stated: Any, there: int) -> int:
    """The length of a list. Raises ValueError if it is impossible in a file of so many bytes."""
    if not 0 <= stated <= there:
        raise ValueError(f"a list of {stated} numbers in a file of {there} bytes")
    return int(stated)


def _walk(data: bytes, at: int, element: Element) -> int:
    """As `_binary`, row by row, for lists of different lengths."""
    if element.count > MAX_UNEVEN:
        raise ValueError(f"more than {MAX_UNEVEN // 1_000_000} million {element.name} rows of different lengths")
    lists = [p for p in element.properties if p.count_type]
    steps, skipped = [], 0
    for p in element.properties:
        each = np.dtype(p.type).itemsize
        if p.count_type:
            kind = np.dtype(p.count_type)
            unpack = struct.Struct(p.count_type[0] + kind.char).unpack_from
            steps.append((skipped, unpack, kind.itemsize, each))
        skipped = 0 if p.count_type else skipped + each
    lengths, place = array("q"), at
    for row in range(element.count):
        for before, unpack, size, each in steps:
            try:
                (length,) = unpack(data, place + before)
            except (struct.error, OverflowError):
                raise element.truncated(row) from None
            lengths.append(_length(length, len(data)))
            place += before + size + length * each
        place += skipped
    if place > len(data):
        raise element.truncated(element.count - 1)
    check_count(sum(lengths))
    lengths_KR = np.array(lengths, np.int64).reshape(element.count, len(lists)).T
    _place(data, at, element, dict(zip((p.name for p in lists), lengths_KR, strict=True)))
    return place


def _place(data: bytes, at: int, element: Element, lengths: dict[str, Ints]) -> None:
    """Fills the columns of an element from offset `at` on, given the lengths (R,) of its lists."""
    sizes_R, offsets = np.zeros(element.count, np.int64), []
    for p in element.properties:
        lengths_R = lengths.get(p.name, np.ones(element.count, np.int64))
        sizes_R += np.dtype(p.count_type).itemsize if p.count_type else 0
        offsets.append(sizes_R.copy())
        sizes_R += lengths_R * np.dtype(p.type).itemsize
    starts_R = at + np.cumsum(sizes_R) - sizes_R
    for p, offset_R in zip(element.properties, offsets, strict=True):
        lengths_R = lengths.get(p.name, np.ones(element.count, np.int64))
        element.columns[p.name] = _gathered(data, starts_R + offset_R, lengths_R, p.type)
    element.lengths.update(lengths)


def _gathered(data: bytes, places_R: Ints, lengths_R: Ints, kind: str) -> NDArray[Any]:
    """`lengths_R` consecutive numbers at each of the offsets `places_R` -> (T,)."""
    size = np.dtype(kind).itemsize
    within_T = np.arange(lengths_R.sum()) - np.repeat(np.cumsum(lengths_R) - lengths_R, lengths_R)
    place_T = np.repeat(places_R, lengths_R) + size * within_T
    if not len(place_T):
        return np.empty(0, kind)
    chars = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), size)
    return np.ascontiguousarray(chars[place_T]).view(kind)[:, 0]


def _text(data: bytes, start: int, elements: list[Element]) -> None:
    """Fills the columns of all elements from text, in which each line is a row. Raises ValueError."""
    body = data if b"\n" in data[start:] else data[:start] + data[start:].replace(b"\r", b"\n")
    lines = all_numbers(body, start)
    at, there = 0, len(lines.counts_R)
    for element in elements:
        rows = lines.part(at, at + element.count) if at + element.count <= there else lines.part(at, there)
        last = at + element.count >= there
        _rows(rows, element, last)
        at += element.count
    if at < there:
        raise ValueError(f"{there - at} more lines follow than its header says")


def _rows(lines: Lines, element: Element, last: bool) -> None:
    """Fills the columns of an element from lines; `last` if the file ends with it. Raises ValueError."""
    values, ends_R = lines.values_V, lines.starts_R + lines.counts_R
    at_R, good_R = lines.starts_R, np.ones(len(lines.counts_R), np.bool_)
    spare = np.append(values, 0)  # so that rows that are too short can be indexed
    found: list[tuple[Property, Ints, Ints]] = []
    for p in element.properties:
        lengths_R: Ints = np.ones(len(at_R), np.int64)
        if p.count_type:
            lengths_R = as_integers(spare[np.minimum(at_R, len(values))], "the length of a list")
            at_R = at_R + 1
            good_R &= (lengths_R >= 0) & (lengths_R <= ends_R - at_R)
            lengths_R = np.where(good_R, lengths_R, 0)
        found.append((p, at_R, lengths_R))
        at_R = at_R + lengths_R
    good_R &= at_R == ends_R
    if len(good_R) < element.count or (last and good_R[:-1].all() and not good_R.all()):
        raise element.truncated(int(good_R.sum()))
    if not good_R.all():
        row = int((~good_R).argmax())
        raise ValueError(f"{element.name} {row + 1} has {lines.counts_R[row]} numbers, which does not fit the header")
    for p, places_R, lengths_R in found:
        within = np.arange(lengths_R.sum()) - np.repeat(np.cumsum(lengths_R) - lengths_R, lengths_R)
        taken = values[np.repeat(places_R, lengths_R) + within] if p.count_type else values[places_R]
        # the type matters for colors; coordinates may stay float64
        element.columns[p.name] = taken.astype(p.type) if p.name in _COLORED else taken
        if p.count_type:
            element.lengths[p.name] = lengths_R


_COLORED = {*COLORS, *(f"diffuse_{name}" for name in COLORS)}
