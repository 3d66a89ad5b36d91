"""The settings of point cloud encoders, and the type that plugins return. Free of torch and NumPy.

Shapes: P points as read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from binder.errors import renamed, warn_renamed
from binder.modality import EncoderConfig, Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


class PointConfig(EncoderConfig):
    """Base of the settings of point cloud encoders."""

    former_names: ClassVar[Mapping[str, str]] = {"colours": "colors", "neighbours": "neighbors"}

    points: int = Field(1024, ge=64, le=65_536)  # per item, that the encoder sees
    normals: bool = False  # whether it sees the surface normals of the points
    colors: bool = False  # whether it sees the colors of the points
    up: Literal["x", "y", "z"] = "z"  # axis that points up in the files; inside the encoder it is z
    turn: Literal["x", "y", "z", "all", "none"] = "z"  # axis of random rotations in training, once z is up
    groups: int = Field(64, ge=8, le=1024)  # neighborhoods, each of which becomes a token
    neighbors: int = Field(24, ge=4, le=256)  # points of each
    width: int = Field(96, ge=16, le=2048)  # channels of the transformer
    layers: int = Field(3, ge=1, le=48)
    heads: int = Field(4, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none

    @model_validator(mode="after")
    def _fits(self) -> PointConfig:
        if max(self.groups, self.neighbors) > self.points:
            raise ValueError(f"points: expected at least groups ({self.groups}) and neighbors ({self.neighbors})")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")
        return self


@dataclass(frozen=True)
class Points:
    """What the `read` function of a point cloud plugin returns: points in any unit, around any origin.

    It may also return an array (P, 3 to 9) or its transpose: x, y, z, then normals, then colors, as the configuration
    asks for. Points with a value that is not finite or beyond 1e30 are left out.
    """

    xyz: Floats  # (P, 3)
    normals: Floats | None = None  # (P, 3), of any length
    colors: Floats | None = None  # (P, 3) red, green, blue: 0 to 1, or integers 0 to 255

    @property
    def colours(self) -> Floats | None:
        """The old name of `colors`, for one release."""
        warn_renamed("Points.colours", "Points.colors")
        return self.colors


if not TYPE_CHECKING:
    Points.__init__ = renamed(colours="colors")(Points.__init__)


Read = Callable[[Item, Any], "Points | Floats"]  # (item, config) -> points; raises ItemError
