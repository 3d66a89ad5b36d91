"""Items through several reader processes at once, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from binder.errors import ItemError
from binder.readers import worker
from binder.readers.process import GRACE_S, Lost, Reader, error_of, idle, lost

AHEAD = 3  # items that a process has waiting, so that it never waits itself
SMALL = 8192  # bytes of a message that can be sent while an answer may be on its way: a pipe holds so much
LOOK_AHEAD = 8  # answers for each process that may wait for an earlier one


class Run:
    """Items on their way through several processes, a thread for each."""

    def __init__(self, task: bytes, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> None:
        self.task, self.items, self.workers, self.name = task, iter(items), workers, name
        self.readers = {idle.take(task)}  # the first one says whether the task can be sent at all
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
                idle.gone(reader)
            for thread in threads:
                thread.join()
            for reader in self.readers - unwanted:
                idle.back(reader)

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
        except Lost:
            if self.stopped:
                raise _Stopped from None
            return None
        return value if kind == worker.RESULT else error_of(self.name(entry.item), kind, value)

    def _reader(self) -> Reader:
        with self.changed:
            if self.spare:
                return self.spare.pop()
        reader = idle.take(self.task)
        with self.changed:
            self.readers.add(reader)
        return reader

    def _forget(self, reader: Reader) -> None:
        with self.changed:
            self.readers.discard(reader)
        idle.gone(reader)

    def _take(self, wait: bool) -> _Entry | None:
        """The next item; None where there is none, or, unless `wait`, where too many answers wait already."""
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
