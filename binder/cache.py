"""Arrays on disk by content: frozen vectors and preprocessed items, computed once and memory-mapped from then on.

A collection is a folder of immutable shards. Each shard is written beside and renamed, so two runs can fill the same
collection at once and a killed one leaves nothing half-written; the next one goes on after the last whole shard.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from binder.errors import ConfigError, ItemError, RunError
from binder.modality import Item

SHARD_BYTES = 256 * 2**20
Array = NDArray[Any]


def root() -> Path:
    """The user's cache folder, or BINDER_CACHE."""
    override = os.environ.get("BINDER_CACHE")
    return Path(override) if override else platformdirs.user_cache_path("binder")


def cap_bytes() -> float:
    """How large the cache may grow before what was unused longest is pruned: BINDER_CACHE_GB, 20 by default."""
    text = os.environ.get("BINDER_CACHE_GB", "20")
    try:
        return float(text) * 2**30
    except ValueError:
        raise ConfigError(f"BINDER_CACHE_GB is {text!r}, expected a number of gigabytes") from None


def content_key(item: Item) -> bytes:
    """16 bytes that name an item by its content. Raises ItemError for a file that cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(item, Path):
        try:
            with item.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except FileNotFoundError:
            raise ItemError(item, "no such file") from None
        except OSError as error:
            raise ItemError(item, f"cannot be read: {error.strerror}") from None
    elif isinstance(item, str):
        digest.update(b"text" + item.encode("utf-8", "surrogatepass"))
    elif isinstance(item, bytes):
        digest.update(item)
    elif isinstance(item, tuple):
        for part in item:
            digest.update(content_key(part))
    elif isinstance(item, np.ndarray) and not item.dtype.hasobject:
        digest.update(f"{item.dtype}{item.shape}".encode() + np.ascontiguousarray(item).tobytes())
    else:  # a picture, a table, a dict: not as an array, which would drop the palette, or hold addresses of objects
        try:
            digest.update(pickle.dumps(item))
        except Exception as error:
            raise ItemError(f"<{type(item).__name__}>", f"cannot be named by its content: {error}") from None
    return digest.digest()


class Collection:
    """Arrays of one shape per window, keyed by content: key -> (W, ...)."""

    def __init__(self, name: str) -> None:
        self.folder = root() / name
        self._shards: list[Array] = []
        self._places: dict[bytes, tuple[int, int, int]] = {}  # key -> shard, first row, number of rows
        self._new: list[tuple[bytes, Array]] = []
        self._new_bytes = 0
        self._known: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in shards written since, by this run or another."""
        if not self.folder.is_dir():
            return
        os.utime(self.folder)  # used now: pruned last
        for shard in sorted(p for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            if shard.name not in self._known:
                self._open(shard)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def add(self, key: bytes, rows: Array) -> None:
        """Keep (W, ...) under `key`; on disk after the next `flush`, which happens by itself now and then."""
        self._new.append((key, rows))
        self._new_bytes += rows.nbytes
        if self._new_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added as one more shard. Raises RunError where the disk is full or read-only."""
        if not self._new:
            return
        beside = self.folder / f".{uuid.uuid4().hex}"
        try:
            beside.mkdir(parents=True)
            np.save(
                beside / "keys.npy",
                np.frombuffer(b"".join(k for k, _ in self._new), np.uint8).reshape(-1, 16),
            )
            np.save(beside / "counts.npy", np.array([len(rows) for _, rows in self._new], np.int64))
            np.save(beside / "rows.npy", np.concatenate([rows for _, rows in self._new]))
            beside.rename(self.folder / beside.name[1:])
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            full = error.errno in (errno.ENOSPC, None)  # NumPy reports a short write without a number
            what = "the disk is full" if full else error.strerror
            raise RunError(f"cache {self.folder}: {what}; make room, or set BINDER_CACHE to another folder") from None
        self._new, self._new_bytes = [], 0
        self.refresh()

    def count(self, key: bytes) -> int:
        """W, the number of windows under `key`."""
        return self._places[key][2]

    def first(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Places of the first window of each key, for `take`: (N, 2) of shard and row."""
        return np.array([self._places[key][:2] for key in keys], np.int64).reshape(-1, 2)

    def take(self, places: NDArray[np.int64]) -> Array:
        """(N, 2) of shard and row -> (N, ...) as one array in memory."""
        shards = np.unique(places[:, 0])
        if len(shards) == 1:
            return self._shards[int(shards[0])][places[:, 1]]
        template = self._shards[int(shards[0])]
        out = np.empty((len(places), *template.shape[1:]), template.dtype)
        for shard in shards:
            where = places[:, 0] == shard
            out[where] = self._shards[int(shard)][places[where, 1]]
        return out

    def get(self, key: bytes) -> Array:
        """(W, ...) under `key`."""
        shard, start, count = self._places[key]
        return np.array(self._shards[shard][start : start + count])

    def _open(self, shard: Path) -> None:
        try:
            keys = np.load(shard / "keys.npy")
            counts = np.load(shard / "counts.npy")
            rows = np.load(shard / "rows.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return  # pruned or damaged meanwhile: computed again
        self._known.add(shard.name)
        if (
            len(keys) != len(counts)
            or len(rows) != counts.sum()
            or (self._shards and rows.shape[1:] != self._shards[0].shape[1:])
        ):
            return
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
        for key, start, count in zip(keys, starts, counts, strict=True):
            self._places.setdefault(key.tobytes(), (len(self._shards), int(start), int(count)))
        self._shards.append(rows)


def prune(keep: Sequence[Path] = ()) -> list[Path]:
    """Delete the collections unused longest until the cache fits its cap; `keep` are in use. Returns the deleted."""
    if not root().is_dir():
        return []
    folders = sorted((p for p in root().iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    sizes = {p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in folders}
    total, gone = sum(sizes.values()), []
    for folder in folders:
        if total <= cap_bytes():
            break
        if folder not in keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]
            gone.append(folder)
    return gone
