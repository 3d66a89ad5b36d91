"""Where an index lives: a local folder or an object store, with one table per modality and one for its record."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from binder.errors import StoreError, nearest
from binder.files import kind_of, utf8, why
from binder.index import record as records
from binder.index.durability import set_aside_torn
from binder.index.guard import guarded
from binder.index.record import Record
from binder.index.rows import unique
from binder.index.table import Table, one_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a modality, and of its table
NOTES = "_binder"  # the table of the record: columns key, value
RECORD = "record"
READ_AHEAD = str(128 * 2**20)  # bytes; the store's own 2 GiB let its upkeep hold half of a million rows
REMOTE_AGE_S = 5.0  # how old a search on an object store may see things; asking every time takes a round trip


class Store:
    """A location that holds an index."""

    def __init__(self, location: str | os.PathLike[str], options: Mapping[str, str] | None, *, create: bool) -> None:
        self.location = os.fspath(location)
        self.folder = _folder(self.location)
        if self.folder and not create and not (self.folder / f"{NOTES}.lance").is_dir():
            raise StoreError(f"{self.location}: no index there; make one with: binder index create {self.location}")
        os.environ.setdefault("LANCE_LOG", "error")  # it warns of its own workings, which nobody can mend
        os.environ.setdefault("LANCE_DEFAULT_IO_BUFFER_SIZE", READ_AHEAD)
        import lancedb

        age = timedelta(0) if self.folder else timedelta(seconds=REMOTE_AGE_S)
        with guarded(self.location):
            self._db: Any = lancedb.connect(
                str(self.folder or self.location), read_consistency_interval=age, storage_options=dict(options or {})
            )
        self._tables: dict[str, Table] = {}

    def exists(self) -> bool:
        """Whether there is an index. Raises StoreError where there are other things."""
        if self.note(RECORD) is not None:
            return True
        if self.folder and any(entry.name != f"{NOTES}.lance" for entry in self.folder.iterdir()):
            raise StoreError(f"{self.location}: not empty, and no index; choose another place")
        return False

    def names(self) -> list[str]:
        """The modalities of which there are rows, sorted."""
        if self.folder:
            with guarded(self.location):
                found = [entry.stem for entry in self.folder.iterdir() if entry.suffix == ".lance"]
        else:
            with guarded(self.location):
                found = list(self._db.list_tables(limit=1000).tables)
        return sorted(name for name in found if NAME.fullmatch(name) and self.table(name) is not None)

    def table(self, name: str) -> Table | None:
        """The table of that modality, or None where there is none. Raises StoreError where it is damaged."""
        if name not in self._tables:
            folder = self.folder / f"{name}.lance" if self.folder else None
            inner = self._opened(name, folder)
            if inner is None:
                return None
            self._tables[name] = Table(name, inner, self.location, folder)
        return self._tables[name]

    def tables(self, names: str | Sequence[str] | None) -> list[Table]:
        """The tables of these modalities, all by default. Raises StoreError for one of which nothing is held."""
        if names is None:
            names = self.names()
        found = []
        for name in [names] if isinstance(names, str) else dict.fromkeys(names):
            table = self.table(name) if NAME.fullmatch(name) else None  # no other table, nor another folder's
            if table is None:
                held = self.names()
                there = f"{nearest(name, held)}; it holds {', '.join(held) or 'nothing'}"
                raise StoreError(f"{self.location}: holds no {name[:80]}{there}")
            found.append(table)
        return found

    def make(self, name: str, schema: pa.Schema) -> Table:
        """The table of that name, a new one with these columns where there is none."""
        if not NAME.fullmatch(name):
            raise StoreError(f"{self.location}: {name[:80]!r} is no name of a modality")
        return self._made(name, schema)

    def _made(self, name: str, schema: pa.Schema) -> Table:
        table = self.table(name)
        if table is None:
            try:
                with guarded(self.location):
                    self._db.create_table(name, schema=schema)
            except StoreError:
                if self.table(name) is None:  # not made by another process meanwhile
                    raise
            table = self.table(name)
        if table is None:
            raise StoreError(f"{self.location}: no table for {name!r} could be made")
        return table

    def note(self, key: str) -> str | None:
        """What was noted under that key, or None."""
        notes = self.table(NOTES)
        if notes is None:
            return None
        with guarded(self.location):
            rows = notes.inner.search().where(one_of("key", [key])).to_arrow().to_pylist()
        return rows[0]["value"] if rows else None

    def notes_version(self) -> int | None:
        """Another number whenever something was noted, by any process."""
        notes = self.table(NOTES)
        if notes is None:
            return None
        return notes.state().version

    def set_note(self, key: str, value: str) -> None:
        """Note something for whoever opens the index, in one commit."""
        row = pa.table({"key": [key], "value": [value]})
        notes = self.table(NOTES)
        if notes is None:
            notes = self._made(NOTES, pa.schema([unique("key"), pa.field("value", pa.string())]))
        notes.put(row, "key")

    @property
    def record(self) -> Record:
        """Raises StoreError where there is none, or one of a newer binder."""
        text = self.note(RECORD)
        if text is None:
            raise StoreError(f"{self.location}: no index there; make one with: binder index create {self.location}")
        return records.parse(text, self.location)

    @record.setter
    def record(self, record: Record) -> None:
        self.set_note(RECORD, record.model_dump_json())

    def _opened(self, name: str, folder: Path | None) -> Any:
        if folder and not folder.is_dir():
            return None
        while True:
            try:
                return self._db.open_table(name)
            except (OSError, RuntimeError, ValueError) as error:
                if folder and set_aside_torn(folder):
                    continue
                if "not found" in str(error) and not (folder and any(folder.glob("_versions/*.manifest"))):
                    return None  # never finished
                with guarded(self.location):
                    raise


def _folder(location: str) -> Path | None:
    """The folder that a location names; None for an object store. Raises StoreError for what can be neither."""
    said = utf8(location)[:200].replace("\0", "\\0")
    if location != utf8(location) or not location.strip():
        raise StoreError(f"{said!r}: no name of a place for an index")
    if "://" in location:
        return None
    try:
        folder = Path(location).expanduser().absolute()
        kind = "a file" if folder.is_file() else kind_of(folder)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody
        raise StoreError(f"{said}: no place for an index: {why(error)}") from None
    if kind not in (None, "a folder"):
        raise StoreError(f"{said}: is {kind}, no folder; choose another place")
    return folder
