"""What LanceDB does not promise: the texts of its errors and the files in its folders. No other module reads either.

LanceDB renames its files into place but does not flush them to disk, so a power cut can leave empty ones behind. All
care for files concerns local folders only: an object store confirms a write when it is durable.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from binder.errors import BinderError, StoreError
from binder.index.rows import settled
from binder.scoped import ProcessWide

if TYPE_CHECKING:
    from lancedb.table import LanceTable

log = logging.getLogger(__name__)

SUFFIX = ".lance"  # of a table's folder
READ_AHEAD = str(128 * 2**20)  # bytes; LanceDB's default of 2 GiB would hold half of a million rows while optimizing
REMOTE_AGE_S = 5.0  # how stale a search of an object store may be; checking each time costs a round trip
RECENT_S = 60.0  # the operating system has written older files to disk by itself
MAGIC = b"LANC"  # the last bytes of every complete manifest
PANIC = "pyo3_runtime"  # the module of a Rust panic, which is a BaseException but no Exception
FULL = re.compile(r"No space left on device|\[errno 28\]|os error 28|StorageFull|disk quota", re.IGNORECASE)
FORBIDDEN = re.compile("Permission denied|Read-only file system|os error 13|os error 30", re.IGNORECASE)
GONE = re.compile("not found|No such file|does not exist", re.IGNORECASE)
CONFLICT = re.compile("commit conflict|concurrent (writers|transaction)|retryable|preempted by", re.IGNORECASE)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """The variable has that value, unless the user has set it to another."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


# It reads this once, when it is imported. Its warnings are about its internals; no user can act on them.
_quiet = ProcessWide(lambda: _environment("LANCEDB_LOG", "error"))
# It reads this whenever it begins to read a file.
bounded = ProcessWide(lambda: _environment("LANCE_DEFAULT_IO_BUFFER_SIZE", READ_AHEAD))


class Conflict(StoreError):
    """Another process changed the same rows at the same time."""


class Database:
    """A folder or an object store with one LanceDB table per name."""

    def __init__(self, location: str, folder: Path | None, options: Mapping[str, str] | None) -> None:
        with _quiet:
            import lancedb

        self.location, self.folder = location, folder
        age = timedelta(0) if folder else timedelta(seconds=REMOTE_AGE_S)
        with guarded(location):
            self._db: Any = lancedb.connect(
                str(folder or location), read_consistency_interval=age, storage_options=dict(options or {})
            )

    def path(self, name: str) -> Path | None:
        """A table's folder; None on an object store."""
        return table_folder(self.folder, name) if self.folder else None

    def names(self) -> list[str]:
        with guarded(self.location):
            if self.folder:
                return [entry.stem for entry in self.folder.iterdir() if entry.suffix == SUFFIX]
            return list(self._db.list_tables(limit=1000).tables)

    def open(self, name: str) -> LanceTable | None:
        """The table of that name; None where there is none, or its creation was interrupted. Raises StoreError."""
        folder = self.path(name)
        if folder and not folder.is_dir():
            return None
        while True:
            try:
                table: LanceTable = self._db.open_table(name)
                return table
            except (OSError, RuntimeError, ValueError) as error:
                if folder and set_aside_torn(folder):
                    continue
                if "not found" in str(error) and not (folder and _manifests(folder)):
                    return None
                with guarded(self.location):
                    raise

    def create(self, name: str, schema: pa.Schema) -> None:
        with guarded(self.location):
            self._db.create_table(name, schema=schema)


def table_folder(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


class Files:
    """The files of one table in a local folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        old = time.time() - RECENT_S
        self._flushed = {path for path, written in self._all() if written < old}

    def flush(self) -> None:
        """fsync every file that is new since the last call, and its folders. Raises OSError where that fails."""
        new = [path for path, _ in self._all() if path not in self._flushed]
        folders = {parent for path in new for parent in (path.parent, path.parent.parent)}
        for path in [*new, *folders]:
            _fsync(path)
        self._flushed.update(new)

    def changed_ns(self) -> int | None:
        """When the table last got a version; None where another commit could still get the same time.

        This takes microseconds. Asking LanceDB for the version takes a switch to its thread, several times per search.
        """
        try:
            changed = (self._folder / "_versions").stat().st_mtime_ns
        except OSError:  # LanceDB will say what is wrong
            return None
        return changed if settled(changed) else None

    def _all(self) -> list[tuple[Path, float]]:
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # removed by another process in the meantime
                    found.append((path, path.stat().st_mtime))
        return found


def set_aside_torn(folder: Path) -> bool:
    """Rename a table's newest manifest if it is incomplete, so that the table opens at the version before it.

    A power cut leaves an empty manifest where one was renamed but never flushed; LanceDB could never open the table
    again. Returns whether there was one.
    """
    manifests = sorted(_manifests(folder), key=lambda path: version_of(path.name))
    if not manifests or _complete(manifests[-1]):
        return False
    torn = manifests[-1]
    torn.rename(torn.with_name(torn.name + ".torn"))
    log.warning("%s: the last commit was cut off by a crash and is discarded; add its items again", folder)
    return True


def version_of(name: str) -> int:
    """The version in a manifest's file name, which counts up, or down from 2^64-1 in twenty digits."""
    stem = name.split(".")[0]
    number = int(stem) if stem.isdigit() else -1
    return 2**64 - 1 - number if len(stem) == 20 else number


def _manifests(folder: Path) -> list[Path]:
    return list(folder.glob("_versions/*.manifest"))


def _complete(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() == MAGIC


def _fsync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # removed in the meantime; Windows cannot open folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def guarded(what: str, condition: str | None = None) -> Iterator[None]:
    """Turn LanceDB's exceptions into a StoreError of one line. `what` names the index, `condition` quotes the user."""
    try:
        yield
    except BinderError:
        raise
    except (OSError, RuntimeError, ValueError, ArithmeticError) as error:
        raise _translated(what, condition, str(error)) from error
    except BaseException as error:
        if type(error).__module__ != PANIC:
            raise
        raise _translated(what, condition, f"the store failed: {error}") from error


def _translated(what: str, condition: str | None, text: str) -> StoreError:
    short = _short(text)
    if FULL.search(text):
        return StoreError(f"{what}: the disk is full; existing data is safe, free some space and try again")
    if FORBIDDEN.search(text):
        return StoreError(f"{what}: cannot be read or written (permissions)")
    if CONFLICT.search(text):
        return Conflict(f"{what}: another process is changing it; try again ({short})")
    if condition is not None:
        return StoreError(f"condition {condition[:160]!r}: {short}")
    if GONE.search(text):
        return StoreError(f"{what}: some of its files are missing ({short})")
    return StoreError(f"{what}: {short}")


def _short(text: str) -> str:
    """LanceDB's message in one line, without the file and line of its source."""
    line = " ".join(text.split()).removeprefix("Invalid input, ")
    line = re.sub(r"SELECT 1 FROM t WHERE \(.*?\) \(", "(", line)
    line = re.sub(r", (?:/[\w.-]+)+\.rs:\d+:\d+.*$", "", line)
    line = re.sub(r"Valid fields are (.*?)\.?$", lambda m: f"columns: {_public(m[1])}", line)
    line = re.sub(r"Schema error: No field named (.+?)\. columns:", r"no column \1; columns:", line)
    return line[:240]


def _public(fields: str) -> str:
    names = [name.strip(" `.") for name in fields.split(",")]
    return ", ".join(name for name in names if name and not name.startswith("_") and name != "vector")
