"""Scans and meshes -> points: finds the format and turns all errors into ItemError.

Imports neither torch nor, until an item is read, NumPy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder import Item, ItemError, existing_file, name_of, one_line, read_array, read_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from binder import PointConfig, Points

MESHES = ("ply", "off", "obj", "stl", "glb", "gltf")
TEXT = ("xyz", "txt", "asc", "csv", "pts")
SCANS = ("pcd", "las", "laz")
ARRAYS = ("npy", "npz")
FORMATS = (*MESHES, *TEXT, *SCANS, *ARRAYS)
ADVICE = "reduce the number of points first"


def read(item: Item, config: PointConfig) -> Points | NDArray[np.floating[Any]]:
    """A scan or mesh as a file or bytes, or an array (P, 3 to 9) -> its points. Raises ItemError.

    Points are sampled evenly from the surface of a mesh, always the same ones.
    """
    is_path = isinstance(item, str | os.PathLike)
    if not (is_path or isinstance(item, bytes | bytearray | memoryview) or hasattr(item, "read")):
        return read_array(item)
    kind = Path(item).suffix.lower().removeprefix(".") if is_path else ""
    if is_path and kind not in FORMATS:
        existing_file(item)
        raise ItemError(item, f"unknown format {'.' + kind!r}: expected {', '.join(FORMATS)}")
    data = read_bytes(item, " or an array (P, 3)", ADVICE)
    kind = kind or _format(data)
    if kind in ARRAYS:
        return read_array(item)
    if data.startswith(b"LASF") and data[104:105] >= b"\x80":  # compressed: damaged data may ask for any memory
        from binder import isolated

        points: Points = isolated(_points, data, kind, config, name_of(item), item=item)
        return points
    return _points(data, kind, config, name_of(item))


def diagnose() -> dict[str, str]:
    """The library that reads each format, for `binder doctor`."""
    from importlib.metadata import version

    las = f"laspy {version('laspy')}, lazrs {version('lazrs')}"
    own = ", ".join((*MESHES, *TEXT))
    return {own: "built in", "pcd": f"lzf {version('python-neo-lzf')}", "las, laz": las}


def _points(data: bytes, kind: str, config: PointConfig, name: str) -> Points:
    """Bytes of a known format -> points. Raises ItemError for any error."""
    try:
        return _read(bytes(data), kind, config)
    except ItemError:
        raise
    except MemoryError:
        raise ItemError(name, f"needs more memory than there is; {ADVICE}") from None
    except Exception as error:  # damage causes many kinds
        raise ItemError(name, f"not a readable {kind} file: {one_line(error)}") from None


def _read(data: bytes, kind: str, config: PointConfig) -> Points:
    """Bytes of a known format -> points. Raises ValueError, or anything else for damaged data."""
    if kind == "ply":
        from binder_pointcloud.ply import read_ply

        return read_ply(data, config)
    if kind in ("off", "obj", "stl"):
        from binder_pointcloud import meshes

        return {"off": meshes.read_off, "obj": meshes.read_obj, "stl": meshes.read_stl}[kind](data, config)
    if kind in ("glb", "gltf"):
        from binder_pointcloud.gltf import read_gltf

        return read_gltf(data, config)
    if kind == "pcd":
        from binder_pointcloud.pcd import read_pcd

        return read_pcd(data)
    if kind in ("las", "laz"):
        from binder_pointcloud.las import read_las

        return read_las(data, config)
    from binder_pointcloud.text import read_text

    return read_text(data)


def _format(data: bytes) -> str:
    """The format of bytes, by their content."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, kind in (
        (b"ply", "ply"),
        (b"\x93NUMPY", "npy"),
        (b"PK\3\4", "npz"),
        (b"glTF", "glb"),
        (b"{", "gltf"),
        (b"LASF", "las"),
        (b"# .PCD", "pcd"),
        (b"VERSION", "pcd"),
    ):
        if head.startswith(start):
            return kind
    words = head.split(maxsplit=1)
    if words and words[0].rstrip(b"0123456789").endswith(b"OFF"):
        return "off"
    if head.startswith(b"solid") or len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return "stl"
    return "obj" if any(line.startswith((b"v ", b"o ", b"vn ", b"mtllib ")) for line in head.split(b"\n")) else "xyz"
