"""Exported encoders of motion give binder's vectors for what `read` returns."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from binder_imu import IMU, ImuConfig
from binder_imu.reading import read

from binder import Binder, export
from binder.testing import tiny_anchor

CHANNELS = ("accelerometer_x", "accelerometer_y", "accelerometer_z")


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
        np.testing.assert_allclose(embed(str(path)), vector, atol=1e-4)


@pytest.fixture(scope="module")
def embed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], object]:
    """What the program of an exported encoder of three channels does with a file."""
    space, config = Binder(tiny_anchor()), ImuConfig(channels=CHANNELS, rate_hz=50, window_s=1)
    config = config.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    space.encoders["imu"] = IMU.build(config, space.anchor).eval().requires_grad_(False)
    return export(space, "imu", tmp_path_factory.mktemp("exported") / "out").load()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "time_s,ax\n0,1\n", "no column accelerometer_x or accelerometer_x_m_s2; columns: time_s, ax"),
        ("a.csv", "", "no column time_s"),
        ("a.csv", "time_s,{0}\n", "no rows"),
        ("a.csv", "time_s,{0}\n0,1,2,3\n1,x,2,3\n", "could not convert"),
        ("a.wav", "RIFF", r"expected a \.csv, \.tsv, \.npz or \.npy file"),
    ],
)
def test_tables_of_other_columns_are_refused_in_a_line(
    tmp_path: Path, embed: Callable[[str], object], name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text.format(",".join(CHANNELS)))
    with pytest.raises(ValueError, match=says):
        embed(str(tmp_path / name))


def test_tables_that_read_works_out_are_not_plain() -> None:
    assert ImuConfig(gravity="remove").plain_columns() is None
    assert ImuConfig(acceleration_unit="g").plain_columns() is None
    assert ImuConfig().plain_columns() is not None
