"""An item that is a file -> its bytes, or the bare numbers in it. Free of torch."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.errors import ItemError, name_of
from binder.modality import Item

MOST_BYTES = 1 << 30  # of a file; more is no single item
NUMPY = b"\x93NUMPY"  # how an npy file begins


def existing_file(item: str | os.PathLike[str]) -> Path:
    """Path -> the same, of a file that can be opened and is not empty. Raises ItemError."""
    path = Path(item)
    try:
        if not path.exists():
            raise ItemError(item, "no such file")
        if not path.is_file():
            raise ItemError(item, "not a file")
        with path.open("rb") as file:
            if not file.read(1):
                raise ItemError(item, "empty file")
    except (OSError, ValueError) as error:
        raise ItemError(item, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return path


def read_bytes(item: Item, others: str = "", advice: str = "make it smaller") -> bytes:
    """Path or bytes -> bytes.

    Raises ItemError: the file cannot be opened, is empty, larger than 1 GiB (`advice` says what to do then), or the
    item is neither; `others` says what else it may be, as in " or an array".
    """
    if isinstance(item, bytes | bytearray | memoryview):
        data = bytes(item)
    elif isinstance(item, str | os.PathLike):
        path = existing_file(item)
        if path.stat().st_size > MOST_BYTES:
            raise ItemError(item, f"larger than 1 GiB; {advice}")
        data = path.read_bytes()
    else:
        raise ItemError(item, f"expected a path{',' if others else ' or'} bytes{others}, not {type(item).__name__}")
    if not data.strip():
        raise ItemError(item, "empty")
    return data


def read_array(item: Item) -> NDArray[Any]:
    """Path, bytes or array -> its numbers: npy as it is; text as (rows, columns), between commas or spaces.

    Raises ItemError for whatever is neither.
    """
    if isinstance(item, np.ndarray):
        return item
    data = read_bytes(item, " or an array")
    if data.startswith(NUMPY):
        return from_numpy(data, name_of(item))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a file that holds only comments
            return np.loadtxt(io.BytesIO(data), delimiter="," if b"," in data else None, ndmin=2)
    except (ValueError, UserWarning) as error:
        raise ItemError(item, f"not a table of numbers: {one_line(error)}") from None


def from_numpy(data: bytes, name: str) -> NDArray[Any]:
    """The bytes of an npy file -> its array. Raises ItemError."""
    try:
        return np.asarray(np.load(io.BytesIO(data)))
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise ItemError(name, f"not a readable NumPy file: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """What an exception of a library says, in a line of bounded length."""
    return " ".join(str(error).split())[:160]
