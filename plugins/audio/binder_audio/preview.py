"""What people see of a sound: its spectrogram. And what `binder doctor` says of decoders. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder import Item, ItemError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

RATE = 16_000  # Hz
SIZE = (320, 160)  # pixels
RANGE_DB = 70.0  # dB below the loudest point that are still shown
DECODERS = {"flac": "flac", "mp3float": "mp3", "vorbis": "vorbis", "opus": "opus", "aac": "aac, m4a", "wmav2": "wma"}
LONGEST_S = 60.0  # s drawn of a long recording
# dark blue, violet, orange, pale yellow: brightness grows evenly, as in print and for the colour-blind
COLOURS = ((8, 10, 34), (60, 22, 94), (142, 42, 98), (219, 84, 62), (249, 158, 56), (252, 246, 190))


def preview(item: Item) -> Image:
    """Path, bytes or (samples, rate) -> the spectrogram, time to the right, frequency (mel) upwards."""
    import numpy as np
    from PIL import Image

    from binder_audio.reading import read

    try:
        samples = read(item, RATE, first_s=LONGEST_S)
    except ItemError:  # a minute of silence first, perhaps
        samples = read(item, RATE)[: int(LONGEST_S * RATE)]
    level = _mel_decibels(samples)
    level = np.clip((level - level.max()) / RANGE_DB + 1, 0, 1)
    place = level[::-1] * (len(COLOURS) - 1)
    rgb = np.stack([np.interp(place, range(len(COLOURS)), channel) for channel in zip(*COLOURS, strict=True)], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)


def _mel_decibels(samples: np.ndarray) -> np.ndarray:
    """(S,) -> (80 mel bands, about SIZE[0] frames) dB."""
    import numpy as np
    from librosa import mel_frequencies

    size = 512
    hop = max(64, len(samples) // SIZE[0])
    padded = np.pad(samples, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    hz = np.fft.rfftfreq(size, 1 / RATE)
    edges = mel_frequencies(82, fmin=0, fmax=RATE / 2, htk=True)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weight = np.clip(np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)), 0, None)
    weight += (weight.sum(1, keepdims=True) == 0) * (np.abs(hz - centre) < RATE / size)  # bands under one bin
    return 10 * np.log10(weight @ power.T + 1e-10)


def diagnose() -> dict[str, str]:
    """Decoders and versions, for `binder doctor`."""
    from importlib.metadata import version

    import av
    import soundfile

    found = {name: version(name) for name in ("torchaudio", "librosa", "soundfile", "av", "soxr")}
    found["libsndfile"] = soundfile.__libsndfile_version__
    found["libavcodec"] = ".".join(str(number) for number in av.library_versions["libavcodec"])
    found["decodes"] = ", ".join(DECODERS[name] for name in DECODERS if name in av.codecs_available)
    return found
