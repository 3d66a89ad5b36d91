"""Manifests: rows of items by modality, from CSV, TSV, JSONL, Parquet, or a folder with one subfolder per class.

A column named after a modality holds its items (paths relative to the manifest, or the text itself); every other
column is metadata. Errors name the file and the line.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from binder import files
from binder.data.cells import SUFFIXES, cells, columns
from binder.errors import ManifestError, nearest
from binder.formats.arrays import array_of
from binder.modality import Item, Modality, Unusable

__all__ = ["SUFFIXES", "Row", "columns", "files_below", "plain", "read", "require"]

log = logging.getLogger(__name__)

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
MAX_COMBINED = 1000  # rows that the lists in one line may expand to
MAX_TEXT = 1_000_000  # characters
SHOWN = 20  # column names in a message


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a manifest: items by modality, and the other columns."""

    source: str  # file name, for messages
    line: int  # from 1, as in an editor: the header counts
    items: Mapping[str, Item]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """FILE:LINE, for messages."""
        return f"{self.source}:{self.line}"


def read(
    source: str | Path | Iterable[Mapping[str, Any]],
    modalities: Sequence[Modality],
    wanted: str | None = None,
    strict: bool = False,
) -> list[Row]:
    """The rows of a manifest, of a folder with one subfolder per class, or of mappings. Raises ManifestError.

    In a folder, files whose suffix several modalities claim belong to the `wanted` one. Duplicate rows are left out,
    with a warning that counts them. So are lines that are damaged on their own, unless `strict`, or unless half of all
    lines are: then something else is wrong.
    """
    if not isinstance(source, str | Path):
        return _unique(row for line, values in enumerate(source, start=1) for row in _mapped(line, values, modalities))
    check(source)
    path = Path(source)
    if files.is_folder(path):
        return _unique(_class_folder(path, modalities, wanted))
    rows = _unique(_of_file(path, modalities, strict))
    if not rows:
        raise ManifestError(f"{path}: no rows")
    return rows


def check(source: object) -> None:
    """Raises ManifestError early for a path that cannot be a manifest: nothing is there, or it is a URL."""
    if not isinstance(source, str | Path):
        return
    if URL.match(str(source)):
        raise ManifestError(f"{source}: is a URL; download it, and give the file or folder")
    if not os.path.exists(source):  # noqa: PTH110 - Path.exists raises for names that are too long
        raise ManifestError(f"{str(source)[:200]}: no such file or folder")


def with_name(rows: Sequence[Row], name: str, of: str) -> list[Row]:
    """The rows with the items of the modality `of` also under `name`, unless there is a column of that name."""
    if any(name in row.items for row in rows):
        return list(rows)
    return [replace(row, items={**row.items, name: row.items[of]}) if of in row.items else row for row in rows]


def _of_file(path: Path, modalities: Sequence[Modality], strict: bool) -> Iterator[Row]:
    bad: list[ManifestError] = []
    good = 0
    for line, values in cells(path):
        try:
            if isinstance(values, ManifestError):
                raise values
            yield from list(_rows(str(path), path.parent, line, values, modalities))
            good += 1
        except ManifestError as error:
            if strict:
                raise
            bad.append(error)
    if bad and len(bad) >= good:
        raise bad[0]
    if bad:
        log.warning("%d lines left out, the first: %s", len(bad), bad[0])


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and below it, sorted; links to folders are followed, hidden files and folders skipped."""
    found: list[Path] = []
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(where)
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in seen else []
        if real not in seen:
            found += [Path(where, name) for name in names if not name.startswith(".")]
        seen.add(real)  # links may be circular
    return sorted(found)


def _unreadable(error: OSError) -> None:
    log.warning("%s: cannot be listed: %s", error.filename, error.strerror)


def require(rows: Sequence[Row], name: str, column: str, hint: str = "") -> None:
    """Raise ManifestError, with `hint` at its end, unless some row has an item of the modality `column`."""
    if any(column in row.items for row in rows):
        return
    found = sorted({key for row in rows[:100] for key in [*row.items, *row.meta]})
    shown = ", ".join(found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
    raise ManifestError(
        f"{name}: no column {column!r}{nearest(column, found[:1000])}; columns: {shown or 'none'} "
        f"(a column is named after its modality){hint}"
    )


def _mapped(line: int, values: Any, modalities: Sequence[Modality]) -> Iterator[Row]:
    if not isinstance(values, Mapping):
        raise ManifestError(f"rows:{line}: expected a mapping of columns, got {type(values).__name__}")
    return _rows("rows", Path(), line, values, modalities)


def _rows(
    source: str, base: Path, line: int, values: Mapping[str, Any], modalities: Sequence[Modality]
) -> Iterator[Row]:
    """The rows of one line: several where a cell is a list, for instance of captions."""
    by_name = {m.name: m for m in modalities}
    items: dict[str, list[Item]] = {}
    meta: dict[str, Any] = {}
    for key, value in values.items():
        modality = by_name.get(key) or (None if _canonical(key) in values else by_name.get(_canonical(key)))
        if modality is None:
            meta[key] = value
            continue
        several = value if isinstance(value, list) and _holds_items(value) else [value]
        found = [_item(modality, base, one) for one in several if not _empty(one)]
        if found:  # otherwise this row lacks the modality
            items[modality.name] = found
    combined = itertools.product(*items.values())
    for together in itertools.islice(combined, MAX_COMBINED):
        yield Row(source, line, dict(zip(items, together, strict=True)), meta)
    if next(combined, None) is not None:
        raise ManifestError(f"{source}:{line}: its lists expand to more than {MAX_COMBINED} rows")


def _canonical(key: Any) -> str:
    """A column's name in the form of modalities' names."""
    return str(key).strip().lower()


def _holds_items(values: list[Any]) -> bool:
    """Whether a list holds several items; a list of numbers is one item."""
    return all(isinstance(value, str | bytes | Mapping | os.PathLike) or value is None for value in values)


def _item(modality: Modality, base: Path, value: Any) -> Item:
    """A cell -> an item: a text as it is, or a path relative to `base`."""
    if isinstance(value, Mapping) and set(value) <= {"bytes", "path"}:  # a media cell of Hugging Face datasets
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    value = plain(value)
    if modality.inline:
        return _text_of(value)
    if isinstance(value, os.PathLike) and not isinstance(value, Unusable):
        return base / Path(value)
    if not isinstance(value, str):
        return value
    if URL.match(value):
        return Unusable(value, "is a URL; binder reads files: download it first")
    if value != value.strip() and not os.path.lexists(base / value):
        value = value.strip()
    return base / (Path(value).expanduser() if value.startswith(("~/", "~\\")) else Path(value))


def _text_of(value: Any) -> Item:
    """A cell -> a text; numbers are written out."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # 7, in a pandas column with gaps
        value = int(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return Unusable(value[:60] + "...", f"a text of {len(value):,} characters, more than {MAX_TEXT:,}")
    return value if isinstance(value, str) else Unusable(str(value)[:60], f"expected text, got {type(value).__name__}")


def plain(value: Any) -> Any:
    """An item of any class -> one that encoders know: bytes for open files and buffers, arrays for tensors.

    Subclasses of paths and arrays become plain ones, since another process may not know these classes.
    """
    numpy = sys.modules.get("numpy")
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, os.PathLike) and not isinstance(value, Unusable):
        return Path(os.fspath(value))
    if numpy is not None and isinstance(value, numpy.ndarray):
        return numpy.asarray(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if callable(getattr(value, "read", None)) and not isinstance(value, type):
        data = value.read()
        return data if isinstance(data, bytes) else Unusable(str(value)[:60], "opened as text; open it with 'rb'")
    if callable(getattr(value, "numpy", None)) and callable(getattr(value, "detach", None)):
        return array_of(value)
    return value


def _empty(value: Any) -> bool:
    """Whether a cell is None, blank, or the NaN that pandas uses for missing cells."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def _unique(rows: Iterable[Row]) -> list[Row]:
    """The rows without duplicates, which are counted in a warning."""
    seen: dict[str, Row] = {}
    kept: list[Row] = []
    repeats: list[Row] = []
    for row in rows:
        cells = [
            *sorted(row.items.items(), key=lambda kv: kv[0]),
            None,
            *sorted(row.meta.items(), key=lambda kv: kv[0]),
        ]
        # the repr of a long array leaves out its middle: arrays are equal only if they are the same object
        key = repr([(kv[0], id(kv[1])) if kv and hasattr(kv[1], "__array__") else kv for kv in cells])
        if key in seen:
            repeats.append(row)
        else:
            seen[key] = row
            kept.append(row)
    if repeats:
        log.warning("%d duplicate rows left out, the first at %s", len(repeats), repeats[0].where)
    return kept


def _class_folder(folder: Path, modalities: Sequence[Modality], wanted: str | None) -> Iterator[Row]:
    """FOLDER/CLASS/ITEM -> rows of the item and its class as text ("sea_waves" becomes "sea waves").

    The first level is the class, however deep the item lies.
    """
    found = deeper = 0
    ambiguous: list[Path] = []
    for path in files_below(folder):
        claims = [m for m in modalities if path.suffix.lower() in m.suffixes]
        if wanted is not None:
            claims = [m for m in claims if m.name == wanted]
        if len(claims) > 1:
            ambiguous.append(path)
        elif claims:
            inside = path.relative_to(folder).parts
            label = inside[0].replace("_", " ") if len(inside) > 1 else None
            deeper += len(inside) > 2
            found += 1
            yield Row(str(path), 1, {claims[0].name: path, **({"text": label} if label else {})})
    if ambiguous:
        names = ", ".join(m.name for m in modalities if ambiguous[0].suffix.lower() in m.suffixes)
        what = f"{ambiguous[0]}: {ambiguous[0].suffix} may be {names}; say which with --as"
        if not found:
            raise ManifestError(what)
        log.warning("%d files left out, as their suffix is ambiguous, the first: %s", len(ambiguous), what)
    if deeper:
        log.info("%s: %d files lie deeper than a folder per class; the first level is the class", folder, deeper)
    if not found:
        raise ManifestError(f"{folder}: no file in it that {wanted or 'an installed modality'} can read")
