"""Sound for binder. Importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Item, Modality, hookimpl
from binder_audio.config import AudioConfig
from binder_audio.preview import diagnose, preview

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from binder import Anchor, Encoder

__all__ = ["AUDIO", "AudioConfig"]


def build(config: AudioConfig, anchor: Anchor) -> Encoder:
    """An encoder into `anchor`'s space, with fresh or pretrained weights as `config.trunk` says."""
    if config.trunk not in (None, "speech", "none"):
        from binder_audio.waveform import WaveformEncoder

        return WaveformEncoder(config, anchor)
    from binder_audio.encoder import AudioEncoder

    return AudioEncoder(config, anchor.embed_dim)


def adapt(config: AudioConfig, items: Sequence[Item]) -> AudioConfig:
    """See `adapting.adapt`; imported on the first call, because it needs torch."""
    from binder_audio.adapting import adapt

    return adapt(config, items)


def read(item: Item, rate: int = 48_000) -> NDArray[np.float32]:
    """Path, bytes or (samples, rate) -> (T,) mono samples at `rate` Hz, in -1..1, for anchors that encode sound."""
    from binder_audio import reading

    samples = reading.read(item, rate)
    return samples / max(1.0, float(abs(samples).max()))


AUDIO = Modality(
    name="audio",
    suffixes=frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".m4a", ".aac"}),
    config=AudioConfig,
    build=build,
    adapt=adapt,
    read=read,
    preview=preview,
    media="audio/wav",
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [AUDIO]
