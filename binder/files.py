"""Writing files atomically (a temporary file, then a rename), and reading small text files within limits.

Nothing here overwrites anything but a regular file: no device, pipe or folder. Free of torch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from binder.errors import BinderError, RunError, one_line

MAX_BYTES = 64 * 2**20  # of a file of JSON or TOML
DEEPEST = 64  # levels of nested lists and mappings
KINDS = {  # what is not a regular file, and how to tell
    "a folder": stat.S_ISDIR,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
}


def write_beside(path: Path, save: Callable[[Path], object], error: type[BinderError] = RunError) -> None:
    """Write a file atomically: `save` writes a temporary file beside `path`, which is synced and renamed.

    A symbolic link is followed: its target is replaced. Raises `error` where the file cannot be written and where
    `path` is something other than a regular file; then no temporary file is left, and an older `path` is unchanged.
    """
    from safetensors import SafetensorError

    place = check_target(path, error)
    beside = place.with_name(f".{place.name[:40]}.{uuid.uuid4().hex[:8]}")  # short: a name may have 255 bytes
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save(beside)
        _to_disk(beside)
        beside.replace(place)
        with contextlib.suppress(OSError):  # Windows cannot open folders
            _to_disk(place.parent)
    except OSError as failed:
        raise error(f"{path}: cannot be written: {why(failed)}; what was there before is unchanged") from None
    except (RuntimeError, SafetensorError) as failed:  # how torch.save and safetensors report a full disk
        raise error(f"{path}: cannot be written (is the disk full?): {one_line(failed)}") from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[BinderError] = RunError) -> None:
    """Write a text file atomically, in UTF-8.

    Half of a surrogate pair, which UTF-8 cannot encode, is written as a backslash escape. Raises `error` where
    the file cannot be written; what was there before is then unchanged.
    """

    def save(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

    write_beside(path, save, error)


def check_target(path: Path, error: type[BinderError] = RunError, *, folder: bool = False) -> Path:
    """Where the file `path` would be written, links followed: to be called before hours of work, not after.

    With `folder`, `path` is to be a folder. Raises `error` where something else has that name, where the name is not
    possible, and where nothing can be written.
    """
    try:
        place = path.resolve() if path.is_symlink() else path.absolute()
        kind = kind_of(place) or ("a file" if folder and place.is_file() else None)
        if kind and not (folder and kind == "a folder"):
            raise error(f"{path}: is {kind}, not {'a folder' if folder else 'a file'}: choose another name")
        above = next(parent for parent in place.parents if parent.exists())
        if not above.is_dir():
            raise error(f"{path}: cannot be written: {above} is not a folder")
        if not os.access(above, os.W_OK):
            raise error(f"{path}: cannot be written: the folder {above} is read-only")
    except (OSError, ValueError, RuntimeError) as failed:  # too long; a NUL; circular links
        raise error(f"{str(path)[:200]}: cannot be written: {why(failed)}") from None
    return place


def kind_of(path: Path) -> str | None:
    """What is at `path` if not a regular file ("a device"), links followed; None for a regular file and for nothing."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return kind_of_mode(mode)


def kind_of_mode(mode: int) -> str | None:
    """The same, from the `st_mode` that `stat` returned."""
    return None if stat.S_ISREG(mode) else next((name for name, is_it in KINDS.items() if is_it(mode)), "no file")


def utf8(text: str) -> str:
    """Text that UTF-8 can encode: half of a surrogate pair (as in a file name that is not UTF-8) becomes \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_file(path: Path) -> bool:
    """Whether `path` is a regular file, links followed; False also for an impossible name."""
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, links followed; False also for an impossible name."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file, BOM or not. Raises OSError, or ValueError for other encodings and over `most` bytes."""
    kind = kind_of(path)
    if kind:
        raise ValueError(f"is {kind}, not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most // 2**20} MiB")
    return data.decode("utf-8-sig")


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """The value in a JSON file. Raises OSError, or ValueError with a one-line reason."""
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """The value in a JSON text. Raises ValueError for other text, numbers that are not finite, and too deep nesting."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST}") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises ValueError for lists and mappings nested deeper than DEEPEST. It does not recurse itself."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST}")


def why(failed: BaseException) -> str:
    """The reason in an OSError, without the path; the message of any other exception, in one line."""
    if getattr(failed, "errno", None) == errno.ENOSPC:
        return "the disk is full"
    return one_line(failed)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _to_disk(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
