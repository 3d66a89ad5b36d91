"""Reader processes as their parent sees them, and the pool of those that are running. Free of torch."""

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
GRACE_S = 10.0  # after an item's time limit, before the process itself is killed
MAX_LOGGED = 1000  # different log messages that are remembered, so that each is logged once
START = "import sys; sys.path[:] = {path!r}; from binder.readers.worker import main; main()"


class Refused(Exception):
    """A task cannot be sent to another process, for instance because it is defined in the running script."""


class Lost(Exception):
    """A reader process died, and the item it was reading is lost."""


class Reader:
    """One reader process."""

    def __init__(self) -> None:
        single = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}  # it forks, which threads forbid
        how: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}  # Ctrl-C must not reach it
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
        self.task: bytes | None = None  # pickled, the current one
        self.answered = 0  # items of the task
        self.deadline: float | None = None  # on the clock of the pool
        self.late = False  # it was killed for exceeding its time

    def give(self, task: bytes) -> None:
        """Set the (pickled) task for the items that follow. Raises Refused and Lost."""
        if self.process.poll() is not None:  # it died while it waited, which costs no item
            raise Lost
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
        """The next message; log records are passed on instead. Raises Lost where the process died or was killed."""
        self.deadline = None if within_s is None else pool.clock_s + within_s
        try:
            while True:
                kind, value = pickle.loads(worker.read(self._from))
                if kind == worker.LOG:
                    pool.log(*value)
                    continue
                if kind == worker.DIED:
                    value, begun = value
                    if begun <= self.answered:  # it died between two items, and no answer is missing
                        continue
                self.answered += kind not in (worker.PART, worker.READY)
                return kind, value
        except Exception:  # end of file, or a truncated message
            raise Lost from None
        finally:
            self.deadline = None

    def exit_code(self) -> int | None:
        """The exit code of a process that died (negative: the signal); None where it was killed for its time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return None if self.late else self.process.wait(GRACE_S)
        return None

    def kill(self) -> None:
        """Kill the process and what it has forked."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process and close its pipes; only for the thread that uses it.

        Another thread could still be about to read from a pipe that is closed here, when its file descriptor may
        already belong to another process.
        """
        assert self.process.stdin and self.process.stdout
        if self.process.stdin.closed:
            return
        self.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def _started() -> Reader:
    try:
        return Reader()
    except OSError as error:  # no memory, no file descriptors left, Python embedded in another program
        raise Refused(f"no process can be started: {error.strerror}") from None


class Pool:
    """The reader processes of this process; idle ones are kept, since starting one takes seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[Reader] = []
        self.busy: list[Reader] = []
        self.owner = os.getpid()
        self.watching = False
        self.clock_s = 0.0  # counts the time while this process was not suspended
        self.ready = threading.Event()  # cleared while a process is being started ahead of need
        self.ready.set()
        self.logged: set[str] = set()

    def take(self, task: bytes, ahead: bool = False) -> Reader:
        """A reader with this task, an idle one where possible. Raises Refused.

        Waits for one that is being started ahead of need, unless it is this call that starts it (`ahead`).
        """
        with self.lock:
            if self.owner != os.getpid():  # after a fork the readers belong to the other process
                self.idle, self.busy, self.owner, self.watching = [], [], os.getpid(), False
                self.ready.set()
        if not ahead:
            self.ready.wait()
        with self.lock:
            self.idle.sort(key=lambda reader: reader.task == task)
            reader = self.idle.pop() if self.idle else _started()
            self.busy.append(reader)
            if not self.watching:
                threading.Thread(target=self._watch, daemon=True).start()
                self.watching = True
        for attempt in range(2):
            try:
                reader.give(task)
                return reader
            except Refused:
                self.put_back(reader)
                raise
            except Lost:
                self.discard(reader)
                if attempt:
                    break
                reader = self._new()
            except BaseException:  # Ctrl-C
                self.discard(reader)
                raise
        raise Refused("the processes that read items do not start")

    def _new(self) -> Reader:
        reader = _started()
        with self.lock:
            self.busy.append(reader)
        return reader

    def put_back(self, reader: Reader) -> None:
        """Keep a reader that has finished its work."""
        with self.lock:
            self.busy.remove(reader)
            self.idle.append(reader)

    def discard(self, reader: Reader) -> None:
        """End a reader; for the thread that uses it."""
        reader.close()
        with self.lock, contextlib.suppress(ValueError):
            self.busy.remove(reader)

    def abort(self, reader: Reader) -> None:
        """End a reader that another thread is using, which then gets Lost and discards it."""
        reader.kill()
        with self.lock, contextlib.suppress(ValueError):
            self.busy.remove(reader)

    def log(self, name: str, level: int, message: str) -> None:
        """Pass on what a reader logged, once for all of them."""
        if message not in self.logged:
            if len(self.logged) < MAX_LOGGED:
                self.logged.add(message)
            logging.getLogger(name).log(level, "%s", message)

    def _watch(self) -> None:
        """Kill readers that exceed their time, so that the thread that waits for one gets Lost."""
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
                reader.kill()

    def end_idle(self) -> None:
        """End the idle readers: each takes some hundred MB."""
        with self.lock:
            idle, self.idle = self.idle, []
        for reader in idle:
            reader.close()

    def close(self) -> None:
        """End all readers, unless they belong to a parent process."""
        if self.owner == os.getpid():
            for reader in [*self.idle, *self.busy]:
                reader.close()


pool = Pool()
atexit.register(pool.close)


def error_of(name: object, kind: int, value: Any) -> BinderError:
    """A message that is not a result -> the error that it reports."""
    if kind == worker.DIED:
        return lost(name, value)
    if kind == worker.REFUSED:
        how = "define its class in a module that can be imported, or read with workers=0"
        return ItemError(name, f"cannot be sent to the process that reads it ({value}): {how}")
    if isinstance(value, ItemError):
        return value if value.item else ItemError(name, value.reason)
    return value if isinstance(value, BinderError) else ItemError(name, str(value))


def lost(name: object, code: int | None) -> ItemError:
    """The error for an item whose process ended with this exit code (negative: the signal), or was killed (None)."""
    if code is None or code == -signal.SIGALRM:  # other systems than Linux have no alarm, and kill it
        return ItemError(name, f"takes longer than {worker.limit_s():g} s to be read (BINDER_ITEM_S allows more)")
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    memory = f", perhaps out of memory: the limit is {worker.limit_mb():g} MiB (BINDER_ITEM_MB)" if code < 0 else ""
    return ItemError(name, f"crashes its reader process ({how}){memory}")
