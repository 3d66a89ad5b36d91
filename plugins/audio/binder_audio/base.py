"""What all audio encoders have in common: they read an item and cut the waveform into windows.

Shapes: W windows, T samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from binder import Encoder, Item, Span
from binder_audio.channels import Samples
from binder_audio.config import AudioConfig, complete
from binder_audio.cutting import windows
from binder_audio.reading import read, read_segments

AT_ONCE = 64  # windows represented at once, to bound the memory for long files


class SoundEncoder(Encoder):
    """Base class: `preprocess` and `segments` for windows at the configured sample rate."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = complete(config)
        assert self.config.window_s
        self.window = round(self.config.window_s * self.config.sample_rate)  # samples

    def represent(self, wave_WT: Tensor) -> Tensor:
        """(W, T) int16 at the configured sample rate -> (W, ...): what `features` starts from; here the waveform."""
        return wave_WT

    def preprocess(self, item: Item) -> Tensor:
        """Path, bytes or (samples, rate) -> (W, ...) as `represent` makes it. Raises ItemError."""
        return self._windows(read(item, self.config.sample_rate))

    def segments(self, item: Item, every_s: float) -> Iterator[tuple[Span, Tensor]]:
        """See `Encoder.segments`. Silent segments are left out. Raises ItemError where all are silent."""
        for start_s, end_s, samples in read_segments(item, self.config.sample_rate, every_s):
            yield Span(start_s, end_s), self._windows(samples)

    def _windows(self, samples: Samples) -> Tensor:
        cut, _ = windows(samples, self.window)
        parts = [self.represent(part) for part in torch.split(torch.from_numpy(cut), AT_ONCE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
