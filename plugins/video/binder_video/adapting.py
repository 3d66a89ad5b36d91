"""What is filled in from a sample of the training items: the window. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from binder import Item, ItemError
from binder_video.config import DEFAULT_WINDOW_S, VideoConfig
from binder_video.reading import open_clip

SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 1.0, 30.0  # s
SAMPLE = 64  # items whose duration is looked up; opening one takes a few milliseconds


def adapt(config: VideoConfig, items: Sequence[Item]) -> VideoConfig:
    """The configuration with the window, if open, set so that 95 % of a sample of the items fit into one.

    Unreadable items are ignored here; they are reported when they are read for training.
    """
    if config.window_s is not None:
        return config
    durations_s = []
    for item in items[:: max(1, len(items) // SAMPLE)][:SAMPLE]:
        try:
            with open_clip(item) as clip:
                if clip.timed:
                    durations_s.append(clip.duration_s)
        except ItemError:
            continue
    window_s = DEFAULT_WINDOW_S
    if durations_s:
        usual_s = math.ceil(float(np.percentile(durations_s, 95)) * 4 - 0.2) / 4  # quarters of a second; 5.04 s is 5 s
        window_s = min(max(usual_s, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)
    return config.model_copy(update={"window_s": window_s})
