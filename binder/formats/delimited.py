"""Delimited text (CSV, TSV and their relatives) -> columns; encoding, separator, decimal mark and header are detected.

Free of torch and NumPy. Where names are in the first line and numbers from the second on, detection costs next to
nothing.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from binder.errors import ItemError, one_line
from binder.formats.content import decode_text

if TYPE_CHECKING:
    import pyarrow

MAX_BYTES = 1 << 28  # of text; parsing it takes several times that memory
MAX_COLUMNS = 10_000
MAX_CELLS = 1 << 25  # numbers in one item: a day and a half of six channels at 40 Hz
BLOCK = 1 << 20  # bytes that Arrow reads at a time
PROBED_LINES, PROBED_BYTES = 200, 1 << 17  # from which the layout is detected
SEPARATORS = ",;\t|"
MAX_COMMENTS = 1000  # among the rows of numbers; Arrow calls back into Python for each
ADVICE = "cut it into recordings, or save it as Parquet"
# blank and comment lines before the table
COMMENTS = re.compile(rb"(?:[ \t]*+(?:[#%][^\r\n]*+|//[^\r\n]*+)?(?:\r\n|\r|\n)){1,1000}+")
SEP_LINE = re.compile(rb"\"?sep=([,;\t|])\"?[ \t]*(?:\r\n|\r|\n)", re.IGNORECASE)  # how Excel declares the separator
PLAIN = re.compile(rb"[-+\d.eE \t,;]*[\r\n]*")  # a line of numbers
NUMBER = re.compile(r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?|nan|inf", re.IGNORECASE)
WITH_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
BLANKS = re.compile(rb"[ \t]+")
EDGES = re.compile(rb"^[ \t]+|[ \t]+$", re.MULTILINE)
NULLS = ["", "-", "--", "?", "NA", "N/A", "n/a", "na", "NaN", "nan", "-nan", "NULL", "null", "None", "none", "#N/A"]
SIGNS = {"\u2212": "-", "\uff0d": "-", "\uff0b": "+", "\uff0e": ".", "\u066b": ".", "\uff0c": ","}  # Unicode -> ASCII


@dataclass(frozen=True)
class Layout:
    """How a table is laid out as text."""

    names: Sequence[str]  # of the columns; empty strings where there is no header
    start: int  # byte at which the first row of numbers begins
    separator: str  # ",", ";", tab, "|", or " " for any number of spaces and tabs
    decimal: str = "."
    units: Mapping[str, str] = field(default_factory=dict)  # of columns, where a row of units follows the header
    plain: bool = False  # every cell seems to be a number


def read_delimited(data: bytes, name: str) -> tuple[pyarrow.Table, Layout]:
    """The bytes of a text file -> its columns, and their layout; columns are named "" where there is no header.

    Reads UTF-8, UTF-16 or Windows-1252; columns separated by comma, semicolon, tab, bar or spaces; decimal commas where
    the comma does not separate; lines before the header (comments, "key: value", "sep=;"); a row of units below it.
    Raises ItemError.
    """
    if len(data) > MAX_BYTES:
        raise ItemError(name, f"more than {MAX_BYTES >> 20} MiB of text; {ADVICE}")
    if not data.isascii():
        data = _in_ascii_digits(decode_text(data, name)).encode()
    elif b"\0" in data:
        raise ItemError(name, "not a table: expected CSV, TSV, Parquet or a NumPy file")
    start = _after_comments(data)
    layout = _plain(data, start)
    if layout is not None:
        try:
            return _parsed(data, layout, name), layout
        except ItemError:
            pass  # the first two lines were something else
    layout = _detected(data, start, name)
    return _parsed(data, layout, name), layout


def _in_ascii_digits(text: str) -> str:
    """The text with the digits, signs and decimal marks of every script as ASCII."""
    digits = {ord(c): str(unicodedata.digit(c)) for c in set(text) if not c.isascii() and c.isdecimal()}
    signs = {ord(c): sign for c, sign in SIGNS.items() if c in text}
    return text.translate(digits | signs) if digits or signs else text


def _after_comments(data: bytes, place: int = 0) -> int:
    """Where the first line after `place` begins that is neither blank nor a comment, in bytes."""
    while found := COMMENTS.match(data, place):  # a thousand lines at a time
        place = found.end()
    return place


def _lines(data: bytes, start: int) -> list[bytes]:
    """The first lines from byte `start` on, line breaks included."""
    head = data[start : start + PROBED_BYTES]
    lines = head.splitlines(keepends=True)
    if len(lines) > 1 and len(head) == PROBED_BYTES:
        lines.pop()  # incomplete
    return lines[:PROBED_LINES]


def _plain(data: bytes, start: int) -> Layout | None:
    """The layout of a table with names in its first line and numbers in its second; None for any other."""
    end = data.find(b"\n", start) + 1
    first, second = data[start:end], data[end : (data.find(b"\n", end) + 1) or len(data)]
    if not end or b'"' in first or not PLAIN.fullmatch(second) or PLAIN.fullmatch(first):
        return None
    separator = max(SEPARATORS, key=lambda sign: first.count(sign.encode()))
    count = first.count(separator.encode())
    if second.count(separator.encode()) != count or not 0 < count < MAX_COLUMNS:
        return None
    if separator != "," and b"," in second:  # decimal commas
        return None
    return Layout([cell.strip() for cell in first.decode().split(separator)], end, separator, plain=True)


def _detected(data: bytes, start: int, name: str) -> Layout:
    """The layout of any table: the separator that gives most lines equally many cells, and where the numbers begin."""
    declared = SEP_LINE.match(data, start)
    if declared:
        start = _after_comments(data, declared.end())
    lines = _lines(data, start)
    if not lines:
        raise ItemError(name, "not a table: nothing but comments")
    texts = ["" if line[:1] in b"#%" else line.decode("utf-8", "replace").strip("\r\n\x1a") for line in lines]
    cuts = [_cut(texts, sign) for sign in ([declared[1].decode("latin-1")] if declared else [*SEPARATORS, " "])]
    cut = max(cuts, key=lambda found: found.score)
    if cut.width > MAX_COLUMNS:
        raise ItemError(name, f"a table of more than {MAX_COLUMNS:,} columns; leave some out")
    first = cut.first_row()
    heads = cut.heads(first)
    if not heads:  # the names may be in a comment
        above = (
            texts[first - 1] if first else data[:start].rstrip(b"\r\n").rpartition(b"\n")[2].decode("utf-8", "replace")
        )
        names = _cells(above.strip().lstrip("#%/").strip(), cut.separator)
        heads = [names] if above.strip()[:1] in ("#", "%", "/") and len(names) == cut.width else []
    place = next((i for i, cells in enumerate(heads) if all(cells) and len(set(cells)) == len(cells)), len(heads) - 1)
    names = (heads[place] + [""])[: cut.width] if heads else []
    units = dict(zip(names, heads[-1], strict=False)) if place < len(heads) - 1 else {}
    body = (cell for row in cut.rows[first:] for cell in row)
    commas = cut.separator != "," and any(WITH_COMMA.fullmatch(cell) for cell in body)
    return Layout(
        names or [""] * cut.width, start + sum(map(len, lines[:first])), cut.separator, "," if commas else ".", units
    )


@dataclass(frozen=True)
class _Cut:
    """Lines cut into cells at one separator."""

    separator: str
    rows: list[list[str]]
    width: int  # the most common number of cells
    score: tuple[float, float, float, int]  # the share of rows of that width (rounded), the share of numbers in them,
    # the exact share of rows, the width

    def first_row(self) -> int:
        """The first row of numbers; where no row is mostly numbers, the one after the first that is `width` wide."""
        wide = [len(row) == self.width for row in self.rows]
        usable = [is_wide and _numbers(row) >= 0.5 for is_wide, row in zip(wide, self.rows, strict=True)]
        for i, row in enumerate(self.rows):  # the two rows after it count as well: "Rate,50" above a table is not one
            after = [j for j in range(i + 1, min(i + 4, len(usable))) if any(self.rows[j])]
            if usable[i] and all(usable[j] for j in after[:2]) and not (i == 0 and _counts(row)):
                return i
        return wide.index(True) + 1 if True in wide else len(wide)

    def heads(self, first: int) -> list[list[str]]:
        """The header rows: those right above the numbers with as many cells, or one fewer for an empty last column."""
        widths = {self.width}
        if first < len(self.rows) and not self.rows[first][-1]:
            widths.add(self.width - 1)
        begin = first
        while begin > 0 and len(self.rows[begin - 1]) in widths:
            begin -= 1
        return self.rows[begin:first]


def _cut(texts: Sequence[str], separator: str) -> _Cut:
    rows = [_cells(text, separator) for text in texts]
    widths = Counter(len(row) for row in rows if any(row))
    width, count = widths.most_common(1)[0] if widths else (1, 0)
    wide = [row for row in rows if len(row) == width]
    share = count / widths.total() if width > 1 else 0.0
    numbers = round(sum(map(_numbers, wide)) / max(1, len(wide)), 1)
    return _Cut(separator, rows, width, (round(share, 1), numbers, share, width))


def _cells(text: str, separator: str) -> list[str]:
    if separator == " ":
        return text.split()
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]
    except csv.Error:
        return [text]


def _numbers(row: Sequence[str]) -> float:
    """The share of numbers among the nonempty cells."""
    filled = [cell for cell in row if cell]
    return sum(NUMBER.fullmatch(cell) is not None for cell in filled) / len(filled) if filled else 0.0


def _counts(row: Sequence[str]) -> bool:
    """Whether a row holds 0, 1, 2 ...: the column names that pandas makes up."""
    plain = [cell for cell in row if cell]
    return len(plain) > 1 and plain == [str(i) for i in range(len(plain))]


def _parsed(data: bytes, layout: Layout, name: str) -> pyarrow.Table:
    """The columns, of numbers or of text. Raises ItemError for too many cells and for rows of different widths."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    names, separator = list(layout.names), layout.separator
    if len(names) * data.count(b"\n", layout.start) > MAX_CELLS:
        raise ItemError(name, f"a table of more than {MAX_CELLS:,} cells; {ADVICE}")
    body = memoryview(data)[layout.start :]
    if separator == " ":
        body, separator = memoryview(BLANKS.sub(b"\t", EDGES.sub(b"", body))), "\t"
    if not bytes(body[:4096]).strip():
        return pyarrow.table([pyarrow.nulls(0)] * len(names), names=names)
    parsing = arrow_csv.ParseOptions(delimiter=separator, invalid_row_handler=_Comments())
    converting = _converting(tuple(names) if layout.plain else (), layout.decimal)
    for size in [BLOCK, len(body) + 1] if len(body) > BLOCK else [BLOCK]:
        # Arrow infers column types from the first block; where a later one contradicts them, everything is read as one
        # block. Without threads: one of them could still call the row handler after an error has ended the reading
        reading = arrow_csv.ReadOptions(column_names=names, block_size=size, use_threads=False)
        try:
            return arrow_csv.read_csv(pyarrow.BufferReader(body), reading, parsing, converting)
        except Exception as error:  # Arrow raises many types
            problem = ItemError(name, f"not a table that can be read: {one_line(error)}")
    raise problem


@lru_cache(maxsize=64)
def _converting(numbers: tuple[str, ...], decimal: str) -> Any:
    """How cells become values; columns that are known to be `numbers` are not inferred, which is faster."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    return arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(numbers, pyarrow.float64()),
        null_values=NULLS,
        strings_can_be_null=True,
        decimal_point=decimal,
    )


class _Comments:
    """Tells Arrow what to do with a row that has too many or too few cells: skip it if it is a comment."""

    def __init__(self) -> None:
        self.left = MAX_COMMENTS

    def __call__(self, row: Any) -> str:
        self.left -= 1
        return "skip" if self.left >= 0 and row.text.lstrip()[:1] in ("#", "%") else "error"
