"""Motion for binder: accelerometers and gyroscopes. Importing this package imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from binder import Modality, hookimpl, series_modality
from binder_imu.adapting import adapt
from binder_imu.config import ImuConfig
from binder_imu.reading import read

__all__ = ["IMU", "ImuConfig"]

IMU = series_modality("imu", {".csv", ".tsv", ".parquet", ".npy", ".npz"}, ImuConfig, read, adapt=adapt)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [IMU]
