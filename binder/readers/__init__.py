"""Reads files in separate processes with limits on time and memory, since a file can crash, hang or fill its reader.

Any of that costs only the item. Here are the functions for callers; `process` starts and pools reader processes, `run`
keeps several of them busy, and `worker` is the code that runs inside. `windows` preprocesses items through them, and
`guard` checks what plugins return. Free of torch, `windows` aside.
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
from binder.readers.process import GRACE_S, Lost, Refused, error_of, lost, pool
from binder.readers.run import Run

__all__ = ["Refused", "check_workers", "isolated", "rest", "run", "stream", "warm"]

Task = Callable[[Any], Any]


def isolated(function: Callable[..., Any], *arguments: Any, item: object, scale: float = 1.0) -> Any:
    """Call a module-level function in a reader process, with limits on memory and time, and return its result.

    Arguments and result are pickled; the first call takes a fraction of a second to start the process. `scale`
    multiplies the limits. Raises ItemError, naming `item`, where the function crashes the process, takes too long,
    needs too much memory or raises anything but a BinderError, and Refused where the function or an argument cannot be
    sent to another process.
    """
    if worker.inside:
        return function(*arguments)
    call = _dumped(_Call(function, arguments, scale))
    reader = pool.take(_task(_made))
    try:
        reader.send(call)
        kind, value = reader.receive(scale * worker.limit_s() + GRACE_S)
    except Lost:
        code = reader.exit_code()
        pool.discard(reader)
        raise lost(item, code) from None
    except BaseException:
        pool.discard(reader)
        raise
    pool.put_back(reader)
    if kind == worker.RESULT:
        return value
    if kind == worker.REFUSED:
        raise Refused(value)
    raise error_of(item, kind, value) from None


def stream(task: Task, item: object, name: object) -> Iterator[Any]:
    """Run the generator `task(item)` in a reader process and yield what it yields. Raises Refused and ItemError."""
    reader = pool.take(_task(task))
    finished = False
    try:
        reader.send(worker.dumps(item))
        while True:
            kind, value = reader.receive(worker.limit_s() + GRACE_S)
            if kind != worker.PART:
                finished = True
                break
            yield value
    except Lost:
        raise lost(name, reader.exit_code()) from None
    finally:
        (pool.put_back if finished else pool.discard)(reader)
    if kind != worker.END:
        raise error_of(name, kind, value)


def run(task: Task, items: Iterable[Any], workers: int, name: Callable[[Any], object]) -> Generator[Any, None, None]:
    """Yield `task(item)` for every item, in order, from `workers` processes; an ItemError for one that cannot be read.

    `name(item)` is the item's name in errors. Raises Refused before the first item where the task cannot be sent.
    """
    return Run(_task(task), items, workers, name).outcomes()


def check_workers(workers: int) -> None:
    """Raises ConfigError for an impossible number of processes."""
    if workers < 0:
        raise ConfigError(f"workers: {workers}, expected 0 (read in this process) or more")


def warm(modules: Iterable[str]) -> None:
    """Start a reader process in the background that imports these modules; the first reader needed waits for it."""
    with pool.lock:
        if pool.idle or pool.busy or worker.inside or not pool.ready.is_set():
            return
        pool.ready.clear()
    threading.Thread(target=_warmed, args=(list(modules),), daemon=True).start()


def _warmed(modules: list[str]) -> None:
    try:
        with contextlib.suppress(Refused):
            pool.put_back(pool.take(_task(_Imports(modules)), ahead=True))
    finally:
        pool.ready.set()


def rest() -> None:
    """End the idle reader processes, before long work that needs none."""
    pool.end_idle()


class _Imports:
    """A task whose unpickling imports modules."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules

    def __reduce__(self) -> Any:
        return _imported, (self.modules,)


def _imported(modules: list[str]) -> Task:
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return _made


@dataclass(frozen=True)
class _Call:
    """A function call to be made in a reader process."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    scale: float  # of the limits; `worker` looks for this attribute


def _made(call: _Call) -> Any:
    return call.function(*call.arguments)


def _task(task: Any) -> bytes:
    """A task, pickled with what it may depend on in this process: `sys.path`, the working directory and settings."""
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
