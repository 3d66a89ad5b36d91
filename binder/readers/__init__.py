"""Other people's files are read where they cannot hurt: in processes with limits on time and memory. Free of torch.

A file can crash, hang or fill whatever reads it. Here that costs the item. `worker` is the other side.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from binder.errors import ConfigError, kind_and_words
from binder.readers import worker
from binder.readers.process import GRACE_S, Lost, Refused, error_of, idle, lost
from binder.readers.run import Run

__all__ = ["Refused", "check_workers", "isolated", "rest", "run", "stream", "warm"]

Task = Callable[[Any], Any]


def isolated(function: Callable[..., Any], *arguments: Any, item: object, scale: float = 1.0) -> Any:
    """What a module-level function returns, run where it cannot hurt: in a process with limits on memory and time.

    Arguments and result are pickled; starting takes a part of a second, once. `scale` multiplies the limits. Raises
    ItemError, naming `item`, where the function crashes the process, takes too long, needs too much memory or raises
    what is no BinderError; Refused where the function or an argument cannot be taken to another process.
    """
    if worker.inside:
        return function(*arguments)
    asked = _dumped(_Asked(function, arguments, scale))
    reader = idle.take(_task(_call))
    try:
        reader.send(asked)
        kind, value = reader.receive(scale * worker.limit_s() + GRACE_S)
    except Lost:
        code = reader.ended()
        idle.gone(reader)
        raise lost(item, code) from None
    except BaseException:
        idle.gone(reader)
        raise
    idle.back(reader)
    if kind == worker.RESULT:
        return value
    if kind == worker.REFUSED:
        raise Refused(value)
    raise error_of(item, kind, value) from None


def stream(task: Task, item: object, name: object) -> Iterator[Any]:
    """What `task(item)`, a generator, yields in a reader process, as it comes. Raises Refused, and ItemError."""
    reader = idle.take(_task(task))
    finished = False
    try:
        reader.send(worker.dumps(item))
        while True:
            kind, value = reader.receive(worker.limit_s() + GRACE_S)
            if kind != worker.PIECE:
                finished = True
                break
            yield value
    except Lost:
        raise lost(name, reader.ended()) from None
    finally:
        (idle.back if finished else idle.gone)(reader)
    if kind != worker.END:
        raise error_of(name, kind, value)


def run(task: Task, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> Generator[Any, None, None]:
    """`task(item)` of every item, by `workers` processes, in order; an ItemError in place of what cannot be read.

    `name(item)` is what an error names. Raises Refused before the first where the task cannot be sent.
    """
    return Run(_task(task), items, workers, name).outcomes()


def check_workers(workers: int) -> None:
    """Raises ConfigError for what is no number of processes."""
    if workers < 0:
        raise ConfigError(f"workers: {workers}, expected 0 (read in this process) or more")


def warm(modules: Iterable[str]) -> None:
    """Start a process that imports these while this one goes on with something else; who needs one, waits for it."""
    with idle.lock:
        if idle.waiting or idle.busy or worker.inside or not idle.ready.is_set():
            return
        idle.ready.clear()
    threading.Thread(target=_warmed, args=(list(modules),), daemon=True).start()


def _warmed(modules: list[str]) -> None:
    try:
        with contextlib.suppress(Refused):
            idle.back(idle.take(_task(_Imports(modules)), ahead=True))
    finally:
        idle.ready.set()


def rest() -> None:
    """End the processes that wait for work, before something long that needs none."""
    idle.rest()


class _Imports:
    """A task that, taken in, has imported modules."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules

    def __reduce__(self) -> Any:
        return _imported, (self.modules,)


def _imported(modules: list[str]) -> Task:
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return _call


@dataclass(frozen=True)
class _Asked:
    """A call that is made elsewhere."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    scale: float  # of the limits; `worker` looks for it


def _call(asked: _Asked) -> Any:
    return asked.function(*asked.arguments)


def _task(task: Any) -> bytes:
    """A task as it is sent, with what it may depend on here: where modules and relative paths are found, settings."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("BINDER_")}
    try:
        folder = os.getcwd()  # noqa: PTH109
    except OSError:
        raise Refused("the working directory is gone") from None
    return worker.dumps(worker.Task(_dumped(task), list(sys.path), folder, settings))


def _dumped(task: Any) -> bytes:
    try:
        return worker.dumps(task)
    except Exception as error:  # a function within a function, a lock, an open file
        raise Refused(kind_and_words(error)) from None
