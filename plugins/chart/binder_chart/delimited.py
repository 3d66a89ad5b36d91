"""Delimited text -> a table: separator, comment lines, titles and header are detected.

Cells stay text here, as names and dates are drawn, too; the core's `read_table` is for tables of numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

from binder import ItemError
from binder_chart.cells import Decimals
from binder_chart.header import headers_of
from binder_chart.table import MAX_CELLS, Table, build, check_size

SEPARATORS = ",;\t|"
PROBE_LINES, PROBE_CHARACTERS = 100, 200_000  # examined to find the separator
SPARE = 2  # separators allowed per cell, as some are within quotes
KIND = r"#[^\S\n]*(?:kind|chart|type)[^\S\n]*[:=][^\S\n]*(\w+)[^\S\n]*(?:\n|$)"
KIND_LINE = re.compile("^" + KIND, re.IGNORECASE | re.MULTILINE)
# lines that begin with #, except those with a separator such as "#,name,value", which are headers
COMMENTS = re.compile(rf"(?:{KIND}|#[^,;\t|\n]*(?:\n|$))*+", re.IGNORECASE)


def read_delimited(name: str, text: str, tab: bool = False) -> Table:
    """Delimited text -> the table. With `tab` the separator is known to be a tab.

    Lines before the header that begin with # are comments; `# kind: pie` sets the chart type. Lines with a single cell
    before and after the table (a title, a source) are left out. Raises ItemError for ragged rows.
    """
    kind, before, text = _comments(text.replace("\r\n", "\n").replace("\r", "\n"))
    separator = "\t" if tab else _separator(text)
    if text[:5].lower() == "sep=" + text[4:5].lower() and text[4:5] in SEPARATORS:  # as Excel writes it
        separator, text = text[4], text.partition("\n")[2]
    try:
        header = next(iter(_rows(text[: text.find("\n") + 1], separator)), [])
        check_size(name, text.count("\n"), max(1, len(header)))  # before minutes are spent on parsing
        if (count := text.count(separator)) > SPARE * MAX_CELLS:
            raise ItemError(name, f"{count:,} cells; at most {MAX_CELLS:,} can be drawn: aggregate it first")
        numbered = enumerate(_rows(text, separator), start=before + 1)
        rows = [(number, cells) for number, cells in numbered if any(cells)]
    except csv.Error as error:
        raise ItemError(name, f"not delimited text: {error}") from None
    if not rows:
        raise ItemError(name, "a table without cells")
    cells = _fitted(name, _framed(rows))
    headers, lines = headers_of(cells)
    columns = list(zip(*cells[lines:], strict=True)) if cells[lines:] else [()] * len(headers)
    decimals: Decimals = "," if separator == ";" else "."  # a comma that separates is not a decimal mark
    return build(name, headers, columns, decimals, kind)


def _comments(text: str) -> tuple[str | None, int, str]:
    """-> the chart type that the comments set, the number of comment lines, the text after them."""
    found = COMMENTS.match(text)
    lines = found[0] if found else ""
    kinds = [line[1].lower() for line in KIND_LINE.finditer(lines)]
    return (kinds[-1] if kinds else None), lines.count("\n"), text[len(lines) :]


def _rows(text: str, separator: str) -> list[list[str]]:
    """The cells of each row, without blanks around them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [[cell.strip() for cell in row] for row in reader]


def _separator(text: str) -> str:
    """The separator that splits most of the first lines into the same number of cells, more than one."""
    # cut at the end of a line; that may be within a quoted cell, which makes one odd row
    head = "\n".join(text[:PROBE_CHARACTERS].split("\n")[:PROBE_LINES])
    best, most = ",", (0.0, 0)
    for separator in SEPARATORS:
        try:
            widths = [len(row) for row in _rows(head, separator) if any(row)]
        except csv.Error:
            continue
        if not widths:
            continue
        width, count = Counter(widths).most_common(1)[0]
        score = (round(count / len(widths), 1), width)
        if width > 1 and count > 0.5 * len(widths) and score > most:
            best, most = separator, score
    return best


def _framed(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The rows without lines of a single cell before and after a wider table."""
    single = [len(_trimmed(row)) <= 1 and bool(row) and bool(row[0]) for _, row in rows]
    if single.count(False) < 2:
        return rows
    first, last = single.index(False), len(rows) - single[::-1].index(False)
    wide = Counter(len(row) for _, row in rows[first:last]).most_common(1)[0][0]
    # a row with one filled cell is part of the table if it has all separators
    while first > 0 and len(rows[first - 1][1]) == wide:
        first -= 1
    while last < len(rows) and len(rows[last][1]) == wide:
        last += 1
    return rows[first:last]


def _trimmed(row: Sequence[str]) -> Sequence[str]:
    """A row without the blank cells at its end."""
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def _fitted(name: str, rows: list[tuple[int, list[str]]]) -> list[list[str]]:
    """Rows with their numbers -> rows as long as the first. Raises ItemError for a row of another length.

    The first row may lack the blank cells of a merged cell at its end.
    """
    top, lengths = rows[0][1], {len(row) for _, row in rows[1:]}
    if len(lengths) == 1 and len(top) < max(lengths) and not rows[1][1][0]:
        top.extend([""] * (max(lengths) - len(top)))
    width = max(len(_trimmed(row)) for _, row in rows if len(row) <= len(top))
    cells = []
    for number, row in rows:
        if len(row) < width or len(_trimmed(row)) > width:
            hint = "missing cells are left blank" if len(row) < width else "text with a separator in it needs quotes"
            raise ItemError(name, f"row {number}: {len(row)} cells, but the header has {width} ({hint})")
        cells.append(row[:width])
    return cells
