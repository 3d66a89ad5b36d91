"""The sensor, axis and unit of each column of a table, from its name.

There is no standard for these names: every app and logger has its own. Names are split into words that are looked up
here: `accelerometer_x`, `AccX (g)`, `ax`, `gyroRotationX(rad/s)`, `Linear Acceleration x (m/s^2)`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

AXES = "xyz"
ACCELERATION, ROTATION = "accelerometer", "gyroscope"
BRACKETS = re.compile(r"(.*?)\s*[(\[{<]\s*([^()\[\]{}<>]*)\s*[)\]}>]?\s*")  # a name, then its unit
WORDS = re.compile(r"[a-z]+|\d+|°")
# a sensor and an axis in one word: ax, accx, gyrox, wz
JOINED = re.compile(r"(a|acc|accel|accelerometer|acceleration|g|gyr|gyro|gyroscope|w|omega)([xyz])")

ACCELERATIONS = {"a", "acc", "accel", "accelerometer", "accelerometers", "acceleration", "accelerations", "accelero"}
TOTAL = {"total", "totalacceleration", "totalacc"}
LINEAR = {"linear", "lin", "user", "linearacceleration", "useracceleration", "linacc", "laccel"}
ROTATIONS = {"g", "w", "gyr", "gyro", "gyros", "gyroscope", "gyroscopes", "omega", "rotation", "rotationrate"}
TURNING = {"angular", "angularvelocity", "velocity", "vel", "rate"}  # in angular velocity, rotation rate
IGNORED = {"sensor", "imu", "device", "raw", "cal", "calibrated", "uncalibrated", "uncal", "axis", "data", "value"}
IGNORED |= {"values", "motion", "phone", "watch", "shimmer", "ln", "wr", "bmi", "mpu", "lsm", "android", "type"}

IN_M_S2 = {"m/s2": 1.0, "g": 9.80665, "mg": 9.80665e-3}
IN_RAD_S = {"rad/s": 1.0, "deg/s": 0.017453292519943295, "mdeg/s": 0.017453292519943295e-3}
UNITS = (  # a unit without punctuation -> its name
    (re.compile(r"(m|meters?|metres?)p?(s|secs?|seconds?)(s|2|squared)|m2s2"), "m/s2"),
    (re.compile(r"gs?|gforce|gunits?"), "g"),
    (re.compile(r"mgs?|milligs?"), "mg"),
    (re.compile(r"rad(ian)?s?(p|per)?(s|secs?|seconds?)1?|rps"), "rad/s"),
    (re.compile(r"(deg(ree)?s?|°)(p|per)?(s|secs?|seconds?)1?|dps"), "deg/s"),
    (re.compile(r"mdps|milli(deg(ree)?s?)(p|per)?s|mdegs"), "mdeg/s"),
)


@dataclass(frozen=True)
class Sensor:
    """Three columns of one sensor, x, y, z."""

    kind: str | None  # accelerometer or gyroscope; None where no name says which
    columns: tuple[str, str, str]
    unit: str | None  # stated in the names or in a row below them
    linear: bool  # acceleration without gravity
    rank: int  # the lower, the clearer the names


def unit_of(text: str) -> str | None:
    """m/s², m/s^2, m s-2, G, mg, rad/s, °/s, dps ... -> the name of the unit; None for any other text."""
    plain = unicodedata.normalize("NFKC", text.replace("º", "°")).lower().replace("â", "")  # UTF-8 read as Latin-1
    bare = "".join(re.findall(r"[a-z0-9°\ufffd]", plain))
    bare = re.sub("^\ufffd(?=s)", "°", bare).replace("\ufffd", "2")  # characters that another program could not decode
    return next((unit for pattern, unit in UNITS if pattern.fullmatch(bare)), None)


def sensors(names: Sequence[str], units: Mapping[str, str]) -> list[Sensor]:
    """Column names -> the sensors of which all three axes are present, those with the clearest names first.

    `units` maps columns to units, where the table has a row of them.
    """
    return _sensors(tuple(names), tuple(units.items()))


@lru_cache(maxsize=256)  # the files of a dataset have the same columns
def _sensors(names: tuple[str, ...], stated: tuple[tuple[str, str], ...]) -> list[Sensor]:
    units = dict(stated)
    found: dict[tuple[str | None, bool, int, str], dict[str, tuple[str, str | None]]] = {}
    for name in names:
        parts = _parts(name, units.get(name, ""))
        if parts is not None:
            axis, unit, key = parts
            found.setdefault(key, {}).setdefault(axis, (name, unit))
    whole = [
        Sensor(
            kind,
            (axes["x"][0], axes["y"][0], axes["z"][0]),
            next((axes[a][1] for a in AXES if axes[a][1]), None),
            linear,
            rank,
        )
        for (kind, linear, rank, _), axes in found.items()
        if set(axes) == set(AXES)
    ]
    return sorted(whole, key=lambda sensor: sensor.rank)


def axes(names: Sequence[str], units: Mapping[str, str]) -> set[tuple[str | None, str]]:
    """The sensor and axis of each column that has an axis, even where the other two axes are missing."""
    found = [_parts(name, units.get(name, "")) for name in names]
    return {(parts[2][0], parts[0]) for parts in found if parts is not None}


def _parts(name: str, stated: str) -> tuple[str, str | None, tuple[str | None, bool, int, str]] | None:
    """The axis and unit of a column, and a key that the columns of the other two axes share; None if it has no axis."""
    bracket = BRACKETS.fullmatch(name.strip())
    words = _words(bracket[1] if bracket else name)
    unit = unit_of(bracket[2] if bracket else stated)
    places = [i for i, word in enumerate(words) if word in AXES and len(word) == 1]
    if not places:
        return None
    place = places[-1]
    axis, after = words[place], "".join(words[place + 1 :])
    if after and unit_of(after):  # acc_x_g, gyro_x_rad_s
        words, unit = words[: place + 1], unit or unit_of(after)
    rest = [word for i, word in enumerate(words) if i != place]
    kind, linear, rank = _kind(rest, unit)
    if kind == "":
        return None
    return axis, unit, (kind, linear, rank, " ".join(rest))


def _words(name: str) -> list[str]:
    """accelerometerAccelerationX -> accelerometer, acceleration, x; ax -> a, x."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = WORDS.findall(spaced.lower())
    joined = [JOINED.fullmatch(word) for word in words]
    return [part for word, both in zip(words, joined, strict=True) for part in (both.groups() if both else (word,))]


def _kind(words: Sequence[str], unit: str | None) -> tuple[str | None, bool, int]:
    """The words of a name without its axis -> sensor, whether gravity is absent, rank; "" for no known sensor.

    Without words the unit tells the sensor, or it is None.
    """
    telling = {word for word in words if not word.isdigit()} - IGNORED
    of_unit = ACCELERATION if unit in IN_M_S2 else ROTATION if unit in IN_RAD_S else None
    if not telling:
        return of_unit, False, 3
    if telling <= ROTATIONS | TURNING and (telling & ROTATIONS or {"angular", "angularvelocity"} & telling):
        return (ROTATION, False, 1) if of_unit != ACCELERATION else ("", False, 9)
    if not telling <= ACCELERATIONS | TOTAL | LINEAR or of_unit == ROTATION:
        return "", False, 9
    if telling & LINEAR:
        return ACCELERATION, True, 2
    return ACCELERATION, False, 0 if telling & TOTAL else 1
