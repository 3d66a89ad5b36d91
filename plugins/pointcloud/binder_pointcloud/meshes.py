"""OFF, OBJ and STL -> points. Free of torch.

Each format's own few rules, read here because they are what keeps a file that ends early, lies or is large from being
taken for a good one. Files beside the one that is read (materials, textures) are never opened.

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
    blocks,
    joined,
    limited,
    numbers,
    plain,
    uncommented,
    whole,
)
from binder_pointcloud.surface import Mesh, named, sampled, triangles

OFF = re.compile(rb"\s*(?:ST)?([CN]{0,2})(4?n?)(?:OFF|off)(\s+BINARY)?")
STL = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
STL_WORDS = re.compile(rb"^[ \t]*(?:solid|endsolid|facet|outer|endloop|endfacet)\b[^\n]*", re.MULTILINE)


def read_off(data: bytes, config: PointConfig) -> Points:
    """OFF and its kin with normals (NOFF) and colours (COFF). Raises ValueError."""
    text = uncommented(plain(data))
    head = OFF.match(text)
    if not head:
        raise ValueError("it does not begin with OFF")
    letters, spaces, binary = head.groups()
    if binary or spaces:
        raise ValueError(f"of the kind {head[0].decode().strip()!r}, which is not read; write it as plain OFF")
    coloured, normal = b"C" in letters, b"N" in letters
    lines = all_numbers(text, head.end())
    if not len(lines.counts_R) or lines.counts_R[0] < 2:
        raise ValueError("it has no line of counts")
    count, faces = (int(n) for n in whole(lines.values_V[:2], "a count"))
    vertices = _vertices(lines, count, faces, 3 * (1 + normal + coloured))
    colours = _levels(vertices[:, 6:9] if normal else vertices[:, 3:6]) if coloured else None
    if faces:
        corners, sizes = _polygons(lines.part(1 + count, 1 + count + faces), faces, len(lines.counts_R) - 1 - count)
        made, _ = triangles(corners, sizes)
        return sampled(Mesh(vertices[:, :3], named(made, count), colours), config)
    return Points(vertices[:, :3], vertices[:, 3:6] if normal else None, colours)


def _vertices(lines: Lines, count: int, faces: int, width: int) -> Floats:
    """The lines of vertices -> (V, width or more)."""
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
    """Lines that begin with how many corners follow -> all corners, and how many each polygon has."""
    sizes = whole(lines.values_V[lines.starts_R], "a number of corners")
    good = (sizes >= 0) & (sizes < lines.counts_R)
    if there < count or (not good[-1:].all() and good[:-1].all()):
        raise ValueError(f"truncated: {there - int(not good[-1:].all())} of {count} faces")
    if not good.all():
        row = int((~good).argmax())
        raise ValueError(
            f"face {row + 1} is to have {sizes[row]} corners, but {lines.counts_R[row] - 1} numbers follow"
        )
    within = np.arange(len(lines.values_V)) - np.repeat(lines.starts_R, lines.counts_R)
    corner = (within > 0) & (within <= np.repeat(sizes, lines.counts_R))
    return whole(lines.values_V[corner], "a vertex"), sizes


def read_obj(data: bytes, config: PointConfig) -> Points:
    """All groups and objects of a Wavefront OBJ together, or its vertices where it has no faces. Raises ValueError.

    Colours are those behind the vertices.
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
        limited(held)
    places, faces = joined(vertices), joined(polygons)
    if not count:
        raise ValueError("it holds no vertices")
    if places.counts_R.min() < 3:
        row = int((places.counts_R < 3).argmax())
        raise ValueError(f"vertex {row + 1} has {places.counts_R[row]} of 3 numbers: cut off?")
    xyz = places.values_V[places.starts_R[:, None] + np.arange(3)]
    colours = None
    if places.counts_R.min() >= 6:
        colours = _levels(places.values_V[places.starts_R[:, None] + np.arange(3, 6)])
    if len(faces.counts_R):
        if faces.counts_R[-1] < 3:
            raise ValueError(f"its last face names {faces.counts_R[-1]} corners: cut off?")
        made, _ = triangles(faces.values_V.astype(np.int64), faces.counts_R)
        return sampled(Mesh(xyz, named(made, count, 1), colours), config)
    across = joined(normals)
    fits = len(across.counts_R) == count and (across.counts_R == 3).all()
    return Points(xyz, across.values_V.reshape(-1, 3) if fits else None, colours)


def _kinds(block: bytes) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Lines of an OBJ -> their characters, where each line starts, and what it is: 1 v, 2 vn, 3 f, 0 all else."""
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
    """The numbers in the chosen lines, which begin with `word`; of 1/2/3 the first. Messages count from `first`."""
    for i in range(len(word)):
        chars[starts[chosen] + i] = 32
    text = chars[np.repeat(chosen, np.diff(starts, append=len(chars)))].tobytes()
    if b"/" in text:
        text = re.sub(rb"/[^\s]*", b"", text)
    return numbers(text, first, f"{word} line", blank=True)


def _rows(found: Lines, before_R: Ints) -> NDArray[np.float64]:
    """What faces name -> rows of vertices; a negative number counts back from the vertices before the face."""
    name = whole(found.values_V, "a vertex")
    if (name == 0).any():
        raise ValueError("a face names vertex 0; the first is 1")
    before = np.repeat(before_R, found.counts_R)
    if (lost := name + before < 0).any():
        raise ValueError(f"a face names vertex {name[lost][0]}, but there are {before[lost][0]} before it")
    return np.where(name > 0, name - 1, before + name).astype(np.float64)


def read_stl(data: bytes, config: PointConfig) -> Points:
    """STL, binary or text. Raises ValueError."""
    count = int.from_bytes(data[80:84], "little")
    there = len(data) - 84
    start = data[:4096].lstrip().lower()
    if there != 50 * count and start.startswith(b"solid") and (b"facet" in start or b"endsolid" in start):
        corners = _text_corners(data)
    elif there < 50 * count or there < 0:
        raise ValueError(f"truncated: {max(there, 0) // 50} of {count} triangles" if there >= 0 else "truncated")
    elif there > 50 * count:
        raise ValueError(f"its header says {count} triangles, but {there - 50 * count} bytes more follow")
    else:
        corners = np.frombuffer(data, STL, count, 84)["corners"].reshape(-1, 3)
    if not len(corners):
        raise ValueError("it holds no triangles")
    return sampled(Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)), config)


def _text_corners(data: bytes) -> Floats:
    """The corners (3F, 3) of an STL in words."""
    text = plain(data)
    if text[-4096:].lower().count(b"endsolid") == 0:
        whole_ones = sum(block.lower().count(b"endfacet") for block in blocks(text))
        raise ValueError(f"truncated: it ends after {whole_ones} triangles without 'endsolid'")
    corners = joined(list(_corner_lines(text)))
    if (corners.counts_R != 3).any() or len(corners.counts_R) % 3:
        raise ValueError("not every triangle has three corners of three numbers")
    return corners.values_V.reshape(-1, 3)


def _corner_lines(text: bytes) -> Iterator[Lines]:
    line = held = 1
    for block in blocks(text):
        found = numbers(STL_WORDS.sub(b"", block.lower()).replace(b"vertex", b""), line)
        line, held = line + block.count(b"\n"), held + len(found.values_V)
        limited(held)
        yield found


def _levels(colours: NDArray[Any]) -> NDArray[Any]:
    """Colours in a text -> whole numbers of 0 to 255 as such, anything else as it is."""
    return colours.astype(np.uint8) if colours.max(initial=0) > 1 and _bytes(colours) else colours


def _bytes(colours: NDArray[Any]) -> bool:
    return bool(((colours >= 0) & (colours <= 255) & (colours == np.round(colours))).all())
