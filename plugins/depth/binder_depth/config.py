"""What a user may set, with units."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from binder import PictureConfig


class DepthConfig(PictureConfig):
    """Distance from the camera at each pixel. `units` must be said, unless every file says it itself."""

    units: Literal["mm", "cm", "m", "disparity"] | None = (
        None  # of files that do not say it themselves; disparity is in pixels
    )
    divisor: float = Field(1.0, gt=0)  # what values are divided by to be in `units`: KITTI 256, TUM RGB-D 5000
    sun_bits: bool = False  # undo the rotated bits of SUN RGB-D's 16-bit files: (v >> 3) | (v << 13)
    baseline_m: float | None = Field(None, gt=0)  # m between the two cameras that a disparity comes from
    focal_px: float | None = Field(None, gt=0)  # pixels, focal length at the files' size; None: a view of 60 degrees
    min_m: float = Field(0.01, ge=0)  # m; what is nearer was not measured
    max_m: float = Field(60.0, gt=0)  # m; what is farther was not measured: below the 65.535 m of full 16-bit values
    drawing: Literal["shaded", "near", "imagebind", "languagebind"] = "shaded"  # what the image tower is shown

    @property
    def baseline_focal(self) -> float:
        """m x pixels: a distance times its disparity."""
        return (self.baseline_m or 0.0) * (self.focal_px or 0.0)

    @model_validator(mode="after")
    def _complete(self) -> DepthConfig:
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m: expected less than max_m ({self.max_m:g})")
        examples = {"baseline_m": "0.075", "focal_px": "520"}
        lacking = [name for name in examples if getattr(self, name) is None]
        for what, value in (("drawing", "imagebind"), ("units", "disparity")):
            if lacking and getattr(self, what) == value:
                options = " ".join(f"--set encoder.{name}={examples[name]}" for name in lacking)
                raise ValueError(f'{what} = "{value}" needs {" and ".join(lacking)}, for instance {options}')
        return self
