"""The kinds of input that `binder plugins new` has a template for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What the templates and their sample need to know of a kind."""

    asks: str  # what it is, in the question
    suffixes: tuple[str, ...]  # by default
    what: str  # it reads, in the README
    sample: str  # what was made up, in the README


KINDS: dict[str, Kind] = {
    "series": Kind(
        "channels over time, up to some hundred samples a second (a sensor, a log)",
        (".csv", ".parquet", ".npy"),
        "tables with a column for each channel",
        "48 recordings of a sensor with three channels that swings at one of four paces",
    ),
    "waveform": Kind(
        "one fast channel, thousands of samples a second (a microphone, a vibration)",
        (".wav",),
        "wav files of 16 bits",
        "48 hums of one of four pitches",
    ),
    "picture": Kind(
        "anything that is best drawn as one picture (a map, a matrix, a diagram)",
        (".csv",),
        "tables of numbers, drawn as shades of grey",
        "48 tables with stripes of one of four kinds",
    ),
    "raster": Kind(
        "measurements on a grid of pixels (a camera that sees no light, a radar, a mat of pressure)",
        (".png", ".tiff", ".npy"),
        "rasters of 16 bits or floats",
        "48 rasters with stripes of one of four kinds",
    ),
    "points": Kind(
        "sets of points in space (a scan, a surface)",
        (".xyz",),
        "lines with x, y and z, z up",
        "48 scans of a ball, a box, a can or a cone",
    ),
    "custom": Kind(
        "none of these: a plain encoder to fill in",
        (".csv",),
        "rows of 16 numbers",
        "48 rows of numbers around one of four centres",
    ),
}
