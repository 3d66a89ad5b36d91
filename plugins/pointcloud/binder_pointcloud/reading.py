"""Scans and meshes -> points. Free of torch.

Shapes: P points.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, Points
from binder_pointcloud.config import PointcloudConfig
from binder_pointcloud.pcd import read_pcd

Floats = NDArray[np.floating[Any]]

MOST_BYTES = 1 << 30  # of a file
DENSITY = 4  # points sampled from a surface for each that the encoder sees; they are then spread out
FORMATS = ("ply", "off", "obj", "stl", "xyz")  # by trimesh
UPRIGHT = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}  # order of the axes that puts the one that is up last


def read(item: Item, config: PointcloudConfig) -> Points:
    """A scan or mesh as a file or bytes, or an array (P, 3 to 9) -> Points with z up. Raises ItemError.

    Of a mesh, points are sampled evenly from its surface, the same ones every time. An array's columns after x, y and
    z are normals, then colours, as far as the configuration asks for them.
    """
    if isinstance(item, np.ndarray):
        found = _columns(item, config, "<ndarray in memory>")
    else:
        data, kind, name = _content(item)
        if kind == "npy":
            found = _columns(_numpy(data, name), config, name)
        elif kind == "pcd":
            found = read_pcd(data, name)
        else:
            found = _by_trimesh(data, kind, name, config)
    order = list(UPRIGHT[config.up])
    if found.xyz.ndim != 2 or found.xyz.shape[1] != 3:
        return found  # the base says what is wrong with it
    normals = None if found.normals is None else found.normals[:, order]
    return Points(found.xyz[:, order], normals, found.colours)


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    from importlib.metadata import version

    return {", ".join(FORMATS): f"trimesh {version('trimesh')}", "pcd, npy": "built in"}


def _content(item: Item) -> tuple[bytes, str, str]:
    """Item -> its bytes, its format, its name."""
    if isinstance(item, bytes):
        if not item.strip():
            raise ItemError("<bytes>", "empty")
        return item, _format(item), f"<{len(item)} bytes>"
    if not isinstance(item, str | os.PathLike):
        raise ItemError(item, f"expected a path, bytes or an array (P, 3), not {type(item).__name__}")
    path = Path(item)
    kind = path.suffix.lower().removeprefix(".")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ItemError(path, "larger than 1 GiB; thin it out first")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ItemError(path, "no such file") from None
    except OSError as error:
        raise ItemError(path, f"cannot be read: {error.strerror}") from None
    if not data.strip():
        raise ItemError(path, "empty file")
    if kind not in (*FORMATS, "pcd", "npy"):
        raise ItemError(path, f"unknown format {path.suffix!r}: expected {', '.join((*FORMATS, 'pcd', 'npy'))}")
    return data, kind, str(path)


def _format(data: bytes) -> str:
    """The format of bytes without a name."""
    head = data[:512].lstrip()
    for start, kind in ((b"ply", "ply"), (b"\x93NUMPY", "npy"), (b"# .PCD", "pcd"), (b"VERSION", "pcd")):
        if head.startswith(start):
            return kind
    if head.split(b"\n")[0].rstrip()[-3:] == b"OFF":
        return "off"
    if head.startswith(b"solid") or len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return "stl"
    return "obj" if any(line.startswith((b"v ", b"o ", b"vn ")) for line in head.split(b"\n")) else "xyz"


def _numpy(data: bytes, name: str) -> Floats:
    try:
        return np.asarray(np.load(io.BytesIO(data)))
    except (ValueError, OSError, EOFError) as error:
        raise ItemError(name, f"not a readable NumPy file: {error}") from None


def _columns(array: Floats, config: PointcloudConfig, name: str) -> Points:
    needed = 3 * (1 + config.normals + config.colours)
    if array.ndim != 2 or array.shape[1] < needed:
        raise ItemError(name, f"expected an array of shape (P, {needed}), got {array.shape}")
    normals = array[:, 3:6] if config.normals else None
    colours = array[:, needed - 3 : needed] if config.colours else None
    return Points(array[:, :3], normals, colours)


def _by_trimesh(data: bytes, kind: str, name: str, config: PointcloudConfig) -> Points:
    import trimesh

    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False)
        parts = [part for part in scene.dump() if len(getattr(part, "vertices", ()))]
    except Exception as error:  # of many kinds, as the format's own parser fails
        raise ItemError(name, f"not a readable {kind} file: {error or type(error).__name__}") from None
    if not parts:
        raise ItemError(name, f"not a readable {kind} file: it holds no points")
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    if meshes:
        return _of_surface(trimesh.util.concatenate(meshes), config, name)
    xyz = np.concatenate([part.vertices for part in parts])
    return Points(xyz, _normals_beside(parts, len(xyz)), _colours_beside(parts, len(xyz)))


def _of_surface(mesh: Any, config: PointcloudConfig, name: str) -> Points:
    import trimesh

    if not np.isfinite(mesh.vertices).all() or not mesh.area > 0:
        raise ItemError(name, "a mesh without a surface, or with places that are not finite")
    xyz, face = trimesh.sample.sample_surface(mesh, DENSITY * config.points, seed=0)
    normals = mesh.face_normals[face] if config.normals else None
    colours = None
    if config.colours and mesh.visual.kind is not None:
        visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
        colours = np.asarray(visual.face_colors)[face, :3]
    return Points(np.asarray(xyz), normals, colours)


def _normals_beside(parts: list[Any], count: int) -> Floats | None:
    """Normals of a ply's points, which trimesh keeps as they were read."""
    found = []
    for part in parts:
        raw = part.metadata.get("_ply_raw", {}).get("vertex", {}).get("data", {})
        names = raw.dtype.names if isinstance(raw, np.ndarray) else list(raw)
        if not {"nx", "ny", "nz"} <= set(names or ()):
            return None
        found.append(np.stack([np.asarray(raw[axis]).reshape(-1) for axis in ("nx", "ny", "nz")], axis=1))
    normals = np.concatenate(found)
    return normals if len(normals) == count else None


def _colours_beside(parts: list[Any], count: int) -> Floats | None:
    found = [np.asarray(getattr(part, "colors", None)) for part in parts]
    if any(colours.ndim != 2 for colours in found) or sum(map(len, found)) != count:
        return None
    return np.concatenate(found)[:, :3]
