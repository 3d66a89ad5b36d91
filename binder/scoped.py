"""Settings of the whole process, changed only while some thread needs the change."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager


class ProcessWide(AbstractContextManager[None]):
    """Makes a context manager safe for several threads: the first one in enters it, the last one out exits it.

    Where each thread saves and restores a global setting by itself, two that overlap can leave it changed for good.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        self._change = change  # makes a fresh context manager, which sets and restores
        self._lock = threading.Lock()
        self._inside = 0  # threads, and nested blocks, that are in
        self._made: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                made = self._change()
                made.__enter__()
                self._made = made
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._made is not None:
                made, self._made = self._made, None
                made.__exit__(None, None, None)


no_warnings = ProcessWide(lambda: warnings.catch_warnings(action="ignore"))
