"""The IMU plugin: the encoder contract, columns and units, gravity, rejected items."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from binder_imu import IMU, ImuConfig
from binder_imu.config import ACCELEROMETER, GYROSCOPE
from binder_imu.reading import GRAVITY, read
from pyarrow import parquet

from binder import ItemError
from binder.testing import EncoderContract, tiny_anchor

SMALL = {"width": 32, "layers": 1, "heads": 2}
NAMES = (*ACCELEROMETER, *GYROSCOPE)


def motion(seconds: float = 2.0, rate_hz: float = 50.0, hz: float = 1.0) -> np.ndarray:
    """(S, 6): a phone that swings; m/s2 with gravity along y, rad/s."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    swing = 2 * np.sin(2 * np.pi * hz * t)
    return np.stack([swing, GRAVITY + 0.2 * swing, 0 * t, 0.1 * swing, 0.3 * np.cos(t), 0 * t + 0.01], axis=1)


def table(values: np.ndarray, names: tuple[str, ...] = NAMES, rate_hz: float = 50.0, time: str = "time_s") -> bytes:
    rows = np.column_stack([np.arange(len(values)) / rate_hz, values])
    return "\n".join([",".join((time, *names)), *(",".join(f"{x:.6g}" for x in row) for row in rows)]).encode()


class TestContract(EncoderContract):
    modality = IMU
    config = SMALL

    def items(self, tmp_path: Path) -> list[object]:
        # a csv, a parquet at another rate, bytes, an array: of different lengths
        (tmp_path / "a.csv").write_bytes(table(motion()))
        columns = dict(
            zip(("time_s", *NAMES), np.column_stack([np.arange(400) / 100, motion(4, 100, 3)]).T, strict=True)
        )
        parquet.write_table(pyarrow.table(columns), tmp_path / "b.parquet")
        return [tmp_path / "a.csv", tmp_path / "b.parquet", table(motion(0.5)), (motion(3, 25, 2), 25.0)]

    def broken(self, tmp_path: Path) -> list[object]:
        hole = motion()
        hole[20:60, 2] = np.nan
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(b"PAR1" + bytes(50))
        return [cut, tmp_path, None, motion(), (hole, 50.0), (motion()[:, :5], 50.0), table(motion()[:, :5], NAMES[:5])]


@pytest.mark.parametrize(
    ("names", "acceleration", "rotation"),
    [
        (NAMES, 1, 1),
        (("accelerometer_x_m_s2", "accelerometer_y_m_s2", "accelerometer_z_m_s2",
          "gyroscope_x_rad_s", "gyroscope_y_rad_s", "gyroscope_z_rad_s"), 1, 1),
        (("acc_x_g", "acc_y_g", "acc_z_g", "gyro_x_dps", "gyro_y_dps", "gyro_z_dps"), 1 / GRAVITY, 180 / np.pi),
        (("Accel X (g)", "Accel Y (g)", "Accel Z (g)", "Gyro X (deg/s)", "Gyro Y (deg/s)", "Gyro Z (deg/s)"),
         1 / GRAVITY, 180 / np.pi),
        (("ax", "ay", "az", "gx", "gy", "gz"), 1, 1),
        (("AccX", "AccY", "AccZ", "GyrX", "GyrY", "GyrZ"), 1, 1),
        (("ax [m/s^2]", "ay [m/s^2]", "az [m/s^2]", "wx [rad/s]", "wy [rad/s]", "wz [rad/s]"), 1, 1),
    ],
)  # fmt: skip
def test_columns_and_units_are_found_by_name(names: tuple[str, ...], acceleration: float, rotation: float) -> None:
    values = motion() * ([acceleration] * 3 + [rotation] * 3)
    order = [3, 1, 5, 0, 4, 2]  # the order does not matter
    data = table(values[:, order], tuple(names[i] for i in order))
    np.testing.assert_allclose(read(data, ImuConfig()).values, motion(), atol=1e-3)


def test_other_columns_are_ignored() -> None:
    values = np.column_stack([motion(), np.zeros((100, 3))])
    data = table(values, (*NAMES, "magnetometer_x", "temperature", "gravity_x"))
    np.testing.assert_allclose(read(data, ImuConfig()).values, motion(), atol=1e-3)


def test_columns_and_units_can_be_set() -> None:
    names = ("one", "two", "three", "four", "five", "six")
    values = motion() * ([1 / GRAVITY] * 3 + [180 / np.pi] * 3)
    config = ImuConfig(columns=names, acceleration_unit="g", rotation_unit="deg/s", time="t", time_unit="ms")
    series = read(table(values, names, 50 / 1000, "t"), config)
    np.testing.assert_allclose(series.values, motion(), atol=1e-3)
    assert series.time_s is not None
    assert series.time_s[1] == pytest.approx(0.02)
    with pytest.raises(ItemError, match="no column for accelerometer_x, accelerometer_y"):
        read(table(values, names), ImuConfig())


def test_gravity_can_be_removed_or_absent() -> None:
    rest = read(table(motion()), ImuConfig(gravity="remove")).values
    np.testing.assert_allclose(rest.mean(0)[:3], 0, atol=1e-6)
    np.testing.assert_allclose(rest[:, 3:], motion()[:, 3:], atol=1e-4)
    linear = motion() - [0, GRAVITY, 0, 0, 0, 0]
    np.testing.assert_allclose(read(table(linear), ImuConfig(gravity="absent")).values, linear, atol=1e-4)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (table(motion() * ([1 / GRAVITY] * 3 + [1] * 3)), "the median acceleration would be 1 m/s2"),
        (table(motion(), tuple(f"{n}_g" if "acc" in n else n for n in NAMES)), 'set encoder.acceleration_unit ("m/s2"'),
        (table(motion() * [1, 0, 1, 1, 1, 1]), 'encoder.gravity = "absent"'),
        (table(motion() * ([1] * 3 + [1000] * 3)), 'the fastest rotation would be 300 rad/s: set encoder.rotation'),
        (table(motion()[:, :5], NAMES[:5]), "no column for gyroscope_z (set encoder.columns); found: time_s, acc"),
        (table(motion(), time="when"), "no column 'time_s' of times, and no rate is set"),
        (table(motion()).replace(b"9.8", b"nine", 1), "row 1: expected a number with a decimal point"),
        (table(motion()).rpartition(b",")[0], "not a table that can be read"),
        ((np.zeros((9, 7)), 50.0), "expected an array of shape (samples, 6), got (9, 7)"),
        ((motion() * [1, 1, np.nan, 1, 1, 1], 50.0), "sample 1 of accelerometer_z is nan"),
        ((np.array([["a"] * 6] * 9), 50.0), "expected numbers"),
        ((motion(), "fast"), "not a rate in Hz"),
    ],
)  # fmt: skip
def test_messages(item: object, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        IMU.build(ImuConfig(**SMALL), tiny_anchor()).preprocess(item)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_rate_of_files_without_times_can_be_set(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", motion())
    assert read(tmp_path / "a.npy", ImuConfig(file_rate_hz=50.0)).rate_hz == 50
    config = ImuConfig(**SMALL, file_rate_hz=50.0)
    data = table(motion(), time="no time")
    model = IMU.build(config, tiny_anchor())
    np.testing.assert_allclose(model.preprocess(data), model.preprocess(tmp_path / "a.npy"), atol=1e-4)


def test_two_columns_are_rejected() -> None:
    with pytest.raises(ValueError, match="columns"):
        ImuConfig(columns=("a", "b"))


def test_training_rotates_both_sensors_together() -> None:
    config = ImuConfig()
    assert config.vectors == (ACCELEROMETER, GYROSCOPE)
    assert config.turn_deg > 0


def test_real_recordings() -> None:
    root = os.environ.get("BINDER_DATA")
    if not root:
        pytest.skip("needs real recordings: BINDER_DATA is not set")
    folder = Path(root) / "imu_digits"
    with (folder / "labels.csv").open() as file:
        paths = [folder / row["imu"] for row in list(csv.DictReader(file))[::10]]
    assert IMU.adapt is not None
    config = IMU.adapt(ImuConfig(), paths)
    assert config.rate_hz == pytest.approx(52, abs=2)
    assert config.window_s == pytest.approx(5.2, abs=0.2)
    assert np.linalg.norm(config.mean[:3]) == pytest.approx(GRAVITY, abs=1.5)
    model = IMU.build(config, tiny_anchor())
    assert {tuple(model.preprocess(path).shape) for path in paths} == {(1, 7, model.size)}
