"""What runs in a process that reads other people's files: one task, item after item, within limits. Free of torch.

The process is started from nothing, so a caller's script never runs again. Where the system can fork, this process
only takes the task in and forks another for the work: one that dies is replaced at once, without importing anything
again. Messages are a length (8 bytes, little-endian) and a pickle; an empty one ends a task.
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

RESULT, PIECE, END, RAISED, DIED, READY, REFUSED, LOG = range(8)  # kinds of message: (kind, value)
DONE, CLOSED, FULL = 0, 3, 4  # exit statuses of a forked process: end of the task; of all; it has grown and starts anew
# elsewhere frameworks of the system do not survive it; the variable shows on Linux what happens there
FORKS = sys.platform == "linux" and "BINDER_READER_NO_FORK" not in os.environ
SECONDS, MEGABYTES = 25.0, 900  # that an item may take, beyond what the process has when it begins

SMALL_WEIGHTS = 2**20  # bytes of a weight that is sent as it is: reading may look at a mean, or where a weight lies

inside = False  # whether this process is one of those
_shared = mmap.mmap(-1, 9)  # with forked processes: how many items of a task were begun, and whether it has ended
_writing = threading.Lock()


def limit_s() -> float:
    """Seconds that an item may take to be read: BINDER_ITEM_S, 25 by default."""
    return _number("BINDER_ITEM_S", SECONDS)


def limit_mb() -> float:
    """MiB that reading an item may need: BINDER_ITEM_MB, 900 by default. It holds on Linux."""
    return _number("BINDER_ITEM_MB", MEGABYTES)


def _number(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return value if value > 0 else default


@dataclass(frozen=True)
class Task:
    """What is to be done with items, and where."""

    pickled: bytes  # a callable: item -> result, or a generator of results
    path: list[str]  # where modules are found
    folder: str  # that relative paths start from
    settings: dict[str, str]  # environment variables of binder


class Pickler(pickle.Pickler):
    """Sends tensors as the bytes they are, and of a module's large weights only the shapes: reading needs none."""

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
    buffer = io.BytesIO()
    Pickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def write(file: int, data: bytes) -> None:
    """One message to a file descriptor, whole whatever other threads write."""
    with _writing:
        for part in (struct.pack("<Q", len(data)), data):
            view = memoryview(part)
            while view:
                view = view[os.write(file, view) :]


def read(file: int) -> bytearray:
    """The next message. Raises EOFError where the other side has gone."""
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
    """Serve tasks that come on standard input until it is closed; answers go to standard output."""
    global inside
    inside = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    with contextlib.suppress(AttributeError):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # what libraries print is no answer
    if "BINDER_READER_STDERR" not in os.environ:
        os.dup2(null, 2)  # nor are the last words of one that crashes; what is logged is sent
    _log_to(sink)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = _task(read(source), sink)
            if task is not None and (_forked if FORKS else _serve)(task, source, sink) == CLOSED:
                return


def _task(data: bytearray, sink: int) -> Callable[[Any], Any] | None:
    try:
        sent: Task = pickle.loads(data)
        sys.path[:] = sent.path
        os.chdir(sent.folder)
        for name in [name for name in os.environ if name.startswith("BINDER_")]:
            del os.environ[name]
        os.environ.update(sent.settings)
        task: Callable[[Any], Any] = pickle.loads(sent.pickled)
    except BaseException as error:  # whatever its modules do when they are imported
        write(sink, dumps((REFUSED, kind_and_words(error))))
        return None
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    write(sink, dumps((READY, None)))
    return task


def _forked(task: Callable[[Any], Any], source: int, sink: int) -> int:
    """Fork for the task, and again for each that dies in it; returns how the last one ended.

    Of one that dies it is told how many items were begun: then the other side knows whether it owes an answer.
    """
    _shared[:] = bytes(9)
    while True:
        pid = os.fork()
        if pid == 0:
            status = CLOSED
            try:
                status = _serve(task, source, sink)
            except (EOFError, BrokenPipeError):
                _shared[8] = 1
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if _shared[8]:
            return code
        write(sink, dumps((DIED, (code, int.from_bytes(_shared[:8], "little")))))


def _serve(task: Callable[[Any], Any], source: int, sink: int) -> int:
    began = None  # what is held once the first item has brought its imports
    while data := read(source):
        _shared[:8] = (int.from_bytes(_shared[:8], "little") + 1).to_bytes(8, "little")
        write(sink, _answer(task, data, sink))
        began = _held() if began is None else began
        if FORKS and _held() > began + limit_mb() * 2**20:
            return FULL
    _shared[8] = 1
    return DONE


def _answer(task: Callable[[Any], Any], data: bytearray, sink: int) -> bytes:
    """The last message of an item; the pieces of one that has several are sent on the way."""
    try:
        item = pickle.loads(data)
    except ItemError as error:  # it stands for one that could not be sent
        return dumps((RAISED, error))
    except Exception as error:
        return dumps((REFUSED, kind_and_words(error)))
    try:
        scale, held = getattr(item, "scale", 1.0), _held()
        with limits(held, scale):
            made = task(item)
        if not isinstance(made, Iterator):
            return dumps((RESULT, made))
        for piece in _pieces(made, held):
            write(sink, dumps((PIECE, piece)))
        return dumps((END, None))
    except MemoryError:
        return dumps((RAISED, too_large()))
    except BinderError as error:
        return dumps((RAISED, error))
    except BaseException as error:  # also what a library written in another language calls a panic
        return dumps((RAISED, RuntimeError(kind_and_words(error))))


def _pieces(made: Iterator[Any], held: int) -> Iterator[Any]:
    while True:
        with limits(held):
            try:
                piece = next(made)
            except StopIteration:
                return
        yield piece


@contextlib.contextmanager
def limits(held: int, scale: float = 1.0) -> Iterator[None]:
    """Within this, the process ends when it takes too long and cannot have too much more than it `held` (Linux)."""
    if not FORKS:
        yield  # whoever waits for the answer ends this process
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
    """Bytes of writable memory that this process has asked for."""
    if not FORKS:
        return 0
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def too_large() -> ItemError:
    return ItemError("", f"needs more than {limit_mb():g} MiB of memory to be read (BINDER_ITEM_MB allows more)")


def _log_to(sink: int) -> None:
    """Send what is logged in this process to the one that started it."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with contextlib.suppress(OSError):
                write(sink, dumps((LOG, (record.name, record.levelno, record.getMessage()))))

    logging.getLogger().addHandler(Handler())  # of others, the root lets through what is a warning
    logging.getLogger("binder").setLevel(logging.INFO)
