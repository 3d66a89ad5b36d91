"""The encoder: the anchor's image tower on each frame, their mean, and a layer for the order of the frames.

Shapes: B batch, W windows, V views, T frames, F features of the tower, D embed_dim.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from binder import Anchor, Encoder, Item, ItemError, Span, into_space, picture_tower
from binder_video.config import DEFAULT_WINDOW_S, TOWER_LR, VideoConfig
from binder_video.reading import Clip, open_clip
from binder_video.sampling import even, jittered, segment_spans, windows
from binder_video.temporal import Temporal

MANY_SEGMENTS = 1_000  # up to so many, a video may have more segments than frames
AT_ONCE = 64  # frames through a frozen tower at once, so that memory does not grow with the batch


class VideoEncoder(Encoder):
    """Video -> (D,). Untrained it is the mean of the anchor's unit vectors of the frames."""

    def __init__(self, config: VideoConfig, anchor: Anchor) -> None:
        super().__init__()
        self.config, self.anchor = config, anchor
        self.window_s = config.window_s or DEFAULT_WINDOW_S
        self.tower = picture_tower(config, anchor)
        self.into_space = into_space(self.tower, anchor)
        width = anchor.embed_dim
        self.temporal = Temporal(config.frames, width, config.hidden or width, config.dropout)
        self.frozen_trunk = config.tune == "frozen"
        self.untrained = None if config.trunk else "the anchor on the mean frame"

    def preprocess(self, item: Item) -> Tensor:
        """Path, bytes or frames -> (W, T, 3, H, W)."""
        with open_clip(item) as clip:
            groups = self._groups(0.0, clip.duration_s, clip.timed)
            return self._stack(groups, clip.at(_ascending(groups)))

    def segments(self, item: Item, every_s: float) -> Iterator[tuple[Span | None, Tensor]]:
        """See `Encoder.segments`. The video is read once from start to end, some seconds ahead of the iterator."""
        with open_clip(item) as clip:
            if not clip.timed:
                yield None, self.preprocess(item)
                return
            _check_count(clip, every_s, item)
            spans, ahead = itertools.tee(segment_spans(clip.duration_s, every_s))
            shown = clip.at(time_s for span in ahead for time_s in _ascending(self._groups(*span)))
            for start_s, end_s in spans:
                yield Span(start_s, end_s), self._stack(self._groups(start_s, end_s), shown)

    def views(self, item: Item, rng: np.random.Generator) -> Tensor:
        """(V, T, 3, H, W): a random frame of each equal part of a random window."""
        with open_clip(item) as clip:
            window_s = self.window_s if clip.timed else clip.duration_s
            count = self.config.frames
            groups = [jittered(clip.duration_s, window_s, count, rng) for _ in range(self.config.views)]
            return self._stack(groups, clip.at(_ascending(groups)))

    def lr_scales(self) -> dict[str, float]:
        return {"tower.": self.config.tower_lr or TOWER_LR[self.config.tune]}

    def features(self, batch: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, F): the image tower's features of each frame."""
        frames = batch.flatten(0, 1)
        in_parts = self.frozen_trunk and not torch.compiler.is_exporting()  # whose number a graph would fix
        parts = torch.split(frames, AT_ONCE) if in_parts else [frames]
        features = torch.cat([self.tower(part) for part in parts])
        return features.reshape(*batch.shape[:2], *features.shape[1:])

    def head(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, D). All frames have the same weight: each gets unit length before the mean."""
        z_BTD: Tensor = self.into_space(functional.normalize(features, dim=-1))
        order_BD: Tensor = self.temporal(z_BTD)
        return z_BTD.mean(1) + order_BD

    def _groups(self, start_s: float, end_s: float, timed: bool = True) -> list[list[float]]:
        """The times in s of the frames taken from each window of a part of a video."""
        length_s = end_s - start_s
        cut = windows(length_s, self.window_s if timed else length_s, self.config.clips)
        return [even(start_s + first_s, start_s + last_s, self.config.frames) for first_s, last_s in cut]

    def _stack(self, groups: Sequence[Sequence[float]], shown: Iterator[Image]) -> Tensor:
        """Groups of T times, and the pictures at all those times in ascending order -> (groups, T, 3, H, W)."""
        seen: dict[float, Tensor] = {}
        last: tuple[Image, Tensor] | None = None
        for time_s, image in zip(_ascending(groups), shown, strict=False):
            if last is None or last[0] is not image:
                last = image, self.tower.trunk.transform(image)
            seen[time_s] = last[1]
        return torch.stack([torch.stack([seen[time_s] for time_s in group]) for group in groups])


def _ascending(groups: Iterable[Sequence[float]]) -> list[float]:
    """All times of the groups, each once, in ascending order."""
    return sorted({time_s for group in groups for time_s in group})


def _check_count(clip: Clip, every_s: float, item: Item) -> None:
    """Raises ItemError where most segments would show no new frame: `every_s` is too short, or the file's times lie."""
    count = min(clip.duration_s / every_s, 1e12)
    if count > MANY_SEGMENTS and count > (frames := clip.count(math.ceil(count))):
        least_s = clip.duration_s / max(frames, MANY_SEGMENTS)
        raise ItemError(
            item,
            f"{count:,.0f} segments of {every_s:g} s, but at most {frames:,} frames in {clip.duration_s:.4g} s: "
            f"use segments of at least {least_s:.2g} s",
        )
