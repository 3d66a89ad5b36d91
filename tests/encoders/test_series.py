"""The base of series: reading, resampling, windows, what training alters, the encoder's contract."""

from __future__ import annotations

import io
from pathlib import Path

import binder_three
import numpy as np
import pyarrow
import pytest
import torch
from binder_three import THREE, ThreeConfig, read
from pyarrow import parquet

from binder import ConfigError, ItemError, Series, SeriesConfig, SeriesEncoder
from binder.config import validate
from binder.encoders.series.augment import change
from binder.encoders.series.bands import Bands
from binder.encoders.series.windows import adapt_series, complete, read_series, segments
from binder.portable.series import Clean, resample, windows
from binder.testing import EncoderContract

SMALL = {"width": 32, "layers": 1, "heads": 2}


def waves(seconds=2.0, rate=50.0, hz=1.0, seed=0):
    """(S, 3): waves with a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * np.random.default_rng(seed).normal(size=(len(t), 3))
    return np.stack([np.sin(2 * np.pi * hz * t), np.cos(2 * np.pi * hz * t), 9.8 + t], axis=1) + noise


def csv(values, rate=50.0, names="time_s,x,y,z", delimiter=","):
    rows = np.column_stack([np.arange(len(values)) / rate, values])
    lines = [delimiter.join(f"{x:.6g}" for x in row) for row in rows]
    return "\n".join([names.replace(",", delimiter), *lines]).encode()


def clean(values, rate=50.0):
    return read_series(lambda item, config: Series(values, rate), None, SeriesConfig(channels=("c",) * values.shape[1]))


@pytest.fixture(autouse=True)
def _toys_are_found_by_other_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(binder_three.__file__).parent))


class TestContract(EncoderContract):
    modality = THREE
    config = SMALL

    def items(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes(csv(waves(2.0)))
        return [path, csv(waves(5.0, 80.0, 3.0), 80.0), (waves(0.4, 20.0, 2.0), 20.0), (waves(1.5).T, 50.0)]

    def broken(self, tmp_path):
        return [
            b"",
            b"time_s,x\n0,1\n",
            None,
            waves(),
            (waves(), -1.0),
            (waves()[:1], 50.0),
            (waves(), "fast"),
            tmp_path,
        ]


class TestContractOfBands(TestContract):
    config = {**SMALL, "bands": 16}  # noqa: RUF012


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"time_s,x,y,zz\n0,1,2,3\n1,2,3,4\n", "no column 'z' (did you mean 'zz'?); found: time_s, x, y, zz"),
        (b"time_s,x,y,z\n0,1,2,3\n1,two,3,4\n", "column 'x', row 2: expected a number with a decimal point, got 'two'"),
        (b"time_s;x;y;z\n0;1.234,5;2;3\n1;2;3;4\n", "column 'x', row 1: expected a number"),
        (b"time_s,x,y,z\n0,1,2,3\n1,2,,4\n", "sample 2 of y is nan; 1 of 2 are missing"),
        (b"time_s,x,y,z\n0,1,2,3\n1,2,3\n", "not a table that can be read"),
        (b"time_s,x,y,z\n", "a table without rows"),
        (b"time_s,x,y,z\n0,1,2,3\n", "too short: 1 samples, at least 2 are needed"),
        (b"time_s,x,y,z\n0,1,2,3\n1,nan,3,4\n", "sample 2 of x is nan; 1 of 2 are missing"),
        (b"time_s,x,y,z\n0,1,2,3\n1,inf,3,4\n", "sample 2 of x is inf"),
        (b"time_s,x,x,z\n0,1,2,3\n1,2,3,4\n", "two columns are named 'x'"),
        (b"time_s,x,y,z\n0,1,2,3\n2,2,3,4\n1,2,3,4\n", "the times do not rise: after sample 2 they go back"),
        (b"time_s,x,y,z\n0,1,2,3\n0,2,3,4\n0,2,3,4\n", "the times stand still"),
        (
            b"times,x,y,z\n0,1,2,3\n1,2,3,4\n",
            "no column 'time_s' of times (did you mean 'times'?)",
        ),
        (b"  \n ", "empty"),
        (b"PAR1 and no more", "not a readable Parquet file"),
        (b"\x93NUMPY and no more", "not a readable NumPy file"),
        (bytes(4096), "not a table: expected CSV, TSV, Parquet or a NumPy file"),
        ((np.zeros((5, 4)), 50.0), "expected an array of shape (samples, 3), got (5, 4)"),
        ((np.array([["a"] * 3] * 3), 50.0), "expected numbers"),
        ((waves(), 0.0), "not a rate in Hz"),
        ((waves() * [1, np.inf, 1], 50.0), "sample 1 of y is inf"),
        (waves(), "its rate is not known: give (array, rate in Hz)"),
        (3, "expected a path, bytes, an array or (array, rate in Hz), not int"),
    ],
)
def test_what_cannot_be_read_says_why_in_one_line(item, message):
    with pytest.raises(ItemError) as caught:
        read_series(read, item, ThreeConfig())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_samples_are_the_same_in_every_format(tmp_path):
    values = waves().round(6)
    held, array = io.BytesIO(), io.BytesIO()
    columns = {"time_s": np.arange(len(values)) / 50, **dict(zip("xyz", values.T, strict=True))}
    parquet.write_table(pyarrow.table(columns), held)
    np.save(array, values)
    config = ThreeConfig(file_rate_hz=50.0)
    wanted = read_series(read, (values, 50.0), config)
    tsv, semicolons = (csv(values, delimiter=sign) for sign in "\t;")
    shuffled = pyarrow.table({name: columns[name] for name in ("z", "time_s", "y", "x")})
    other = io.BytesIO()
    parquet.write_table(shuffled, other)
    for data in (csv(values), b"\xef\xbb\xbf" + csv(values), tsv, semicolons, held.getvalue(), other.getvalue()):
        found = read_series(read, data, config)
        np.testing.assert_allclose(found.values_SC, wanted.values_SC, atol=1e-4)
        np.testing.assert_allclose(found.time_S, wanted.time_S, atol=1e-6)
    np.testing.assert_array_equal(read_series(read, array.getvalue(), config).values_SC, wanted.values_SC)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_times_have_a_unit(unit, factor):
    data = csv(waves(), 50.0 / factor)
    assert read_series(read, data, ThreeConfig(time_unit=unit)).rate_hz == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize("rate", [7.0, 20.0, 33.3, 66.0, 100.0, 240.0])
def test_resampling_keeps_slow_changes_and_levels(rate):
    t = np.arange(1000) / 100
    made = resample(clean(np.stack([np.full(1000, 9.81), np.sin(2 * np.pi * 0.3 * t), t], axis=1), 100.0), rate)
    at = np.arange(len(made)) / rate
    inside = slice(2, -2)
    np.testing.assert_allclose(made[:, 0], 9.81, rtol=1e-6)
    np.testing.assert_allclose(made[inside, 1], np.sin(2 * np.pi * 0.3 * at)[inside], atol=0.03)
    np.testing.assert_allclose(made[inside, 2], at[inside], atol=1e-3)


def test_resampling_to_fewer_samples_hides_what_they_cannot_show():
    t = np.arange(2000) / 200
    fast = np.sin(2 * np.pi * 38 * t)[:, None]  # at 40 Hz it would look like 2 Hz
    assert resample(clean(fast, 200.0), 40.0)[2:-2].std() < 0.02
    assert fast[::5].std() > 0.5, "without a filter it does"


def test_uneven_times_are_evened_out():
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(0, 10, 3000))
    series = Series(np.sin(time)[:, None], time_s=time)
    found = read_series(lambda item, config: series, None, SeriesConfig())
    made = resample(found, 50.0)[:, 0]
    np.testing.assert_allclose(made, np.sin(time[0] + np.arange(len(made)) / 50), atol=0.01)


@pytest.mark.parametrize(("length", "count"), [(2, 1), (50, 1), (100, 1), (109, 1), (112, 2), (250, 3), (1000, 10)])
def test_number_of_windows(length, count):
    cut = windows(np.arange(length)[:, None] + 1.0, 100)
    assert cut.shape == (count, 2, 100)
    assert set(np.unique(cut[:, 1])) <= {0.0, 1.0}
    np.testing.assert_array_equal(cut[:, 1] == 1, cut[:, 0] > 0)
    seen = set(cut[:, 0][cut[:, 0] > 0])
    assert len(seen) >= 0.9 * length
    if count > 1:
        assert {1.0, float(length)} <= seen


def test_a_moment_is_what_its_piece_alone_would_be():
    values = waves(5.0)
    model = THREE.build(ThreeConfig(**SMALL, rate_hz=50.0, window_s=1.0), Width)
    found = list(model.segments((values, 50.0), 2.0))
    assert [(span.start_s, span.end_s) for span, _ in found] == [(0, 2), (2, 4), (4, 5)]
    for (_, made), start in zip(found, (0, 100, 200), strict=True):
        assert torch.equal(made, model.preprocess((values[start : start + 100], 50.0)))
    with pytest.raises(ItemError, match=r"no segment of 0\.01 s holds two samples"):
        list(model.segments((values, 50.0), 0.01))


class Width:
    embed_dim = 16


def test_a_gap_in_the_times_has_no_moments():
    time = np.concatenate([np.arange(50), np.arange(200, 250)]) / 50
    series = Clean(np.ones((100, 1)), time)
    assert [(start, end) for start, end, _ in segments(series, 1.0)] == [(0, 1), (4, 5)]


def test_adapt_fills_what_is_open_and_leaves_what_is_set():
    items = [(waves(1 + 0.1 * i, 80.0), 80.0) for i in range(10)] + [b"nothing readable"]
    config = adapt_series(read, ThreeConfig(), items)
    assert config.rate_hz == 80
    assert config.window_s == pytest.approx(1.85, abs=0.06)
    assert config.mean == pytest.approx((0, 0, 10.6), abs=0.3)
    assert config.std == pytest.approx((0.71, 0.71, 0.45), abs=0.1)
    own = ThreeConfig(rate_hz=20.0, window_s=3.0, mean=(1, 2, 3), std=(4, 5, 6))
    assert adapt_series(read, own, items) == own
    long = adapt_series(read, ThreeConfig(), [(waves(600.0), 50.0)])
    assert long.window_s * long.rate_hz == pytest.approx(1024, rel=0.01)
    assert adapt_series(read, ThreeConfig(), [b""]) == complete(ThreeConfig())
    flat = adapt_series(read, ThreeConfig(), [(np.zeros((50, 3)), 50.0)])
    assert flat.std == (1, 1, 1), "a channel that never changes divides by nothing"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": [1.0]}, "mean: expected 3 numbers, one a channel, got 1"),
        ({"vectors": [["x", "y", "q"]]}, "vectors: 'q' is not among the channels x, y, z"),
        ({"width": 33}, "width: expected a multiple of heads (4), got 33"),
        ({"channels": []}, "channels: expected at least one name"),
        ({"rate_hz": 0}, "rate_hz"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(values, message):
    with pytest.raises(ConfigError) as caught:
        validate(ThreeConfig, values, "three")
    assert message in str(caught.value)


def test_the_unit_of_a_channel_does_not_count():
    def vector(factor, offset):
        items = [(waves(hz=hz) * factor + offset, 50.0) for hz in (1.0, 2.0)]
        config = adapt_series(read, ThreeConfig(**SMALL), items)
        torch.manual_seed(0)
        model = SeriesEncoder(config, 16, read).eval()
        with torch.inference_mode():
            return model(model.preprocess(items[0]))

    torch.testing.assert_close(vector(1.0, 0.0), vector(1000.0, -500.0), atol=0.02, rtol=0.02)


def test_what_comes_after_the_end_does_not_change_the_vector():
    torch.manual_seed(0)
    model = THREE.build(ThreeConfig(**SMALL, rate_hz=50.0, window_s=4.0), Width).eval()
    batch = model.preprocess((waves(2.0), 50.0))
    other = batch.clone()
    other[:, :3, 100:] = 7.0  # where there are no samples
    with torch.inference_mode():
        torch.testing.assert_close(model(batch), model(other))


def changed(batch, std=(1.0, 1.0, 1.0), strength=1.0, turn=0.0, seed=0, **amounts):
    vectors = [(0, 1, 2)] if turn else []
    generator = torch.Generator().manual_seed(seed)
    return change(batch, torch.tensor(std), vectors=vectors, turn_deg=turn, strength=strength, generator=generator)


def test_augmented_series_differ_are_finite_and_stay_near():
    batch = torch.from_numpy(windows(waves(2.0), 100)).repeat(64, 1, 1)
    made = changed(batch)
    assert torch.isfinite(made).all()
    assert made.shape == batch.shape
    assert (made[0] - made[1]).abs().mean() > 0.05
    assert set(made[:, 3].unique().tolist()) == {0.0, 1.0}
    assert (made[:, :3] * (1 - made[:, 3:])).abs().max() == 0
    assert made[:, 3].mean() > 0.6
    level = made[:, 2].sum(1) / made[:, 3].sum(1)
    assert 8 < level.mean() < 13
    assert torch.equal(changed(batch, strength=0.0), batch)


def test_a_turn_keeps_lengths_and_angles_and_only_where_it_is_declared(monkeypatch):
    from binder.encoders.series import augment

    calm = augment.Amounts(pace=0, warp=0, shift=0, scale=0, noise=0, mask=0)
    monkeypatch.setattr(augment, "Amounts", lambda: calm)
    batch = torch.from_numpy(windows(waves(2.0), 100)).repeat(16, 1, 1)
    made = changed(batch, turn=20.0)
    torch.testing.assert_close(made[:, :3].norm(dim=1), batch[:, :3].norm(dim=1), rtol=1e-4, atol=1e-4)
    cosine = torch.cosine_similarity(made[:, :3], batch[:, :3], dim=1)
    assert cosine.min() >= np.cos(np.radians(20)) - 1e-4
    assert cosine.min() < np.cos(np.radians(10))
    torch.testing.assert_close(changed(batch, turn=0.0), batch)


def test_a_series_that_is_moved_out_of_the_window_stays():
    batch = torch.from_numpy(windows(waves(0.04), 100)).repeat(200, 1, 1)
    assert (changed(batch)[:, 3].sum(1) >= 1).all()


def test_bands_tell_frequencies_apart_and_forget_the_level():
    bands = Bands(8000, 24)
    t = torch.arange(8000) / 8000
    valid = torch.ones(1, 1, 8000)
    low, high = (torch.sin(2 * np.pi * hz * t)[None, None] for hz in (300, 2500))
    places = [bands(x, valid)[0].mean(2)[0].argmax().item() for x in (low, high)]
    assert places[0] < places[1] - 3
    torch.testing.assert_close(bands(low, valid)[0], bands(low * 1e-3, valid)[0], atol=1e-3, rtol=1e-3)


def test_an_hour_at_a_kilohertz_is_read_in_windows():
    values = np.random.default_rng(0).normal(size=(600_000, 1))
    config = adapt_series(lambda item, config: Series(*item), SeriesConfig(), [(values, 1000.0)])
    made = windows(resample(clean(values, 1000.0), config.rate_hz), round(config.window_s * config.rate_hz))
    assert made.shape[1:] == (2, 1020)
    assert made.nbytes < 3 * values.nbytes


def test_the_preview_shows_each_channel(tmp_path):
    def ink(item):
        return np.asarray(THREE.preview(item).convert("L")) < 200

    flat = waves()
    flat[:, 1] = 0
    moved, still = ink((waves(), 50.0)), ink((flat, 50.0))
    other = np.flatnonzero((moved != still).any(1))
    height = moved.shape[0]
    assert 0.2 * height < other.min() < other.max() < 0.67 * height, "the second channel is drawn in the second strip"
    middle = slice(other.min(), other.max() + 1)
    across = [x[middle, 60:].any(0).sum() for x in (moved, still)]  # beside the numbers
    assert min(across) > 120, "a line, in both"
