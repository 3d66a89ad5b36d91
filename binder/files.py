"""Files of ours, written beside and renamed, so that none is ever half-written; files of others, read within limits.

Nothing here writes over what is no regular file: a device, a pipe, a folder. Free of torch.
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

MOST_BYTES = 64 * 2**20  # of a file of JSON or TOML
DEEPEST = 64  # brackets within brackets
KINDS = {  # what is no regular file, by the test that knows it
    "a folder": stat.S_ISDIR,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
}


def write_beside(path: Path, save: Callable[[Path], object], error: type[BinderError] = RunError) -> None:
    """Let `save` write a file beside `path`, make it durable, rename; nothing of it is left where that fails.

    A link to a file is followed: its target is replaced. Raises `error`, one line, for whatever cannot be written and
    for a `path` that is no regular file; what was there before is unchanged.
    """
    from safetensors import SafetensorError

    place = check_target(path, error)
    beside = place.with_name(f".{place.name[:40]}.{uuid.uuid4().hex[:8]}")  # short: a name may have 255 bytes
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save(beside)
        _to_disk(beside)
        beside.replace(place)
        with contextlib.suppress(OSError):  # Windows opens no folders
            _to_disk(place.parent)
    except OSError as failed:
        raise error(f"{path}: cannot be written: {why(failed)}; what was there before is unchanged") from None
    except (RuntimeError, SafetensorError) as failed:  # torch.save and safetensors report a full disk so
        said = one_line(failed)
        raise error(f"{path}: cannot be written (is the disk full?): {said}") from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[BinderError] = RunError) -> None:
    """In UTF-8. Half a surrogate pair, for which that has no bytes, is written as JSON escapes it."""

    def save(beside: Path) -> None:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

    write_beside(path, save, error)


def check_target(path: Path, error: type[BinderError] = RunError, *, folder: bool = False) -> Path:
    """Where a file of that name would be written, links followed; to be asked before hours of work.

    With `folder`, a folder of that name. Raises `error` for what is no such thing, for a name that is too long, and
    where nothing can be written.
    """
    try:
        place = path.resolve() if path.is_symlink() else path.absolute()
        kind = kind_of(place) or ("a file" if folder and place.is_file() else None)
        if kind and not (folder and kind == "a folder"):
            raise error(f"{path}: is {kind}, not {'a folder' if folder else 'a file'}: choose another name")
        above = next(parent for parent in place.parents if parent.exists())
        if not above.is_dir():
            raise error(f"{path}: cannot be written: {above} is no folder")
        if not os.access(above, os.W_OK):
            raise error(f"{path}: cannot be written: the folder {above} is read-only")
    except (OSError, ValueError, RuntimeError) as failed:  # too long; a NUL; links in a circle
        raise error(f"{str(path)[:200]}: cannot be written: {why(failed)}") from None
    return place


def kind_of(path: Path) -> str | None:
    """What stands there where it is no regular file ("a device"), links followed; None for a file or nothing."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return kind_by(mode)


def kind_by(mode: int) -> str | None:
    """The same by what `stat` says of it."""
    return None if stat.S_ISREG(mode) else next((name for name, is_it in KINDS.items() if is_it(mode)), "no file")


def utf8(text: str) -> str:
    """The same text, half surrogate pairs (a file name that is no UTF-8 holds such) as \\udc80: it can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_file(path: Path) -> bool:
    """Whether there is a regular file, links followed; of a name that cannot be one there is none."""
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder, links followed."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A file of UTF-8, with or without a BOM. Raises OSError, or ValueError: more bytes than `most`, other text."""
    kind = kind_of(path)
    if kind:
        raise ValueError(f"is {kind}, not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most // 2**20} MiB")
    return data.decode("utf-8-sig")


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The value in a JSON file. Raises OSError, or ValueError with one line that says what is wrong."""
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """A JSON value: no deeper than DEEPEST, its numbers finite. Raises ValueError."""
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST}") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises ValueError where lists and mappings hold each other deeper than DEEPEST; itself it does not recurse."""
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
    """What an error of the system says, without the path."""
    if getattr(failed, "errno", None) == errno.ENOSPC:
        return "the disk is full"
    return " ".join(str(getattr(failed, "strerror", None) or failed).split())[:200]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
