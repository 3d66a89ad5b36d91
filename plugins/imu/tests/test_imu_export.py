"""Exported encoders of motion give binder's vectors for what `read` returns."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from binder_imu import IMU, ImuConfig
from binder_imu.reading import read

from binder import Binder, export
from binder.testing import tiny_anchor


def test_real_recordings(tmp_path: Path) -> None:
    root = os.environ.get("BINDER_DATA")
    if not root:
        pytest.skip("needs real recordings: BINDER_DATA is not set")
    folder = Path(root) / "imu_digits"
    with (folder / "labels.csv").open() as file:
        paths = [folder / row["imu"] for row in list(csv.DictReader(file))[::40]]
    assert IMU.adapt is not None
    space, config = Binder(tiny_anchor()), IMU.adapt(ImuConfig(), paths)
    space.encoders["imu"] = IMU.build(config, space.anchor).eval().requires_grad_(False)
    embed = export(space, "imu", tmp_path / "out").load()
    wanted = space.encode("imu", paths, strict=True).vectors
    for path, vector in zip(paths, wanted, strict=True):
        series = read(path, config)
        timed = {"time_s": series.time_s} if series.time_s is not None else {"rate_hz": series.rate_hz}
        np.savez(tmp_path / "held.npz", values=series.values, **timed)
        np.testing.assert_allclose(embed(str(tmp_path / "held.npz")), vector, atol=1e-4)
