"""Arrays: in memory, in NumPy's npy and npz files, or written as text. Free of torch."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from binder.errors import ItemError, name_of, one_line
from binder.formats.content import MAX_BYTES, MAX_TEXT, decode_text, read_bytes
from binder.modality import Item
from binder.scoped import no_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMPY = b"\x93NUMPY"  # the first bytes of an npy file
ZIP = b"PK\x03\x04"  # the first bytes of an npz file
MAX_UNPACKED = MAX_BYTES // 2  # bytes
MAX_ARRAYS = 1000  # in an npz file; zipfile reads the whole directory before anything else
END, END_64 = b"PK\x05\x06", b"PK\x06\x07"  # zip's end of central directory; its ZIP64 locator, of archives over 4 GiB


def array_of(item: Item) -> NDArray[Any] | None:
    """A NumPy array, a tensor on any device, a table's column or a list of numbers -> the array; anything else -> None.

    Raises ItemError for an object that claims to be an array and cannot be converted.
    """
    import numpy as np

    if isinstance(item, np.ndarray):
        return np.asarray(item)  # drops subclasses such as np.matrix, whose operators differ
    try:
        if hasattr(item, "detach") and hasattr(item, "cpu"):  # a torch tensor; open files have a `detach`, too
            item = item.detach().cpu()
            return np.asarray(item.float() if str(item.dtype) == "torch.bfloat16" else item)
        if hasattr(item, "__array__") or isinstance(item, list):
            return np.asarray(item)
    except Exception as error:  # each library raises its own
        raise ItemError(item, f"cannot be turned into an array: {one_line(error)}") from None
    return None


def read_array(item: Item) -> NDArray[Any]:
    """A path, bytes, an array or a tensor -> its array: npy, or npz with one array, as it is; text as (rows, columns).

    In text, columns are separated by commas, semicolons, tabs or spaces, and # starts a comment. Raises ItemError for
    anything else.
    """
    import numpy as np

    held = array_of(item)
    if held is not None:
        return held
    data = read_bytes(item, " or an array")
    if data.startswith(NUMPY):
        return from_numpy(data, name_of(item))
    if data.startswith(ZIP):
        return only_array(data, name_of(item))
    if len(data) > MAX_TEXT:
        raise ItemError(item, f"more than {MAX_TEXT >> 20} MiB of text; save it as npy")
    text = decode_text(data, item)
    if ";" in text:
        text = text.replace(",", ".")  # where semicolons separate columns, a comma is a decimal mark
    try:
        with no_warnings:
            array = np.loadtxt(io.StringIO(text), delimiter=next((s for s in ";," if s in text), None), ndmin=2)
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ItemError(item, f"not a table of numbers: {one_line(error)}") from None
    if not array.size:
        raise ItemError(item, "not a table of numbers: nothing but comments")
    return array


def from_numpy(data: bytes, name: str) -> NDArray[Any]:
    """The bytes of an npy file -> its array.

    Raises ItemError where it is damaged, shorter than its header says, or holds Python objects (which could run code).
    """
    import math

    import numpy as np
    from numpy.lib import format as npy

    try:
        file = io.BytesIO(data)
        read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        with no_warnings:
            shape, in_columns, kind = read_header(file)
        if kind.hasobject:
            raise ValueError("it holds Python objects, not numbers")
        count, there = math.prod(shape), len(data) - file.tell()
        if not kind.itemsize or min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape} of {kind}")
        if count * kind.itemsize > there:
            raise ValueError(f"truncated: {count * kind.itemsize:,} bytes are promised, {there:,} are there")
        flat = np.frombuffer(data, kind, count, file.tell())
        return flat.reshape(shape, order="F" if in_columns else "C").copy()
    except Exception as error:  # of many types: the header is text that Python's own parser reads
        raise ItemError(name, f"not a readable NumPy file: {one_line(error)}") from None


def arrays_of(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The bytes of an npz file -> its arrays by name.

    Raises ItemError where it is damaged, encrypted, holds no arrays, or unpacks to more than 256 MiB.
    """
    end = data.rfind(END)
    if end < 0 or end + 12 > len(data):
        raise ItemError(name, "not a readable npz file: truncated")
    count = int.from_bytes(data[end + 10 : end + 12], "little")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if count > MAX_ARRAYS or size > MAX_ARRAYS * 1000 or END_64 in data[max(0, end - 20) : end]:
        raise ItemError(name, f"not a readable npz file: more than {MAX_ARRAYS:,} arrays, or than 4 GiB")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            unpacked = sum(info.file_size for info in members)
            if unpacked > MAX_UNPACKED:
                raise ItemError(name, f"unpacks to {unpacked >> 20:,} MiB, at most {MAX_UNPACKED >> 20} MiB are read")
            # zipfile returns no more bytes than the directory says
            found = {info.filename.removesuffix(".npy"): from_numpy(archive.read(info), name) for info in members}
    except ItemError:
        raise
    except Exception as error:  # of many types: zipfile's, the decompressors', Python's
        raise ItemError(name, f"not a readable npz file: {one_line(error)}") from None
    if not found:
        raise ItemError(name, "a zip file without NumPy arrays")
    return found


def only_array(data: bytes, name: str) -> NDArray[Any]:
    """The bytes of an npz file -> its one array. Raises ItemError where there are several; scalars do not count."""
    arrays = {key: array for key, array in arrays_of(data, name).items() if array.ndim}
    if len(arrays) != 1:
        raise ItemError(name, f"expected one array, found {len(arrays)}: {', '.join(arrays)[:160]}")
    return next(iter(arrays.values()))
