"""Point clouds and meshes for binder. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from binder import Modality, hookimpl, point_modality
from binder_pointcloud.config import PointcloudConfig
from binder_pointcloud.reading import diagnose, read

__all__ = ["POINTCLOUD", "PointcloudConfig"]

POINTCLOUD = point_modality(
    "pointcloud",
    {".ply", ".off", ".obj", ".stl", ".xyz", ".pcd", ".npy"},
    PointcloudConfig,
    read,
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [POINTCLOUD]
