"""Recordings -> acceleration in m/s2 and rotation in rad/s. Free of torch.

Shapes: S samples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from binder import Item, ItemError, Series, read_table
from binder_imu.config import ImuConfig

GRAVITY = 9.80665  # m/s2
IN_M_S2 = {"m/s2": 1.0, "g": GRAVITY}
IN_RAD_S = {"rad/s": 1.0, "deg/s": np.pi / 180}
FASTEST = 70.0  # rad/s, about 4000 deg/s: more than any such sensor measures
# what a column may be called: sensor, axis, and perhaps a unit
PATTERN = re.compile(
    r"(?P<sensor>accelerometer|accel|acc|a|gyroscope|gyro|gyr|g|rotation_?rate|w)[_. ]?(?P<axis>[xyz])"
    r"[_ \[(]*(?P<unit>m/?_?s\^?2|m_s2|mps2|g|rad/?_?s|rps|deg/?_?s|dps)?[\])]*",
    re.IGNORECASE,
)


def read(item: Item, config: ImuConfig) -> Series:
    """A table with six columns, a (S, 6) array, or (array, rate in Hz) -> Series in m/s2 and rad/s. Raises ItemError.

    CSV, TSV, Parquet and npy, as files or bytes. Units come from the configuration, or else the columns' names.
    """
    table = read_table(item)
    columns, units = _find(table.columns, config)
    missing = [channel for channel, column in zip(config.channels, columns, strict=True) if column is None]
    if missing:
        found = ", ".join(table.columns)[:160]
        raise ItemError(table.name, f"no column for {', '.join(missing)} (set encoder.columns); found: {found}")
    series = table.series(
        [c for c in columns if c], time=config.time, time_unit=config.time_unit, rate_hz=config.file_rate_hz
    )
    values = series.values.copy()
    values[:, :3] *= IN_M_S2[config.acceleration_unit or units[0]]
    values[:, 3:] *= IN_RAD_S[config.rotation_unit or units[1]]
    _check(table.name, values, config)
    if config.gravity == "remove":
        values[:, :3] -= values[:, :3].mean(0)
    return Series(values, series.rate_hz, series.time_s)


def _find(names: Sequence[str], config: ImuConfig) -> tuple[Sequence[str | None], tuple[str, str]]:
    """The six columns in the channels' order, and the units that their names say."""
    if config.columns is not None or not names:
        return config.columns or config.channels, ("m/s2", "rad/s")
    found: dict[str, str] = {}
    units = {"acc": "m/s2", "gyro": "rad/s"}
    for name in names:
        match = PATTERN.fullmatch(name.strip())
        if match is None:
            continue
        kind = "acc" if match["sensor"].lower()[0] == "a" else "gyro"
        found.setdefault(f"{kind}_{match['axis'].lower()}", name)
        unit = (match["unit"] or "").lower()
        if unit:
            units[kind] = _UNITS[unit[0] + ("g" if unit == "g" else "")]
    return [found.get(f"{kind}_{axis}") for kind in units for axis in "xyz"], (units["acc"], units["gyro"])


_UNITS = {"gg": "g", "m": "m/s2", "r": "rad/s", "d": "deg/s"}


def _check(name: str, values: np.ndarray, config: ImuConfig) -> None:
    """Raises ItemError where the numbers cannot be in the unit that they are said to be in."""
    if not np.isfinite(values).all():
        return  # the base says which
    if config.gravity != "absent":
        usual = float(np.median(np.linalg.norm(values[:, :3], axis=1)))
        if not 0.3 * GRAVITY < usual < 3 * GRAVITY:
            raise ItemError(
                name,
                f"the median acceleration would be {usual:.3g} m/s2, and gravity alone is 9.8: "
                'set encoder.acceleration_unit ("m/s2" or "g"), or encoder.gravity = "absent"',
            )
    fastest = float(np.abs(values[:, 3:]).max())
    if fastest > FASTEST:
        raise ItemError(
            name,
            f'the fastest rotation would be {fastest:.3g} rad/s: set encoder.rotation_unit ("rad/s" or "deg/s")',
        )
