"""Text with separated values -> a table: encoding, separator, comment lines, header, all found out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

from binder import ItemError
from binder_chart.cells import Decimals
from binder_chart.header import headers_of
from binder_chart.table import MOST_CELLS, Table, build, check_size

SEPARATORS = ",;\t|"
PROBE_LINES, PROBE_LETTERS = 100, 200_000  # by which the separator is found
SPARE = 2  # separators for each cell that may be read, as some stand within quotes
KIND = r"#[^\S\n]*(?:kind|chart|type)[^\S\n]*[:=][^\S\n]*(\w+)[^\S\n]*(?:\n|$)"
KIND_LINE = re.compile("^" + KIND, re.IGNORECASE | re.MULTILINE)
# lines that begin with # but for those with a separator, such as "#,name,value": they are a header
COMMENTS = re.compile(rf"(?:{KIND}|#[^,;\t|\n]*(?:\n|$))*+", re.IGNORECASE)


def read_delimited(name: str, text: str, tab: bool = False) -> Table:
    """Separated values -> the table. With `tab` the file's name says that tabs separate.

    Lines before the header that begin with # are comments; `# kind: pie` says how the table wants to be drawn. Lines
    of a single cell before and after the table (a title, a source) are left out. Raises ItemError for ragged rows.
    """
    kind, before, text = _comments(text.replace("\r\n", "\n").replace("\r", "\n"))
    separator = "\t" if tab else _separator(text)
    if text[:5].lower() == "sep=" + text[4:5].lower() and text[4:5] in SEPARATORS:  # Excel's way to say it
        separator, text = text[4], text.partition("\n")[2]
    try:
        header = next(iter(_rows(text[: text.find("\n") + 1], separator)), [])
        check_size(name, text.count("\n"), max(1, len(header)))  # before minutes are spent on it
        if (count := text.count(separator)) > SPARE * MOST_CELLS:
            raise ItemError(name, f"{count:,} cells, at most {MOST_CELLS:,} can be drawn; sum it up first")
        numbered = enumerate(_rows(text, separator), start=before + 1)
        rows = [(number, cells) for number, cells in numbered if any(cells)]
    except csv.Error as error:
        raise ItemError(name, f"not separated values: {error}") from None
    if not rows:
        raise ItemError(name, "a table without cells")
    cells = _fitted(name, _framed(rows))
    headers, lines = headers_of(cells)
    columns = list(zip(*cells[lines:], strict=True)) if cells[lines:] else [()] * len(headers)
    decimals: Decimals = "," if separator == ";" else "."  # where a comma is the separator it is no decimal mark
    return build(name, headers, columns, decimals, kind)


def _comments(text: str) -> tuple[str | None, int, str]:
    """(chart type the comments ask for, how many lines they are, the text after them)."""
    found = COMMENTS.match(text)
    lines = found[0] if found else ""
    said = [line[1].lower() for line in KIND_LINE.finditer(lines)]
    return (said[-1] if said else None), lines.count("\n"), text[len(lines) :]


def _rows(text: str, separator: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [[cell.strip() for cell in row] for row in reader]


def _separator(text: str) -> str:
    """The separator that cuts the first lines into the same number of cells, more than one."""
    # cut at a line's end; a quoted cell may be cut there, which costs one odd row
    head = "\n".join(text[:PROBE_LETTERS].split("\n")[:PROBE_LINES])
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
    """Without the lines of a single cell around a table that is wider."""
    single = [len(_trimmed(row)) <= 1 and bool(row) and bool(row[0]) for _, row in rows]
    if single.count(False) < 2:
        return rows
    first, last = single.index(False), len(rows) - single[::-1].index(False)
    wide = Counter(len(row) for _, row in rows[first:last]).most_common(1)[0][0]
    # a short row is part of the table where it has all its separators
    while first > 0 and len(rows[first - 1][1]) == wide:
        first -= 1
    while last < len(rows) and len(rows[last][1]) == wide:
        last += 1
    return rows[first:last]


def _trimmed(row: Sequence[str]) -> Sequence[str]:
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return row[:end]


def _fitted(name: str, rows: list[tuple[int, list[str]]]) -> list[list[str]]:
    """Rows, each with its number -> all of one length, that of the first. Raises ItemError for another length.

    The first row may end in blank cells that belong to a merged one, or lack them.
    """
    top, lengths = rows[0][1], {len(row) for _, row in rows[1:]}
    if len(lengths) == 1 and len(top) < max(lengths) and not rows[1][1][0]:
        top.extend([""] * (max(lengths) - len(top)))
    width = max(len(_trimmed(row)) for _, row in rows if len(row) <= len(top))
    cells = []
    for number, row in rows:
        if len(row) < width or len(_trimmed(row)) > width:
            hint = "missing cells are left blank" if len(row) < width else "text with a separator in it needs quotes"
            raise ItemError(name, f"row {number}: {len(row)} cells where the header has {width} ({hint})")
        cells.append(row[:width])
    return cells
