"""The settings of the video encoder, with units. Free of torch."""

from __future__ import annotations

from pydantic import Field

from binder import PictureConfig


class VideoConfig(PictureConfig):
    """`window_s` left at None is filled from a sample of the training items."""

    frames: int = Field(8, ge=1, le=128)  # frames taken from a window, evenly spaced
    window_s: float | None = Field(None, ge=0.1, le=3600)  # s embedded at once; of longer videos windows are averaged
    clips: int = Field(8, ge=1, le=4096)  # largest number of windows of an item, evenly spaced
    views: int = Field(2, ge=1, le=64)  # random selections of frames of each training item
    tower_lr: float | None = Field(None, gt=0, le=1)  # learning rate of the tower relative to the rest; see TOWER_LR
    dropout: float = Field(0.3, ge=0, lt=1)  # in the hidden layer over the frames


# Relative learning rates: LoRA starts from zero; a whole tower would forget what it knows at the full rate.
TOWER_LR = {"frozen": 1.0, "lora": 1.0, "full": 0.02}

DEFAULT_WINDOW_S = 10.0  # s, where nothing is known about the data
