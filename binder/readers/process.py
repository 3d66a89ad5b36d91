"""A process that reads items, and those that wait for work. Free of torch."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from binder.errors import BinderError, ItemError
from binder.readers import worker

TICK_S = 0.5
GRACE_S = 10.0  # after an item's time, before the process itself is given up
MAX_SAID = 1000  # different log messages that are remembered, so that each is said once
START = "import sys; sys.path[:] = {path!r}; from binder.readers.worker import main; main()"

_said: set[str] = set()


class Refused(Exception):
    """A task cannot be taken to another process: it is defined in the running script, say."""


class Lost(Exception):
    """A process is gone, with the item it was at."""


class Reader:
    """One reader process."""

    def __init__(self) -> None:
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # and so it can fork
        how: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}  # Ctrl-C is not for it
        self.process = subprocess.Popen(
            [sys.executable, "-c", START.format(path=[p for p in sys.path if isinstance(p, str)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **single},
            **how,
        )
        assert self.process.stdin and self.process.stdout
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.task: bytes | None = None  # the one it has
        self.answered = 0  # items of the task
        self.deadline: float | None = None
        self.late = False  # whether it was given up

    def give(self, task: bytes) -> None:
        """Let it do that (pickled) task from now on. Raises Refused, Lost."""
        if task == self.task:
            return
        try:
            if self.task is not None:
                worker.write(self._to, b"")
            worker.write(self._to, task)
        except OSError:
            raise Lost from None
        kind, value = self.receive(None)
        if kind == worker.REFUSED:
            self.task = None
            raise Refused(value)
        if kind != worker.READY:
            raise Lost
        self.answered = 0
        self.task = task

    def send(self, item: bytes) -> None:
        try:
            worker.write(self._to, item)
        except OSError:
            raise Lost from None

    def receive(self, within_s: float | None) -> tuple[int, Any]:
        """The next message that is no log record. Raises Lost: the process is gone, or was given up as too late."""
        self.deadline = None if within_s is None else idle.clock_s + within_s
        try:
            while True:
                kind, value = pickle.loads(worker.read(self._from))
                if kind == worker.LOG:
                    _relay(*value)
                    continue
                if kind == worker.DIED:
                    value, begun = value
                    if begun <= self.answered:  # it had nothing to do: nothing is lost
                        continue
                self.answered += kind not in (worker.PIECE, worker.READY)
                return kind, value
        except Exception:  # the end of it, or a message that was cut short
            raise Lost from None
        finally:
            self.deadline = None

    def ended(self) -> int | None:
        """Exit status of one that is gone (below 0: by that signal); None where it was given up as too late."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return None if self.late else self.process.wait(GRACE_S)
        return None

    def end(self) -> None:
        """End it and what it has forked, at once."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """The same, and let go of it: for the thread that uses it alone.

        Another thread may be about to read from a pipe that is closed here, and the number of that pipe may by then be
        the one of another process.
        """
        assert self.process.stdin and self.process.stdout
        if self.process.stdin.closed:
            return
        self.end()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def _started() -> Reader:
    try:
        return Reader()
    except OSError as error:  # no memory, no file left to open, a Python within another program
        raise Refused(f"no process can be started: {error.strerror}") from None


class Idle:
    """Processes that have nothing to do at the moment, kept as starting one takes seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: list[Reader] = []
        self.busy: list[Reader] = []
        self.owner = os.getpid()
        self.watching = False
        self.clock_s = 0.0  # of the time in which this process was not suspended
        self.ready = threading.Event()  # no process is being started ahead of time
        self.ready.set()

    def take(self, task: bytes, ahead: bool = False) -> Reader:
        """One that has, or now gets, this task; not `ahead` of need, the one that is being started is waited for.

        Raises Refused.
        """
        with self.lock:
            if self.owner != os.getpid():  # after a fork they are the other process's
                self.waiting, self.busy, self.owner, self.watching = [], [], os.getpid(), False
                self.ready.set()
        if not ahead:
            self.ready.wait()
        with self.lock:
            self.waiting.sort(key=lambda reader: reader.task == task)
            reader = self.waiting.pop() if self.waiting else _started()
            self.busy.append(reader)
            if not self.watching:
                threading.Thread(target=self._watch, daemon=True).start()
                self.watching = True
        for attempt in range(2):
            try:
                reader.give(task)
                return reader
            except Refused:
                self.back(reader)
                raise
            except Lost:
                self.gone(reader)
                if attempt:
                    break
                reader = self._new()
            except BaseException:  # Ctrl-C
                self.gone(reader)
                raise
        raise Refused("the processes that read items do not start")

    def _new(self) -> Reader:
        reader = _started()
        with self.lock:
            self.busy.append(reader)
        return reader

    def back(self, reader: Reader) -> None:
        with self.lock:
            self.busy.remove(reader)
            self.waiting.append(reader)

    def gone(self, reader: Reader) -> None:
        reader.kill()
        with self.lock, contextlib.suppress(ValueError):
            self.busy.remove(reader)

    def dismiss(self, reader: Reader) -> None:
        """End one that another thread is using: that sees it gone, and lets go of it."""
        reader.end()
        with self.lock, contextlib.suppress(ValueError):
            self.busy.remove(reader)

    def _watch(self) -> None:
        """End what does not answer in time: whoever waits for it sees it gone."""
        before = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            self.clock_s += min(now - before, 2 * TICK_S)
            before = now
            with self.lock:
                late = [r for r in self.busy if r.deadline is not None and r.deadline < self.clock_s]
            for reader in late:
                reader.late = True
                reader.end()

    def rest(self) -> None:
        """End those that wait: each holds some hundred MB."""
        with self.lock:
            waiting, self.waiting = self.waiting, []
        for reader in waiting:
            reader.kill()

    def close(self) -> None:
        if self.owner == os.getpid():
            for reader in [*self.waiting, *self.busy]:
                reader.kill()


idle = Idle()
atexit.register(idle.close)


def error_of(name: object, kind: int, value: Any) -> BinderError:
    """The error that a message other than a result stands for."""
    if kind == worker.DIED:
        return lost(name, value)
    if kind == worker.REFUSED:
        how = "define its class in a module that can be imported, or read with workers=0"
        return ItemError(name, f"cannot be taken to the process that reads it ({value}): {how}")
    if isinstance(value, ItemError):
        return value if value.item else ItemError(name, value.reason)
    return value if isinstance(value, BinderError) else ItemError(name, str(value))


def lost(name: object, code: int | None) -> ItemError:
    """An item whose process ended with this exit code (below 0: by that signal), or without one."""
    if code is None or code == -signal.SIGALRM:  # a system without that signal gives no code
        return ItemError(name, f"takes longer than {worker.limit_s():g} s to be read (BINDER_ITEM_S allows more)")
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    memory = f", perhaps for want of memory: it gets {worker.limit_mb():g} MiB (BINDER_ITEM_MB)" if code < 0 else ""
    return ItemError(name, f"crashes what reads it ({how}){memory}")


def _relay(name: str, level: int, message: str) -> None:
    """What another process logged, once for all of them."""
    if message not in _said:
        if len(_said) < MAX_SAID:
            _said.add(message)
        logging.getLogger(name).log(level, "%s", message)
