"""Sounds as mel spectrograms without torch: what an exported encoder runs, with soundfile, NumPy and soxr.

Shapes: C channels, S samples, W windows, T samples of a window, N frames, K frequencies, M mel bands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from binder_audio.channels import BLOCK, Mixing, Samples
from binder_audio.cutting import windows

Numbers = NDArray[np.floating[Any]]


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[np.float16]:
    """A sound's file -> (W, M, N) in dB. Raises OSError, ValueError."""
    samples = mono(item, settings["sample_rate"])
    if samples.min() == samples.max():
        raise ValueError("silent: every sample is the same")
    return spectrograms(windows(samples, settings["window"])[0], settings)


def mono(path: str, rate: int) -> Samples:
    """A file of libsndfile -> (S,) at `rate`: the mean of the channels, or the strongest one where they cancel out."""
    import soundfile

    try:
        samples_SC, own_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if not len(samples_SC) or not np.isfinite(samples_SC).all():
        raise ValueError("holds no samples, or such that are not finite")
    mixing = Mixing(samples_SC.shape[1], own_rate)
    size = max(1, BLOCK // samples_SC.shape[1])
    means = [mixing.mean(np.ascontiguousarray(samples_SC[i : i + size].T)) for i in range(0, len(samples_SC), size)]
    channel = mixing.strongest()
    mono_S = np.concatenate(means) if channel is None else np.ascontiguousarray(samples_SC[:, channel])
    if own_rate == rate:
        return mono_S
    import soxr  # type: ignore[import-untyped]  # has no annotations

    resampled: Samples = soxr.resample(mono_S, own_rate, rate, quality="HQ")
    return resampled


def spectrograms(wave_WT: NDArray[np.int16], settings: dict[str, Any]) -> NDArray[np.float16]:
    """(W, T) -> (W, M, N) in dB, and far below every level after the end of a sound."""
    n_fft, hop, size = settings["n_fft"], settings["hop"], settings["frame"]
    shape_K = np.zeros(n_fft, np.float32)
    first = (n_fft - size) // 2
    shape_K[first : first + size] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)  # Hann's
    bands_KM = mel_bands(settings)
    made = []
    for wave_T in wave_WT:
        padded = np.pad(wave_T.astype(np.float32) / 32_768, n_fft // 2, mode="reflect")
        frames_NK = sliding_window_view(padded, n_fft)[::hop] * shape_K
        power_MN = ((np.abs(np.fft.rfft(frames_NK)) ** 2) @ bands_KM).T
        level_MN = 10 * np.log10(np.maximum(power_MN, 10 ** (settings["silence_db"] / 10)))
        length = max(1, int(np.max(np.flatnonzero(wave_T), initial=0)) + 1)
        level_MN[:, np.arange(level_MN.shape[1]) * hop >= length] = settings["padding_db"]
        made.append(level_MN.astype(np.float16))
    return np.stack(made)


def mel_bands(settings: dict[str, Any]) -> Numbers:
    """(K, M): overlapping triangles of equal width on the mel scale of HTK."""
    top = settings["sample_rate"] // 2
    low_mel, top_mel = (2595 * np.log10(1 + hz / 700) for hz in (settings["lowest_hz"], top))
    edge = 700 * (10 ** (np.linspace(low_mel, top_mel, settings["mels"] + 2) / 2595) - 1)
    hz_K1 = np.linspace(0, top, settings["n_fft"] // 2 + 1)[:, None]
    rising = (hz_K1 - edge[:-2]) / np.diff(edge)[:-1]
    falling = (edge[2:] - hz_K1) / np.diff(edge)[1:]
    return np.maximum(0, np.minimum(rising, falling))
