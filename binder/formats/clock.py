"""Which column of a table is its clock, and in which unit it counts. Free of torch and NumPy."""

from __future__ import annotations

import re

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}  # in a unit of time
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FINER = ("ms", "us", "ns")
# what is sampled is sampled this often, as long as nothing else is known; a factor of 1000, so that one unit fits
USUAL_HZ = (1.5, 1500.0)
EPOCH_S = (1e8, 1e10)  # s since 1970 in which a clock may stand: the years 1973 to 2286
LATEST_S = 1e11  # s: no clock stands there, neither since it was started nor since 1970
SLOWEST_S = 1e6  # s between samples from which on the unit is doubted
NEVER_S = 1e9  # s between samples: nothing is sampled less often than that
HOUR_S = 3600.0  # what is sampled less often than that is sampled each hour, day, month

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


def named(column: str, said: str = "") -> tuple[bool, str | None]:
    """A column's name, and its unit where another row says it -> whether it is a clock's, and in which unit.

    time_s, Time (ms), timestamp_ns, seconds_elapsed, t [us], elapsedTime; None where no unit is named.
    """
    found = BRACKETS.fullmatch(column)
    name, unit = (found[1], found[2]) if found else (column, said)
    words = [w.lower() for w in PARTS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))]
    units = [w for w in words if w in UNITS]
    if len(units) == 1 and units[0] in (words[0], words[-1]):
        unit = unit or units[0]
        words = [w for w in words if w not in UNITS]
        if not words and len(units[0]) > 1 and units[0] != "min":  # "seconds" alone is a clock, "s" alone is anything
            words = ["time"]
    if "timestamp" in words:
        words = words[words.index("timestamp") :]  # of whatever
    if not CLOCKS & set(words) or set(words) - CLOCKS - BESIDE:
        return False, None
    return True, UNITS.get(unit.strip().lower())


def guessed(first: float, step: float, usual_hz: tuple[float, float] | None) -> str | None:
    """The unit of a clock that begins at `first` and goes on by `step`, where it can be told; else None.

    By the year that it would be; then, where `usual_hz` says how often such a thing is sampled, by the rate. A step of
    exactly 1 counts samples as well as it counts time.
    """
    rarest = 60.0 if usual_hz is None else 1 / usual_hz[0]  # microseconds since the start may look like seconds of 1990
    for unit in ("s", *FINER):
        if EPOCH_S[0] <= abs(first) * SECONDS[unit] <= EPOCH_S[1] and step * SECONDS[unit] <= rarest:
            return unit
    if usual_hz is None or step <= 0 or step == 1:
        return None
    return next((u for u in ("s", *FINER) if usual_hz[0] <= 1 / (step * SECONDS[u]) < usual_hz[1]), None)


def doubted(unit: str, first: float, step: float, usual_hz: tuple[float, float] | None = None) -> str | None:
    """What speaks against a clock's unit and what it may be instead: "it looks like nanoseconds ..."; else None.

    `first` and `step` (the usual one) are in that unit, finite. `usual_hz`: how often such a thing is sampled.
    """
    seconds = SECONDS[unit]
    late = not abs(first) * seconds <= LATEST_S
    hours = step * seconds / HOUR_S
    rare = step * seconds >= NEVER_S or (step * seconds >= SLOWEST_S and abs(hours - round(hours)) > 1e-6)
    if not late and not rare and (usual_hz is None or step * seconds * usual_hz[0] <= 1.5):
        return None
    better = guessed(first, step, usual_hz or USUAL_HZ)
    why = f"begins at {short(first)}" if late else f"has a step of {short(step)}"
    if better in (None, unit):
        return f"cannot be {NAMES.get(unit, unit)}: it {why}" if late or rare else None
    return f"looks like {NAMES[str(better)]} (it {why}): set encoder.time_unit={better}"


def short(x: float) -> str:
    """Three digits: 1.7e9, 0.02."""
    return f"{x:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
