"""The settings of the IMU encoder, with units (more in `binder.SeriesConfig`). Free of torch and NumPy."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from binder import TableConfig
from binder_imu.columns import ACCELERATION, AXES, ROTATION, sensors

ACCELEROMETER = ("accelerometer_x", "accelerometer_y", "accelerometer_z")  # m/s2
GYROSCOPE = ("gyroscope_x", "gyroscope_y", "gyroscope_z")  # rad/s


class ImuConfig(TableConfig):
    """Six channels: acceleration along x, y, z in m/s2, rotation about x, y, z in rad/s; or three, of one sensor.

    Unless `channels` or `columns` is set, a sample of the recordings decides which of them.
    """

    channels: tuple[str, ...] = (*ACCELEROMETER, *GYROSCOPE)  # input of the encoder; `columns` are those of the files
    vectors: tuple[tuple[str, str, str], ...] = (ACCELEROMETER, GYROSCOPE)
    columns: tuple[str, ...] | None = None  # three or six columns of the files, in the order of the channels;
    # None: found by their names, such as accelerometer_x_m_s2, acc_x, ax; gyro_x, gyroscope_x_deg_s, gx
    acceleration_unit: Literal["m/s2", "g", "mg"] | None = None  # of the files; None: from the names, else m/s2
    rotation_unit: Literal["rad/s", "deg/s", "mdeg/s"] | None = None  # of the files; None: from the names, else rad/s
    gravity: Literal["keep", "remove", "absent"] = "keep"  # keep: it tells how the sensor is held;
    # remove: subtract each recording's mean acceleration; absent: the files contain linear acceleration
    turn_deg: float = Field(15.0, ge=0, le=180)  # degrees, largest random rotation in training: a sensor worn askew

    def plain_columns(self) -> list[list[str]] | None:
        si = self.acceleration_unit in (None, "m/s2") and self.rotation_unit in (None, "rad/s")
        if self.gravity == "remove" or not si or self.columns is not None:
            return None
        return [[c, f"{c}_{'m_s2' if c.startswith(ACCELERATION) else 'rad_s'}"] for c in self.channels]

    @model_validator(mode="before")
    @classmethod
    def _one_sensor(cls, values: Any) -> Any:
        """Fill in `channels` and `vectors` where `columns` or `channels` asks for a single sensor."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        columns = values.get("columns")
        if isinstance(columns, list | tuple) and len(columns) == len(AXES) and "channels" not in values:
            named = [found.kind for found in sensors([str(column) for column in columns], {})]
            values["channels"] = GYROSCOPE if named == [ROTATION] else ACCELEROMETER
        channels = values.get("channels")
        if isinstance(channels, list | tuple) and "vectors" not in values:
            values["vectors"] = tuple(t for t in (ACCELEROMETER, GYROSCOPE) if set(t) <= {str(c) for c in channels})
        return values

    @model_validator(mode="after")
    def _whole_sensors(self) -> ImuConfig:
        if self.channels not in (ACCELEROMETER, GYROSCOPE, (*ACCELEROMETER, *GYROSCOPE)):
            raise ValueError(
                f"channels: expected {', '.join(ACCELEROMETER)}, {', '.join(GYROSCOPE)}, or only those of one sensor"
            )
        if self.columns is not None and len(self.columns) != len(self.channels):
            raise ValueError(f"columns: expected {len(self.channels)} names, one a channel, got {len(self.columns)}")
        return self
