"""What a user may set, with units."""

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


class ThermalConfig(PictureConfig):
    """Nothing needs to be set: each picture is then drawn from its own coldest to its own hottest."""

    # kelvin in one step of the values, of files that do not say it themselves: 0.01 where they are in hundredths of a
    # kelvin, 0.04 in FLIR's TLinear, 1 where they are in kelvin or degC; None: the values have no temperature
    kelvin_per_step: float | None = Field(None, gt=0)
    kelvin_at_zero: float = 0.0  # kelvin of the value 0: 273.15 where the values are in degC
    low_c: float | None = None  # degC that is drawn black, and below; None: each picture's own coldest
    high_c: float | None = None  # degC that is drawn white, and above; None: each picture's own hottest
    hot: Literal["white", "black"] = "white"  # which end of grey pictures and of palettes is hot
    palette: Palette | Literal["auto", "fit", "brightness"] = "auto"  # of false colors; auto: which of them, or of
    # `palettes`, it is is found out; fit: where none fits, the curve that the picture's own colors lie along;
    # brightness: of a picture in any colors, how bright they are
    # more palettes, each as its colors from cold to hot; training adds those it finds
    palettes: tuple[OwnPalette, ...] = Field((), max_length=32)
    # what is burnt in: width and height of the pictures it is in, left, top, right, bottom (pixels, the last two not
    # included); training adds what is the same in all pictures of its sample
    overlays: tuple[Box, ...] = Field((), max_length=1000)
    drawn: bool = False  # of a JPEG with measurements inside, read the picture drawn of them in their place

    @model_validator(mode="after")
    def _complete(self) -> ThermalConfig:
        if self.low_c is not None and self.high_c is not None and self.low_c >= self.high_c:
            raise ValueError(f"low_c: expected less than high_c ({self.high_c:g} degC)")
        return self
