"""The rows of a manifest as cells by column, from CSV, TSV, JSONL or Parquet. Errors name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from binder import files
from binder.errors import ManifestError, one_line
from binder.formats.delimited import MAX_COLUMNS, SEP_LINE, SEPARATORS

DELIMITERS = {".csv": ",", ".tsv": "\t"}  # the usual one for each suffix
SUFFIXES = frozenset({*DELIMITERS, ".jsonl", ".parquet"})
BATCH = 256  # rows of Parquet that are converted to Python objects at a time

Cells = Mapping[str, Any] | ManifestError  # of a row by column, or what is wrong with the row


def cells(path: Path) -> Iterator[tuple[int, Cells]]:
    """The line number (from 1, as in an editor) and the cells of each row.

    A row that is damaged on its own is yielded as its error. Raises ManifestError where the rest cannot be read either.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path)
    elif suffix == ".jsonl":
        yield from _json_lines(path)
    elif suffix in DELIMITERS:
        yield from _delimited(path)
    else:
        raise ManifestError(f"{path}: not a manifest; expected {', '.join(sorted(SUFFIXES))} or a folder")


def columns(path: Path) -> list[str]:
    """The column names of a manifest. Raises ManifestError."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    if path.suffix.lower() in DELIMITERS:  # from the header, which may have no rows below it
        return next(_records(path), (0, []))[1]
    for _, found in cells(path):
        if isinstance(found, Mapping):
            return list(found)
    return []


def _delimited(path: Path) -> Iterator[tuple[int, Cells]]:
    """The rows below the header of a CSV or TSV file, as `cells` yields them."""
    header: list[str] | None = None
    for line, found in _records(path):
        if header is None:
            header = found
        elif len(found) != len(header):
            why = f"{len(found)} cells where the header has {len(header)} (a text with a comma needs quotes)"
            yield line, ManifestError(f"{path}:{line}: {why}")
        else:
            yield line, dict(zip(header, found, strict=True))


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header of a CSV or TSV file and then its rows, each with the line it begins on; blank rows are skipped."""
    text = _text(path)
    delimiter = _delimiter(text, DELIMITERS[path.suffix.lower()])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    first, line, end = True, 1, 0  # lines where this row begins and the one before it ended: cells may hold line breaks
    try:
        for found in reader:
            line, end = end + 1, reader.line_num
            if not any(cell.strip() for cell in found) or (line == 1 and re.fullmatch("(?i)sep=.?", found[0])):
                continue
            if first:
                first, found = False, _checked_names(path, line, [cell.strip() for cell in found])
            yield line, found
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: {error}") from None


def _delimiter(text: str, usual: str) -> str:
    """The delimiter: as an Excel "sep=;" line declares it, else the one most frequent in the header outside quotes."""
    declared = SEP_LINE.match(text[:40].encode())
    if declared:
        return str(declared[1].decode())
    head = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    counts = {sign: head.count(sign) for sign in usual + SEPARATORS}
    return max(counts, key=lambda sign: counts[sign])  # the usual one, where there is none


def _checked_names(path: Path, line: int, names: list[str]) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise ManifestError(f"{path}:{line}: {len(names):,} columns, more than {MAX_COLUMNS:,}: is it a manifest?")
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise ManifestError(f"{path}:{line}: two columns are named {min(repeated)!r}")
    return names


def _json_lines(path: Path) -> Iterator[tuple[int, Cells]]:
    for number, line in enumerate(io.StringIO(_text(path)), start=1):  # not splitlines: JSON may contain U+2028
        if line.strip():
            found = _json(line)
            yield number, ManifestError(f"{path}:{number}: {found}") if isinstance(found, str) else found


def _json(line: str) -> Mapping[str, Any] | str:
    """The object in a line, or a message that says what is wrong with the line."""
    try:
        found = json.loads(line)
        files.check_depth(found)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"not JSON: {one_line(error)}"
    return found if isinstance(found, dict) else f"expected one JSON object a line, got {type(found).__name__}"


def _parquet_rows(path: Path) -> Iterator[tuple[int, Cells]]:
    import pyarrow

    line = 0
    try:
        for batch in _parquet(path).iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                line += 1
                yield line, row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise ManifestError(f"{path}: damaged after row {line}: {one_line(error)}") from None


def _parquet(path: Path) -> Any:
    """An opened Parquet file, whose size has been checked. Raises ManifestError."""
    import pyarrow
    import pyarrow.parquet

    _regular(path)
    try:
        found = pyarrow.parquet.ParquetFile(path)
        rows, names = found.metadata.num_rows, found.schema_arrow.names
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file: {one_line(error)}") from None
    if rows > path.stat().st_size:  # different rows take at least a byte each
        raise ManifestError(f"{path}: claims {rows:,} rows in {path.stat().st_size:,} bytes; they cannot differ")
    _checked_names(path, 1, list(names))
    return found


def _text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a BOM, or in UTF-16 with one. Raises ManifestError."""
    _regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise ManifestError(f"{path}: the file is empty")
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file in one encoding, UTF-8"
        ) from None


def _regular(path: Path) -> None:
    """Raises ManifestError for a path that is not a regular file or cannot be opened."""
    try:
        kind = files.kind_of(path)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{str(path)[:200]}: cannot be read: {files.why(error)}") from None
    if kind:
        raise ManifestError(f"{path}: is {kind}, not a file")
