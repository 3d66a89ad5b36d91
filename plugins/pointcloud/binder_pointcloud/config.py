"""What a user may set, with units. The base has more: how many points, normals, colours, how training turns items."""

from __future__ import annotations

from typing import Literal

from binder import PointConfig


class PointcloudConfig(PointConfig):
    """Points in any unit, z up inside the encoder."""

    up: Literal["x", "y", "z"] = "z"  # axis that is up in the files; many obj files have y
