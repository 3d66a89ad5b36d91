"""Sets of points in space: what can be set, and what a plugin reads. Free of torch and, until points come, of NumPy.

Shapes: P points as read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from binder.modality import EncoderConfig, Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


class PointConfig(EncoderConfig):
    """Base for encoders of sets of points."""

    points: int = Field(1024, ge=64, le=65_536)  # that the encoder sees of an item
    normals: bool = False  # whether it sees which way the surface faces
    colours: bool = False  # whether it sees the points' colours
    up: Literal["x", "y", "z"] = "z"  # axis that is up in the files; inside the encoder it is z
    turn: Literal["x", "y", "z", "all", "none"] = "z"  # axis about which training turns items, once z is up
    groups: int = Field(64, ge=8, le=1024)  # tokens: neighbourhoods that are looked at
    neighbours: int = Field(24, ge=4, le=256)  # points of each
    width: int = Field(96, ge=16, le=2048)  # channels of the transformer
    layers: int = Field(3, ge=1, le=48)
    heads: int = Field(4, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none

    @model_validator(mode="after")
    def _fits(self) -> PointConfig:
        if max(self.groups, self.neighbours) > self.points:
            raise ValueError(f"points: expected at least groups ({self.groups}) and neighbours ({self.neighbours})")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads ({self.heads}), got {self.width}")
        return self


@dataclass(frozen=True)
class Points:
    """What a reading function returns: points, in any unit, about any origin.

    Or an array (P, 3 to 9), or the same turned round: x, y, z, then normals, then colours, as far as the configuration
    asks for them. Points with a number that is not finite, or beyond 1e30, are left out with all that belongs to them.
    """

    xyz: Floats  # (P, 3)
    normals: Floats | None = None  # (P, 3), of any length
    colours: Floats | None = None  # (P, 3) red, green, blue: 0 to 1, or whole numbers 0 to 255


Read = Callable[[Item, Any], "Points | Floats"]  # (item, config) -> points; raises ItemError
