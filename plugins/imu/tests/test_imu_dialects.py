"""The same motion as many apps and loggers write it, recordings of one sensor, and the adaptation to them."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from binder_imu import IMU, ImuConfig
from binder_imu.columns import ACCELERATION, sensors, unit_of
from binder_imu.config import ACCELEROMETER, GYROSCOPE
from binder_imu.reading import read

from binder import ItemError
from binder.testing import tiny_anchor

GRAVITY = 9.80665
SMALL = {"width": 32, "layers": 1, "heads": 2}
T = np.arange(100) / 50  # s


def motion() -> np.ndarray:
    """(100, 6): a phone that swings; m/s2 with gravity along y, rad/s."""
    swing = 2 * np.sin(2 * np.pi * T)
    return np.stack([swing, GRAVITY + 0.2 * swing, 0 * T, 0.1 * swing, 0.3 * np.cos(T), 0 * T + 0.01], axis=1)


def table(columns: dict[str, np.ndarray], separator: str = ",", comma: bool = False, before: str = "") -> bytes:
    rows = [separator.join(f"{x:.17g}" for x in row) for row in np.column_stack(list(columns.values()))]
    body = "\n".join(rows).replace(".", ",") if comma else "\n".join(rows)
    return f"{before}{separator.join(columns)}\n{body}\n".encode()


def named(names: str, values: np.ndarray, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Columns of the three axes: in `names`, {} becomes x, y, z and {X} becomes X, Y, Z."""
    return {names.replace("{}", a).replace("{X}", a.upper()): values[:, i] * factor for i, a in enumerate("xyz")}


A, G = motion()[:, :3], motion()[:, 3:]
EPOCH = 1.7e9

DIALECTS = {
    "plain": table({"time_s": T, **named("acc_{}", A), **named("gyro_{}", G)}),
    "phyphox, one table": table(
        {"Time (s)": T, **named("Acceleration {} (m/s^2)", A), **named("Gyroscope {} (rad/s)", G)}
    ),
    "phyphox, German": table(
        {"Time (s)": T, **named("Acceleration {} (m/s^2)", A), **named("Gyroscope {} (rad/s)", G)}, ";", comma=True
    ),
    "phyphox, tabs": table(
        {"Time (s)": T, **named("Acceleration {} (m/s^2)", A), **named("Gyroscope {} (rad/s)", G)}, "\t", comma=True
    ),
    "Sensor Logger, merged": table(
        {
            "time": (EPOCH + T) * 1e9, "seconds_elapsed": T,
            **dict(reversed(named("totalacceleration_{}", A).items())),
            **named("accelerometer_{}", A - A.mean(0)), **named("gravity_{}", A * 0 + A.mean(0)),
            **named("gyroscope_{}", G), **named("magnetometer_{}", A * 3), "orientation_qx": T,
        }
    ),
    "SensorLog": table(
        {
            "locationTimestamp_since1970(s)": EPOCH + T, "locationSpeed(m/s)": T * 0,
            **named("accelerometerAcceleration{X}(G)", A, 1 / GRAVITY), **named("gyroRotation{X}(rad/s)", G),
            **named("motionUserAcceleration{X}(G)", A * 0), **named("motionGravity{X}(G)", A * 0 + 1),
        }
    ),
    "Sensor Kinetics": table({"Time(ms)": T * 1e3, **named("Acc{X}[mg]", A, 1000 / GRAVITY),
                              **named("Gyro{X}[mdps]", G, 180e3 / np.pi)}),
    "MetaWear": table({"epoch (ms)": (EPOCH + T) * 1e3, "elapsed (s)": T, **named("{}-axis (g)", A, 1 / GRAVITY),
                       **named("{}-axis (deg/s)", G, 180 / np.pi)}),
    "degrees, in Windows-1252": table(
        {"t_ms": T * 1e3, **named("Accel {X} (m/s²)", A), **named("Gyro {X} (°/s)", G, 180 / np.pi), "Temp (°C)": T}
    ).decode().encode("cp1252"),
    "decoded wrongly before": table(
        {"t_ms": T * 1e3, **named("Accel {X} (m/sÂ²)", A), **named("Gyro {X} (\ufffd/s)", G, 180 / np.pi)}
    ),
    "ROS": table(
        {"timestamp": (EPOCH + T) * 1e9, **named("angular_velocity.{}", G), **named("linear_acceleration.{}", A)}
    ),
    "short": table({"t": T, **named("a{}", A), **named("w{}", G)}),
    "milliseconds without a unit": table({"time": T * 1e3, **named("ACC_{X}", A), **named("GYRO_{X}", G)}),
    "microseconds without a unit": table({"timestamp": 5e9 + T * 1e6, **named("acc{X}", A), **named("gyr{X}", G)}),
    "a row of units": table({"Timestamp": T * 1e3, **named("Accel_{X}", A, 1 / GRAVITY),
                             **named("Gyro_{X}", G, 180 / np.pi)}).replace(b"\n", b"\nms,g,g,g,deg/s,deg/s,deg/s\n", 1),
    "Shimmer": table({"Shimmer_6749_Timestamp_ms": T * 1e3, **named("Shimmer_6749_Accel_LN_{X}_CAL", A),
                      **named("Shimmer_6749_Gyro_{X}_CAL", G, 180 / np.pi)}, "\t").replace(
        b"\n", b"\nms\tm/(s^2)\tm/(s^2)\tm/(s^2)\tdeg/s\tdeg/s\tdeg/s\n", 1),
    "a preamble": table({"time_s": T, **named("acc_{}", A), **named("gyro_{}", G)}, ";", comma=True,
                        before="sep=;\n# phone: X1\n#\nStart; 12:00\n\n"),
    "blanks": table({"time_s": T, **named("acc_{}", A), **named("gyro_{}", G)}, "   ", before="# a comment\n"),
    "axes first": table({"time_s": T, **named("{X}_acc", A), **named("{X}_gyro", G)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_the_same_motion_in_every_dialect(name: str) -> None:
    series = read(DIALECTS[name], ImuConfig())
    np.testing.assert_allclose(series.values, motion(), atol=1e-5)
    assert series.time_s is not None
    np.testing.assert_allclose(series.time_s - series.time_s[0], T, atol=1e-5)


def test_sensors_in_alternating_rows_are_merged() -> None:
    columns = {"time_s": np.repeat(T, 2) + np.tile([0, 0.001], 100), **named("acc_{}", A), **named("gyro_{}", G)}
    rows = []
    for t, a, g in zip(T, A, G, strict=True):
        rows += [f"{t:.3f},{','.join(map(str, a))},,,", f"{t + 0.001:.3f},,,,{','.join(map(str, g))}"]
    data = "\n".join([",".join(columns), *rows]).encode()
    config = ImuConfig(**SMALL, rate_hz=50.0, window_s=2.0)
    made = IMU.build(config, tiny_anchor()).preprocess(data)
    plain = IMU.build(config, tiny_anchor()).preprocess(DIALECTS["plain"])
    assert made.shape == plain.shape
    np.testing.assert_allclose(made[0, :6, 1:98], plain[0, :6, 1:98], atol=0.02)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("m/s²", "m/s2"), ("m/s^2", "m/s2"), ("M/S2", "m/s2"), ("m s⁻²", "m/s2"), ("m·s-2", "m/s2"), ("m/s/s", "m/s2"),
        ("m/s**2", "m/s2"), ("meters/sec^2", "m/s2"), ("G", "g"), ("g", "g"), ("mg", "mg"), ("rad/s", "rad/s"),
        ("rad s⁻¹", "rad/s"), ("radians/second", "rad/s"), ("°/s", "deg/s"), ("º/s", "deg/s"), ("deg/sec", "deg/s"),
        ("degrees per second", "deg/s"), ("dps", "deg/s"), ("mdps", "mdeg/s"),
        ("", None), ("m/s", None), ("µT", None), ("°C", None), ("ms", None), ("hPa", None), ("deg", None), ("%", None),
    ],
)  # fmt: skip
def test_units(text: str, unit: str | None) -> None:
    assert unit_of(text) == unit


@pytest.mark.parametrize(
    "name",
    [
        "magnetometer_{}",
        "gravity_{}",
        "orientation_{}",
        "accident_{}",
        "acc_std_{}",
        "max_{}",
        "q{}",
        "m{}",
        "acc{}2_mean",
    ],
)
def test_other_columns_with_axes_are_not_sensors(name: str) -> None:
    assert sensors(list(named(name, A)), {}) == []


def test_axes_of_two_sensors_are_not_mixed() -> None:
    names = ["acc_x", "accelerometer_x", "accelerometer_y", "accelerometer_z", "acc_y"]
    assert [sensor.columns for sensor in sensors(names, {})] == [ACCELEROMETER]


ALONE = {
    "accelerometer": table({"time_s": T, **named("acc_{}", A)}),
    "gyroscope": table({"time_s": T, **named("gyro_{}", G)}),
}


@pytest.mark.parametrize("kind", ALONE)
def test_recordings_of_one_sensor_make_an_encoder_for_that_sensor(kind: str) -> None:
    assert IMU.adapt is not None
    config = IMU.adapt(ImuConfig(**SMALL), [ALONE[kind]] * 3)
    channels = ACCELEROMETER if kind == ACCELERATION else GYROSCOPE
    assert config.channels == channels
    assert config.vectors == (channels,)
    assert ImuConfig(**config.model_dump()) == config, "the same when loaded again"
    made = IMU.build(config, tiny_anchor()).preprocess(ALONE[kind])
    assert made.shape[1] == 4
    expected = motion()[:, :3] if kind == ACCELERATION else motion()[:, 3:]
    np.testing.assert_allclose(made[0, :3, :100], expected.T[:, : made.shape[2]], atol=1e-5)
    both = IMU.build(config, tiny_anchor()).preprocess(DIALECTS["plain"])
    np.testing.assert_allclose(both, made, atol=1e-5, err_msg="of a recording with both sensors it uses its own")
    other = next(data for name, data in ALONE.items() if name != kind)
    with pytest.raises(ItemError, match=f"no column for {channels[0]}, {channels[1]}, {channels[2]}"):
        IMU.build(config, tiny_anchor()).preprocess(other)


def test_an_encoder_for_both_sensors_rejects_recordings_of_one() -> None:
    model = IMU.build(ImuConfig(**SMALL), tiny_anchor())
    with pytest.raises(ItemError, match=r"no column for gyroscope_x, gyroscope_y, gyroscope_z .*found: time_s, acc"):
        model.preprocess(ALONE["accelerometer"])


def test_the_preview_draws_recordings_of_any_sensor() -> None:
    assert IMU.preview is not None
    for data in (*ALONE.values(), DIALECTS["plain"]):
        assert np.asarray(IMU.preview(data).convert("L")).min() < 200


def test_mixed_recordings_cause_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert IMU.adapt is not None
    both = DIALECTS["plain"]
    with caplog.at_level(logging.WARNING):
        assert len(IMU.adapt(ImuConfig(), [both] * 19 + [ALONE["accelerometer"]]).channels) == 6
        assert IMU.adapt(ImuConfig(), [both] * 5 + [ALONE["accelerometer"]] * 3).channels == ACCELEROMETER
    first, second = (record.getMessage() for record in caplog.records)
    assert (
        "of 20 recordings examined, 19 have accelerometer and gyroscope, 1 have accelerometer: the encoder uses"
        in first
    )
    assert "accelerometer, which 8 have (set encoder.channels to change that)" in second
    caplog.clear()
    chosen = ImuConfig(channels=GYROSCOPE)
    assert chosen.vectors == (GYROSCOPE,)
    assert IMU.adapt(chosen, [both, ALONE["gyroscope"]]).channels == GYROSCOPE
    assert IMU.adapt(ImuConfig(), [b"nothing", both]).channels == (*ACCELEROMETER, *GYROSCOPE)
    assert not caplog.records


def test_the_sensor_of_x_y_z_comes_from_the_unit_or_the_file_name(tmp_path: Path) -> None:
    assert IMU.adapt is not None
    for name, values in (("Gyroscope.csv", G), ("TotalAcceleration.csv", A), ("recording.csv", A)):
        order = {
            "time": (EPOCH + T) * 1e9,
            "seconds_elapsed": T,
            "z": values[:, 2],
            "y": values[:, 1],
            "x": values[:, 0],
        }
        (tmp_path / name).write_bytes(table(order))
        config = IMU.adapt(ImuConfig(), [tmp_path / name])
        assert config.channels == (GYROSCOPE if values is G else ACCELEROMETER)
        np.testing.assert_allclose(read(tmp_path / name, config).values, values, atol=1e-6)
    with pytest.raises(ItemError, match="no column for accelerometer_x"):
        read(tmp_path / "Gyroscope.csv", ImuConfig(channels=ACCELEROMETER))
    for unit, values in (("m/s²", A), ("rad/s", G)):
        data = table({"time_s": T, **named(f"{{X}} ({unit})", values)})
        np.testing.assert_allclose(read(data, IMU.adapt(ImuConfig(), [data])).values, values, atol=1e-6)


def test_acceleration_with_and_without_gravity_is_not_mixed() -> None:
    assert IMU.adapt is not None
    linear = table({"Time (s)": T, **named("Linear Acceleration {} (m/s^2)", A - A.mean(0))})
    with pytest.raises(ItemError, match=r'the acceleration is without gravity: set encoder\.gravity = "absent"'):
        read(linear, ImuConfig(channels=ACCELEROMETER))
    config = IMU.adapt(ImuConfig(), [linear] * 3)
    assert (config.gravity, config.channels) == ("absent", ACCELEROMETER)
    np.testing.assert_allclose(read(linear, config).values, A - A.mean(0), atol=1e-5)
    beside = DIALECTS["Sensor Logger, merged"]
    np.testing.assert_allclose(read(beside, ImuConfig()).values[:, :3], A, atol=1e-5)
    plain = table({"time_s": T, **named("user_acceleration_{}", A * 0), **named("acceleration_{}", A)})
    np.testing.assert_allclose(read(plain, ImuConfig(channels=ACCELEROMETER)).values, A, atol=1e-5)
    np.testing.assert_allclose(read(plain, ImuConfig(channels=ACCELEROMETER, gravity="absent")).values, A * 0)


def test_the_number_of_columns_decides_the_channels() -> None:
    data = table({"time_s": T, "one": A[:, 0], "two": A[:, 1], "three": A[:, 2]})
    config = ImuConfig(columns=("one", "two", "three"))
    assert config.channels == ACCELEROMETER
    np.testing.assert_allclose(read(data, config).values, A, atol=1e-6)
    assert ImuConfig(columns=("gyrX", "gyrY", "gyrZ")).channels == GYROSCOPE
    for wrong in ({"columns": ("a",) * 4}, {"columns": ("a",) * 3, "channels": (*ACCELEROMETER, *GYROSCOPE)}):
        with pytest.raises(ValueError, match="columns: expected"):
            ImuConfig(**wrong)
    with pytest.raises(ValueError, match="channels: expected"):
        ImuConfig(channels=("x", "y", "z"))


def test_arrays_and_archives_of_three_and_six_channels() -> None:
    assert IMU.adapt is not None
    held, columns = io.BytesIO(), io.BytesIO()
    np.savez(held, data=A, fs=50.0)
    np.savez(columns, time_s=T, acc=A, gyro=G)
    config = IMU.adapt(ImuConfig(), [(A, 50.0), held.getvalue()])
    assert config.channels == ACCELEROMETER
    np.testing.assert_array_equal(read(held.getvalue(), config).values, A)
    np.testing.assert_array_equal(read((A.T, 50.0), config).values, A)
    np.testing.assert_array_equal(read(columns.getvalue(), ImuConfig()).values, motion())
    with pytest.raises(ItemError, match="expected an array of shape"):
        read((A, 50.0), ImuConfig())


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (T * 1e3, "column 'time_s' looks like milliseconds (it has a step of 20): set encoder.time_unit=ms"),
        (T * 1e6, "column 'time_s' looks like microseconds (it has a step of 2e4): set encoder.time_unit=us"),
        (T * 1e9, "column 'time_s' looks like nanoseconds (it has a step of 2e7): set encoder.time_unit=ns"),
        ((EPOCH + T) * 1e9, "looks like nanoseconds (it begins at 1.7e18): set encoder.time_unit=ns"),
        (np.where(T > 0.05, T + EPOCH, T), "the times jump by 1.7e9 s after sample 3"),
        (np.where(T > 0.05, T - EPOCH, T), "the times do not rise: after sample 3"),
    ],
)
def test_impossible_times(time: np.ndarray, message: str) -> None:
    columns = {"time_s": time, **named("acc_{}", A), **named("gyro_{}", G)}
    with pytest.raises(ItemError) as caught:
        IMU.build(ImuConfig(**SMALL), tiny_anchor()).preprocess(columns)
    assert message in str(caught.value)


def test_a_pause_separates_two_windows() -> None:
    time = np.where(T < 1, T, T + 60)
    data = table({"time_s": time, **named("acc_{}", A), **named("gyro_{}", G)})
    made = IMU.build(ImuConfig(**SMALL, rate_hz=50.0, window_s=1.0), tiny_anchor()).preprocess(data)
    assert made.shape == (2, 7, 50)
    np.testing.assert_allclose(made[0, :6], motion()[:50].T, atol=1e-4)
    np.testing.assert_allclose(made[1, :6], motion()[50:].T, atol=1e-4)


def test_a_few_missing_values_are_interpolated_and_units_still_checked() -> None:
    values = motion()
    values[[0, 7, 50], [0, 1, 4]] = np.nan
    config = ImuConfig(**SMALL, rate_hz=50.0, window_s=2.0)
    made = IMU.build(config, tiny_anchor()).preprocess((values, 50.0))
    np.testing.assert_allclose(made[0, :6, :99], motion()[1:].T, atol=0.05)
    taken = ImuConfig(**SMALL, gravity="remove")
    assert abs(np.nanmean(read((values, 50.0), taken).values[:, 1])) < 0.05
    with pytest.raises(ItemError, match=r"set encoder\.rotation_unit"):
        read((values * ([1] * 3 + [1000] * 3), 50.0), config)


def test_importing_it_imports_no_numpy() -> None:
    code = "import binder_imu, sys; print({'numpy', 'torch', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
