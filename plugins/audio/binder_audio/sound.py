"""What every encoder of sound has in common: a waveform is cut into windows.

Shapes: W windows, T samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from binder import Encoder, Item, Span
from binder_audio.config import AudioConfig, complete
from binder_audio.reading import Samples, pieces, read, windows

AT_ONCE = 64  # windows heard at once, so that those of an hour fit in memory


class SoundEncoder(Encoder):
    """Sound, cut into windows at the configuration's sample rate."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = complete(config)
        assert self.config.window_s
        self.window = round(self.config.window_s * self.config.sample_rate)  # samples

    def heard(self, wave_WT: Tensor) -> Tensor:
        """(W, T) int16 at the config's sample rate -> (W, ...) what is kept of it; all, if nothing else is said."""
        return wave_WT

    def preprocess(self, item: Item) -> Tensor:
        """Path, bytes or (samples, rate) -> (W, ...) as `heard` has it."""
        return self._windows(read(item, self.config.sample_rate))

    def moments(self, item: Item, every_s: float) -> Iterator[tuple[Span, Tensor]]:
        """Pieces without any sound have no moment. Raises ItemError where there is none at all."""
        for start_s, end_s, samples in pieces(item, self.config.sample_rate, every_s):
            yield Span(start_s, end_s), self._windows(samples)

    def _windows(self, samples: Samples) -> Tensor:
        cut, _ = windows(samples, self.window)
        heard = [self.heard(part) for part in torch.from_numpy(cut).split(AT_ONCE)]
        return heard[0] if len(heard) == 1 else torch.cat(heard)
