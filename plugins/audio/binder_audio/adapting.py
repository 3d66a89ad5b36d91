"""What is filled in from a sample of the training items: the window and the statistics of the spectrograms.

Shapes: W windows, T samples of a window, M mel bands, N frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from binder import Item, ItemError
from binder_audio.config import AudioConfig, complete
from binder_audio.cutting import windows
from binder_audio.reading import duration_s, read
from binder_audio.spectrogram import Spectrogram, normalize, sounding, valid_frames

SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 1.0, 5.0  # s
STATISTICS_ITEMS = 128  # enough for two numbers; reading them takes a second
STATISTICS_S = 60.0  # s read of each of them
STATISTICS_WINDOWS = 4  # used of each of them
AT_ONCE = 32  # windows turned into spectrograms at once, to bound the memory


def adapt(config: AudioConfig, items: Sequence[Item]) -> AudioConfig:
    """The configuration with the window and the statistics that the user left open, from a sample of the items.

    Unreadable items are ignored here; they are reported when they are read for training.
    """
    if config.window_s is None:
        window_s = _usual_window_s(items)
        if window_s is not None:
            config = config.model_copy(update={"window_s": window_s})
    if config.mean_db is None or config.std_db is None:
        found = _statistics_of(complete(config), items)
        if found is not None:
            mean_db, std_db = (round(value, 2) for value in found)
            config = config.model_copy(
                update={
                    "mean_db": mean_db if config.mean_db is None else config.mean_db,
                    "std_db": std_db if config.std_db is None else config.std_db,
                }
            )
    return complete(config)


def _usual_window_s(items: Sequence[Item]) -> float | None:
    """The window into which 95 % of the items fit, within limits; None where no item can be read."""
    durations_s = []
    for item in items:
        try:
            durations_s.append(duration_s(item))
        except ItemError:
            continue
    if not durations_s:
        return None
    usual_s = float(np.percentile(durations_s, 95))
    rounded_s = math.ceil(usual_s * 4 - 0.2) / 4  # quarters of a second; 5.002 s is 5 s
    return min(max(rounded_s, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)


def _statistics_of(config: AudioConfig, items: Sequence[Item]) -> tuple[float, float] | None:
    """`statistics` of the first windows of some of the items; None where none can be read."""
    assert config.window_s
    size = round(config.window_s * config.sample_rate)
    first_s = max(STATISTICS_S, STATISTICS_WINDOWS * config.window_s)
    cut = []
    for item in items[:STATISTICS_ITEMS]:
        try:
            samples = read(item, config.sample_rate, first_s=first_s)
        except ItemError:
            continue
        cut.append(windows(samples, size)[0][:STATISTICS_WINDOWS])
    return statistics(config, np.concatenate(cut)) if cut else None


def statistics(config: AudioConfig, cut_WT: NDArray[np.int16]) -> tuple[float, float]:
    """(W, T) windows at the configured rate -> mean and standard deviation in dB below each window's loudest point."""
    probe = config.model_copy(update={"mean_db": 0.0, "std_db": 1.0})
    spectrogram = Spectrogram(probe)
    values = []
    with torch.inference_mode():
        for rows in torch.split(torch.from_numpy(cut_WT), AT_ONCE):
            x_B2MN = normalize(*sounding(spectrogram(rows)), probe)
            values.append(x_B2MN[:, 0].transpose(1, 2)[valid_frames(x_B2MN)].flatten())
    every = torch.cat(values)
    return float(every.mean()), max(float(every.std()), 1.0)
