"""Which column of a table holds the times, and in which unit. Free of torch and NumPy."""

from __future__ import annotations

import re

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}  # per unit of time
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FINER = ("ms", "us", "ns")
USUAL_HZ = (1.5, 1500.0)  # sampling rates, where nothing else is known; a factor of 1000, so that exactly one unit fits
EPOCH_S = (1e8, 1e10)  # plausible times in s since 1970: the years 1973 to 2286
LATEST_S = 1e11  # s: later than any time, counted from the start of a recording or from 1970
SLOWEST_S = 1e6  # s between samples above which the unit is doubted
NEVER_S = 1e9  # s between samples: nothing is sampled this seldom
HOUR_S = 3600.0  # series with longer steps are hourly, daily, monthly: their steps are whole hours

_UNIT = {
    "s": "s|secs?|seconds?",
    "ms": "ms|msecs?|millis|milliseconds?",
    "us": "us|µs|μs|usecs?|micros|microseconds?",
    "ns": "ns|nsecs?|nanos|nanoseconds?",
    "min": "min|mins|minutes?",
    "h": "h|hrs?|hours?",
}
UNITS = {name: unit for unit, names in _UNIT.items() for name in re.sub(r"(\w+)s\?", r"\1|\1s", names).split("|")}
CLOCKS = {"time", "times", "timestamp", "timestamps", "t", "ts", "elapsed", "epoch", "epochs", "unixtime", "datetime"}
BESIDE = {"since", "from", "start", "started", "reboot", "boot", "1970", "unix", "utc", "sensor", "system", "device"}
BESIDE |= {"relative", "rel", "absolute", "abs", "sample", "recording", "the", "of", "in", "stamp", "host", "local"}
PARTS = re.compile(r"[^\W\d_]+|\d+")
BRACKETS = re.compile(r"(.*?)\s*[(\[{<]\s*([^()\[\]{}<>]*)\s*[)\]}>]\s*")  # a name, then its unit


def parse_name(column: str, unit_row: str = "") -> tuple[bool, str | None]:
    """A column's name, and its unit where the file has a row of units -> whether it holds times, and in which unit.

    Knows time_s, Time (ms), timestamp_ns, seconds_elapsed, t [us], elapsedTime; the unit is None where none is given.
    """
    found = BRACKETS.fullmatch(column)
    name, unit = (found[1], found[2]) if found else (column, unit_row)
    words = [w.lower() for w in PARTS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))]
    units = [w for w in words if w in UNITS]
    if len(units) == 1 and units[0] in (words[0], words[-1]):
        unit = unit or units[0]
        words = [w for w in words if w not in UNITS]
        if (
            not words and len(units[0]) > 1 and units[0] != "min"
        ):  # "seconds" alone is a time, "s" alone may be anything
            words = ["time"]
    if "timestamp" in words:
        words = words[words.index("timestamp") :]  # drop what it is the timestamp of
    if not CLOCKS & set(words) or set(words) - CLOCKS - BESIDE:
        return False, None
    return True, UNITS.get(unit.strip().lower())


def guess_unit(first: float, step: float, usual_hz: tuple[float, float] | None) -> str | None:
    """The unit of times that begin at `first` and grow by `step`, or None where it cannot be told.

    It is told by the year the times would be in, then by the sampling rate where `usual_hz` gives the usual range. A
    step of exactly 1 says nothing: the column may just as well number the samples.
    """
    rarest = 60.0 if usual_hz is None else 1 / usual_hz[0]  # microseconds since the start can look like seconds in 1990
    for unit in ("s", *FINER):
        if EPOCH_S[0] <= abs(first) * SECONDS[unit] <= EPOCH_S[1] and step * SECONDS[unit] <= rarest:
            return unit
    if usual_hz is None or step <= 0 or step == 1:
        return None
    return next((u for u in ("s", *FINER) if usual_hz[0] <= 1 / (step * SECONDS[u]) < usual_hz[1]), None)


def unit_problem(unit: str, first: float, step: float, usual_hz: tuple[float, float] | None = None) -> str | None:
    """Why times cannot be in `unit`, and what they may be instead ("looks like nanoseconds ..."); None if they can.

    `first` and `step` (the median one) are in that unit and finite. `usual_hz` is the usual range of sampling rates.
    """
    seconds = SECONDS[unit]
    late = not abs(first) * seconds <= LATEST_S
    hours = step * seconds / HOUR_S
    rare = step * seconds >= NEVER_S or (step * seconds >= SLOWEST_S and abs(hours - round(hours)) > 1e-6)
    if not late and not rare and (usual_hz is None or step * seconds * usual_hz[0] <= 1.5):
        return None
    better = guess_unit(first, step, usual_hz or USUAL_HZ)
    why = f"begins at {short(first)}" if late else f"has a step of {short(step)}"
    if better in (None, unit):
        return f"cannot be {NAMES.get(unit, unit)}: it {why}" if late or rare else None
    return f"looks like {NAMES[str(better)]} (it {why}): set encoder.time_unit={better}"


def short(x: float) -> str:
    """Three significant digits: 1.7e9, 0.02."""
    return f"{x:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
