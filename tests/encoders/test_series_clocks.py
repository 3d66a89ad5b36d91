"""Recordings as they are: clocks that jump, pauses, missing cells; and what they cost."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest
from binder_three import THREE, ThreeConfig, read

from binder import ConfigError, ItemError, Series, SeriesConfig
from binder.config import validate
from binder.encoders.series.windows import adapt_series, read_series, segments
from binder.portable.series import Clean, resample, windows


class Width:
    embed_dim = 16


def values(count, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, channels)) + 5


def recorded(values, time=None, rate=None, **config):
    config = SeriesConfig(channels=tuple("abcdefgh"[: values.shape[1]]), **config)
    return read_series(lambda item, config: Series(values, rate, time), "item", config)


def refused(values, time=None, rate=None, **config) -> str:
    with pytest.raises(ItemError) as caught:
        recorded(values, time, rate, **config)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("after", [1, 3, 99])
def test_a_clock_that_jumps_is_refused_with_its_place(after):
    time = np.arange(100) / 50
    time[after:] += 1.7e9
    assert refused(values(100), time) == f"the times jump by 1.7e9 s after sample {after}"
    time[after:] -= 3.4e9
    assert f"after sample {after} they go back" in refused(values(100), time)


def test_times_that_a_reading_function_returns_in_another_unit_are_refused():
    assert "time_s looks like nanoseconds (it begins at 1.7e18)" in refused(values(50), 1.7e18 + np.arange(50) * 2e7)
    assert "time_s looks like nanoseconds (it has a step of 2e7)" in refused(values(50), np.arange(50) * 2e7)
    assert "cannot be seconds" in refused(values(50), np.arange(50) * 1e300)
    assert "expected 50 times in s" in refused(values(50), ["a"] * 50)


def paused(gaps, rate=50.0, each=60):
    """Stretches of `each` samples with pauses of so many seconds between them -> values, times."""
    starts = np.cumsum([0, *gaps]) + np.arange(len(gaps) + 1) * each / rate
    time = np.concatenate([start + np.arange(each) / rate for start in starts])
    return values(len(time)), time


def naive(series: Clean, rate_hz: float, longest: int) -> list[np.ndarray]:
    """Each stretch resampled by itself, with the plain function; the twin of what `resample` does at once."""
    ends = [*series.pauses(rate_hz), len(series.time_S) - 1]
    made, first = [], 0
    for last in ends:
        part = slice(first, last + 1)
        alone = Clean(series.values_SC[part], series.time_S[part] - series.time_S[first])
        made.append(resample(alone, rate_hz, longest))
        first = last + 1
    return made


@pytest.mark.parametrize("rate_hz", [10.0, 20.0, 33.3, 50.0, 90.0])
@pytest.mark.parametrize("gaps", [[60.0], [0.5], [86_400.0 * 30], [1.0, 2.0, 3.0], [0.43, 7000.0, 0.71]])
def test_a_pause_is_not_filled_and_what_is_around_it_is_as_if_it_stood_alone(gaps, rate_hz):
    series = recorded(*paused(gaps))
    made = resample(series, rate_hz, 100)
    seen = ~np.isnan(made[:, 0])
    assert (np.isnan(made).all(1) == ~seen).all()
    edges = np.flatnonzero(np.diff(seen, prepend=False, append=False)).reshape(-1, 2)
    alone = naive(series, rate_hz, 100)
    assert len(edges) == len(alone) == len(gaps) + 1
    for (first, last), part in zip(edges, alone, strict=True):
        np.testing.assert_allclose(made[first:last], part[: last - first], atol=1e-5)
        assert len(part) - (last - first) in (0, 1), "a stretch alone has two samples at least"
    empty = edges[1:, 0] - edges[:-1, 1]
    assert (empty >= 2).all()
    assert (empty <= 100).all()
    for size, gap in zip(empty, gaps, strict=True):
        if gap * rate_hz < 60:
            assert size == pytest.approx(gap * rate_hz, abs=2), "short ones keep their length"


def test_few_lost_samples_are_no_pause():
    time = np.delete(np.arange(200) / 50, [20, 21, 22, 80, 81, 150])
    made = resample(recorded(np.stack([time, 2 * time], 1), time), 50.0)
    assert not np.isnan(made).any()
    np.testing.assert_allclose(made[:, 0], np.arange(200) / 50, atol=1e-6)


def test_windows_mask_a_pause_and_leave_out_those_that_are_nothing_else():
    data, time = paused([0.5])  # 1.2 s, half a second without, 1.2 s
    made = windows(resample(recorded(data, time), 50.0, 200), 200)
    assert made.shape == (1, 4, 200)
    valid = made[0, 3] > 0
    assert valid.tolist() == [True] * 60 + [False] * 25 + [True] * 60 + [False] * 55
    assert (made[0, :3, ~valid] == 0).all()
    data, time = paused([60.0])
    made = windows(resample(recorded(data, time), 50.0, 60), 60)
    assert len(made) == 2, "both stretches, and nothing of the minute between them"
    np.testing.assert_allclose(made[0, :3], data[:60].T, atol=1e-5)
    np.testing.assert_allclose(made[-1, :3], data[60:].T, atol=1e-5)
    assert np.isfinite(made).all()


def test_a_vector_with_a_pause_is_that_of_its_stretches():
    import torch

    data, time = paused([30.0])
    model = THREE.build(ThreeConfig(width=32, layers=1, heads=2, rate_hz=50.0, window_s=1.2), Width).eval()
    columns = {"time_s": time, **dict(zip("xyz", data.T, strict=True))}
    whole = model.preprocess(columns)
    alone = torch.cat([model.preprocess((part, 50.0)) for part in (data[:60], data[60:])])
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize("gap", [1.0, 86_400.0 * 300])
def test_memory_is_bounded_by_the_samples_that_are_there(gap):
    time = (np.arange(5000)[:, None] * gap + np.arange(3) / 50).ravel()
    data = values(len(time), 1)
    tracemalloc.start()
    made = windows(resample(recorded(data, time, rate_hz=50.0), 50.0, 1024), 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made[:, -1].sum() == pytest.approx(len(time), rel=0.2)
    assert peak < 40 * data.nbytes


def test_a_rate_far_from_the_encoders_asks_for_no_memory():
    assert "a sample each 1e6 s, where encoder.rate_hz expects" in refused(values(9), rate=1e-6, rate_hz=50.0)
    slow = np.lib.stride_tricks.as_strided(np.ones(1), (30_000_000, 1), (0, 0))
    assert "numbers, at most 33,554,432 are read" in refused(slow, rate=10.0, rate_hz=100.0)
    assert "40,000,000 numbers, at most" in refused(np.broadcast_to(np.float32(0), (10_000_000, 4)), rate=50.0)


def test_segments_are_those_of_a_plain_loop_and_pauses_take_no_time():
    def plain(series, every_s):
        end_s = series.duration_s
        for i in range(int(np.ceil(end_s / every_s - 1e-9))):
            first, last = np.searchsorted(series.time_S, [i * every_s - 1e-9, (i + 1) * every_s - 1e-9])
            if last - first >= 2:
                yield i * every_s, min((i + 1) * every_s, end_s), series.values_SC[first:last]

    for gaps, every_s in (([], 1.0), ([3.0], 0.5), ([0.7, 2.0], 0.3), ([5.0], 100.0)):
        series = recorded(*paused(gaps))
        for (start, end, part), (wanted_start, wanted_end, wanted) in zip(
            segments(series, every_s), plain(series, every_s), strict=True
        ):
            assert (start, end) == pytest.approx((wanted_start, wanted_end))
            np.testing.assert_array_equal(part.values_SC, wanted)
    series = recorded(*paused([3e7]))
    assert len(list(segments(series, 0.5))) == 6
    assert len(list(segments(series, 1e300))) == 1
    assert list(segments(series, 1e-9)) == []


def test_few_missing_values_are_bridged():
    data = np.stack([np.arange(100) / 10, np.full(100, 7.0)], 1)
    holed = data.copy()
    holed[[3, 40, 41, 77], 0] = np.nan
    holed[50, 1] = np.inf
    np.testing.assert_allclose(recorded(holed, rate=50.0).values_SC, data, atol=1e-9)
    assert recorded(holed, rate=50.0).time_S[-1] == pytest.approx(99 / 50)


def test_missing_values_at_the_ends_are_cut_off_and_many_in_a_row_are_a_pause():
    data = values(400)
    data[:30, 0] = data[390:, 2] = np.nan
    made = recorded(data, rate=50.0)
    np.testing.assert_array_equal(made.values_SC, data[30:390])
    data = values(400)
    data[200:230, 1] = np.nan
    made = recorded(data, rate=50.0)
    np.testing.assert_array_equal(made.values_SC, np.delete(data, slice(200, 230), 0))
    assert np.isnan(resample(made, 50.0)[205:225]).all()


def test_a_sensor_that_is_sampled_less_often_is_bridged():
    t = np.arange(300) / 100
    data = np.stack([np.sin(t), np.cos(t), t], 1)
    merged = data.copy()
    merged[1::2, :2] = np.nan  # two sensors, row by row
    merged[::2, 2] = np.nan
    made = recorded(merged, t)
    np.testing.assert_allclose(made.values_SC, data[1:299], atol=1e-4)


@pytest.mark.parametrize(
    "lose",
    [
        lambda data: data.__setitem__(slice(None), np.nan),
        lambda data: data.__setitem__((slice(None), 1), np.nan),
        lambda data: data.__setitem__(slice(20, 90), np.nan),
        lambda data: data.__setitem__((slice(20, 60), 0), np.inf),
        lambda data: data.__setitem__(slice(None, 60), np.nan),
        lambda data: data.__setitem__(slice(0, None, 2), np.nan),
        lambda data: data.__setitem__((np.random.default_rng(1).random(100) < 0.6, 1), np.nan),
        lambda data: data.__setitem__((np.random.default_rng(1).random(100) < 0.9, 1), 1e300),
    ],
)
def test_many_missing_values_are_refused(lose):
    data = values(100)
    lose(data)
    assert "are missing, and at most a tenth may be" in refused(data, rate=50.0)


def test_few_samples_without_a_time_are_left_out():
    time = np.arange(100) / 50
    time[[0, 30, 99]] = np.nan
    assert len(recorded(values(100), time).values_SC) == 97
    time[::5] = np.nan
    assert "sample 1 has no time" in refused(values(100), time)


def test_adapt_keeps_the_statistics_of_all_samples():
    items = [values(60 + 40 * i, seed=i) * (i + 1) for i in range(5)]
    config = adapt_series(lambda item, config: Series(item, 50.0), SeriesConfig(channels=("a", "b", "c")), items)
    samples = np.concatenate(items)
    np.testing.assert_allclose(config.mean, samples.mean(0), rtol=5e-3)
    np.testing.assert_allclose(config.std, samples.std(0), rtol=5e-3)


def test_adapt_leaves_out_what_raises_anything(caplog):
    def reading(item, config):
        if item is None:
            raise OverflowError("a mistake")
        return Series(item, 50.0)

    config = adapt_series(reading, SeriesConfig(), [None, values(100, 1), None])
    assert config.rate_hz == 50
    assert not caplog.records


def test_a_large_window_is_said_once(caplog):
    items = [(values(5000), 1000.0)] * 3
    with caplog.at_level(logging.WARNING):
        adapt_series(read, ThreeConfig(window_s=2.5), items)
        assert [r.getMessage() for r in caplog.records] == [
            "2,500 samples a window make training slow: lower encoder.rate_hz (now 1000) or encoder.window_s (now 2.5)"
        ]
        caplog.clear()
        adapt_series(read, ThreeConfig(), items)
        adapt_series(read, ThreeConfig(window_s=2.5, bands=16), items)
    assert not caplog.records


@pytest.mark.parametrize(
    "settings",
    [
        {"rate_hz": float("inf")}, {"window_s": float("nan")}, {"rate_hz": 1e6, "window_s": 1e6}, {"std": [0.0] * 3},
        {"mean": [float("nan")] * 3}, {"std": [float("inf")] * 3},
    ],
)  # fmt: skip
def test_settings_that_no_memory_holds_or_that_make_nothing_are_refused(settings):
    with pytest.raises(ConfigError):
        validate(ThreeConfig, settings, "three")
    with pytest.raises(ConfigError, match="samples a window, at most"):
        adapt_series(read, ThreeConfig(window_s=1e9), [(values(100), 50.0)])
