"""Shards of the cache: folders of three arrays and their checksums, each complete or absent.

keys.npy is (N, 16) uint8, counts.npy (N,) int64 and rows.npy (sum of counts, ...); sums.json has their CRC-32.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import shutil
import sys
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.errors import one_line

PARTS, SUMS = ("keys.npy", "counts.npy", "rows.npy"), "sums.json"
LEFTOVER_S = 3600.0  # age from which a temporary folder counts as left by a killed process
TRIES = 100  # attempts to move a shard into its collection while other processes prune that
Array = NDArray[Any]


def write(collection: Path, keys: Array, counts: Array, rows: Array) -> None:
    """Write a shard to a temporary folder and move it into the collection. Raises OSError, and then leaves nothing."""
    beside = collection.with_name(f".{uuid.uuid4().hex}")  # not in the collection, which may be pruned in the meantime
    try:
        beside.mkdir(parents=True)
        for part, array in zip(PARTS, (keys, counts, rows), strict=True):
            np.save(beside / part, array)
        sums = {part: _crc(beside / part) for part in PARTS}
        (beside / SUMS).write_text(json.dumps(sums), encoding="utf-8")
        _move(beside, collection)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _move(shard: Path, collection: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            with contextlib.suppress(FileExistsError):  # `exist_ok` fails if it is removed at the same moment
                collection.mkdir()
            shard.rename(collection / shard.name[1:])
            return
        except FileNotFoundError:  # another process pruned the collection in between
            if not left:
                raise


def let_go(rows: Array) -> None:
    """Unmap the pages read from a memory map; the page cache keeps them, and the next read maps them again."""
    if isinstance(rows.base, mmap.mmap) and sys.platform != "win32":
        rows.base.madvise(mmap.MADV_DONTNEED)


def problem(shard: Path, *, sums: bool) -> str | None:
    """What is wrong with a shard, or None; `sums` also compares its checksums, where it has any."""
    try:
        if sums and (shard / SUMS).is_file():
            expected = json.loads((shard / SUMS).read_text(encoding="utf-8"))
            for part in PARTS:
                if _crc(shard / part) != expected[part]:
                    return f"{part} is not what was written"
        counts, rows = np.load(shard / "counts.npy"), np.load(shard / "rows.npy", mmap_mode="r")
        if len(np.load(shard / "keys.npy")) != len(counts) or len(rows) != counts.sum():
            return "its parts do not fit together"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        return one_line(error)
    return None


def _crc(path: Path) -> int:
    """The CRC-32 of a file: it detects what disks and crashes do, at a quarter of the cost of BLAKE2."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def collections(root: Path) -> list[Path]:
    """The folders of a cache's collections."""
    return [path for path in _folders(root) if not path.name.startswith(".")]


def listed(collection: Path) -> list[Path]:
    """The shards of a collection; temporary folders have other names."""
    return [path for path in _folders(collection) if re.fullmatch("[0-9a-f]{32}", path.name)]


def _folders(where: Path) -> list[Path]:
    try:
        return sorted(path for path in where.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def count_items(shard: Path) -> int:
    """The number of items in a shard; 0 where it is damaged."""
    try:
        return len(np.load(shard / "keys.npy", mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return 0


def size(folder: Path) -> int:
    """The bytes of all files below a folder; files that are removed in the meantime count as 0."""
    return sum(_bytes(Path(where, name)) for where, _, names in os.walk(folder) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def remove(folder: Path) -> bool:
    """Delete a folder; renamed first, it disappears at once. False where it is in use (Windows) or already gone."""
    gone = folder.with_name(f".{uuid.uuid4().hex}")
    try:
        folder.rename(gone)
    except OSError:
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


def clear(folder: Path) -> int:
    """Delete the temporary folders that killed processes left in a folder; returns how many."""
    found = [path for path in _folders(folder) if re.fullmatch(r"\.[0-9a-f]{32}", path.name) and _old(path)]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - LEFTOVER_S
    except OSError:
        return False
