"""Points as lines of numbers, in the dialects of scanners, spreadsheets and viewers. Free of torch.

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
from binder_pointcloud.lines import NUMBER, Floats, blocks, numbers, plain, uncommented
from binder_pointcloud.subsample import Subsample

SAMPLE = 50  # lines from which the dialect is detected
MAX_TITLES = 3  # lines of words before the numbers
TITLE = 2000  # bytes at both ends of the comments that are searched for names of columns
LONGEST = 1 << 20  # bytes of a line before the numbers
NOTHING = re.compile(rb'(?:[ \t\r,;|"]*+(?:(?:#|//)[^\n]*+)?\n)++')  # lines without a number; possessive, hence linear
WORDS = re.compile(rb'[\s,;|"]+')
MAX_COLUMNS = 32  # of a line that are used
DECIMAL = re.compile(rb"[+-]?(?:\d+(?:,\d*)?|,\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf)", re.IGNORECASE)
BETWEEN = re.compile(rb"[\s;|]+")  # separators of fields with decimal commas
AXES = (
    {"x", "px", "pos_x", "easting", "east"},
    {"y", "py", "pos_y", "northing", "north"},
    {"z", "pz", "pos_z", "elevation", "height", "altitude"},
)
NORMALS = tuple({f"n{axis}", f"normal_{axis}", f"normal{axis}", f"{axis}_normal"} for axis in "xyz")
COLORS = tuple({name[0], name, f"{name[0]}f", f"diffuse_{name}", f"{name}f"} for name in ("red", "green", "blue"))


@dataclass(frozen=True)
class Head:
    """The lines before the numbers, and the dialect of the numbers."""

    start: int  # offset of the first line of numbers
    line: int  # number of that line
    names: list[str]  # of the columns, if any
    count: int | None  # of points, if a line states it
    separator: bytes  # between fields that may be empty: a comma, a semicolon, or none
    signs: bytes  # translation table: separators become blanks, a decimal comma becomes a point


def read_text(data: bytes) -> Points:
    """Lines of x, y, z and perhaps more -> Points. Raises ValueError.

    Columns beyond three are recognized by name, otherwise by value: integers of 0 to 255, or numbers from 0 to 1, are
    colors, unit vectors are normals; seven columns are x, y, z, intensity, red, green, blue.
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
            subsample = Subsample(len(found.counts_R) * (len(text) - head.start) / len(block))
        odd = found.counts_R != width
        if odd.any():
            raise ValueError(_ragged(found.counts_R, int(odd.argmax()), count, width, line > text.count(b"\n")))
        rows = found.values_V.reshape(-1, width)
        count += len(rows)
        kept.append(subsample(rows[:, :MAX_COLUMNS]).copy())
    if not kept:
        raise ValueError("it contains no points")
    if width < 3:
        raise ValueError(f"lines of {width} numbers: expected x, y, z")
    if head.count is not None and head.count != count:
        what = "truncated: {} of {} points" if count < head.count else "its first lines say {1} points, but {0} follow"
        raise ValueError(what.format(count, head.count))
    return _columns(np.concatenate(kept), [*head.names, *[""] * width][: min(width, MAX_COLUMNS)])


def _ragged(counts: NDArray[Any], row: int, before: int, width: int, last: bool) -> str:
    """An error message for a row of another width."""
    if last and row == len(counts) - 1 and counts[row] < width:
        return f"truncated: its last line has {counts[row]} of {width} numbers"
    return f"point {before + row + 1} has {counts[row]} numbers, but those before it have {width}"


def _head(text: bytes) -> Head:
    """Reads comments, titles and a count before the numbers, and detects the dialect. Raises ValueError."""
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
            raise ValueError(f"truncated: 0 of {count} points" if count else "it contains no lines of numbers")
        if not all(NUMBER.fullmatch(w) for w in words):
            names, titles = _names(text[start:end]) or names, titles + 1
            if titles > MAX_TITLES:
                line = text.count(b"\n", 0, start) + 1
                raise ValueError(f"line {line}: expected numbers, got {words[0][:40].decode('latin-1')!r}")
        elif count is None and len(words) == 1 and words[0].isdigit():
            count = int(words[0][:20])
        else:
            line = text.count(b"\n", 0, start) + 1
            return Head(start, line, names, count, *_dialect(text[start : start + 65_536]))
        start = min(end + 1, len(text))


def _commented(lines: bytes) -> list[str]:
    """Names of columns in the last or the first of the comments before the numbers."""
    for part in (lines[-TITLE:].split(b"\n")[::-1], lines[:TITLE].split(b"\n")):
        for line in part:
            if names := _names(line.lstrip(b"#/ \t")):
                return names
    return []


def _names(line: bytes) -> list[str]:
    """A title -> the names of the columns, simplified; none if x, y and z are not among them."""
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
    """The indices of the columns with the wanted names; None if one is missing."""
    found = [next((i for i, name in enumerate(names) if name in known), None) for known in wanted]
    return None if None in found else [i for i in found if i is not None]


def _dialect(sample: bytes) -> tuple[bytes, bytes]:
    """Lines of numbers -> the separator of fields that may be empty, and the translation table (see `Head`)."""
    lines = [line.strip() for line in uncommented(sample, slashes=True).split(b"\n")[:SAMPLE] if line.strip()]
    lines = lines[: max(len(lines) - 1, 1)]  # the last one may be incomplete
    commas = any(b"," in line for line in lines)
    fields = [BETWEEN.split(line) for line in lines]
    decimal = commas and all(len(f) >= 3 and all(DECIMAL.fullmatch(one) for one in f if one) for f in fields)
    separator = b";" if any(b";" in line for line in lines) else b"," if commas and not decimal else b""
    return separator, bytes.maketrans(b',;|"', b".   " if decimal else b"    ")


def _unified(block: bytes, head: Head) -> bytes:
    """A block of any dialect -> numbers separated by blanks, with nan for empty fields."""
    block = uncommented(block, slashes=True)
    sign = head.separator
    if sign and re.search(sign + rb"[ \t]*[" + sign + rb"\r\n]|^[ \t]*" + sign, block, re.MULTILINE):
        block = re.sub(rb"(?<=" + sign + rb")[ \t]*(?=[\r\n" + sign + rb"]|\Z)|^[ \t]*(?=" + sign + rb")", b"nan",
                       block, flags=re.MULTILINE)  # fmt: skip
    return block.translate(head.signs)


def _columns(rows_PC: Floats, names: list[str]) -> Points:
    """The columns -> points, with the normals and colors found among them."""
    width = rows_PC.shape[1]
    axes = _places(names, AXES)
    if axes and all(names):
        normals, colors = _places(names, NORMALS), _places(names, COLORS)
    else:
        axes = axes or [0, 1, 2]
        normals, colors = _by_value(rows_PC)
    levels = rows_PC[:, colors] if colors else None
    if levels is not None and names[width - 1] and 255 < levels.max(initial=0) < 65_536:  # of 16 bits, as in LAS
        levels = levels / 65_535
    return Points(rows_PC[:, axes], rows_PC[:, normals] if normals else None, levels)


def _by_value(rows_PC: Floats) -> tuple[list[int] | None, list[int] | None]:
    """The columns of normals and those of colors, recognized by value."""
    width = rows_PC.shape[1]
    if width == 7 and _are_colors(rows_PC[:, 4:]):
        return None, [4, 5, 6]
    normals = colors = None
    at = 3
    while at + 3 <= width:
        three, place = rows_PC[:, at : at + 3], [at, at + 1, at + 2]
        if normals is None and _are_normals(three):
            normals = place
        elif colors is None and _are_colors(three):
            colors = place
        else:
            place = []
        at += 3 if place else 1
    return normals, colors


def _are_normals(values_P3: Floats) -> bool:
    """Whether nearly all have unit length, apart from zeros."""
    length = np.linalg.norm(values_P3, axis=1)
    length = length[np.isfinite(length) & (length > 0)]
    return len(length) > 0 and bool((np.abs(length - 1) < 0.02).mean() > 0.9)


def _are_colors(values_P3: Floats) -> bool:
    """Whether all are integers of 0 to 255, or any numbers from 0 to 1."""
    values = values_P3[np.isfinite(values_P3).all(1)]
    if not len(values) or values.min() < 0 or values.max() > 255:
        return False
    return bool(values.max() <= 1 or (values == np.round(values)).all())
