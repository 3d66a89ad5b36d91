"""Points as lines of numbers, in the dialects that scanners, spreadsheets and viewers write. Free of torch.

Shapes: P points, C columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Points
from binder_pointcloud.drawn import Draw
from binder_pointcloud.lines import NUMBER, Floats, blocks, numbers, plain, uncommented

SAMPLE = 50  # lines that show how the others are written
TITLES = 3  # lines of words before the numbers, at most
TITLE = 2000  # bytes of comments that are searched for one
LONGEST = 1 << 20  # bytes of a line
NOTHING = re.compile(rb'(?:[ \t\r,;|"]*+(?:(?:#|//)[^\n]*+)?\n)++')  # lines without a number; linear: no going back
WORDS = re.compile(rb'[\s,;|"]+')
COLUMNS = 32  # of a line that are looked at
DECIMAL = re.compile(rb"[+-]?(?:\d+(?:,\d*)?|,\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
BETWEEN = re.compile(rb"[\s;|]+")  # fields of a line whose commas are within numbers
AXES = (
    {"x", "px", "pos_x", "easting", "east"},
    {"y", "py", "pos_y", "northing", "north"},
    {"z", "pz", "pos_z", "elevation", "height", "altitude"},
)
NORMALS = tuple({f"n{axis}", f"normal_{axis}", f"normal{axis}", f"{axis}_normal"} for axis in "xyz")
COLOURS = tuple({name[0], name, f"{name[0]}f", f"diffuse_{name}", f"{name}f"} for name in ("red", "green", "blue"))


@dataclass(frozen=True)
class Head:
    """What precedes the numbers, and how they are written."""

    start: int  # where the first line of numbers begins
    line: int  # which line that is
    names: list[str]  # of the columns, as far as they have any
    count: int | None  # of points, where a line says so
    separator: bytes  # between fields that may be empty: a comma, a semicolon, or none
    signs: bytes  # each character of the file as it is to be read: separators as blanks, a decimal comma as a point


def read_text(data: bytes) -> Points:
    """Lines of x, y, z and what else there is -> Points. Raises ValueError.

    Columns beyond three are known by their names, else by what is in them: whole numbers of 0 to 255, or numbers from 0
    to 1, are colours, unit vectors are normals; seven columns are x y z, intensity, red green blue.
    """
    text = plain(data)
    head = _head(text)
    kept: list[Floats] = []
    count, width, line = 0, 0, head.line
    for block in blocks(text, head.start):
        found = numbers(_unified(block, head), line)
        line += block.count(b"\n")
        if not len(found.counts_R):
            continue
        if not kept:
            width = int(found.counts_R[0])
            draw = Draw(len(found.counts_R) * (len(text) - head.start) / len(block))
        odd = found.counts_R != width
        if odd.any():
            raise ValueError(_ragged(found.counts_R, int(odd.argmax()), count, width, line > text.count(b"\n")))
        rows = found.values_V.reshape(-1, width)
        count += len(rows)
        kept.append(draw(rows[:, :COLUMNS]).copy())
    if not kept:
        raise ValueError("it holds no points")
    if width < 3:
        raise ValueError(f"lines of {width} numbers: expected x, y, z")
    if head.count is not None and head.count != count:
        what = "truncated: {} of {} points" if count < head.count else "{1} points are announced, but {0} follow"
        raise ValueError(what.format(count, head.count))
    return _columns(np.concatenate(kept), [*head.names, *[""] * width][: min(width, COLUMNS)])


def _ragged(counts: NDArray[Any], row: int, before: int, width: int, last: bool) -> str:
    if last and row == len(counts) - 1 and counts[row] < width:
        return f"truncated: its last line has {counts[row]} of {width} numbers"
    return f"point {before + row + 1} has {counts[row]} numbers, those before it {width}"


def _head(text: bytes) -> Head:
    """Comments, titles and a count before the numbers, and the numbers' dialect."""
    names: list[str] = []
    count, titles, start = None, 0, 0
    while True:
        lead = NOTHING.match(text, start)
        if lead:
            names, start = _commented(lead[0]) or names, lead.end()
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        words = [w for w in WORDS.split(uncommented(text[start : min(end, start + LONGEST)], slashes=True)) if w]
        if not words or end - start > LONGEST:
            raise ValueError(f"truncated: 0 of {count} points" if count else "it holds no lines of numbers")
        if not all(NUMBER.fullmatch(w) for w in words):
            names, titles = _names(text[start:end]) or names, titles + 1
            if titles > TITLES:
                line = text.count(b"\n", 0, start) + 1
                raise ValueError(f"line {line}: expected numbers, got {words[0][:40].decode('latin-1')!r}")
        elif count is None and len(words) == 1 and words[0].isdigit():
            count = int(words[0][:20])
        else:
            line = text.count(b"\n", 0, start) + 1
            return Head(start, line, names, count, *_dialect(text[start : start + 65_536]))
        start = min(end + 1, len(text))


def _commented(lines: bytes) -> list[str]:
    """Names of columns in the last few of the comments before the numbers, or the first few."""
    for part in (lines[-TITLE:].split(b"\n")[::-1], lines[:TITLE].split(b"\n")):
        for line in part:
            if names := _names(line.lstrip(b"#/ \t")):
                return names
    return []


def _names(line: bytes) -> list[str]:
    """A title -> its columns' names, simplified; none where x, y and z are not among them."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode("cp1252", "replace")
    separator = next((sign for sign in ";,\t|" if sign in text), None)
    found = []
    for word in text.split(separator):
        name = re.sub(r"[(\[{<].*", "", word.strip().strip('"').lower()).strip()  # without its unit
        found.append(re.sub(r"^(?:coord|coordinate|position)_|_(?:coord|coordinate)$", "", name.replace(" ", "_")))
    return found if _places(found, AXES) else []


def _places(names: list[str], wanted: Sequence[set[str]]) -> list[int] | None:
    """Which columns have the wanted names; None unless all are there."""
    found = [next((i for i, name in enumerate(names) if name in known), None) for known in wanted]
    return None if None in found else [i for i in found if i is not None]


def _dialect(sample: bytes) -> tuple[bytes, bytes]:
    """Lines of numbers -> the separator that may stand beside an empty field, and how to read each character."""
    lines = [line.strip() for line in uncommented(sample, slashes=True).split(b"\n")[:SAMPLE] if line.strip()]
    lines = lines[: max(len(lines) - 1, 1)]  # the last may be cut
    commas = any(b"," in line for line in lines)
    fields = [BETWEEN.split(line) for line in lines]
    decimal = commas and all(len(f) >= 3 and all(DECIMAL.fullmatch(one) for one in f if one) for f in fields)
    separator = b";" if any(b";" in line for line in lines) else b"," if commas and not decimal else b""
    return separator, bytes.maketrans(b',;|"', b".   " if decimal else b"    ")


def _unified(block: bytes, head: Head) -> bytes:
    """A block of any dialect -> numbers between blanks; an empty field is not a number."""
    block = uncommented(block, slashes=True)
    sign = head.separator
    if sign and re.search(sign + rb"[ \t]*[" + sign + rb"\r\n]|^[ \t]*" + sign, block, re.MULTILINE):
        block = re.sub(rb"(?<=" + sign + rb")[ \t]*(?=[\r\n" + sign + rb"]|\Z)|^[ \t]*(?=" + sign + rb")", b"nan",
                       block, flags=re.MULTILINE)  # fmt: skip
    return block.translate(head.signs)


def _columns(rows_PC: Floats, names: list[str]) -> Points:
    """Which of the columns are what."""
    width = rows_PC.shape[1]
    axes = _places(names, AXES)
    if axes and all(names):
        normals, colours = _places(names, NORMALS), _places(names, COLOURS)
    else:
        axes = axes or [0, 1, 2]
        normals, colours = _by_value(rows_PC)
    levels = rows_PC[:, colours] if colours else None
    if levels is not None and names[width - 1] and 255 < levels.max(initial=0) < 65_536:  # as LAS keeps them
        levels = levels / 65_535
    return Points(rows_PC[:, axes], rows_PC[:, normals] if normals else None, levels)


def _by_value(rows_PC: Floats) -> tuple[list[int] | None, list[int] | None]:
    """Columns that must be normals, and those that must be colours."""
    width = rows_PC.shape[1]
    if width == 7 and _are_colours(rows_PC[:, 4:]):
        return None, [4, 5, 6]
    normals = colours = None
    at = 3
    while at + 3 <= width:
        three, place = rows_PC[:, at : at + 3], [at, at + 1, at + 2]
        if normals is None and _are_normals(three):
            normals = place
        elif colours is None and _are_colours(three):
            colours = place
        else:
            place = []
        at += 3 if place else 1
    return normals, colours


def _are_normals(values_P3: Floats) -> bool:
    """Nearly all of them of unit length, zeros aside."""
    length = np.linalg.norm(values_P3, axis=1)
    length = length[np.isfinite(length) & (length > 0)]
    return len(length) > 0 and bool((np.abs(length - 1) < 0.02).mean() > 0.9)


def _are_colours(values_P3: Floats) -> bool:
    """Whole numbers of 0 to 255, or any of 0 to 1."""
    values = values_P3[np.isfinite(values_P3).all(1)]
    if not len(values) or values.min() < 0 or values.max() > 255:
        return False
    return bool(values.max() <= 1 or (values == np.round(values)).all())
