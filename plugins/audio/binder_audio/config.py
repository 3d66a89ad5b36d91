"""The settings of the audio encoder, with units, and their presets. Free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from binder import EncoderConfig


class AudioConfig(EncoderConfig):
    """Fields that are None are filled from a sample of the training items, or from the preset."""

    preset: Literal["small", "vit-b"] = "small"  # small: 1.5 M parameters; vit-b: ImageBind's shape, 86 M
    # speech: start from weights trained on synthetic English words (the default where the shape allows it); none: start
    # from random weights; transformers:NAME: a pretrained waveform model by name or folder, used as `tune` says
    trunk: str | None = Field(None, pattern="^(speech|none|transformers:.+)$")
    tune: Literal["frozen", "lora", "full"] = "frozen"  # a pretrained model: not trained, by LoRA, or completely
    rank: int = Field(8, ge=1, le=256)  # of LoRA
    trunk_lr: float = Field(0.4, gt=0, le=1)  # learning rate of the `speech` trunk relative to the rest
    sample_rate: int = Field(16_000, ge=4_000, le=192_000)  # Hz; every file is resampled to it
    window_s: float | None = Field(None, ge=0.5, le=60)  # s embedded at once; of longer files the windows are averaged
    hop_ms: float | None = Field(None, ge=2, le=50)  # ms between two frames of the spectrogram
    mels: int | None = Field(None, ge=16, le=256)  # bands of the mel scale
    range_db: float = Field(40.0, ge=20, le=160)  # dB below a clip's loudest point at which levels are clipped
    mean_db: float | None = None  # dB relative to a clip's loudest point, mean over the training clips
    std_db: float | None = Field(None, gt=0)  # dB, the standard deviation
    width: int | None = Field(None, ge=16, le=2048)  # channels of the transformer
    layers: int | None = Field(None, ge=1, le=48)
    heads: int | None = Field(None, ge=1, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    strength: float = Field(1.0, ge=0, le=2)  # of the augmentation; 0: none


PRESETS: dict[str, dict[str, int]] = {
    "small": {"width": 192, "layers": 3, "heads": 4, "mels": 48},
    "vit-b": {"width": 768, "layers": 12, "heads": 12, "mels": 128},
}

# the shape of the weights in speech.safetensors
SPEECH_SHAPE = {"preset": "small", "sample_rate": 16_000, **PRESETS["small"]}

DEFAULT_WINDOW_S = 2.0  # s, where nothing is known about the data; as in ImageBind
DEFAULT_MEAN_DB, DEFAULT_STD_DB = -30.0, 11.0  # dB, typical of speech and everyday sounds
FRAMES_PER_WINDOW = 250  # a longer window gets a coarser hop, so that the cost stays the same


def complete(config: AudioConfig) -> AudioConfig:
    """The configuration with every field that is None filled from the preset and the defaults."""
    window_s = config.window_s or DEFAULT_WINDOW_S
    values = {
        **PRESETS[config.preset],
        "window_s": window_s,
        "hop_ms": min(max(10.0, round(1000 * window_s / FRAMES_PER_WINDOW, 1)), 20.0),
        "mean_db": DEFAULT_MEAN_DB,
        "std_db": DEFAULT_STD_DB,
    }
    full = config.model_copy(update={key: value for key, value in values.items() if getattr(config, key) is None})
    if full.trunk is None:
        fits = {key: getattr(full, key) for key in SPEECH_SHAPE} == SPEECH_SHAPE
        full = full.model_copy(update={"trunk": "speech" if fits else "none"})
    return full
