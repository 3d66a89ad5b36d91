"""What every encoder of sound has in common: windows of a waveform.

Shapes: W windows, T samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from binder import Encoder, Item, Span
from binder_audio.config import AudioConfig, complete
from binder_audio.reading import pieces, read, windows


class SoundEncoder(Encoder):
    """Sound, cut into windows at the configuration's sample rate."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = complete(config)
        assert self.config.window_s
        self.window = round(self.config.window_s * self.config.sample_rate)  # samples

    def preprocess(self, item: Item) -> Tensor:
        """Path, bytes or (samples, rate) -> (W, T) int16 at the config's sample rate."""
        cut, _ = windows(read(item, self.config.sample_rate), self.window)
        return torch.from_numpy(cut)

    def moments(self, item: Item, every_s: float) -> Iterator[tuple[Span, Tensor]]:
        """Pieces without any sound have no moment. Raises ItemError where there is none at all."""
        heard = False
        for start_s, end_s, samples in pieces(item, self.config.sample_rate, every_s):
            cut, _ = windows(samples, self.window)
            heard = True
            yield Span(start_s, end_s), torch.from_numpy(cut)
        if not heard:
            read(item, self.config.sample_rate)  # says why
