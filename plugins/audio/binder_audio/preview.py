"""The preview of a sound, its spectrogram, and what `binder doctor` prints about decoders. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder import Item, ItemError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from binder_audio.channels import Samples

RATE = 16_000  # Hz
SIZE = (320, 160)  # pixels
RANGE_DB = 70.0  # dB from the loudest point down to the darkest color
DECODERS = {"flac": "flac", "mp3float": "mp3", "vorbis": "vorbis", "opus": "opus", "aac": "aac, m4a", "wmav2": "wma"}
LONGEST_S = 60.0  # s that are drawn
# dark blue, violet, orange, pale yellow: brightness grows evenly, which also suits print and color-blind readers
COLORS = ((8, 10, 34), (60, 22, 94), (142, 42, 98), (219, 84, 62), (249, 158, 56), (252, 246, 190))


def preview(item: Item) -> Image:
    """Path, bytes or (samples, rate) -> the spectrogram, time to the right, frequency (mel) upwards."""
    import numpy as np
    from PIL import Image

    from binder_audio.reading import read

    try:
        samples = read(item, RATE, first_s=LONGEST_S)
    except ItemError:  # it may begin with a minute of silence
        samples = read(item, RATE)[: int(LONGEST_S * RATE)]
    level = _mel_decibels(samples)
    level = np.clip((level - level.max()) / RANGE_DB + 1, 0, 1)
    place = level[::-1] * (len(COLORS) - 1)
    rgb = np.stack([np.interp(place, range(len(COLORS)), channel) for channel in zip(*COLORS, strict=True)], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)


def _mel_decibels(samples: Samples) -> NDArray[np.float64]:
    """(S,) -> (80 mel bands, about SIZE[0] frames) in dB."""
    import numpy as np
    from librosa import mel_frequencies

    size = 512
    hop = max(64, len(samples) // SIZE[0])
    padded = np.pad(samples, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    hz = np.fft.rfftfreq(size, 1 / RATE)
    edges = mel_frequencies(82, fmin=0, fmax=RATE / 2, htk=True)
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weight = np.clip(np.minimum((hz - low) / (center - low), (high - hz) / (high - center)), 0, None)
    weight += (weight.sum(1, keepdims=True) == 0) * (np.abs(hz - center) < RATE / size)  # bands narrower than a bin
    level: NDArray[np.float64] = 10 * np.log10(weight @ power.T + 1e-10)
    return level


def diagnose() -> dict[str, str]:
    """Versions of the libraries and the formats they decode, for `binder doctor`."""
    from importlib.metadata import version

    import av
    import soundfile

    found = {name: version(name) for name in ("torchaudio", "librosa", "soundfile", "av", "soxr")}
    found["libsndfile"] = soundfile.__libsndfile_version__
    found["libavcodec"] = ".".join(str(number) for number in av.library_versions["libavcodec"])
    found["decodes"] = ", ".join(DECODERS[name] for name in DECODERS if name in av.codecs_available)
    return found
