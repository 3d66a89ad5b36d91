"""What a user may set, with units."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from binder import PictureConfig

Palette = Literal["ironbow", "inferno", "magma", "plasma", "viridis", "hot", "jet", "turbo", "rainbow"]
PALETTES: tuple[Palette, ...] = get_args(Palette)


class ThermalConfig(PictureConfig):
    """Nothing needs to be set: each picture is then drawn from its own coldest to its own hottest."""

    # kelvin in one step of the values, of radiometric files: 0.01 where they are in hundredths of a kelvin, 0.04 in
    # FLIR's TLinear, 1 where they are in kelvin or degC; None: the values have no temperature
    kelvin_per_step: float | None = Field(None, gt=0)
    kelvin_at_zero: float = 0.0  # kelvin of the value 0: 273.15 where the values are in degC
    low_c: float | None = None  # degC that is drawn black, and below; None: each picture's own coldest
    high_c: float | None = None  # degC that is drawn white, and above; None: each picture's own hottest
    hot: Literal["white", "black"] = "white"  # which end of grey pictures and of palettes is hot
    palette: Palette | Literal["auto", "brightness"] = "auto"  # of false colours; auto: which of them it is is found
    # out; brightness: of a picture in other colours, how bright they are

    @model_validator(mode="after")
    def _complete(self) -> ThermalConfig:
        if self.low_c is not None and self.high_c is not None and self.low_c >= self.high_c:
            raise ValueError(f"low_c: expected less than high_c ({self.high_c:g} degC)")
        if self.kelvin_per_step is None and (self.low_c is not None or self.high_c is not None):
            raise ValueError(
                "low_c and high_c need kelvin_per_step: the files' kelvin per step, for instance "
                "--set encoder.kelvin_per_step=0.01"
            )
        return self
