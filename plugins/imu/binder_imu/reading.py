"""Recordings -> acceleration in m/s2 and rotation in rad/s. Imports neither torch nor, until one is read, NumPy.

Shapes: S samples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder import Item, ItemError, Series, read_table
from binder_imu.columns import ACCELERATION, AXES, IN_M_S2, IN_RAD_S, ROTATION, Sensor, axes, sensors
from binder_imu.config import ImuConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from binder import Table

    Floats = NDArray[np.floating[Any]]

GRAVITY = 9.80665  # m/s2
FASTEST = 70.0  # rad/s, about 4000 deg/s: beyond the range of such sensors
USUAL_HZ = (1.5, 1500.0)  # sampling rates of motion, from which the unit of times is found if none is stated
HINTS = (("gyr", ROTATION), ("rotation", ROTATION), ("angular", ROTATION), ("acc", ACCELERATION))  # in a file's name


def read(item: Item, config: ImuConfig) -> Series:
    """A table, an array (S, 6) or (S, 3), or (array, rate in Hz) -> Series in m/s2 and rad/s, NaN for empty cells.

    Tables are text, Parquet, npy or npz, as files or bytes, or in memory. Units come from the configuration, else from
    the names of the columns or a row below them. Raises ItemError.
    """
    table = read_table(item)
    found = _chosen(table, config, _hint(item))
    columns = config.columns or [column for sensor in found for column in sensor.columns] or config.channels
    slow = config.rate_hz is not None and config.rate_hz < USUAL_HZ[0]
    series = table.series(
        columns,
        time=config.time,
        time_unit=config.time_unit,
        rate_hz=config.file_rate_hz,
        usual_hz=None if slow else USUAL_HZ,
    )
    values = series.values  # not shared, so they are changed in place
    units = {sensor.kind: sensor.unit for sensor in found}
    linear = any(sensor.linear for sensor in found)
    for place, kind in enumerate(kinds(config)):
        part = values[:, 3 * place : 3 * place + 3]
        if kind == ACCELERATION:
            part *= IN_M_S2[config.acceleration_unit or units.get(kind) or "m/s2"]
            _check_acceleration(table.name, part, config, linear)
        else:
            part *= IN_RAD_S[config.rotation_unit or units.get(kind) or "rad/s"]
            _check_rotation(table.name, part)
    return Series(values, series.rate_hz, series.time_s)


def kinds(config: ImuConfig) -> list[str]:
    """The sensors that the encoder uses, in the order of its channels."""
    return [kind for kind in (ACCELERATION, ROTATION) if f"{kind}_{AXES[0]}" in config.channels]


def sensors_of(item: Item) -> tuple[set[str], bool]:
    """The sensors of which a recording has all three axes, and whether its acceleration is without gravity.

    Both are known from the names of its columns, or the width of an array. Raises ItemError.
    """
    table = read_table(item)
    if not table.columns:
        wide = 6 in table.data.shape
        return ({ACCELERATION, ROTATION} if wide else {ACCELERATION}), False
    found = sensors(table.columns, table.units)
    named = [sensor for sensor in found if sensor.kind]
    if found and not named:
        return {_hint(item) or ACCELERATION}, False
    linear = {sensor.linear for sensor in named if sensor.kind == ACCELERATION}
    return {str(sensor.kind) for sensor in named}, linear == {True}


def _chosen(table: Table, config: ImuConfig, hint: str | None) -> list[Sensor]:
    """The three columns of each configured sensor. Raises ItemError where they are missing."""
    if config.columns is not None or not table.columns:
        return []
    absent = config.gravity == "absent"
    found = sorted(sensors(table.columns, table.units), key=lambda s: (s.linear != absent, s.rank))
    wanted = kinds(config)
    bare = hint or (wanted[0] if len(wanted) == 1 else ACCELERATION)  # the sensor of columns named x, y, z
    chosen = {kind: next((s for s in found if s.kind == kind), None) for kind in wanted}
    if chosen.get(bare, found) is None:
        chosen[bare] = next((s for s in found if s.kind is None), None)
    missing = [kind for kind, sensor in chosen.items() if sensor is None]
    if missing:
        seen = axes(table.columns, table.units)
        lacking = {k: [f"{k}_{a}" for a in AXES if (k, a) not in seen] or [f"{k}_{a}" for a in AXES] for k in missing}
        names = ", ".join(table.columns)[:160]
        without = ", ".join(name for some in lacking.values() for name in some)
        raise ItemError(table.name, f"no column for {without} (set encoder.columns); found: {names}")
    return [Sensor(kind, s.columns, s.unit, s.linear, s.rank) for kind, s in chosen.items() if s is not None]


def _hint(item: Item) -> str | None:
    """The sensor in a file's name: some loggers write a file per sensor."""
    if not isinstance(item, str | os.PathLike):
        return None
    stem = Path(item).stem.lower()
    return next((kind for word, kind in HINTS if word in stem), None)


def _check_acceleration(name: str, values: Floats, config: ImuConfig, linear: bool) -> None:
    """Checks that (S, 3) can be m/s2, and removes gravity if configured. Raises ItemError.

    `linear`: the names of the columns say that gravity is absent. As that is not always true, the mean decides.
    """
    import numpy as np

    if config.gravity == "absent":
        return
    known = values if np.isfinite(values).all() else values[np.isfinite(values).all(1)]
    if not len(known):
        return  # the series encoder reports that all is NaN
    mean = known.mean(0)
    usual = float(np.median(np.linalg.norm(known, axis=1)))
    if linear and float(np.linalg.norm(mean)) < GRAVITY / 2:
        raise ItemError(name, 'the acceleration is without gravity: set encoder.gravity = "absent"')
    if not 0.3 * GRAVITY < usual < 3 * GRAVITY:
        raise ItemError(
            name,
            f"the median acceleration would be {usual:.3g} m/s2, but gravity alone is 9.8: "
            'set encoder.acceleration_unit ("m/s2" or "g"), or encoder.gravity = "absent"',
        )
    if config.gravity == "remove":
        values -= mean


def _check_rotation(name: str, values: Floats) -> None:
    """Raises ItemError where (S, 3) cannot be rad/s."""
    import numpy as np

    fastest = float(np.abs(values).max())
    if not np.isfinite(fastest):
        fastest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    if fastest > FASTEST:
        raise ItemError(
            name, f'the fastest rotation would be {fastest:.3g} rad/s: set encoder.rotation_unit ("rad/s" or "deg/s")'
        )
