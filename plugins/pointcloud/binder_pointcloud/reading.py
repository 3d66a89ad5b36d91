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

from binder import Item, ItemError, PointConfig, Points, read_array, read_bytes

Floats = NDArray[np.floating[Any]]

DENSITY = 4  # points sampled from a surface for each that the encoder sees; they are then spread out
BY_TRIMESH = ("ply", "off", "obj", "stl", "xyz")
FORMATS = (*BY_TRIMESH, "pcd", "npy")


def read(item: Item, config: PointConfig) -> Points | Floats:
    """A scan or mesh as a file or bytes, or an array (P, 3 to 9) -> its points. Raises ItemError.

    Of a mesh, points are sampled evenly from its surface, the same ones every time.
    """
    if isinstance(item, np.ndarray):
        return item
    data = read_bytes(item, " or an array (P, 3)", "thin it out first")
    kind = Path(item).suffix.lower().removeprefix(".") if isinstance(item, str | os.PathLike) else _format(data)
    if kind not in FORMATS:
        raise ItemError(item, f"unknown format {'.' + kind!r}: expected {', '.join(FORMATS)}")
    if kind == "npy":
        return read_array(item)
    try:
        return _by_pypcd(data) if kind == "pcd" else _by_trimesh(data, kind, config)
    except Exception as error:  # of many kinds, as the format's own parser fails
        raise ItemError(item, f"not a readable {kind} file: {str(error)[:160] or type(error).__name__}") from None


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    from importlib.metadata import version

    return {", ".join(BY_TRIMESH): f"trimesh {version('trimesh')}", "pcd": f"pypcd4 {version('pypcd4')}"}


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


def _by_pypcd(data: bytes) -> Points:
    """Points that are not finite are left out: depth cameras mark with them what they did not see."""
    from pypcd4 import PointCloud

    if b"\nDATA " not in data:
        raise ValueError("its header has no line DATA")
    cloud = PointCloud.from_fileobj(io.BufferedReader(io.BytesIO(data)))
    if len(cloud.pc_data) != cloud.points:
        raise ValueError(f"truncated: {len(cloud.pc_data)} of {cloud.points} points")
    if not {"x", "y", "z"} <= set(cloud.fields):
        raise ValueError(f"without x, y and z; found: {', '.join(cloud.fields)}")
    xyz = cloud.numpy(("x", "y", "z"))
    seen = np.isfinite(xyz).all(1)
    axes = ("normal_x", "normal_y", "normal_z")
    normals = cloud.numpy(axes)[seen] if set(axes) <= set(cloud.fields) else None
    colours = [cloud.decode_rgb(cloud.pc_data[field])[seen] for field in ("rgb", "rgba") if field in cloud.fields]
    return Points(xyz[seen], normals, colours[0] if colours else None)


def _by_trimesh(data: bytes, kind: str, config: PointConfig) -> Points:
    import trimesh

    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False)
    parts: list[Any] = [part for part in scene.dump() if len(getattr(part, "vertices", ()))]
    if not parts:
        raise ValueError("it holds no points")
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    if meshes:
        return _of_surface(trimesh.util.concatenate(meshes), config)
    (cloud,) = parts
    colours = np.asarray(getattr(cloud, "colors", None))
    return Points(cloud.vertices, _ply_normals(cloud), colours[:, :3] if len(colours.shape) == 2 else None)


def _of_surface(mesh: Any, config: PointConfig) -> Points:
    import trimesh

    if not np.isfinite(mesh.vertices).all() or not mesh.area > 0:
        raise ValueError("a mesh without a surface, or with places that are not finite")
    xyz, face = trimesh.sample.sample_surface(mesh, DENSITY * config.points, seed=0)
    normals = mesh.face_normals[face] if config.normals else None
    colours = None
    if config.colours and mesh.visual.kind is not None:
        visual = mesh.visual.to_color() if mesh.visual.kind == "texture" else mesh.visual
        colours = np.asarray(visual.face_colors)[face, :3]
    return Points(np.asarray(xyz), normals, colours)


def _ply_normals(cloud: Any) -> Floats | None:
    """Normals of a ply's points, which trimesh keeps as they were read."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data", {})
    try:
        return np.column_stack([raw[axis] for axis in ("nx", "ny", "nz")])
    except (KeyError, ValueError):  # it has none
        return None
