"""What a user may set, with units. What is left open is filled from the data (see `binder.SeriesConfig`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from binder import TableConfig
from binder_imu.columns import AXES, ROTATION, sensors

ACCELEROMETER = ("accelerometer_x", "accelerometer_y", "accelerometer_z")  # m/s2
GYROSCOPE = ("gyroscope_x", "gyroscope_y", "gyroscope_z")  # rad/s


class ImuConfig(TableConfig):
    """Six channels: acceleration along x, y, z in m/s2, rotation about x, y, z in rad/s; or three, of one sensor.

    Which they are is found out from a sample of the recordings, unless `channels` or `columns` says so.
    """

    channels: tuple[str, ...] = (*ACCELEROMETER, *GYROSCOPE)  # what the encoder sees; the files' columns are `columns`
    vectors: tuple[tuple[str, str, str], ...] = (ACCELEROMETER, GYROSCOPE)
    columns: tuple[str, ...] | None = None  # of the files, in the channels' order, three or six;
    # None: found by their names, such as accelerometer_x_m_s2, acc_x, ax; gyro_x, gyroscope_x_deg_s, gx
    acceleration_unit: Literal["m/s2", "g", "mg"] | None = None  # of the files; None: as the names say, else m/s2
    rotation_unit: Literal["rad/s", "deg/s", "mdeg/s"] | None = None  # of the files; None: as the names say, else rad/s
    gravity: Literal["keep", "remove", "absent"] = "keep"  # in what is measured: it says how the sensor is held;
    # remove: subtract each recording's mean acceleration; absent: the files hold linear acceleration
    turn_deg: float = Field(15.0, ge=0, le=180)  # degrees, largest random turn in training: a sensor worn askew

    @model_validator(mode="before")
    @classmethod
    def _one_sensor(cls, values: Any) -> Any:
        """Where one sensor is asked for, its channels and vectors."""
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
                f"channels: expected {', '.join(ACCELEROMETER)}, and {', '.join(GYROSCOPE)}, or one of both"
            )
        if self.columns is not None and len(self.columns) != len(self.channels):
            raise ValueError(f"columns: expected {len(self.channels)} names, one a channel, got {len(self.columns)}")
        return self
