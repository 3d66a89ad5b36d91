"""Recordings with several channels, including channels that cancel out. Synthesizes its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from binder_audio.encoder import AudioConfig, AudioEncoder
from binder_audio.reading import read, read_segments

RATE = 16_000  # Hz


def sound(seconds: float = 2.0, hz: float = 440.0) -> np.ndarray:
    """(S,) float32: a tone that swells twice."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.sin(2 * np.pi * t / seconds) ** 2).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("signs", [(1, -1), (1, -1, 1, -1), (1, -0.5, -0.5), (1, -1, 0, 0, 0, 0)])
@pytest.mark.parametrize("noise", [0.0, 3e-4])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_where_channels_cancel_the_strongest_is_used(
    signs: tuple[float, ...], noise: float, offset: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    many = sound()[:, None] * np.array(signs) + noise * rng.normal(size=(sound().size, len(signs))) + offset
    path = tmp_path / "many.wav"
    soundfile.write(path, many.astype(np.float32), RATE, subtype="FLOAT")
    for item in (path, path.read_bytes(), (many, RATE), (many.T, RATE)):
        assert cosine(read(item, RATE) - offset, sound()) > 0.999
        cut = np.concatenate([part for _, _, part in read_segments(item, RATE, 0.5)])
        assert cosine(cut - offset, sound()) > 0.999


def test_inverted_stereo_is_preprocessed_like_mono() -> None:
    model = AudioEncoder(AudioConfig(window_s=1.0), 16).eval()
    mono, inverted = sound(), np.stack([sound(), -sound()])
    assert model.preprocess((inverted, RATE)).equal(model.preprocess((mono, RATE)))


def test_the_decision_holds_for_a_whole_file() -> None:
    first = np.stack([sound(70), -sound(70)])  # most of it cancels
    last = np.stack([sound(5, hz=700), sound(5, hz=700)])
    found = read((np.concatenate([first, last], axis=1), RATE), RATE)
    assert np.array_equal(found, np.concatenate([first[0], last[0]]))
    cut = np.concatenate(
        [part for _, _, part in read_segments((np.concatenate([first, last], axis=1), RATE), RATE, 10.0)]
    )
    assert np.array_equal(cut, found)


def test_ordinary_stereo_is_averaged() -> None:
    rng = np.random.default_rng(0)
    for right in (sound(), 0 * sound(), sound(hz=600), rng.normal(size=sound().size), -0.4 * sound()):
        stereo = np.stack([sound(), right]).astype(np.float32)
        assert np.allclose(read((stereo, RATE), RATE), stereo.mean(0), atol=1e-6)
