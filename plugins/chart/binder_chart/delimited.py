"""Text with separated values -> a table: encoding, separator, comment lines, header, all found out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence

from binder import ItemError
from binder_chart.cells import Decimals, is_number
from binder_chart.table import Table, build, check_size

SEPARATORS = ",;\t|"
PROBE_LINES = 100  # by which the separator is found
KIND_LINE = re.compile(r"#\s*(?:kind|chart|type)\s*[:=]\s*(\w+)\s*", re.IGNORECASE)
YEAR = re.compile(r"(1[5-9]|20|21)\d\d\*?")


def decode(name: str, data: bytes) -> str:
    """Bytes -> text: UTF-8, UTF-16 with a byte order mark, and else Windows-1252. Raises ItemError for no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise ItemError(name, "text in UTF-16 that is cut off or damaged")
    odd = sum(text.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\f\x1a")
    if odd:
        raise ItemError(name, "binary data; expected a table as text, Parquet, JSON, or a picture (png, jpg, webp)")
    if not text.strip():
        raise ItemError(name, "empty: no text in it")
    return text


def read_delimited(name: str, text: str, tab: bool = False) -> Table:
    """Separated values -> the table. With `tab` the file's name says that tabs separate.

    Lines before the header that begin with # are comments; `# kind: pie` says how the table wants to be drawn. Lines
    of a single cell before and after the table (a title, a source) are left out. Raises ItemError for ragged rows.
    """
    kind, before, text = _comments(text)
    separator = "\t" if tab else _separator(text)
    if text[:5].lower() == "sep=" + text[4:5].lower() and text[4:5] in SEPARATORS:  # Excel's way to say it
        separator, text = text[4], text.partition("\n")[2]
    try:
        header = next(iter(_rows(text[: text.find("\n") + 1], separator)), [])
        check_size(name, text.count("\n"), max(1, len(header)))  # before minutes are spent on it
        numbered = enumerate(_rows(text, separator), start=before + 1)
        rows = [(number, cells) for number, cells in numbered if any(cells)]
    except csv.Error as error:
        raise ItemError(name, f"not separated values: {error}") from None
    if not rows:
        raise ItemError(name, "a table without cells")
    rows = _framed(rows)
    width = len(_trimmed(rows[0][1]))
    cells = [_fitted(name, number, row, width) for number, row in rows]
    headless = _headless(cells)
    headers = [""] * width if headless else cells[0]
    body = cells if headless else cells[1:]
    decimals: Decimals = "," if separator == ";" else "."  # where a comma is the separator it is no decimal mark
    return build(name, headers, list(zip(*body, strict=True)) if body else [()] * width, decimals, kind)


def _comments(text: str) -> tuple[str | None, int, str]:
    """(chart type the comments ask for, how many lines they are, the text after them)."""
    kind, lines = None, 0
    while text.startswith("#"):
        line, _, rest = text.partition("\n")
        if any(separator in line for separator in SEPARATORS) and not KIND_LINE.fullmatch(line.strip()):
            break  # a header such as "#,name,value"
        found = KIND_LINE.fullmatch(line.strip())
        kind = found[1].lower() if found else kind
        text, lines = rest, lines + 1
    return kind, lines, text


def _rows(text: str, separator: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [[cell.strip() for cell in row] for row in reader]


def _separator(text: str) -> str:
    """The separator that cuts the first lines into the same number of cells, more than one."""
    # cut at a line's end; a quoted cell may be cut there, which costs one odd row
    head = "\n".join(text.splitlines()[:PROBE_LINES])
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


def _fitted(name: str, number: int, row: list[str], width: int) -> list[str]:
    hint = "missing cells are left blank" if len(row) < width else "text with a separator in it needs quotes"
    if len(row) < width or len(_trimmed(row)) > width:
        raise ItemError(name, f"row {number}: {len(row)} cells where the header has {width} ({hint})")
    return row[:width]


def _headless(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is data: it holds a number, not a year, above a column of numbers."""
    if len(rows) < 2:
        return all(is_number(cell) for cell in rows[0])
    for i, cell in enumerate(rows[0]):
        below = [row[i] for row in rows[1:6] if row[i]]
        if is_number(cell) and below and all(map(is_number, below)):
            if not YEAR.fullmatch(cell):
                return True
            if all(map(YEAR.fullmatch, below)):  # years below a year
                return True
    return False
