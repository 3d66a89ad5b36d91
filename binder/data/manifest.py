"""Pairs and items from files: CSV, TSV, JSONL, Parquet, or a folder with a folder per class.

Columns named after a modality hold its items (a path relative to the manifest, or the text itself); every other
column is metadata. Errors name the file and the line.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binder import files
from binder.data.cells import SUFFIXES, cells, columns
from binder.errors import ManifestError, nearest
from binder.modality import Item, Modality, Unusable

__all__ = ["SUFFIXES", "Row", "columns", "files_below", "plain", "read", "require"]

log = logging.getLogger(__name__)

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
MAX_TOGETHER = 1000  # rows that the lists in one row may stand for
LONGEST = 1_000_000  # letters of a text
SHOWN = 20  # column names in a message


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


def read(
    source: str | Path | Iterable[Mapping[str, Any]],
    modalities: Sequence[Modality],
    wanted: str | None = None,
    strict: bool = False,
) -> list[Row]:
    """The rows of a manifest, of a folder with a folder per class, or of plain mappings. Raises ManifestError.

    In a folder, files whose suffix several modalities claim are of the one that is `wanted`. A row that says the same
    as an earlier one is left out, with a warning that counts them. So is a line that is damaged by itself, unless
    `strict`, or unless half of the lines are: then something else is wrong.
    """
    if not isinstance(source, str | Path):
        return _unique(row for line, said in enumerate(source, start=1) for row in _mapped(line, said, modalities))
    path = Path(source)
    if URL.match(str(source)):
        raise ManifestError(f"{source}: is a URL; download it, and give the file or folder")
    if files.is_folder(path):
        return _unique(_class_folder(path, modalities, wanted))
    if not os.path.exists(path):  # noqa: PTH110
        raise ManifestError(f"{str(path)[:200]}: no such file or folder")
    rows = _unique(_of_file(path, modalities, strict))
    if not rows:
        raise ManifestError(f"{path}: no rows")
    return rows


def _of_file(path: Path, modalities: Sequence[Modality], strict: bool) -> Iterator[Row]:
    bad: list[ManifestError] = []
    good = 0
    for line, said in cells(path):
        try:
            if isinstance(said, ManifestError):
                raise said
            yield from list(_rows(str(path), path.parent, line, said, modalities))
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
    """What is in a folder and below, links to folders followed, hidden ones left out; sorted."""
    found: list[Path] = []
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(where)
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in seen else []
        if real not in seen:
            found += [Path(where, name) for name in names if not name.startswith(".")]
        seen.add(real)  # links may go in circles
    return sorted(found)


def _unreadable(error: OSError) -> None:
    log.warning("%s: cannot be looked into: %s", error.filename, error.strerror)


def require(rows: Sequence[Row], name: str, column: str, hint: str = "") -> None:
    """Raise ManifestError, which ends in `hint`, unless some row has an item of the modality `column`."""
    if any(column in row.items for row in rows):
        return
    found = sorted({key for row in rows[:100] for key in [*row.items, *row.meta]})
    shown = ", ".join(found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
    raise ManifestError(
        f"{name}: no column {column!r}{nearest(column, found[:1000])}; columns: {shown or 'none'} "
        f"(a column is named after its modality){hint}"
    )


def _mapped(line: int, said: Any, modalities: Sequence[Modality]) -> Iterator[Row]:
    if not isinstance(said, Mapping):
        raise ManifestError(f"rows:{line}: expected a mapping of columns, got {type(said).__name__}")
    return _rows("rows", Path(), line, said, modalities)


def _rows(source: str, base: Path, line: int, said: Mapping[str, Any], modalities: Sequence[Modality]) -> Iterator[Row]:
    """The rows that a line stands for: several where a cell is a list, of captions for instance."""
    by_name = {m.name: m for m in modalities}
    items: dict[str, list[Item]] = {}
    meta: dict[str, Any] = {}
    for key, value in said.items():
        modality = by_name.get(key) or (None if _named(key) in said else by_name.get(_named(key)))
        if modality is None:
            meta[key] = value
            continue
        values = value if isinstance(value, list) and _several(value) else [value]
        found = [_item(modality, base, one) for one in values if not _empty(one)]
        if found:  # otherwise this row lacks that modality
            items[modality.name] = found
    combined = itertools.product(*items.values())
    for together in itertools.islice(combined, MAX_TOGETHER):
        yield Row(source, line, dict(zip(items, together, strict=True)), meta)
    if next(combined, None) is not None:
        raise ManifestError(f"{source}:{line}: its lists stand for more than {MAX_TOGETHER} rows")


def _named(key: Any) -> str:
    """A column's name as modalities are written."""
    return str(key).strip().lower()


def _several(values: list[Any]) -> bool:
    """Whether a list is of items; a list of numbers may be one item."""
    return all(isinstance(value, str | bytes | Mapping | os.PathLike) or value is None for value in values)


def _item(modality: Modality, base: Path, value: Any) -> Item:
    """A cell as an item: a text as it is or a path below `base`."""
    if isinstance(value, Mapping) and set(value) <= {"bytes", "path"}:  # as Hugging Face's data sets have media
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
    """A text; numbers as people write them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # where a table has gaps, 7 is 7.0
        value = int(value)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and len(value) > LONGEST:
        return Unusable(value[:60] + "...", f"a text of {len(value):,} letters, more than {LONGEST:,}")
    return value if isinstance(value, str) else Unusable(str(value)[:60], f"expected text, got {type(value).__name__}")


def plain(value: Any) -> Any:
    """An item as somebody has it -> what encoders know: bytes of an open file or a buffer, the array of a tensor.

    Of paths and arrays of classes of their own, the plain ones: another process does not know such classes.
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
        return value.detach().cpu().numpy()
    return value


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


def _class_folder(folder: Path, modalities: Sequence[Modality], wanted: str | None) -> Iterator[Row]:
    """folder/CLASS/item -> rows of the item and its class as text ("sea_waves" is read "sea waves").

    The first level is the class, whatever lies deeper.
    """
    found = deeper = 0
    unclear: list[Path] = []
    for path in files_below(folder):
        claims = [m for m in modalities if path.suffix.lower() in m.suffixes]
        if wanted is not None:
            claims = [m for m in claims if m.name == wanted]
        if len(claims) > 1:
            unclear.append(path)
        elif claims:
            inside = path.relative_to(folder).parts
            label = inside[0].replace("_", " ") if len(inside) > 1 else None
            deeper += len(inside) > 2
            found += 1
            yield Row(str(path), 1, {claims[0].name: path, **({"text": label} if label else {})})
    if unclear:
        names = ", ".join(m.name for m in modalities if unclear[0].suffix.lower() in m.suffixes)
        what = f"{unclear[0]}: {unclear[0].suffix} may be {names}; say which with --as"
        if not found:
            raise ManifestError(what)
        log.warning("%d files left out whose suffix does not say what they are, the first: %s", len(unclear), what)
    if deeper:
        log.info("%s: %d files lie deeper than a folder per class; the first level is the class", folder, deeper)
    if not found:
        raise ManifestError(f"{folder}: no file in it that {wanted or 'an installed modality'} can read")
