"""One process at a time works on a run folder."""

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

NAME = ".lock"  # says who holds it; whether it is held only the operating system knows


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder`, which is made where it is missing and goes again where nothing was left in it.

    Raises RunError where another process holds it, naming that one, and where it cannot be written. The lock ends
    with its process however that dies: the file that a killed one leaves locks nothing.
    """
    fresh = not check_target(folder, folder=True).exists()
    lock = filelock.FileLock(folder / NAME, timeout=0)
    try:
        with _undisturbed():
            _acquire(lock, folder)
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):  # Windows deletes no open file
                (folder / NAME).unlink()  # before the release: whoever opened it meanwhile sees that its name is gone
            lock.release()
        if fresh:
            with contextlib.suppress(OSError):  # as a rule there is a run in it now
                folder.rmdir()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the end of this: a file that is there but not yet locked would stay behind."""
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            usual(*came[0])


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
    except OSError:  # Windows lets nobody read what is locked
        return "?"
