"""What a user may set, with units, and what the plugin fills in from the data."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from binder import Item, PictureConfig


class VideoConfig(PictureConfig):
    """`window_s` left at None is filled from a sample of the training items."""

    frames: int = Field(8, ge=1, le=128)  # frames seen of a window, evenly spread over it
    window_s: float | None = Field(None, ge=0.1, le=3600)  # s embedded at once; of longer videos windows are averaged
    clips: int = Field(8, ge=1, le=4096)  # windows of one item at most, evenly spread over it
    views: int = Field(2, ge=1, le=64)  # random takes of each training item
    tower_lr: float | None = Field(None, gt=0, le=1)  # learning rate of the tower relative to the rest; see TOWER_LR
    dropout: float = Field(0.3, ge=0, lt=1)  # in the hidden layer over the frames


# Relative learning rates: low-rank additions start at nothing, a whole tower would forget at the rest's rate.
TOWER_LR = {"frozen": 1.0, "lora": 1.0, "full": 0.02}

DEFAULT_WINDOW_S = 10.0  # s, where nothing is known of the data
SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 1.0, 30.0  # s
SAMPLE = 64  # training items whose length is looked up; opening one takes a few milliseconds


def adapt(config: VideoConfig, items: Sequence[Item]) -> VideoConfig:
    """Fill the window the user left open, so that 95 % of the training videos fit into one."""
    import math

    import numpy as np

    from binder import ItemError
    from binder_video.reading import open_clip

    if config.window_s is not None:
        return config
    durations_s = []
    for item in items[:: max(1, len(items) // SAMPLE)][:SAMPLE]:
        try:
            with open_clip(item) as clip:
                if clip.timed:
                    durations_s.append(clip.duration_s)
        except ItemError:
            continue  # reported when the item's turn comes
    window_s = DEFAULT_WINDOW_S
    if durations_s:
        usual_s = math.ceil(float(np.percentile(durations_s, 95)) * 4 - 0.2) / 4  # quarters of a second; 5.04 s is 5 s
        window_s = min(max(usual_s, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)
    return config.model_copy(update={"window_s": window_s})
