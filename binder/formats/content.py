"""An item that is a file -> its bytes, its text, or the bare numbers in it. Free of torch, and of NumPy until asked.

Nothing that a file claims is believed: what a header promises is held against the bytes that are there before there is
room made for it.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from binder.errors import ItemError
from binder.files import kind_by
from binder.modality import Item

if TYPE_CHECKING:
    pass

MOST_BYTES = 1 << 29  # of a file; more is no single item, and would not fit beside what is made of it
TOO_LARGE = f"larger than {MOST_BYTES >> 20} MiB"
MOST_TEXT = 1 << 26  # bytes of numbers as text, which need several times the room while they are read
MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
ODD = re.compile("[\0-\x08\x0e-\x19\x1b-\x1f]")  # what no text holds; \x1a ends one on old systems


def existing_file(item: str | os.PathLike[str]) -> Path:
    """Path -> the same, of a regular file that can be opened and is not empty.

    Raises ItemError. A pipe, a device or a link to one is refused before it is opened: reading it might never end.
    """
    with _opened(item):
        return Path(os.fsdecode(item))


def _opened(item: str | os.PathLike[str]) -> BinaryIO:
    """A regular file that is not empty, opened. Raises ItemError."""
    try:
        path = Path(os.fsdecode(item))
        found = path.stat()
        kind = kind_by(found.st_mode)
        if kind:
            raise ItemError(item, f"not a file, but {kind}")
        if not found.st_size:
            raise ItemError(item, "empty file")
        return path.open("rb")
    except (OSError, ValueError, TypeError) as error:
        raise ItemError(item, _unreachable(item, error)) from None


def _unreachable(item: object, error: Exception) -> str:
    """Why there is no opening a path."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "no such file"
    if isinstance(error, UnicodeError):
        return "not a path: it holds half of a character"
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:
            return f"not a path: {len(str(item)):,} letters are too many"
        return f"cannot be read: {error.strerror or error}"
    return "not a path: it holds a NUL" if "\0" in str(item) else f"not a path: {one_line(error)}"


def read_bytes(item: Item, others: str = "", advice: str = "make it smaller") -> bytes:
    """Path, bytes (or bytearray, memoryview), or a file opened in binary mode -> bytes.

    An open file is read from its start where it can be wound back, and left where it was. Raises ItemError: it cannot
    be opened, is no regular file, is empty, larger than 512 MiB (`advice` says what to do then), or the item is none of
    these; `others` says what else it may be, as in " or an array".
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
            # one byte more than there were tells of one that is too large; room for all that may be read takes its time
            data = file.read(min(os.fstat(file.fileno()).st_size, MOST_BYTES) + 1)
    except OSError as error:
        raise ItemError(item, _unreachable(item, error)) from None
    if len(data) > MOST_BYTES:
        raise ItemError(item, f"{TOO_LARGE}; {advice}")
    return data


def _from_file(item: Any, advice: str) -> bytes:
    """An open file -> its bytes. Raises ItemError."""
    parts, size = [], 0
    try:
        place = item.tell() if hasattr(item, "seekable") and item.seekable() else None
        if place is not None:
            item.seek(0)
        while size <= MOST_BYTES and (part := item.read(min(1 << 24, MOST_BYTES + 1 - size))):
            if not isinstance(part, bytes | bytearray | memoryview):
                raise ItemError(item, "an open file of text: open it in binary mode ('rb')")
            parts.append(bytes(part))
            size += len(part)
        if place is not None:
            item.seek(place)
    except ItemError:
        raise
    except Exception as error:  # it may be anything that has a method of that name
        raise ItemError(item, f"cannot be read: {one_line(error)}") from None
    if size > MOST_BYTES:
        raise ItemError(item, f"{TOO_LARGE}; {advice}")
    return b"".join(parts)


def decode_text(data: bytes, item: Item) -> str:
    """Bytes -> text: UTF-8, UTF-16 or UTF-32 with a byte order mark, and else Windows-1252.

    Raises ItemError for what is no text: control characters, or a mark with damage after it.
    """
    marked = next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8-sig", "cp1252", "latin-1"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if ODD.search(text):
            break
        return text.removeprefix("\ufeff")
    else:
        raise ItemError(item, f"text in {marked} that is cut off or damaged")
    raise ItemError(item, "binary data where text was expected")


def one_line(error: BaseException) -> str:
    """What an exception of a library says, in a line of bounded length; its name where it says nothing."""
    said = " ".join(str(error)[:2000].split())[:160]  # which may quote the file
    return "".join(c if c.isprintable() else "?" for c in said) or type(error).__name__
