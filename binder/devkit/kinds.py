"""The kinds of input for which `binder plugins new` has a template."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of input, as described by the question and in the README of the new plugin."""

    asks: str  # its description in the question
    suffixes: tuple[str, ...]  # the default
    what: str  # the plugin reads
    sample: str  # what the sample contains


KINDS: dict[str, Kind] = {
    "series": Kind(
        "channels over time, up to a few hundred samples a second (a sensor, a log)",
        (".csv", ".parquet", ".npy"),
        "tables with a column for each channel",
        "48 recordings of a three-channel sensor that swings at one of four rates",
    ),
    "waveform": Kind(
        "one fast channel, thousands of samples a second (a microphone, a vibration)",
        (".wav",),
        "16-bit wav files",
        "48 hums at one of four pitches",
    ),
    "picture": Kind(
        "anything that is best drawn as one picture (a map, a matrix, a diagram)",
        (".csv",),
        "tables of numbers, drawn as shades of gray",
        "48 tables with stripes of one of four kinds",
    ),
    "raster": Kind(
        "measurements on a grid of pixels (a radar, a pressure mat, a camera outside visible light)",
        (".png", ".tiff", ".npy"),
        "rasters of 16-bit integers or floats",
        "48 rasters with stripes of one of four kinds",
    ),
    "points": Kind(
        "sets of points in space (a scan, a surface)",
        (".xyz",),
        "lines with x, y and z, where z is up",
        "48 scans of a ball, a box, a can or a cone",
    ),
    "custom": Kind(
        "none of these: a plain encoder to fill in",
        (".csv",),
        "rows of 16 numbers",
        "48 rows of numbers around one of four centers",
    ),
}
