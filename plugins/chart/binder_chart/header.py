"""The top rows of a table -> a name for each column, also where headers have several rows and merged cells.

Shapes: R rows, C columns, all rows of the same length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from binder_chart.cells import MISSING, is_number
from binder_chart.digits import ascii_digits

YEAR = re.compile(r"(1[5-9]|20|21)[0-9]{2}\*?")
MAX_LINES = 4  # rows of a header
BELOW = 20  # rows examined to find the columns of numbers

Row = Sequence[str]


def headers_of(rows: Sequence[Row]) -> tuple[list[str], int]:
    """(R, C) cells -> (C,) names, "" where there is none, and the number of rows that titles and headers take."""
    first = 0
    while len(rows) > first + 2 and _is_title(rows[first], rows[first + 1]):
        first += 1
    if _headless(rows[first:]):
        return [""] * len(rows[0]), first
    end = first + 1
    while end < first + MAX_LINES and _is_header(rows[first:end], rows[end : end + 1 + BELOW]):
        end += 1
    return _joined(rows[first:end], _numeric(rows[end : end + BELOW])), end


def is_year(cell: str) -> bool:
    """Whether a cell is a year such as 2019."""
    return YEAR.fullmatch(ascii_digits(cell)) is not None


def _headless(rows: Sequence[Row]) -> bool:
    """Whether the first row is data: it has a number that is not a year above a column of numbers."""
    if len(rows) < 2:
        return all(is_number(cell) for cell in rows[0])
    for i, cell in enumerate(rows[0]):
        below = [row[i] for row in rows[1:6] if row[i]]
        numbers = is_number(cell) and below and all(map(is_number, below))
        if numbers and (not is_year(cell) or all(map(is_year, below))):  # or a year above years
            return True
    return False


def _is_title(row: Row, following: Row) -> bool:
    """Whether a row has text in its first cell alone, and the next row begins with two filled cells, first a name."""
    alone = len(row) > 1 and bool(row[0]) and not any(row[1:])
    return alone and all(following[:2]) and not is_number(following[0])


def _is_header(above: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether the first of `rows` belongs to the header `above` rather than to the data.

    The columns of numbers decide. Words above numbers are a header. Years and other numbers are one where the header
    above does not tell the columns apart, or the row has no name.
    """
    if len(rows) < 2:
        return False
    row, numeric = rows[0], _numeric(rows[1:])
    cells = [row[i] for i in numeric if _filled(row[i])]
    if not cells:
        return False
    names = [row[i] for i in range(len(row)) if i not in numeric]
    nameless = bool(names) and not any(names)
    top = [above[-1][i] for i in numeric]
    several = len(set(top)) < len(top) or "" in top  # columns share a name, or a cell was merged over them
    if all(map(_is_word, cells)):
        bracketed = all(cell[0] + cell[-1] in ("()", "[]") for cell in cells)
        return 2 * len(cells) >= len(numeric) and (several or nameless or bracketed or len(set(cells)) > 1)
    if all(map(is_year, cells)) and not all(is_year(other[i]) for other in rows[1:] for i in numeric if other[i]):
        return several or (nameless and len(cells) > 1)
    return "" in top and nameless and len(cells) == len(numeric)


def _numeric(rows: Sequence[Row]) -> list[int]:
    """The columns in which most of the cells are numbers."""
    found = []
    for i in range(len(rows[0]) if rows else 0):
        cells = [row[i] for row in rows if _filled(row[i])]
        if cells and 2 * sum(map(is_number, cells)) > len(cells):
            found.append(i)
    return found


def _is_word(cell: str) -> bool:
    """Whether a cell is a name such as "net", "Q1" or "(%)", but not "<5" or "3-4"."""
    return not is_number(cell) and cell[0] not in "<>~≈≤≥=±" and (cell[0] in "([" or any(map(str.isalpha, cell)))


def _filled(cell: str) -> bool:
    return cell.lower() not in MISSING


def _joined(lines: Sequence[Row], numeric: Sequence[int]) -> list[str]:
    """Rows of a header -> a name for each column; a blank cell belongs to the merged cell on its left."""
    names: list[list[str]] = [[] for _ in lines[0]]
    for depth, line in enumerate(lines):
        spanning = ""
        for i, cell in enumerate(line):
            same_kind = i > 0 and (i in numeric) == (i - 1 in numeric)
            spanning = cell or (spanning if same_kind and depth < len(lines) - 1 else "")
            if spanning and spanning not in names[i][-1:]:
                names[i].append(spanning)
    return [" ".join(parts) for parts in names]
