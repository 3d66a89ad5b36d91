"""Reader processes: other people's files are read where they cannot hurt. Free of torch.

A file can crash, hang or fill whatever reads it. In a process with limits on time and memory that costs the item.
See `binder.worker` for the other side.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from binder import worker
from binder.errors import BinderError, ItemError

log = logging.getLogger(__name__)

AHEAD = 3  # items that a process has waiting, so that it never waits itself
SMALL = 8192  # bytes of a message that can be sent while an answer may be on its way: a pipe holds so much
LOOK_AHEAD = 8  # answers for each process that may wait for an earlier one
GRACE_S = 10.0  # after an item's time, before the process itself is given up
START = "import sys; sys.path[:] = {path!r}; from binder.worker import main; main()"

Task = Callable[[Any], Any]


class Refused(Exception):
    """A task cannot be taken to another process: it is defined in the running script, say."""


class _Lost(Exception):
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
        self.task: bytes | None = None  # digest of the task it has
        self.deadline: float | None = None

    def give(self, task: bytes) -> None:
        """Let it do that (pickled) task from now on. Raises Refused, _Lost."""
        digest = hashlib.blake2b(task, digest_size=16).digest()
        if digest == self.task:
            return
        try:
            if self.task is not None:
                worker.write(self._to, b"")
            worker.write(self._to, task)
        except OSError:
            raise _Lost from None
        kind, value = self.receive(None)
        if kind == worker.REFUSED:
            self.task = None
            raise Refused(value)
        self.task = digest

    def send(self, item: bytes) -> None:
        try:
            worker.write(self._to, item)
        except OSError:
            raise _Lost from None

    def receive(self, within_s: float | None) -> tuple[int, Any]:
        """The next message that is no log record. Raises _Lost: the process is gone, or was given up as too late."""
        self.deadline = None if within_s is None else time.monotonic() + within_s
        try:
            while True:
                kind, value = pickle.loads(worker.read(self._from))
                if kind != worker.LOG:
                    return kind, value
                _relay(*value)
        except Exception:  # the end of it, or a message that was cut short
            raise _Lost from None
        finally:
            self.deadline = None

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


class _Idle:
    """Processes that have nothing to do at the moment, kept as starting one takes seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: list[Reader] = []
        self.busy: list[Reader] = []
        self.owner = os.getpid()
        self.watching = False

    def take(self, task: bytes) -> Reader:
        """One that has, or now gets, this task. Raises Refused."""
        digest = hashlib.blake2b(task, digest_size=16).digest()
        with self.lock:
            if self.owner != os.getpid():  # after a fork they are the other process's
                self.waiting, self.busy, self.owner, self.watching = [], [], os.getpid(), False
            self.waiting.sort(key=lambda reader: reader.task == digest)
            reader = self.waiting.pop() if self.waiting else Reader()
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
            except _Lost:
                self.gone(reader)
                if attempt:
                    break
                reader = self._new()
        raise Refused("the processes that read items do not start")

    def _new(self) -> Reader:
        reader = Reader()
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

    def _watch(self) -> None:
        """End what does not answer in time: whoever waits for it sees it gone."""
        while True:
            time.sleep(0.5)
            with self.lock:
                late = [r for r in self.busy if r.deadline is not None and r.deadline < time.monotonic()]
            for reader in late:
                with contextlib.suppress(OSError):
                    reader.process.kill() if sys.platform == "win32" else os.killpg(reader.process.pid, signal.SIGKILL)

    def close(self) -> None:
        if self.owner == os.getpid():
            for reader in [*self.waiting, *self.busy]:
                reader.kill()


_idle = _Idle()
atexit.register(_idle.close)


def warm(modules: Iterable[str]) -> None:
    """Start a process that imports these while this one goes on with something else."""
    with _idle.lock:
        if _idle.waiting or _idle.busy or worker.inside:
            return
    threading.Thread(target=_warmed, args=(list(modules),), daemon=True).start()


def _warmed(modules: list[str]) -> None:
    with contextlib.suppress(Refused):
        _idle.back(_idle.take(worker.dumps(_Imports(modules))))


class _Imports:
    """A task that, taken in, has imported modules."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules

    def __reduce__(self) -> Any:
        return _imported, (self.modules,)


def _imported(modules: list[str]) -> Task:
    import importlib

    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return _call


def _call(arguments: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
    function, values = arguments
    return function(*values)


def isolated(function: Callable[..., Any], *arguments: Any, item: object) -> Any:
    """What a module-level function returns, run where it cannot hurt: in a process with limits on memory and time.

    Arguments and result are pickled. What costs seconds is started once. Raises ItemError, naming `item`, where the
    function crashes the process, takes too long or needs too much memory, or raises what is no BinderError.
    """
    if worker.inside:
        return function(*arguments)
    task = worker.dumps(_call)
    reader = _idle.take(task)
    try:
        reader.send(worker.dumps((function, arguments)))
        kind, value = reader.receive(worker.limit_s() + GRACE_S)
    except _Lost:
        _idle.gone(reader)
        raise lost(item, None) from None
    except BaseException:
        _idle.gone(reader)
        raise
    _idle.back(reader)
    if kind == worker.RESULT:
        return value
    raise _error(item, kind, value) from None


def stream(task: Task, item: object, name: object) -> Iterator[Any]:
    """What `task(item)`, a generator, yields in a reader process, as it comes. Raises Refused, and ItemError."""
    reader = _idle.take(_dumped(task))
    finished = False
    try:
        reader.send(worker.dumps(item))
        while True:
            kind, value = reader.receive(worker.limit_s() + GRACE_S)
            if kind != worker.PIECE:
                finished = True
                break
            yield value
    except _Lost:
        raise lost(name, None) from None
    finally:
        (_idle.back if finished else _idle.gone)(reader)
    if kind != worker.END:
        raise _error(name, kind, value)


def run(task: Task, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> Iterator[Any]:
    """`task(item)` of every item, by `workers` processes, in order; an ItemError in place of what cannot be read.

    `name(item)` is what an error names. Raises Refused before the first where the task cannot be sent.
    """
    return _Run(_dumped(task), items, workers, name).outcomes()


def _dumped(task: Task) -> bytes:
    try:
        return worker.dumps(task)
    except Exception as error:  # a function within a function, a lock, an open file
        raise Refused(worker.one_line(error)) from None


class _Run:
    """Items on their way through several processes, a thread for each."""

    def __init__(self, task: bytes, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> None:
        self.task, self.items, self.workers, self.name = task, iter(items), workers, name
        self.readers = {_idle.take(task)}  # the first one says whether the task can be sent at all
        self.spare = set(self.readers)
        self.changed = threading.Condition()
        self.found: dict[int, Any] = {}
        self.taken = self.given = 0  # items that were begun; answers that went out
        self.ended = self.stopped = False  # there are no more items; nobody wants more

    def outcomes(self) -> Iterator[Any]:
        threads = [threading.Thread(target=self._drive, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            while (outcome := self._next()) is not None:
                if isinstance(outcome[0], _Bug):
                    raise outcome[0].error
                yield outcome[0]
        finally:
            with self.changed:
                self.stopped = True
                done = self.ended and self.given == self.taken
                unwanted = set() if done else self.readers - self.spare  # nobody wants what they are at
                self.changed.notify_all()
            for reader in unwanted:
                _idle.gone(reader)
            for thread in threads:
                thread.join()
            for reader in self.readers - unwanted:
                _idle.back(reader)

    def _next(self) -> tuple[Any] | None:
        """The next answer in order; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.given in self.found or (self.ended and self.given == self.taken))
            if self.given not in self.found:
                return None
            outcome = self.found.pop(self.given)
            self.given += 1
            self.changed.notify_all()
            return (outcome,)

    def _drive(self) -> None:
        """A thread: one process, its items and answers."""
        reader: Reader | None = None
        waiting: deque[_Entry] = deque()
        held: _Entry | None = None  # a large one waits until nothing else does: else both sides may wait to write
        try:
            while True:
                while held or len(waiting) < AHEAD:
                    held = held or self._take(wait=not waiting)
                    if held is None or (waiting and len(held.data) > SMALL):
                        break
                    reader = reader or self._reader()
                    reader.send(held.data)
                    waiting.append(held)
                    held = None
                if not waiting or reader is None:
                    break
                entry = waiting.popleft()
                outcome = self._answer(reader, entry)
                if outcome is None:  # the process is gone, and another one goes on
                    self._forget(reader)
                    outcome, reader = lost(self.name(entry.item), None), self._reader()
                    for other in waiting:
                        reader.send(other.data)
                self._put(entry.place, outcome)
        except _Stopped:
            reader = None
        except BaseException as error:  # a mistake here must not leave the other side waiting
            self._put(self.given, _Bug(error))
        if reader is not None:
            with self.changed:
                self.spare.add(reader)

    def _answer(self, reader: Reader, entry: _Entry) -> Any:
        try:
            kind, value = reader.receive(worker.limit_s() + GRACE_S)
        except _Lost:
            if self.stopped:
                raise _Stopped from None
            return None
        return value if kind == worker.RESULT else _error(self.name(entry.item), kind, value)

    def _reader(self) -> Reader:
        with self.changed:
            if self.spare:
                return self.spare.pop()
        reader = _idle.take(self.task)
        with self.changed:
            self.readers.add(reader)
        return reader

    def _forget(self, reader: Reader) -> None:
        with self.changed:
            self.readers.discard(reader)
        _idle.gone(reader)

    def _take(self, wait: bool) -> _Entry | None:
        """The next item; None where there is none, or, unless `wait`, where too many answers wait for an earlier one."""
        with self.changed:
            while not (self.stopped or self.ended):
                if self.taken - self.given < LOOK_AHEAD * self.workers:
                    for item in self.items:
                        self.taken += 1
                        return _Entry(self.taken - 1, item, _dumped_item(item, self.name(item)))
                    self.ended = True
                    self.changed.notify_all()
                elif wait:
                    self.changed.wait()
                else:
                    break
            return None

    def _put(self, place: int, outcome: Any) -> None:
        with self.changed:
            self.found[place] = outcome
            self.changed.notify_all()


class _Stopped(Exception):
    """Nobody wants the rest."""


class _Bug:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Entry:
    """An item on its way."""

    def __init__(self, place: int, item: Any, data: bytes) -> None:
        self.place, self.item, self.data = place, item, data


def _dumped_item(item: Any, name: object) -> bytes:
    try:
        return worker.dumps(item)
    except Exception as error:
        why = f"cannot be sent to the process that reads it ({worker.one_line(error)}); give a path or bytes"
        return worker.dumps(_Unsendable(name, why))


class _Unsendable:
    """Stands for an item that cannot be pickled; taken out on the other side, it raises."""

    def __init__(self, name: object, why: str) -> None:
        self.error = ItemError(name, why)

    def __reduce__(self) -> Any:
        return _raise, (self.error,)


def _raise(error: ItemError) -> Any:
    raise error


def _error(name: object, kind: int, value: Any) -> BinderError:
    """The error that a message other than a result stands for."""
    if kind == worker.DIED:
        return lost(name, value)
    if isinstance(value, ItemError):
        return value if value.item else ItemError(name, value.reason)
    return value if isinstance(value, BinderError) else ItemError(name, str(value))


def lost(name: object, code: int | None) -> ItemError:
    """An item whose process ended with this exit code (below 0: by that signal), or without one."""
    if code == -signal.SIGALRM or code is None:
        return ItemError(name, f"takes longer than {worker.limit_s():g} s to be read (BINDER_ITEM_S allows more)")
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    memory = f", perhaps for want of memory: it gets {worker.limit_mb():g} MiB (BINDER_ITEM_MB)" if code < 0 else ""
    return ItemError(name, f"crashes what reads it ({how}){memory}")


def _relay(name: str, level: int, message: str) -> None:
    """What another process logged, once for all of them."""
    if message not in _said:
        if len(_said) < MOST_SAID:
            _said.add(message)
        logging.getLogger(name).log(level, "%s", message)


_said: set[str] = set()
MOST_SAID = 1000  # different messages that are remembered
