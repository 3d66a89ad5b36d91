"""Where an index lives, a folder or an object store, and what it records about itself in a table of its own."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from binder.config import Config, validate
from binder.errors import ConfigError, SpaceError, StoreError, nearest
from binder.files import kind_of, parse_json, utf8, why
from binder.index.lance import Database, table_folder
from binder.index.rows import unique
from binder.index.table import Table, one_of
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.api import Binder

FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a modality and its table
NOTES = "_binder"  # the table of notes: columns key, value
RECORD = "record"  # the key of the record


class Record(Config):
    """The space of an index and what encodes into it."""

    format: int = FORMAT
    space: str  # the anchor's fingerprint
    anchor: str | None = None  # its name; None if only vectors were ever added
    embed_dim: int
    encoders: dict[str, str] = Field(default_factory=dict)  # modality -> run folder of its encoder
    binder_version: str = ""
    created: str = ""  # ISO 8601, UTC

    @classmethod
    def new(cls, space: str, embed_dim: int, anchor: str | None = None) -> Record:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        version = importlib.metadata.version("modality-binder")
        return cls(space=space, embed_dim=embed_dim, anchor=anchor, binder_version=version, created=now)

    def check(self, z: Embeddings) -> None:
        """Raises SpaceError for vectors of another space or width."""
        if z.space != self.space:
            raise SpaceError(f"the index is of space {self.space[:8]}; vectors of space {z.space[:8]} do not fit")
        if z.vectors.shape[1] != self.embed_dim:
            raise SpaceError(f"vectors of {z.vectors.shape[1]} dimensions, the index has {self.embed_dim}")

    def embeddings(self, query: Any) -> Embeddings:
        """Queries -> Embeddings (Q, D). Raises SpaceError for vectors that do not fit, or are not of unit length."""
        if isinstance(query, str | os.PathLike):
            raise ConfigError("expected a vector; a text is search(text=...), a file is search(image=...) and so on")
        if isinstance(query, list | tuple) and query and all(isinstance(one, Embeddings) for one in query):
            query = Embeddings.concat(query)
        z = query if isinstance(query, Embeddings) else Embeddings(np.atleast_2d(query), self.space)
        self.check(z)
        return z

    def one_vector(self, query: Embeddings | Vectors) -> Vectors:
        """A query -> (D,) unit vector. Raises SpaceError for several, and as `embeddings` does."""
        z = self.embeddings(query)
        if len(z) != 1:
            raise SpaceError(f"expected one vector, got {len(z)}; take their mean(), or one by one")
        query_D: Vectors = z.vectors[0]
        return query_D


class Store:
    """A location that holds an index: a table per modality, and one of notes."""

    def __init__(self, location: str | os.PathLike[str], options: Mapping[str, str] | None, *, create: bool) -> None:
        self.location = os.fspath(location)
        self.folder = folder_of(self.location)
        if self.folder and not create and not table_folder(self.folder, NOTES).is_dir():
            raise self._missing()
        self._open: Database | None = Database(self.location, self.folder, options)
        self._tables: dict[str, Table] = {}

    @property
    def _database(self) -> Database:
        if self._open is None:
            raise StoreError(f"{self.location}: this index was closed; open it again with Index.open")
        return self._open

    @property
    def closed(self) -> bool:
        return self._open is None

    def check_open(self) -> None:
        """Raises StoreError if it was closed."""
        _ = self._database

    def close(self) -> None:
        """Let go of the tables and the connection: LanceDB closes what nothing refers to."""
        self._tables, self._open = {}, None

    def exists(self) -> bool:
        """Whether there is an index. Raises StoreError if there is something else."""
        if self.note(RECORD) is not None:
            return True
        if self.folder and any(entry != table_folder(self.folder, NOTES) for entry in self.folder.iterdir()):
            raise StoreError(f"{self.location}: not empty, and not an index; choose another location")
        return False

    def names(self) -> list[str]:
        """The modalities that have a table, sorted."""
        names = self._database.names()
        return sorted(name for name in names if NAME.fullmatch(name) and self.table(name) is not None)

    def table(self, name: str) -> Table | None:
        """The table of that modality; None if there is none. Raises StoreError if it is damaged."""
        if name not in self._tables:
            inner = self._database.open(name)
            if inner is None:
                return None
            self._tables[name] = Table(name, inner, self.location, self._database.path(name))
        return self._tables[name]

    def tables(self, names: str | Sequence[str] | None) -> list[Table]:
        """The tables of these modalities, by default all. Raises StoreError for a modality without one."""
        if names is None:
            names = self.names()
        found = []
        for name in [names] if isinstance(names, str) else dict.fromkeys(names):
            table = self.table(name) if NAME.fullmatch(name) else None  # not the notes, nor a path to elsewhere
            if table is None:
                held = self.names()
                there = f"{nearest(name, held)}; it holds {', '.join(held) or 'nothing'}"
                raise StoreError(f"{self.location}: holds no {name[:80]}{there}")
            found.append(table)
        return found

    def make(self, name: str, schema: pa.Schema) -> Table:
        """The table of that modality, created with these columns if there is none."""
        if not NAME.fullmatch(name):
            raise StoreError(f"{self.location}: {name[:80]!r} is not a valid modality name")
        return self._make(name, schema)

    def _make(self, name: str, schema: pa.Schema) -> Table:
        table = self.table(name)
        if table is None:
            try:
                self._database.create(name, schema)
            except StoreError:
                if self.table(name) is None:  # else another process was faster
                    raise
            table = self.table(name)
        if table is None:
            raise StoreError(f"{self.location}: could not create a table for {name!r}")
        return table

    def note(self, key: str) -> str | None:
        """The note under that key; None if there is none."""
        notes = self.table(NOTES)
        batches = notes.scan(["value"], one_of("key", [key])) if notes else ()
        values: list[str] = [row["value"] for batch in batches for row in batch.to_pylist()]
        return values[0] if values else None

    def notes_version(self) -> int | None:
        """A number that changes with every note, whichever process wrote it."""
        notes = self.table(NOTES)
        return notes.state().version if notes else None

    def set_note(self, key: str, value: str) -> None:
        """Leave a note for every process that opens the index, in one commit."""
        notes = self._make(NOTES, pa.schema([unique("key"), pa.field("value", pa.string())]))
        notes.put(pa.table({"key": [key], "value": [value]}), "key")

    @property
    def record(self) -> Record:
        """Raises StoreError if there is none, or if a newer binder wrote it."""
        text = self.note(RECORD)
        if text is None:
            raise self._missing()
        return parse_record(text, self.location)

    @record.setter
    def record(self, record: Record) -> None:
        self.set_note(RECORD, record.model_dump_json())

    def _missing(self) -> StoreError:
        return StoreError(f"{self.location}: no index there; make one with: binder index create {self.location}")


def parse_record(text: str, where: str) -> Record:
    """Raises StoreError for a record that is damaged, or was written by a newer binder."""
    try:
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected keys and values, got a {type(values).__name__}")
        newer = values.get("format")
        if isinstance(newer, int) and newer > FORMAT:
            raise StoreError(f"{where}: written by a newer binder (format {newer}); upgrade binder")
        return validate(Record, values, where)
    except (ValueError, ConfigError) as error:
        raise StoreError(f"{where}: its record is damaged: {error}") from None


def load_space(
    record: Record,
    *,
    encoders: Sequence[str | Path] = (),
    anchor: str | None = None,
    prompt: str | None = None,
    trunk: str | None = None,
    device: str = "auto",
    workers: int = 0,
) -> Binder:
    """The Binder that encodes for an index: its anchor and encoders, except for modalities that `encoders` provides.

    `anchor` and `trunk` say where those are now, if they have been moved.

    Raises StoreError if only vectors were ever added to the index.
    """
    if record.anchor is None:
        raise StoreError("only vectors were ever added to this index; open it with space=Binder(...) to encode items")
    from binder.api import Binder
    from binder.artifact import hub
    from binder.artifact.run_folder import read_card

    newer = {read_card(hub.local(run)).modality: str(run) for run in encoders}
    runs = list((record.encoders | newer).values())
    where = anchor or record.anchor
    return Binder.of(runs, anchor=where, prompt=prompt, trunk=trunk, device=device, workers=workers)


def folder_of(location: str) -> Path | None:
    """The folder that a location names; None for an object store. Raises StoreError for what cannot be either."""
    shown = utf8(location)[:200].replace("\0", "\\0")
    if location != utf8(location) or not location.strip():
        raise StoreError(f"{shown!r}: not a valid location for an index")
    if "://" in location:
        return None
    try:
        folder = Path(location).expanduser().absolute()
        kind = "a file" if folder.is_file() else kind_of(folder)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody
        raise StoreError(f"{shown}: not a valid location for an index: {why(error)}") from None
    if kind not in (None, "a folder"):
        raise StoreError(f"{shown}: is {kind}, not a folder; choose another location")
    return folder
