"""The settings of the thermal encoder, with units. Free of torch and NumPy."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from binder import PictureConfig

# fmt: off
Palette = Literal[
    "ironbow", "inferno", "magma", "plasma", "viridis", "cividis", "hot", "jet", "turbo", "rainbow",
    "spectrum", "rainbow_hc", "rainbow_iron", "blue_red", "medical", "arctic", "lava", "cold_hot", "icefire",
    "amber", "red", "green", "tyrian", "prism", "thermal",
]
# fmt: on
PALETTES: tuple[Palette, ...] = get_args(Palette)
Color = Annotated[str, StringConstraints(pattern="^#[0-9a-fA-F]{6}$")]
OwnPalette = Annotated[tuple[Color, ...], Field(min_length=2, max_length=256)]
Box = tuple[int, int, int, int, int, int]
KELVIN = 273.15  # kelvin at 0 degC


class ThermalConfig(PictureConfig):
    """Nothing needs to be set: each picture is then drawn from its own coldest to its own hottest."""

    # kelvin per step of the values, for files that state no unit: 0.01 for hundredths of a kelvin, 0.04 for FLIR's
    # TLinear, 1 for kelvin or degC; None: the values are not temperatures
    kelvin_per_step: float | None = Field(None, gt=0)
    kelvin_at_zero: float = 0.0  # kelvin at the value 0: 273.15 if the values are in degC
    low_c: float | None = None  # degC drawn black, as is what is colder; None: each picture's own coldest
    high_c: float | None = None  # degC drawn white, as is what is hotter; None: each picture's own hottest
    hot: Literal["white", "black"] = "white"  # which end of gray values and palettes is hot
    palette: Palette | Literal["auto", "fit", "brightness"] = "auto"  # of false colors; auto: detected among these and
    # `palettes`; fit: if none of them fits, a curve through the picture's own colors; brightness: ignore the colors
    palettes: tuple[OwnPalette, ...] = Field((), max_length=32)  # colors from cold to hot; training adds those it finds
    # marks burnt into the pictures: width and height of such pictures, left, top, right, bottom (pixels, the last two
    # exclusive); training adds those that are the same in all pictures of its sample
    overlays: tuple[Box, ...] = Field((), max_length=1000)
    drawn: bool = False  # read the rendered picture of a radiometric JPEG instead of its measurements

    @model_validator(mode="after")
    def _complete(self) -> ThermalConfig:
        if self.low_c is not None and self.high_c is not None and self.low_c >= self.high_c:
            raise ValueError(f"low_c: expected less than high_c ({self.high_c:g} degC)")
        return self
