"""The settings of the depth encoder, with units. Free of torch and NumPy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from binder import PictureConfig


class DepthConfig(PictureConfig):
    """Distance from the camera at each pixel. `units` is required unless every file states its unit."""

    units: Literal["mm", "cm", "m", "disparity"] | None = None  # of files that state none; disparity is in pixels
    divisor: float = Field(1.0, gt=0)  # values are divided by it to be in `units`: KITTI 256, TUM RGB-D 5000
    sun_bits: bool = False  # undo the rotated bits of SUN RGB-D's 16-bit files: (v >> 3) | (v << 13)
    baseline_m: float | None = Field(None, gt=0)  # m between the two cameras of a disparity
    focal_px: float | None = Field(None, gt=0)  # pixels, focal length at the files' size; None: a view of 60 degrees
    min_m: float = Field(0.01, ge=0)  # m; nearer values were not measured
    max_m: float = Field(60.0, gt=0)  # m; farther values were not measured; below 65.535 m, the largest 16-bit value
    drawing: Literal["shaded", "near", "imagebind", "languagebind"] = "shaded"  # input of the image tower

    @property
    def baseline_focal(self) -> float:
        """m x pixels: the product of a distance and its disparity."""
        return (self.baseline_m or 0.0) * (self.focal_px or 0.0)

    @model_validator(mode="after")
    def _complete(self) -> DepthConfig:
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m: expected less than max_m ({self.max_m:g})")
        examples = {"baseline_m": "0.075", "focal_px": "520"}
        missing = [name for name in examples if getattr(self, name) is None]
        for key, value in (("drawing", "imagebind"), ("units", "disparity")):
            if missing and getattr(self, key) == value:
                options = " ".join(f"--set encoder.{name}={examples[name]}" for name in missing)
                raise ValueError(f'{key} = "{value}" needs {" and ".join(missing)}, for instance {options}')
        return self
