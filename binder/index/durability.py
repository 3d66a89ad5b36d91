"""What a power cut must not take: the store itself renames its files into place, but does not flush them to disk.

For local folders only; an object store has a write on several disks before it says that it is done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

RECENT_S = 60.0  # older files the system has written to disk by itself
MAGIC = b"LANC"  # every whole manifest ends with it


class Flusher:
    """Flushes what was added to one table's folder since the last time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        old = time.time() - RECENT_S
        self._done = {path for path, written in self._files() if written < old}

    def flush(self) -> None:
        """fsync every new file and every folder that got one. Raises OSError where the disk cannot."""
        new = [path for path, _ in self._files() if path not in self._done]
        folders = {parent for path in new for parent in (path.parent, path.parent.parent)}
        for path in [*new, *folders]:
            _fsync(path)
        self._done.update(new)

    def _files(self) -> list[tuple[Path, float]]:
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # cleaned up by another process meanwhile
                    found.append((path, path.stat().st_mtime))
        return found


def set_aside_torn(folder: Path) -> bool:
    """Rename the newest manifest of a table where it is not whole: the table opens at the version before.

    A manifest of length 0 is what a power cut leaves of one that was renamed but never flushed, and the store then
    refuses the table for ever. Returns whether there was one.
    """
    manifests = sorted(folder.glob("_versions/*.manifest"), key=lambda path: version_of(path.name))
    if not manifests or _whole(manifests[-1]):
        return False
    torn = manifests[-1]
    torn.rename(torn.with_name(torn.name + ".torn"))
    log.warning("%s: the last commit was cut off by a crash and is left out; add its items again", folder)
    return True


def version_of(name: str) -> int:
    """The version a manifest's file name stands for: counted up, or down from 2^64-1 with twenty digits."""
    stem = name.split(".")[0]
    number = int(stem) if stem.isdigit() else -1
    return 2**64 - 1 - number if len(stem) == 20 else number


def _whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() == MAGIC


def _fsync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):  # cleaned up meanwhile; Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
