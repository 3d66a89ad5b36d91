"""The cache: frozen vectors and preprocessed items on disk, keyed by content, computed once and then memory-mapped.

A collection is a folder of immutable shards. A shard is written to a temporary folder and renamed, so that two runs can
fill the same collection at once, and a killed run loses only its unfinished shard. Removing starts with a rename too,
so that a shard exists completely or not at all; a run that has it open can still read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from binder import files
from binder.data import shards
from binder.errors import ConfigError, ItemError, RunError, one_line
from binder.modality import Item, Unusable

log = logging.getLogger(__name__)

SHARD_BYTES = 256 * 2**20  # in a large collection, an eighth in a small one; held in memory until it is written
WHOLE_BYTES = 2**32  # files up to this size are hashed completely, which takes some seconds
SAMPLES = 64  # of a MiB each, that are hashed of a larger file
TOGETHER = 4096  # items loaded at a time
VERIFY_BYTES = 2**30  # of a collection that are verified on opening, at 2.8 GiB/s; `verify` does all
Array = NDArray[Any]


def root() -> Path:
    """The user's cache folder, or BINDER_CACHE."""
    override = os.environ.get("BINDER_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("binder")


def cap_bytes() -> float:
    """The size above which the least recently used collections are pruned: BINDER_CACHE_GB, 20 by default."""
    text = os.environ.get("BINDER_CACHE_GB", "20")
    try:
        return float(text) * 2**30
    except ValueError:
        raise ConfigError(f"BINDER_CACHE_GB is {text!r}, expected a number of gigabytes") from None


def content_key(item: Item) -> bytes:
    """The key of an item: a 16-byte hash of its content. Raises ItemError for a file that cannot be read.

    Of a file larger than 4 GiB, the hash covers its size, its modification time and samples of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(item, Unusable):
        raise ItemError(item.name, item.reason)
    if isinstance(item, Path):
        try:
            kind = files.kind_of(item)
            if kind:
                raise ItemError(item, f"is {kind}, not a file")
            with item.open("rb") as file:
                for chunk in _chunks(file):
                    digest.update(chunk)
        except FileNotFoundError:
            raise ItemError(item, "no such file") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in its name
            raise ItemError(item, f"cannot be read: {files.why(error)}") from None
    elif isinstance(item, str):
        digest.update(b"text" + item.encode("utf-8", "surrogatepass"))
    elif isinstance(item, bytes):
        digest.update(item)
    elif isinstance(item, tuple):
        for part in item:
            digest.update(content_key(part))
    elif isinstance(item, np.ndarray) and not item.dtype.hasobject:
        digest.update(f"{item.dtype}{item.shape}".encode() + np.ascontiguousarray(item).tobytes())
    else:  # a picture, a table, a dict: as an array it would lose its palette, or contain addresses of objects
        try:
            digest.update(pickle.dumps(item))
        except Exception as error:
            raise ItemError(f"<{type(item).__name__}>", f"cannot be hashed: {one_line(error)}") from None
    return digest.digest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """What is hashed of a file: all of it, or of a very large one its size, its time and evenly spread samples."""
    about = os.fstat(file.fileno())
    if about.st_size <= WHOLE_BYTES:
        while chunk := file.read(1 << 20):
            yield chunk
        return
    yield f"{about.st_size} {about.st_mtime_ns}".encode()
    for i in range(SAMPLES):
        file.seek(i * (about.st_size - (1 << 20)) // (SAMPLES - 1))
        yield file.read(1 << 20)


class Collection:
    """Arrays of one shape per window, keyed by content: key -> (W, ...)."""

    def __init__(self, name: str) -> None:
        self.folder = root() / name
        self._shards: list[Array] = []
        self._places: dict[bytes, tuple[int, int, int]] = {}  # key -> shard, first row, number of rows
        self._new: list[tuple[bytes, Array]] = []
        self._new_bytes = self._bytes = 0  # not written yet; in shards
        self._known: set[str] = set()  # names of shards
        self._verified = 0  # bytes
        self.refresh()

    def refresh(self) -> None:
        """Open the shards that were written since, by this run or another."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it does not exist yet, or no longer
            os.utime(self.folder)  # mark it as used: pruning starts with the least recently used
        for shard in shards.listed(self.folder):
            if shard.name not in self._known:
                self._open(shard)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, key: bytes, rows: Array) -> None:
        """Add (W, ...), W at least 1, under `key`. It is on disk after `flush`, which runs whenever a shard is full."""
        if not len(rows):
            raise ValueError("no rows: an item has at least one window")
        self._new.append((key, rows))
        self._new_bytes += rows.nbytes
        if self._new_bytes >= max(SHARD_BYTES // 8, min(SHARD_BYTES, self._bytes // 8)):
            self.flush()

    def flush(self) -> None:
        """Write what was added as a new shard. Raises RunError where the disk is full or read-only."""
        if not self._new:
            return
        keys = np.frombuffer(b"".join(k for k, _ in self._new), np.uint8).reshape(-1, 16)
        counts = np.array([len(rows) for _, rows in self._new], np.int64)
        rows = np.concatenate([rows for _, rows in self._new])
        self._write(keys, counts, rows)
        self._new, self._new_bytes = [], 0
        self.refresh()
        if keys[0].tobytes() not in self:  # another process pruned it already: keep it in memory
            self._take_in(keys, counts, rows)

    def _write(self, *arrays: Array) -> None:
        try:
            shards.write(self.folder, *arrays)
        except FileNotFoundError:
            raise RunError(f"cache {self.folder}: another program removes it while it is written") from None
        except OSError as error:
            what = "the disk is full" if error.errno is None else files.why(error)  # None: NumPy's short write
            hint = "make room, or set BINDER_CACHE to another folder"
            raise RunError(f"cache {self.folder}: {what}; {hint}") from None

    def count(self, key: bytes) -> int:
        """W, the number of windows under `key`."""
        return self._places[key][2]

    def first(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """The positions of the first windows of N keys, for `take`: (N, 2), shard and row."""
        return np.array([self._places[key][:2] for key in keys], np.int64).reshape(-1, 2)

    def take(self, places: NDArray[np.int64]) -> Array:
        """(N, 2) positions -> (N, ...) in memory."""
        used = np.unique(places[:, 0])
        if len(used) == 1:
            return self._shards[int(used[0])][places[:, 1]]
        template = self._shards[int(used[0])]
        out = np.empty((len(places), *template.shape[1:]), template.dtype)
        for shard in used:
            where = places[:, 0] == shard
            out[where] = self._shards[int(shard)][places[where, 1]]
        return out

    def get(self, key: bytes) -> Array:
        """(W, ...) under `key`."""
        shard, start, count = self._places[key]
        return np.array(self._shards[shard][start : start + count])

    def load(self, keys: Sequence[bytes]) -> Array:
        """N keys, at least one -> (N, ...), the first window of each; frees the memory maps as it goes."""
        places = self.first(keys)
        out = np.empty((len(places), *self._shards[0].shape[1:]), self._shards[0].dtype)
        for start in range(0, len(places), TOGETHER):
            out[start : start + TOGETHER] = self.take(places[start : start + TOGETHER])
            self.let_go()
        return out

    def let_go(self) -> None:
        """Unmap what was read, which otherwise counts as this process's memory; the system's page cache keeps it."""
        for rows in self._shards:
            shards.let_go(rows)

    def _open(self, shard: Path) -> None:
        self._known.add(shard.name)
        sums = self._verified < VERIFY_BYTES
        self._verified += shards.size(shard) if sums else 0
        problem = shards.problem(shard, sums=sums)
        if not shard.is_dir():  # pruned in the meantime
            return
        if problem:
            log.warning("%s: damaged, its items are computed again (`binder cache verify`): %s", shard, problem)
            return
        try:
            keys, counts = np.load(shard / "keys.npy"), np.load(shard / "counts.npy")
            rows = np.load(shard / "rows.npy", mmap_mode="r")
        except OSError:  # pruned in the meantime
            return
        if not self._shards or rows.shape[1:] == self._shards[0].shape[1:]:
            self._take_in(keys, counts, rows)

    def _take_in(self, keys: Array, counts: Array, rows: Array) -> None:
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
        for key, start, count in zip(keys, starts, counts, strict=True):
            if count:  # an entry without windows is invalid, so it is computed again
                self._places.setdefault(key.tobytes(), (len(self._shards), int(start), int(count)))
        self._shards.append(rows)
        self._bytes += rows.nbytes


@dataclass(frozen=True)
class Info:
    """A collection as `binder cache info` lists it."""

    name: str
    items: int
    shards: int
    bytes: int
    used: float  # seconds since 1970


def collections() -> list[Info]:
    """The collections in the cache, most recently used first."""
    found = []
    for folder in shards.collections(root()):
        with contextlib.suppress(OSError):  # removed in the meantime
            own = shards.listed(folder)
            items = sum(shards.count_items(shard) for shard in own)
            found.append(Info(folder.name, items, len(own), shards.size(folder), folder.stat().st_mtime))
    return sorted(found, key=lambda info: -info.used)


@dataclass
class Verified:
    """The result of `verify`."""

    good: int = 0  # shards
    unsummed: int = 0  # of these, written by a version without checksums: only the shapes were checked
    removed: list[tuple[Path, str]] = field(default_factory=list)  # damaged shards, and what is wrong with them
    stuck: list[tuple[Path, str]] = field(default_factory=list)  # damaged shards that another process has open
    leftovers: int = 0  # temporary folders of killed processes, removed


def verify() -> Verified:
    """Check the checksums of every shard and remove damaged ones, whose content is then computed again."""
    result = Verified()
    for folder in shards.collections(root()):
        for shard in shards.listed(folder):
            problem = shards.problem(shard, sums=True)
            if not shard.is_dir():  # removed in the meantime
                continue
            if problem:
                (result.removed if shards.remove(shard) else result.stuck).append((shard, problem))
            else:
                result.good += 1
                result.unsummed += not (shard / shards.SUMS).is_file()
        result.leftovers += shards.clear(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty now
    result.leftovers += shards.clear(root())
    return result


def prune(keep: Sequence[Path] = (), cap: float | None = None) -> list[Path]:
    """Delete the least recently used collections, except `keep`, until the cache is within its cap in bytes.

    Returns the deleted ones.
    """
    cap = cap_bytes() if cap is None else cap
    sizes: dict[Path, int] = {}
    used: dict[Path, float] = {}
    for folder in shards.collections(root()):
        with contextlib.suppress(FileNotFoundError):  # another process is pruning as well
            sizes[folder], used[folder] = shards.size(folder), folder.stat().st_mtime
    total, gone = sum(sizes.values()), []
    for folder in sorted(used, key=lambda f: used[f]):
        if total <= cap:
            break
        if folder not in keep and shards.remove(folder):
            total -= sizes[folder]
            gone.append(folder)
    return gone
