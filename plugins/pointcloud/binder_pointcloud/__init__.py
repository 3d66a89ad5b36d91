"""Point clouds and meshes for binder. Importing this package imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from binder import Modality, PointConfig, hookimpl, point_modality
from binder_pointcloud.reading import FORMATS, diagnose, read

__all__ = ["POINTCLOUD", "PointcloudConfig"]


class PointcloudConfig(PointConfig):
    """Points in any unit. The settings are those of `PointConfig`: vertical axis, number of points, normals, colors."""


POINTCLOUD = point_modality("pointcloud", {f".{kind}" for kind in FORMATS}, PointcloudConfig, read, diagnose=diagnose)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [POINTCLOUD]
