"""The lock of a run folder: one process at a time works on it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import filelock

from binder.errors import RunError
from binder.files import check_target

NAME = ".lock"  # names the process that holds it; only the operating system knows whether it is held


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock `folder`, creating it if necessary; a new folder that is still empty afterwards is removed.

    Raises RunError if another process holds the lock, or if the folder cannot be written. The lock ends with its
    process, however that ends: a file left behind by a killed process locks nothing.
    """
    fresh = not check_target(folder, folder=True).exists()
    lock = filelock.FileLock(folder / NAME, timeout=0)
    try:
        with _interrupts_delayed():
            _acquire(lock, folder)
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # Windows does not delete open files
                (folder / NAME).unlink()  # before the release: a process that opened it meanwhile sees that it is gone
            lock.release()
        if fresh:
            with contextlib.suppress(OSError):  # usually it holds a run now
                folder.rmdir()


@contextlib.contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Delay Ctrl-C until the body ends; otherwise a file that exists but is not locked yet could be left behind."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *what: received.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if received:
            handler(*received[0])


def _acquire(lock: filelock.BaseFileLock, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (folder / NAME).write_text(f"{os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except filelock.Timeout:
        raise RunError(f"{folder}: process {_holder(folder)} is at work on this run; wait until it ends") from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _holder(folder: Path) -> str:
    try:
        return (folder / NAME).read_text(encoding="utf-8") or "?"
    except OSError:  # on Windows a locked file cannot be read
        return "?"
