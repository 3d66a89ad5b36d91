"""OFF, OBJ and STL -> points. Free of torch.

These formats are parsed here rather than by a library, so that truncated, false and very large files are rejected.
Other files (materials, textures) are never opened.

Shapes: V vertices, F triangles, R lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points
from binder_pointcloud.lines import (
    Floats,
    Ints,
    Lines,
    all_numbers,
    as_integers,
    blocks,
    check_count,
    joined,
    numbers,
    plain,
    uncommented,
)
from binder_pointcloud.surface import Mesh, check_faces, sampled, triangles

OFF = re.compile(rb"\s*(?:ST)?([CN]{0,2})(4?n?)(?:OFF|off)(\s+BINARY)?")
STL = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
STL_WORDS = re.compile(rb"^[ \t]*(?:solid|endsolid|facet|outer|endloop|endfacet)\b[^\n]*", re.MULTILINE)


def read_off(data: bytes, config: PointConfig) -> Points:
    """OFF, also with normals (NOFF) and colors (COFF) -> points. Raises ValueError."""
    text = uncommented(plain(data))
    head = OFF.match(text)
    if not head:
        raise ValueError("it does not begin with OFF")
    letters, spaces, binary = head.groups()
    if binary or spaces:
        raise ValueError(f"the variant {head[0].decode().strip()!r} is not supported; write it as plain OFF")
    colored, normal = b"C" in letters, b"N" in letters
    lines = all_numbers(text, head.end())
    if not len(lines.counts_R) or lines.counts_R[0] < 2:
        raise ValueError("it has no line of counts")
    count, faces = (int(n) for n in as_integers(lines.values_V[:2], "a count"))
    vertices = _vertices(lines, count, faces, 3 * (1 + normal + colored))
    colors = _levels(vertices[:, 6:9] if normal else vertices[:, 3:6]) if colored else None
    if faces:
        corners, sizes = _polygons(lines.part(1 + count, 1 + count + faces), faces, len(lines.counts_R) - 1 - count)
        made, _ = triangles(corners, sizes)
        return sampled(Mesh(vertices[:, :3], check_faces(made, count), colors), config)
    return Points(vertices[:, :3], vertices[:, 3:6] if normal else None, colors)


def _vertices(lines: Lines, count: int, faces: int, width: int) -> Floats:
    """The lines of vertices -> (V, width or more). Raises ValueError."""
    there = len(lines.counts_R) - 1
    if count < 0 or faces < 0:
        raise ValueError(f"its header says {count} vertices and {faces} faces")
    if there > count + faces:
        raise ValueError(f"its header says {count} vertices and {faces} faces, but {there} lines follow")
    found = lines.part(1, 1 + min(count, there))
    complete = found.counts_R >= width
    if there < count or (there == count and complete[:-1].all() and not complete.all()):
        raise ValueError(f"truncated: {int(complete.sum())} of {count} vertices")
    odd = found.counts_R != max(found.counts_R.max(initial=0), width)
    if odd.any():
        row = int(odd.argmax())
        raise ValueError(f"vertex {row + 1} has {found.counts_R[row]} numbers: expected {found.counts_R.max()}")
    return found.values_V.reshape(count, -1) if count else np.empty((0, 9))


def _polygons(lines: Lines, count: int, there: int) -> tuple[Ints, Ints]:
    """Lines that begin with a number of corners -> all corners, and the number of each polygon's. Raises ValueError."""
    sizes = as_integers(lines.values_V[lines.starts_R], "a number of corners")
    good = (sizes >= 0) & (sizes < lines.counts_R)
    if there < count or (not good[-1:].all() and good[:-1].all()):
        raise ValueError(f"truncated: {there - int(not good[-1:].all())} of {count} faces")
    if not good.all():
        row = int((~good).argmax())
        raise ValueError(
            f"face {row + 1} should have {sizes[row]} corners, but {lines.counts_R[row] - 1} numbers follow"
        )
    within = np.arange(len(lines.values_V)) - np.repeat(lines.starts_R, lines.counts_R)
    corner = (within > 0) & (within <= np.repeat(sizes, lines.counts_R))
    return as_integers(lines.values_V[corner], "a vertex"), sizes


def read_obj(data: bytes, config: PointConfig) -> Points:
    """All groups and objects of a Wavefront OBJ, or its vertices if it has no faces -> points. Raises ValueError.

    Colors are those that follow the coordinates of the vertices.
    """
    text = plain(data).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    vertices, normals, polygons, count, held = [], [], [], 0, 0
    for block in blocks(text):
        chars, starts, kind = _kinds(uncommented(block))
        vertices.append(_of_kind(chars, starts, kind == 1, "v", count + 1))
        normals.append(_of_kind(chars, starts, kind == 2, "vn"))
        found = _of_kind(chars, starts, kind == 3, "f")
        before_R = count + np.cumsum(kind == 1)[kind == 3]
        polygons.append(Lines(_rows(found, before_R), found.counts_R))
        count += len(vertices[-1].counts_R)
        held += sum(len(parts[-1].values_V) for parts in (vertices, normals, polygons))
        check_count(held)
    places, faces = joined(vertices), joined(polygons)
    if not count:
        raise ValueError("it contains no vertices")
    if places.counts_R.min() < 3:
        row = int((places.counts_R < 3).argmax())
        raise ValueError(f"vertex {row + 1} has {places.counts_R[row]} of 3 numbers; is the file truncated?")
    xyz = places.values_V[places.starts_R[:, None] + np.arange(3)]
    colors = None
    if places.counts_R.min() >= 6:
        colors = _levels(places.values_V[places.starts_R[:, None] + np.arange(3, 6)])
    if len(faces.counts_R):
        if faces.counts_R[-1] < 3:
            raise ValueError(f"its last face has {faces.counts_R[-1]} corners; is the file truncated?")
        made, _ = triangles(faces.values_V.astype(np.int64), faces.counts_R)
        return sampled(Mesh(xyz, check_faces(made, count, 1), colors), config)
    across = joined(normals)
    fits = len(across.counts_R) == count and (across.counts_R == 3).all()
    return Points(xyz, across.values_V.reshape(-1, 3) if fits else None, colors)


def _kinds(block: bytes) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Lines of an OBJ -> their characters, the start of each line, and its kind: 1 v, 2 vn, 3 f, 0 other."""
    if b"\n " in block or b"\n\t" in block or block[:1] in b" \t":
        block = re.sub(rb"^[ \t]+", b"", block, flags=re.MULTILINE)
    chars = np.frombuffer(block + b"\n\n\n", np.uint8)[: len(block) + 3].copy()
    starts = np.append(0, np.flatnonzero(chars[: len(block)] == 10) + 1)
    starts = starts[starts < len(block)]
    first, second, third = (chars[starts + i] for i in range(3))
    blank2, blank3 = ((c == 32) | (c == 9) for c in (second, third))
    kind = np.zeros(len(starts), np.int64)
    kind[(first == ord("v")) & blank2] = 1
    kind[(first == ord("v")) & (second == ord("n")) & blank3] = 2
    kind[(first == ord("f")) & blank2] = 3
    return chars[: len(block)], starts, kind


def _of_kind(chars: NDArray[np.uint8], starts: Ints, chosen: NDArray[np.bool_], word: str, first: int = 1) -> Lines:
    """The numbers in the chosen lines, which begin with `word`; the first of 1/2/3. Messages count from `first`."""
    for i in range(len(word)):
        chars[starts[chosen] + i] = 32
    text = chars[np.repeat(chosen, np.diff(starts, append=len(chars)))].tobytes()
    if b"/" in text:
        text = re.sub(rb"/[^\s]*", b"", text)
    return numbers(text, first, f"{word} line", blank=True)


def _rows(found: Lines, before_R: Ints) -> NDArray[np.float64]:
    """Vertex numbers of faces -> indices from 0; negative numbers count back from the face. Raises ValueError."""
    number = as_integers(found.values_V, "a vertex")
    if (number == 0).any():
        raise ValueError("a face refers to vertex 0, but the first is 1")
    before = np.repeat(before_R, found.counts_R)
    if (lost := number + before < 0).any():
        raise ValueError(f"a face refers to vertex {number[lost][0]}, but there are {before[lost][0]} before it")
    return np.where(number > 0, number - 1, before + number).astype(np.float64)


def read_stl(data: bytes, config: PointConfig) -> Points:
    """STL, binary or text -> points. Raises ValueError."""
    count = int.from_bytes(data[80:84], "little")
    there = len(data) - 84
    start = data[:4096].lstrip().lower()
    if there != 50 * count and start.startswith(b"solid") and (b"facet" in start or b"endsolid" in start):
        corners = _text_corners(data)
    elif there < 50 * count or there < 0:
        raise ValueError(f"truncated: {max(there, 0) // 50} of {count} triangles" if there >= 0 else "truncated")
    elif there > 50 * count:
        raise ValueError(f"its header says {count} triangles, but {there - 50 * count} more bytes follow")
    else:
        corners = np.frombuffer(data, STL, count, 84)["corners"].reshape(-1, 3)
    if not len(corners):
        raise ValueError("it contains no triangles")
    return sampled(Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)), config)


def _text_corners(data: bytes) -> Floats:
    """A text STL -> its corners (3F, 3). Raises ValueError."""
    text = plain(data)
    if text[-4096:].lower().count(b"endsolid") == 0:
        complete = sum(block.lower().count(b"endfacet") for block in blocks(text))
        raise ValueError(f"truncated: it ends after {complete} triangles without 'endsolid'")
    corners = joined(list(_corner_lines(text)))
    if (corners.counts_R != 3).any() or len(corners.counts_R) % 3:
        raise ValueError("not every triangle has three corners of three numbers")
    return corners.values_V.reshape(-1, 3)


def _corner_lines(text: bytes) -> Iterator[Lines]:
    """The numbers of all vertices, block by block. Raises ValueError."""
    line = held = 1
    for block in blocks(text):
        found = numbers(STL_WORDS.sub(b"", block.lower()).replace(b"vertex", b""), line)
        line, held = line + block.count(b"\n"), held + len(found.values_V)
        check_count(held)
        yield found


def _levels(colors: NDArray[Any]) -> NDArray[Any]:
    """Colors in a text -> uint8 if they are integers of 0 to 255, otherwise unchanged."""
    return colors.astype(np.uint8) if colors.max(initial=0) > 1 and _bytes(colors) else colors


def _bytes(colors: NDArray[Any]) -> bool:
    """Whether all are integers of 0 to 255."""
    return bool(((colors >= 0) & (colors <= 255) & (colors == np.round(colors))).all())
