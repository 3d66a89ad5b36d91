"""Pairs and items from files: CSV, TSV, JSONL, Parquet, or a folder with a folder per class.

Columns named after a modality hold its items (a path relative to the manifest, or the text itself); every other
column is metadata. Errors name the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binder.errors import ManifestError, nearest
from binder.modality import Item, Modality

log = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = frozenset({*DELIMITERS, ".jsonl", ".parquet"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest: items by modality, and the other columns."""

    source: str  # file name, for messages
    line: int  # counted from 1, the header included, as an editor shows it
    items: Mapping[str, Item]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}"


def read(source: str | Path | Iterable[Mapping[str, Any]], modalities: Sequence[Modality]) -> list[Row]:
    """The rows of a manifest, of a folder with a folder per class, or of plain mappings. Raises ManifestError.

    A row that says the same as an earlier one is left out, with a warning that counts them.
    """
    if not isinstance(source, str | Path):
        raw: Iterator[tuple[int, Mapping[str, Any]]] = iter(enumerate(source, start=1))
        return _unique(_row("rows", Path(), line, cells, modalities) for line, cells in raw)
    path = Path(source)
    if path.is_dir():
        return _unique(_class_folder(path, modalities))
    if not path.exists():
        raise ManifestError(f"{path}: no such file or folder")
    rows = _unique(_row(str(path), path.parent, line, cells, modalities) for line, cells in _cells(path))
    if not rows:
        raise ManifestError(f"{path}: no rows")
    return rows


def columns(path: Path) -> list[str]:
    """The column names of a manifest. Raises ManifestError."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    if path.suffix.lower() in DELIMITERS:  # a header without a row below it names its columns, too
        return next(_records(path), (0, []))[1]
    for _, cells in _cells(path):
        return list(cells)
    return []


def require(rows: Sequence[Row], name: str, column: str, hint: str = "") -> None:
    """Raise ManifestError, which ends in `hint`, unless some row has an item of the modality `column`."""
    if any(column in row.items for row in rows):
        return
    found = sorted({key for row in rows[:100] for key in [*row.items, *row.meta]})
    raise ManifestError(
        f"{name}: no column {column!r}{nearest(column, found)}; columns: {', '.join(found) or 'none'} "
        f"(a column is named after its modality){hint}"
    )


def _row(source: str, base: Path, line: int, cells: Mapping[str, Any], modalities: Sequence[Modality]) -> Row:
    by_name = {m.name: m for m in modalities}
    items: dict[str, Item] = {}
    meta: dict[str, Any] = {}
    for key, value in cells.items():
        modality = by_name.get(key)
        if modality is None:
            meta[key] = value
        elif _empty(value):
            continue  # this row lacks that modality
        elif modality.inline or not isinstance(value, str | Path):
            items[key] = value
        else:
            items[key] = base / Path(value).expanduser()
    return Row(source, line, items, meta)


def _empty(value: Any) -> bool:
    """None, a blank text, or the NaN that pandas puts where a table has nothing."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def _unique(rows: Iterable[Row]) -> list[Row]:
    seen: dict[str, Row] = {}
    kept: list[Row] = []
    repeats: list[Row] = []
    for row in rows:
        cells = [
            *sorted(row.items.items(), key=lambda kv: kv[0]),
            None,
            *sorted(row.meta.items(), key=lambda kv: kv[0]),
        ]
        # a long array's repr leaves the middle out: arrays count as the same only where they are one object
        key = repr([(kv[0], id(kv[1])) if kv and hasattr(kv[1], "__array__") else kv for kv in cells])
        if key in seen:
            repeats.append(row)
        else:
            seen[key] = row
            kept.append(row)
    if repeats:
        log.warning("%d duplicate rows left out, the first at %s", len(repeats), repeats[0].where)
    return kept


def _class_folder(folder: Path, modalities: Sequence[Modality]) -> Iterator[Row]:
    """folder/CLASS/item -> rows of the item and its class as text ("sea_waves" is read "sea waves")."""
    found = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        claims = [m for m in modalities if path.suffix.lower() in m.suffixes]
        if len(claims) > 1:
            names = ", ".join(m.name for m in claims)
            raise ManifestError(f"{path}: {path.suffix} may be {names}; list the files in a manifest that says which")
        if claims:
            label = path.parent.name.replace("_", " ") if path.parent != folder else None
            found += 1
            yield Row(str(path), 1, {claims[0].name: path, **({"text": label} if label else {})})
    if not found:
        raise ManifestError(f"{folder}: no file in it that an installed modality can read")


def _cells(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from enumerate(_parquet(path).read().to_pylist(), start=1)
    elif suffix == ".jsonl":
        yield from _json_lines(path)
    elif suffix in DELIMITERS:
        yield from _delimited(path)
    else:
        raise ManifestError(f"{path}: not a manifest; expected {', '.join(sorted(SUFFIXES))} or a folder")


def _delimited(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows below the header of a CSV or TSV."""
    header: list[str] | None = None
    for line, cells in _records(path):
        if header is None:
            header = cells
        elif len(cells) != len(header):
            raise ManifestError(
                f"{path}:{line}: {len(cells)} cells where the header has {len(header)} "
                "(a text with a comma needs quotes)"
            )
        else:
            yield line, dict(zip(header, cells, strict=True))


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header of a CSV or TSV and then its rows, each with the line it begins on; blank ones are left out."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=DELIMITERS[path.suffix.lower()])
    first, line, end = True, 1, 0  # where this row begins and where the one before it ended: a text may hold breaks
    try:
        for cells in reader:
            line, end = end + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if first:
                first, cells = False, [cell.strip() for cell in cells]
                repeated = {name for name in cells if cells.count(name) > 1}
                if repeated:
                    raise ManifestError(f"{path}:{line}: column {min(repeated)!r} stands twice")
            yield line, cells
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: {error}") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(io.StringIO(_text(path)), start=1):  # not splitlines: JSON may hold a U+2028
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(cells, dict):
            raise ManifestError(f"{path}:{number}: expected one JSON object a line, got {type(cells).__name__}")
        yield number, cells


def _parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file: {error}") from None


def _text(path: Path) -> str:
    """The file as text: UTF-8 with or without a BOM, or UTF-16 with one. Raises ManifestError naming the line."""
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
