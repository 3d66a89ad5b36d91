"""NumPy's npz: a zip of npy files -> its arrays, never more of them than the archive may unpack to. Free of torch."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

from binder.bases.content import MOST_BYTES, from_numpy, one_line
from binder.errors import ItemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZIP = b"PK\x03\x04"  # how an npz file begins
MOST_UNPACKED = MOST_BYTES // 2
MOST_ARRAYS = 1000  # of an archive; its directory is read before anything else
END, END_64 = b"PK\x05\x06", b"PK\x06\x07"  # of the directory; that of archives beyond 4 GiB


def arrays_of(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The bytes of an npz file -> its arrays by their names.

    Raises ItemError: damaged, encrypted, no arrays in it, or it unpacks to more than 256 MiB.
    """
    end = data.rfind(END)
    if end < 0 or end + 12 > len(data):
        raise ItemError(name, "not a readable npz file: truncated")
    count = int.from_bytes(data[end + 10 : end + 12], "little")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if count > MOST_ARRAYS or size > MOST_ARRAYS * 1000 or END_64 in data[max(0, end - 20) : end]:
        raise ItemError(name, f"not a readable npz file: more than {MOST_ARRAYS:,} arrays, or than 4 GiB")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            unpacked = sum(info.file_size for info in members)
            if unpacked > MOST_UNPACKED:
                raise ItemError(name, f"unpacks to {unpacked >> 20:,} MiB, at most {MOST_UNPACKED >> 20} MiB are read")
            # zipfile hands out no more than the size that the directory says
            found = {info.filename.removesuffix(".npy"): from_numpy(archive.read(info), name) for info in members}
    except ItemError:
        raise
    except Exception as error:  # of many kinds: the archive's, the decompressors', Python's
        raise ItemError(name, f"not a readable npz file: {one_line(error)}") from None
    if not found:
        raise ItemError(name, "a zip without NumPy arrays")
    return found


def only_array(data: bytes, name: str) -> NDArray[Any]:
    """The bytes of an npz file -> its array. Raises ItemError where there are several; single numbers do not count."""
    arrays = {key: array for key, array in arrays_of(data, name).items() if array.ndim}
    if len(arrays) != 1:
        raise ItemError(name, f"expected one array, found {len(arrays)}: {', '.join(arrays)[:160]}")
    return next(iter(arrays.values()))
