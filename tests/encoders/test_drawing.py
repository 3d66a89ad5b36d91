"""What people see of a series and of points: axes with units, on paper that is light in dark pages too."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageDraw

from binder.encoders.drawing import LEFT, PAPER, SIZE, cloud, lines


@pytest.fixture
def words(monkeypatch):
    """The texts that are drawn."""
    found = []
    draw = ImageDraw.ImageDraw.text

    def text(self, place, words, *rest, **named):
        found.append(words)
        return draw(self, place, words, *rest, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


def wave(seconds, channels=1, height=1.0):
    time_S = np.linspace(3, 3 + seconds, 500)
    return time_S, np.stack([height * np.sin(time_S * 6.3 / seconds + i) for i in range(channels)], axis=1)


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (12.3, ["0", "5", "10 s"]),
        (1.0, ["0", "0.5", "1 s"]),
        (0.02, ["0", "5", "10", "15", "20 ms"]),
        (8e-4, ["0", "200", "400", "600", "800 µs"]),
        (90.0, ["0", "50 s"]),
        (600.0, ["0", "5", "10 min"]),
        (86_400.0, ["0", "10", "20 h"]),
        (30 * 86_400.0, ["0", "10", "20", "30 d"]),
    ],
)
def test_time_has_round_numbers_from_the_first_sample_on_and_a_unit(seconds, ticks, words):
    lines(*wave(seconds))
    assert words[: len(ticks)] == ticks


def test_few_channels_show_their_ends_and_many_their_names(words):
    names = ("acc_x_ms2", "acc_y_ms2", "acc_z_ms2")
    lines(*wave(2, 3, 1234.0), names)
    assert {"1234", "-1234", *names} <= set(words)
    words.clear()
    lines(*wave(2, 12), [f"c{i}" for i in range(12)])
    assert [word for word in words if word.startswith("c")] == [f"c{i}" for i in range(12)]


def test_long_names_stay_apart_by_their_ends(words):
    lines(*wave(2, 12), [f"a_very_long_channel_name_{i:02}" for i in range(12)])
    shown = [word for word in words if word.startswith("a_")]
    assert [word[-2:] for word in shown] == [f"{i:02}" for i in range(12)]
    assert all(len(word) < 12 for word in shown)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0], "0"),
        ([-9.81, 9.81], "9.81"),
        ([0.0, 250_000.0], "2.5e5"),
        ([0.0, 4e-5], "4e-5"),
        ([0.0, 12_345.0], "12345"),
    ],
)
def test_values_are_short(values, expected, words):
    lines(np.array([0.0, 1.0]), np.array(values)[:, None])
    assert expected in words


def test_a_line_goes_from_the_axis_to_the_end_and_what_is_missing_is_left_out():
    time_S, values_SC = wave(5, 2)
    values_SC[100:200, 0], values_SC[:, 1] = np.nan, np.nan
    drawn = np.asarray(lines(time_S, values_SC)).astype(int)
    assert drawn.shape == (SIZE[1], SIZE[0], 3)
    blue = (drawn[:, :, 2] - drawn[:, :, 0] > 60).any(0)
    assert np.flatnonzero(blue)[[0, -1]] == pytest.approx([LEFT, SIZE[0] - 12], abs=2)


def test_the_paper_is_opaque_and_light():
    expected = [int(PAPER[i : i + 2], 16) for i in (1, 3, 5)]
    assert min(expected) > 200
    for drawn in (lines(*wave(2, 3)), cloud(np.random.default_rng(0).normal(0, 0.3, (300, 3)))):
        assert drawn.mode == "RGB"
        common = max(drawn.getcolors(1 << 20))[1]
        assert list(common) == expected
