"""What a user may set, with units. What is left open is filled from the data (see `binder.SeriesConfig`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from binder import TableConfig

ACCELEROMETER = ("accelerometer_x", "accelerometer_y", "accelerometer_z")  # m/s2
GYROSCOPE = ("gyroscope_x", "gyroscope_y", "gyroscope_z")  # rad/s


class ImuConfig(TableConfig):
    """Six channels: acceleration along x, y, z in m/s2, rotation about x, y, z in rad/s."""

    channels: tuple[str, ...] = (*ACCELEROMETER, *GYROSCOPE)  # what the encoder sees; the files' columns are `columns`
    vectors: tuple[tuple[str, str, str], ...] = (ACCELEROMETER, GYROSCOPE)
    columns: tuple[str, ...] | None = Field(None, min_length=6, max_length=6)  # of the files, in the channels' order;
    # None: found by their names, such as accelerometer_x_m_s2, acc_x, ax; gyro_x, gyroscope_x_deg_s, gx
    acceleration_unit: Literal["m/s2", "g"] | None = None  # of the files; None: as the columns' names say, else m/s2
    rotation_unit: Literal["rad/s", "deg/s"] | None = None  # of the files; None: as the names say, else rad/s
    gravity: Literal["keep", "remove", "absent"] = "keep"  # in what is measured: it says how the sensor is held;
    # remove: subtract each recording's mean acceleration; absent: the files hold linear acceleration
    turn_deg: float = Field(15.0, ge=0, le=180)  # degrees, largest random turn in training: a sensor worn askew
