"""What a user may set, with units."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from binder import PictureConfig

Units = Literal["mm", "cm", "m", "disparity"]


class DepthConfig(PictureConfig):
    """Distance from the camera at each pixel. `units` must be said, unless every file says it itself."""

    units: Units | None = None  # of files that do not say it themselves; disparity is in pixels
    divisor: float = Field(1.0, gt=0)  # what values are divided by to be in `units`: KITTI 256, TUM RGB-D 5000
    sun_bits: bool = False  # undo the rotated bits of SUN RGB-D's 16-bit files: (v >> 3) | (v << 13)
    baseline_m: float | None = Field(None, gt=0)  # m between the two cameras that a disparity comes from
    focal_px: float | None = Field(None, gt=0)  # pixels, focal length at the files' size; None: a view of 60 degrees
    min_m: float = Field(0.01, ge=0)  # m; what is nearer was not measured
    max_m: float = Field(60.0, gt=0)  # m; what is farther was not measured: below the 65.535 m of full 16-bit values
    drawing: Literal["shaded", "near", "imagebind", "languagebind"] = "shaded"  # what the image tower is shown

    @model_validator(mode="after")
    def _complete(self) -> DepthConfig:
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m: expected less than max_m ({self.max_m:g})")
        lacking = [name for name in ("baseline_m", "focal_px") if getattr(self, name) is None]
        disparity = 'drawing = "imagebind"' if self.drawing == "imagebind" else 'units = "disparity"'
        if lacking and "disparity" in (self.units, "disparity" if self.drawing == "imagebind" else None):
            example = {"baseline_m": "baseline_m=0.075", "focal_px": "focal_px=520"}
            options = " ".join(f"--set encoder.{example[name]}" for name in lacking)
            raise ValueError(f"{disparity} needs {' and '.join(lacking)}, for instance {options}")
        return self
