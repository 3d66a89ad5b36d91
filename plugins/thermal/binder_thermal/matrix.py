"""Temperatures as text, as exported by the software of camera makers: one line per row of pixels. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ItemError
from binder_thermal.config import KELVIN

Floats = NDArray[np.floating[Any]]

MAX_BYTES = 1 << 24  # of a file: about three million pixels, which take forty times the memory while parsed
MAX_LINES = 1 << 14  # of a file: more rows than any sensor has
FEWEST = 4  # pixels per row, and rows
MISSING = {"", "-", "--", "---", "nan", "n/a", "na", "null", "none", "inf", "-inf", "#n/a", "ol", "overload"}
NUMBER = re.compile(r"\s*([-+]?\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?)\s*(?:°|º|deg)?\s*([CFKcfk]?)\s*")
UNITS = {
    "F": re.compile(r"fahrenheit|[°º]\s*F\b|\bdeg\.? ?F\b|[\[(]F[\])]", re.IGNORECASE),
    "C": re.compile(r"celsius|[°º]\s*C\b|\bdeg\.? ?C\b|[\[(]C[\])]", re.IGNORECASE),
    "K": re.compile(r"kelvin|[\[(]K[\])]|[°º]\s*K\b", re.IGNORECASE),
}


@dataclass(frozen=True)
class Matrix:
    """The numbers in a file, and the unit that the file states (C, F or K), if any."""

    values_HW: Floats  # NaN where a cell is empty
    unit: str | None

    def celsius(self) -> Floats:
        """The values in degC, which is also assumed where no unit is stated."""
        if self.unit == "F":
            return (self.values_HW - 32) / 1.8
        return self.values_HW - KELVIN if self.unit == "K" else self.values_HW


def parse(text: str, name: str) -> Matrix | None:
    """Text -> its matrix of numbers; None where it does not have four lines of equally many numbers.

    The numbers are separated by commas, semicolons, tabs or blanks, and have decimal points, or commas unless these
    separate. Other lines before and after the matrix, and a row and a column of names or indices, are left out. Raises
    ItemError for a matrix that is truncated, too large for a picture, or has something else among its numbers.
    """
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise ItemError(name, f"{len(lines):,} lines of text: too many rows for a picture")
    found = max((_block(lines, separator) for separator in ";\t, "), key=lambda block: block.cells)
    if found.cells < FEWEST * FEWEST:
        return None
    values_HW, unit = _numbers(found, name)
    _check_rest(lines, found, name)
    values_HW = _without_indices(values_HW)
    if min(values_HW.shape) < FEWEST:
        return None
    around = "\n".join([*lines[: found.first], *found.head, *lines[found.last :][:50]])
    stated = next((key for key, pattern in UNITS.items() if pattern.search(around)), None)
    return Matrix(values_HW, unit or stated)


@dataclass(frozen=True)
class Block:
    """Consecutive lines with equally many numbers."""

    separator: str
    first: int  # index of the first line
    last: int  # index after the last line
    rows: list[list[str]]
    head: list[str]  # cells of the lines that name columns

    @property
    def cells(self) -> int:
        """The number of cells."""
        return sum(map(len, self.rows))


def _block(lines: Sequence[str], separator: str) -> Block:
    """The largest block of lines that this separator splits into equally many cells, most of them numbers."""
    best, begin, width = (0, 0), 0, -1
    split = [_cells(line, separator) for line in lines]
    for i in range(len(split) + 1):
        cells = split[i] if i < len(split) else []
        if len(cells) != width or width < FEWEST:
            if width >= FEWEST and (i - begin) * width > (best[1] - best[0]) * len(split[best[0]]):
                best = begin, i
            begin, width = i, len(cells)
    rows = split[best[0] : best[1]]
    head = 0
    while head < len(rows) and not _mostly_numbers(rows[head]):
        head += 1
    if not all(_mostly_numbers(row) for row in rows[head : head + 3]):
        return Block(separator, 0, 0, [], [])
    return Block(separator, best[0], best[1], rows[head:], [cell for row in rows[:head] for cell in row])


def _cells(line: str, separator: str) -> list[str]:
    """The cells of a line, without blank ones at its end."""
    if separator == " ":
        return line.split()
    cells = next(csv.reader([line], delimiter=separator), []) if '"' in line else line.split(separator)
    while cells and not cells[-1].strip():  # many programs write a separator at the end of a line
        cells.pop()
    return cells


def _mostly_numbers(row: Sequence[str]) -> bool:
    """Whether a row contains pixels: numbers and missing values, after at most one name."""
    return all(_is_number(cell) for cell in row[1:4]) and any(NUMBER.fullmatch(cell) for cell in row[1:])


def _is_number(cell: str) -> bool:
    """Whether a cell is a number or a missing value."""
    return bool(NUMBER.fullmatch(cell)) or cell.strip().lower() in MISSING


def _numbers(block: Block, name: str) -> tuple[Floats, str | None]:
    """(H, W), and the unit in the cells, if any. A first column of names is left out. Raises ItemError."""
    rows = block.rows
    if not any(_is_number(row[0]) for row in rows[1:FEWEST]):
        rows = [row[1:] for row in rows]
    elif not _is_number(rows[0][0]):  # the corner between a row and a column of indices
        rows = [["", *rows[0][1:]], *rows[1:]]
    for points in (rows, [[cell.replace(",", ".") for cell in row] for row in rows]):
        with contextlib.suppress(ValueError):
            return np.array(points, dtype=np.float64), None  # plain numbers, the fast way
    units: set[str] = set()
    values_HW = np.full((len(rows), len(rows[0])), np.nan)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            found = NUMBER.fullmatch(cell)
            if found:
                values_HW[i, j] = float(found[1].replace(",", "."))
                units |= {found[2].upper()} - {""}
            elif cell.strip().lower() not in MISSING:
                raise ItemError(name, f"line {block.last - len(rows) + i + 1}: expected a number, got {cell[:40]!r}")
    if len(units) > 1:
        raise ItemError(name, f"temperatures in several units: {', '.join(sorted(units))}")
    return values_HW, next(iter(units), None)


def _check_rest(lines: Sequence[str], block: Block, name: str) -> None:
    """Raises ItemError where the matrix is followed by a row of another length, or by another matrix."""
    width = len(block.rows[0])
    for i, line in enumerate(lines):
        if block.first <= i < block.last:
            continue
        cells = _cells(line, block.separator)
        if i >= block.last and len(cells) == width and _mostly_numbers(cells):
            raise ItemError(name, f"several matrices in one file (line {i + 1}): expected one")
        if i - block.last in range(3) and len(cells) > 1 and all(_is_number(cell) for cell in cells):
            raise ItemError(
                name, f"line {i + 1} has {len(cells)} numbers; expected {width}: the matrix is truncated, or none"
            )


def _without_indices(values_HW: Floats) -> Floats:
    """The matrix without a first row and a first column of pixel indices."""
    column = _are_indices(values_HW[1:, 0])
    if _are_indices(values_HW[0]) or (_are_indices(values_HW[0, 1:]) and (column or not np.isfinite(values_HW[0, 0]))):
        values_HW = values_HW[1:]
    return values_HW[:, 1:] if _are_indices(values_HW[:, 0]) else values_HW


def _are_indices(values_L: Floats) -> bool:
    """Whether the values are 0, 1, 2 ... or 1, 2, 3 ..."""
    return len(values_L) >= FEWEST and values_L[0] in (0, 1) and bool((np.diff(values_L) == 1).all())
