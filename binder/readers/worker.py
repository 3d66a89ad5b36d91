"""The code inside a reader process: it runs one task on item after item, within limits. Free of torch.

The process is a fresh interpreter, so the caller's script never runs again. On Linux it only unpickles the task and
forks a child for the work; a child that dies is replaced at once, without importing anything again. A message is a
length (8 bytes, little-endian) and a pickle; an empty one ends a task.
"""

from __future__ import annotations

import contextlib
import io
import logging
import mmap
import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from binder.errors import BinderError, ItemError, kind_and_words

RESULT, PART, END, RAISED, DIED, READY, REFUSED, LOG = range(8)  # kinds of message: (kind, value)
DONE, CLOSED, FULL = 0, 3, 4  # exit codes of a child: end of the task; end of input; restart me, I have grown
# system frameworks on macOS do not survive a fork; the variable turns it off on Linux as well, for tests
FORKS = sys.platform == "linux" and "BINDER_READER_NO_FORK" not in os.environ
SECONDS, MEGABYTES = 25.0, 900  # limits for an item, in addition to what the process holds when it begins

SMALL_WEIGHTS = 2**20  # bytes; smaller weights are sent whole, as reading may use a mean or a parameter's device

inside = False  # whether this process is a reader
_writing = threading.Lock()


def limit_s() -> float:
    """Seconds that reading an item may take: BINDER_ITEM_S, 25 by default."""
    return _number("BINDER_ITEM_S", SECONDS)


def limit_mb() -> float:
    """MiB of memory that reading an item may take: BINDER_ITEM_MB, 900 by default. Enforced on Linux only."""
    return _number("BINDER_ITEM_MB", MEGABYTES)


def _number(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return value if value > 0 else default


@dataclass(frozen=True)
class Task:
    """What to do with items, and the parent's environment for it."""

    pickled: bytes  # a callable: item -> result, or an iterator of results
    path: list[str]  # sys.path
    folder: str  # working directory
    settings: dict[str, str]  # environment variables that begin with BINDER_


class Pickler(pickle.Pickler):
    """Pickles tensors as plain bytes, and only the shapes of a module's large weights, which reading does not need."""

    def reducer_override(self, value: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            return NotImplemented
        if isinstance(value, torch.nn.Parameter):
            if value.numel() * value.element_size() <= SMALL_WEIGHTS:
                return _small_parameter, (value.data,)
            return _parameter, (tuple(value.shape), str(value.dtype))
        plain = value.detach().cpu().contiguous()
        if plain.dtype == torch.bfloat16:
            return _tensor, (plain.view(torch.int16).numpy(), "torch.bfloat16")
        return _tensor, (plain.numpy(), str(plain.dtype))


def _parameter(shape: tuple[int, ...], dtype: str) -> Any:
    import torch

    empty = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device="meta")
    return torch.nn.Parameter(empty, requires_grad=False)


def _small_parameter(value: Any) -> Any:
    import torch

    return torch.nn.Parameter(value, requires_grad=False)


def _tensor(values: Any, dtype: str) -> Any:
    import torch

    tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
    return tensor.view(torch.bfloat16) if dtype == "torch.bfloat16" else tensor


def dumps(value: Any) -> bytes:
    """Pickle a value for another process, without large weights."""
    buffer = io.BytesIO()
    Pickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def write(file: int, data: bytes) -> None:
    """Write one message to a file descriptor; messages of several threads do not mix."""
    with _writing:
        for part in (struct.pack("<Q", len(data)), data):
            view = memoryview(part)
            while view:
                view = view[os.write(file, view) :]


def read(file: int) -> bytearray:
    """The next message. Raises EOFError where the other side has closed the pipe."""
    return _exactly(file, struct.unpack("<Q", _exactly(file, 8))[0])


def _exactly(file: int, count: int) -> bytearray:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = os.readv(file, [view[at:]]) if hasattr(os, "readv") else _copied(view, at, os.read(file, count - at))
        if not got:
            raise EOFError
        at += got
    return data


def _copied(view: memoryview, at: int, part: bytes) -> int:
    view[at : at + len(part)] = part
    return len(part)


def main() -> None:
    """Serve tasks from standard input until it is closed; answers go to standard output."""
    global inside
    inside = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with contextlib.suppress(AttributeError):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # libraries that print must not write into the answers
    if "BINDER_READER_STDERR" not in os.environ:
        os.dup2(null, 2)  # nor print while they crash; log records are sent as messages
    _log_to(sink)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = _task(read(source), sink)
            if task is not None and (_forked(task, source, sink) if FORKS else _serve(task, source, sink)) == CLOSED:
                return


def _task(data: bytearray, sink: int) -> Callable[[Any], Any] | None:
    """Unpickle a task within its environment, and report READY; or report REFUSED and return None."""
    try:
        sent: Task = pickle.loads(data)
        sys.path[:] = sent.path
        os.chdir(sent.folder)
        for name in [name for name in os.environ if name.startswith("BINDER_")]:
            del os.environ[name]
        os.environ.update(sent.settings)
        task: Callable[[Any], Any] = pickle.loads(sent.pickled)
    except BaseException as error:  # importing its modules can raise anything
        write(sink, dumps((REFUSED, kind_and_words(error))))
        return None
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    write(sink, dumps((READY, None)))
    return task


def _forked(task: Callable[[Any], Any], source: int, sink: int) -> int:
    """Run the task in a child process, and in a new one whenever it dies; returns the exit code of the last one.

    A death is reported with the number of items begun, from which the parent knows whether an answer is missing.
    """
    progress = _Progress()
    while True:
        pid = os.fork()
        if pid == 0:
            status = CLOSED
            try:
                status = _serve(task, source, sink, progress)
            except (EOFError, BrokenPipeError):
                progress.end()
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if progress.ended:
            return code
        write(sink, dumps((DIED, (code, progress.begun))))


class _Progress:
    """How many items of a task were begun, and whether it has ended: in memory shared with child processes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 9)

    @property
    def begun(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    @property
    def ended(self) -> bool:
        return bool(self._memory[8])

    def begin(self) -> None:
        self._memory[:8] = (self.begun + 1).to_bytes(8, "little")

    def end(self) -> None:
        self._memory[8] = 1


def _serve(task: Callable[[Any], Any], source: int, sink: int, progress: _Progress | None = None) -> int:
    """Answer item after item until the task ends; returns an exit code."""
    at_first = None  # memory held after the first item, which brings imports
    while data := read(source):
        if progress is not None:
            progress.begin()
        write(sink, _answer(task, data, sink))
        at_first = _held() if at_first is None else at_first
        if FORKS and _held() > at_first + limit_mb() * 2**20:
            return FULL
    if progress is not None:
        progress.end()
    return DONE


def _answer(task: Callable[[Any], Any], data: bytearray, sink: int) -> bytes:
    """Run the task on an item; returns the last message about it, after sending those for each part of an iterator."""
    try:
        item = pickle.loads(data)
    except ItemError as error:  # it stands for an item that could not be pickled
        return dumps((RAISED, error))
    except Exception as error:
        return dumps((REFUSED, kind_and_words(error)))
    try:
        scale, held = getattr(item, "scale", 1.0), _held()
        with limits(held, scale):
            made = task(item)
        if not isinstance(made, Iterator):
            return dumps((RESULT, made))
        for part in _parts(made, held):
            write(sink, dumps((PART, part)))
        return dumps((END, None))
    except MemoryError:
        return dumps((RAISED, too_large()))
    except BinderError as error:
        return dumps((RAISED, error))
    except BaseException as error:  # also panics of libraries written in Rust
        return dumps((RAISED, RuntimeError(kind_and_words(error))))


def _parts(made: Iterator[Any], held: int) -> Iterator[Any]:
    """What an iterator yields, each part within the limits of an item."""
    while True:
        with limits(held):
            try:
                part = next(made)
            except StopIteration:
                return
        yield part


@contextlib.contextmanager
def limits(held: int, scale: float = 1.0) -> Iterator[None]:
    """On Linux, limits time and the memory beyond what the process `held`: past the time limit it is killed."""
    if not FORKS:
        yield  # the parent kills this process when the time is over
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    most = held + int(scale * limit_mb() * 2**20)
    if before[1] != resource.RLIM_INFINITY:
        most = min(most, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, scale * limit_s())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _held() -> int:
    """Bytes of writable memory that this process has allocated."""
    if not FORKS:
        return 0
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def too_large() -> ItemError:
    """The error for an item that ran into the memory limit; the parent adds its name."""
    return ItemError("", f"needs more than {limit_mb():g} MiB of memory to be read (BINDER_ITEM_MB allows more)")


def _log_to(sink: int) -> None:
    """Send the log records of this process to its parent."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with contextlib.suppress(OSError):
                write(sink, dumps((LOG, (record.name, record.levelno, record.getMessage()))))

    logging.getLogger().addHandler(Handler())
    logging.getLogger("binder").setLevel(logging.INFO)  # the root logger keeps its level, WARNING, for other libraries
