"""Writing some rows of a manifest as a new one: the same columns, paths relative to the new file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from binder.data.cells import DELIMITERS, SUFFIXES
from binder.data.manifest import Row
from binder.errors import ManifestError
from binder.files import write_beside, write_text


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, TSV, JSONL or Parquet, depending on the suffix of `path`; the file is replaced atomically.

    Raises ManifestError for another suffix and for an item held in memory; RunError if the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ManifestError(f"{path}: a manifest ends in one of {', '.join(sorted(SUFFIXES))}")
    cells = [{**_items(row, path), **row.meta} for row in rows]
    if suffix in DELIMITERS:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(
            buffer, list(dict.fromkeys(k for row in cells for k in row)), restval="", delimiter=DELIMITERS[suffix]
        )
        writer.writeheader()
        writer.writerows(cells)
        write_text(path, buffer.getvalue())
    elif suffix == ".jsonl":
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in cells))
    else:
        import pyarrow
        import pyarrow.parquet

        write_beside(path, lambda p: pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), p))


def _items(row: Row, manifest: Path) -> dict[str, Any]:
    """The row's items as cells of that manifest."""
    found = {}
    for name, item in row.items.items():
        if isinstance(item, Path):
            found[name] = _relative(manifest.parent, item)
        elif isinstance(item, str):
            found[name] = item
        else:
            raise ManifestError(
                f"{row.where}: an item held in memory cannot be written to a manifest ({type(item).__name__})"
            )
    return found


def _relative(folder: Path, item: Path) -> str:
    """The path of an item relative to a folder, or absolute if it is on another drive (Windows)."""
    try:
        return Path(os.path.relpath(item.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return item.resolve().as_posix()
