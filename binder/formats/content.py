"""A path, bytes or an open file -> its bytes or its text. Free of torch and NumPy."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from binder.errors import ItemError, one_line
from binder.files import kind_of_mode
from binder.modality import Item

MAX_BYTES = 1 << 29  # of a file: a larger one is more than one item, and decoding it would need several times its size
TOO_LARGE = f"larger than {MAX_BYTES >> 20} MiB"
MAX_TEXT = 1 << 26  # bytes of numbers written as text; parsing them takes several times that memory
BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
CONTROL = re.compile("[\0-\x08\x0e-\x19\x1b-\x1f]")  # characters no text has; \x1a is the end-of-file mark of DOS


def existing_file(item: str | os.PathLike[str]) -> Path:
    """A path -> the same path, once it is known to be a regular file that can be opened and is not empty.

    Raises ItemError. A pipe, a device or a link to one is refused before it is opened: reading it might never end.
    """
    with _opened(item):
        return Path(os.fsdecode(item))


def _opened(item: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file that is not empty. Raises ItemError."""
    try:
        path = Path(os.fsdecode(item))
        found = path.stat()
        kind = kind_of_mode(found.st_mode)
        if kind:
            raise ItemError(item, f"not a file, but {kind}")
        if not found.st_size:
            raise ItemError(item, "empty file")
        return path.open("rb")
    except (OSError, ValueError, TypeError) as error:
        raise ItemError(item, _unreachable(item, error)) from None


def _unreachable(item: object, error: Exception) -> str:
    """Why a path cannot be opened."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file"
    if isinstance(error, UnicodeError):
        return "not a path: it holds half of a surrogate pair"
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:
            return f"not a path: {len(str(item)):,} characters are too many"
        return f"cannot be read: {error.strerror or error}"
    return "not a path: it holds a NUL character" if "\0" in str(item) else f"not a path: {one_line(error)}"


def read_bytes(item: Item, others: str = "", advice: str = "make it smaller") -> bytes:
    """A path, bytes (or bytearray, memoryview), or a file opened in binary mode -> bytes.

    An open file that can seek is read from its start, and its position is put back. Raises ItemError where the file
    cannot be opened, is not a regular file, is empty or is larger than 512 MiB (`advice` says what to do then), and for
    any other item; `others` says what else the caller takes, as in " or an array".
    """
    if isinstance(item, bytes | bytearray | memoryview):
        data = bytes(item)
    elif isinstance(item, str | os.PathLike):
        data = _from_path(item, advice)
    elif callable(getattr(item, "read", None)):
        data = _from_file(item, advice)
    else:
        raise ItemError(item, f"expected a path{',' if others else ' or'} bytes{others}, not {type(item).__name__}")
    if not data or data.isspace():
        raise ItemError(item, "empty")
    return data


def _from_path(item: str | os.PathLike[str], advice: str) -> bytes:
    try:
        with _opened(item) as file:
            # one byte more than allowed shows that it is too large; `read(MAX_BYTES)` would allocate all of that first
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
    except OSError as error:
        raise ItemError(item, _unreachable(item, error)) from None
    if len(data) > MAX_BYTES:
        raise ItemError(item, f"{TOO_LARGE}; {advice}")
    return data


def _from_file(item: Any, advice: str) -> bytes:
    """An open file -> its bytes. Raises ItemError."""
    parts, size = [], 0
    try:
        place = item.tell() if hasattr(item, "seekable") and item.seekable() else None
        if place is not None:
            item.seek(0)
        while size <= MAX_BYTES and (part := item.read(min(1 << 24, MAX_BYTES + 1 - size))):
            if not isinstance(part, bytes | bytearray | memoryview):
                raise ItemError(item, "a file opened as text: open it in binary mode ('rb')")
            parts.append(bytes(part))
            size += len(part)
        if place is not None:
            item.seek(place)
    except ItemError:
        raise
    except Exception as error:  # anything with a `read` method gets here
        raise ItemError(item, f"cannot be read: {one_line(error)}") from None
    if size > MAX_BYTES:
        raise ItemError(item, f"{TOO_LARGE}; {advice}")
    return b"".join(parts)


def decode_text(data: bytes, item: Item) -> str:
    """Bytes -> text: UTF-8, UTF-16 or UTF-32 with a byte order mark, otherwise Windows-1252.

    Raises ItemError for data that is not text: it has control characters, or a byte order mark and then damage.
    """
    marked = next((encoding for mark, encoding in BOMS if data.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8-sig", "cp1252", "latin-1"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if CONTROL.search(text):
            break
        return text.removeprefix("\ufeff")
    else:
        raise ItemError(item, f"truncated or damaged {marked} text")
    raise ItemError(item, "binary data where text was expected")
