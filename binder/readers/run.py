"""Sends many items through several reader processes at once and returns the results in order."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

from binder.errors import BinderError, ItemError, kind_and_words
from binder.readers import worker
from binder.readers.process import GRACE_S, Lost, Reader, Refused, error_of, lost, pool

AHEAD = 3  # items queued for each process, so that it never has to wait
# bytes of a message that may be sent while an answer is on its way: as many as fit into a pipe
SMALL = 1024 if sys.platform == "win32" else 8192
APART_S = 2.0  # between starting two processes: the first one may have finished everything by then
LOOK_AHEAD = 8  # answers per process that may wait for an earlier one


class Run:
    """Items on their way through several reader processes, each driven by a thread."""

    def __init__(self, task: bytes, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> None:
        self.task, self.items, self.workers, self.name = task, iter(items), workers, name
        self.first: Reader | None = pool.take(task)  # raises Refused where the task cannot be sent at all
        self.readers = {self.first}
        self.changed = threading.Condition()
        self.found: dict[int, Any] = {}
        self.taken = self.given = 0  # items taken from the input; results handed out
        self.ended = self.stopped = False  # there are no more items; the caller wants no more
        self.bug: BaseException | None = None  # an unexpected exception in a thread

    def outcomes(self) -> Generator[Any, None, None]:
        """Yield the result of every item, or its error, in order."""
        for number in range(self.workers):
            threading.Thread(target=self._drive, args=(number,), daemon=True).start()
        try:
            while (outcome := self._next()) is not None:
                yield outcome[0]
        finally:
            with self.changed:
                self.stopped = True
                unused, self.first = self.first, None
                self.readers.discard(unused)
                unwanted = set() if self._done() else set(self.readers)  # still at items that nobody wants now
                self.readers -= unwanted
                self.changed.notify_all()
            for reader in unwanted:
                pool.abort(reader)
            if unused is not None:
                pool.put_back(unused)

    def _done(self) -> bool:
        return self.ended and self.given == self.taken

    def _next(self) -> tuple[Any] | None:
        """The next result in order, in a tuple; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.given in self.found or self._done() or self.bug is not None)
            if self.bug is not None:
                raise self.bug
            if self.given not in self.found:
                return None
            outcome = self.found.pop(self.given)
            self.given += 1
            self.changed.notify_all()
            return (outcome,)

    def _drive(self, number: int) -> None:
        """Drive one process; runs in a thread of its own."""
        reader: Reader | None = None
        try:
            if number:  # starting a process takes seconds, after which everything may be done
                with self.changed:
                    if self.changed.wait_for(lambda: self.stopped or self.ended, timeout=number * APART_S):
                        return
            reader = self._reader()
            reader = self._work(reader)
        except _Stopped:
            pass
        except Refused as error:
            if reader is not None:  # it had items already; otherwise the other threads do the work
                with self.changed:
                    self.bug = BinderError(f"items cannot be read any more: {error}")
                    self.changed.notify_all()
        except BaseException as error:  # or the caller would wait forever
            with self.changed:
                self.bug = error
                self.changed.notify_all()
        with self.changed:
            mine = reader is not None and reader in self.readers
            self.readers.discard(reader)
        if reader is not None:
            (pool.put_back if mine else pool.discard)(reader)

    def _work(self, reader: Reader) -> Reader:
        """Send items and collect their results until there are no more; returns the last process it used."""
        waiting: deque[_Entry] = deque()
        held: _Entry | None = None  # a large item, sent only when no answer is pending: else both sides could block
        while True:
            while held or len(waiting) < AHEAD:
                held = held or self._take(wait=not waiting)
                if held is None or (waiting and len(held.data) > SMALL):
                    break
                waiting.append(held)
                with contextlib.suppress(Lost):  # noticed below, when its answer does not come
                    reader.send(held.data)
                held = None
            if not waiting:
                return reader
            entry = waiting.popleft()
            try:
                kind, value = reader.receive(worker.limit_s() + GRACE_S)
            except Lost:  # another process continues with the items that wait
                outcome: Any = lost(self.name(entry.item), self._discard(reader))
                reader = self._reader()
                for other in waiting:
                    with contextlib.suppress(Lost):
                        reader.send(other.data)
            else:
                outcome = value if kind == worker.RESULT else error_of(self.name(entry.item), kind, value)
            with self.changed:
                self.found[entry.place] = outcome
                self.changed.notify_all()

    def _reader(self) -> Reader:
        """A process for this run. Raises _Stopped and Refused."""
        with self.changed:
            if self.stopped:
                raise _Stopped
            if self.first is not None:
                reader, self.first = self.first, None
                return reader
        reader = pool.take(self.task)
        with self.changed:
            if not self.stopped:
                self.readers.add(reader)
                return reader
        pool.put_back(reader)
        raise _Stopped

    def _discard(self, reader: Reader) -> int | None:
        """Discard a process that died; returns its exit code. Raises _Stopped."""
        with self.changed:
            self.readers.discard(reader)
            stopped = self.stopped
        code = None if stopped else reader.exit_code()
        pool.discard(reader)
        if stopped:
            raise _Stopped
        return code

    def _take(self, wait: bool) -> _Entry | None:
        """The next item; None where there is none left or, unless `wait`, where too many results wait already."""
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


class _Stopped(Exception):
    """The caller wants no more results."""


class _Entry:
    """An item that was taken: its position, itself, and pickled."""

    def __init__(self, place: int, item: Any, data: bytes) -> None:
        self.place, self.item, self.data = place, item, data


def _dumped_item(item: Any, name: object) -> bytes:
    try:
        return worker.dumps(item)
    except Exception as error:
        why = f"cannot be sent to the process that reads it ({kind_and_words(error)}); give a path or bytes"
        return worker.dumps(_Unsendable(name, why))


class _Unsendable:
    """Stands for an item that cannot be pickled; unpickling it raises its error."""

    def __init__(self, name: object, why: str) -> None:
        self.error = ItemError(name, why)

    def __reduce__(self) -> Any:
        return _raise, (self.error,)


def _raise(error: ItemError) -> Any:
    raise error
