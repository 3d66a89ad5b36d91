"""Sound files, bytes and arrays -> mono samples, and how long ones are cut into windows. Free of torch.

Shapes: S samples, C channels, W windows.
"""

from __future__ import annotations

import io
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, existing_file, name_of

Samples = NDArray[np.float32]

SHORTEST_S = 0.025  # s; less is shorter than one frame of the spectrogram
FULL_SCALE = 32_767  # int16
PEAK = 0.95  # of full scale: every clip is brought to it, so that int16 serves quiet recordings too
# What libsndfile does not decode but librosa hands to a decoder of the system, where there is one.
SYSTEM_SUFFIXES = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".3gp"})
OGG_PAGE = 65_307  # bytes, the largest there is
MOST_CHANNELS = 32  # of an array's shorter axis


def read(item: Item, rate: int) -> Samples:
    """Path, bytes or (samples, rate) -> (S,) float32 at `rate`, channels averaged.

    Raises ItemError with one line for whatever is no usable sound.
    """
    name = name_of(item)
    samples, own_rate = _decode(item, name)
    if samples.size == 0:
        raise ItemError(name, "empty: no samples")
    return _usable(samples, own_rate, rate, name)


def pieces(item: Item, rate: int, every_s: float) -> Iterator[tuple[float, float, Samples]]:
    """Path, bytes or (samples, rate) -> start and end in s and (S,) float32 at `rate` of each piece of `every_s` s.

    Sound files are read piece by piece, so that hours fit in memory. Pieces that are silent, and a rest too short
    for one frame, are left out. Raises ItemError where the item is no sound at all, or one that ends too early.
    """
    at = 0.0
    for samples, own_rate in _blocks(item, every_s):
        start_s, at = at, at + samples.size / own_rate
        if samples.size >= SHORTEST_S * own_rate and samples.max() > samples.min():
            yield start_s, at, _usable(samples, own_rate, rate, name_of(item))


def _blocks(item: Item, every_s: float) -> Iterator[tuple[Samples, int]]:
    """The item's samples (S,) mono, `every_s` seconds at a time, with their rate."""
    import soundfile

    if isinstance(item, str | os.PathLike):
        try:
            file = soundfile.SoundFile(str(item))
        except (RuntimeError, OSError):
            file = None  # not by libsndfile: the whole of it below, or the reason why not
        if file is not None:
            with file:
                yield from _file_blocks(file, every_s, name_of(item))
            return
    samples, rate = _decode(item, name_of(item))
    size = max(1, round(every_s * rate))
    for start in range(0, samples.size, size):
        yield samples[start : start + size], rate


def _file_blocks(file: Any, every_s: float, name: str) -> Iterator[tuple[Samples, int]]:
    size, seen = max(1, round(every_s * file.samplerate)), 0
    try:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            seen += len(block)
            yield block.mean(axis=1, dtype=np.float32), file.samplerate
    except (RuntimeError, OSError, ValueError) as error:
        raise ItemError(name, f"damaged after {seen / file.samplerate:.3g} s: {error}") from None
    if seen < 0.9 * file.frames:
        raise ItemError(name, f"truncated: the data ends after {seen / file.samplerate:.3g} s")


def _usable(samples: Samples, own_rate: int, rate: int, name: str) -> Samples:
    """(S,) at its own rate -> (S,) at `rate`. Raises ItemError for what holds no sound."""
    if not np.isfinite(samples).all():
        raise ItemError(name, "holds samples that are NaN or infinite")
    if samples.max() == samples.min():
        what = "zero" if samples[0] == 0 else "the same"
        raise ItemError(name, f"silent: every sample is {what}")
    seconds = samples.size / own_rate
    if seconds < SHORTEST_S:
        raise ItemError(name, f"too short: {1000 * seconds:.3g} ms of at least {1000 * SHORTEST_S:.0f}")
    if own_rate != rate:
        import soxr  # type: ignore[import-untyped]

        samples = soxr.resample(samples, own_rate, rate, quality="HQ").astype(np.float32, copy=False)
    return samples


def duration_s(item: Item) -> float:
    """Length in seconds; of files from the header alone where possible. Raises ItemError."""
    if isinstance(item, str | os.PathLike):
        import soundfile

        try:
            info = soundfile.info(str(item))
            if info.frames > 0 and info.samplerate > 0:
                return float(info.frames / info.samplerate)
        except (RuntimeError, OSError):
            pass
    samples, rate = _decode(item, name_of(item))
    return samples.size / rate


def windows(samples: Samples, size: int) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """(S,), samples per window -> (W, size) int16 and the W spans (first, last + 1 sample).

    A shorter clip is padded with zeros at its end, and zeros at its end do not count. A longer one is cut
    into evenly spread windows, the first at the start and the last at the end, overlapping a little rather
    than losing anything. Up to a tenth of a window is left out where another window would bring no more than
    that. Windows without any sound are left out.
    """
    sound = _as_int16(samples)
    nonzero = np.flatnonzero(sound)
    sound = sound[: nonzero[-1] + 1] if nonzero.size else sound[:1]
    count = max(1, int(np.ceil(sound.size / size - 0.1)))
    if count == 1:
        start = max(0, (sound.size - size) // 2)
        starts = [start]
    else:
        starts = [round(i * (sound.size - size) / (count - 1)) for i in range(count)]
    spans = [(start, min(start + size, sound.size)) for start in starts]
    spans = [(a, b) for a, b in spans if sound[a:b].any()] or spans[:1]
    cut = np.zeros((len(spans), size), np.int16)
    for row, (a, b) in zip(cut, spans, strict=True):
        row[: b - a] = sound[a:b]
    return cut, spans


def _as_int16(samples: Samples) -> NDArray[np.int16]:
    """(S,) of any level -> (S,) int16 whose peak is PEAK of full scale."""
    gain = PEAK * FULL_SCALE / max(float(np.abs(samples).max()), 1e-30)
    return np.round(samples * gain).astype(np.int16)


def _decode(item: Item, name: str) -> tuple[Samples, int]:
    """Item -> (S,) mono float32 at its own rate, and that rate."""
    if isinstance(item, tuple) and len(item) == 2:
        return _from_array(item[0], item[1], name)
    if isinstance(item, str | os.PathLike):
        path = existing_file(item)
        with path.open("rb") as file:
            return _from_file(file, name, path)
    if isinstance(item, bytes | bytearray | memoryview):
        if not len(item):
            raise ItemError(name, "empty: no bytes")
        return _from_file(io.BytesIO(item), name, None)
    raise ItemError(name, f"expected a path, bytes or (samples, rate in Hz), not {type(item).__name__}")


def _from_array(values: Any, rate: Any, name: str) -> tuple[Samples, int]:
    """(S,), (S, C) or (C, S) of float in -1..1 or of integers in their full range -> (S,) mono float32."""
    try:
        array = np.asarray(values)
        own_rate = int(rate)
    except (TypeError, ValueError) as error:
        raise ItemError(name, f"not (samples, rate in Hz): {error}") from None
    if own_rate < 1:
        raise ItemError(name, f"not a sample rate: {rate!r}")
    if array.ndim == 2:
        channels = 0 if array.shape[0] < array.shape[1] else 1
        if array.shape[channels] > MOST_CHANNELS:
            raise ItemError(name, f"samples of shape {array.shape}: neither axis looks like channels")
    elif array.ndim != 1:
        raise ItemError(name, f"samples of shape {array.shape}: expected (S,), (S, C) or (C, S)")
    if array.dtype.kind in "iu":
        kind = np.iinfo(array.dtype)
        middle = 0 if array.dtype.kind == "i" else (kind.max + 1) // 2
        array = (array.astype(np.float64) - middle) / (kind.max - middle)
    elif array.dtype.kind != "f":
        raise ItemError(name, f"samples of type {array.dtype}: expected floats or integers")
    mono = array if array.ndim == 1 else array.mean(axis=channels)
    return mono.astype(np.float32), own_rate


def _from_file(file: Any, name: str, path: Path | None) -> tuple[Samples, int]:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            expected, rate = sound.frames, sound.samplerate
            # block by block, so that ten minutes in stereo do not lie in memory twice
            parts = []
            while len(block := sound.read(1 << 18, dtype="float32", always_2d=True)):
                parts.append(block.mean(axis=1, dtype=np.float32))
    except (RuntimeError, OSError, ValueError) as error:
        if path is not None and path.suffix.lower() in SYSTEM_SUFFIXES:
            return _by_system_decoder(path, name)
        reason = str(error).split(": ", 1)[-1].strip() if "Error opening" in str(error) else str(error)
        reason = " ".join(reason.split()) or "the data is damaged or cut off"
        raise ItemError(name, f"not sound that can be decoded: {reason}") from None
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if samples.size < 0.9 * expected or _is_cut_off(file):
        raise ItemError(name, f"truncated: the data ends after {samples.size / rate:.3g} s")
    return samples, rate


def _is_cut_off(file: Any) -> bool:
    """Whether the container says that there should be more. libsndfile reads such files without a word."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        promised = int.from_bytes(head[4:8], "little")
        # programs that write to a pipe leave 0 or nearly 2**32 behind
        return 0 < promised < 0x7FFFFFFF and promised + 8 > size + 1
    if head[:3] == b"ID3" or head[:1] == b"\xff":
        return _mp3_is_cut_off(file, size)
    if head[:4] == b"OggS":
        file.seek(max(0, size - OGG_PAGE))
        tail = file.read()
        flags = tail[max(tail.rfind(b"OggS"), 0) + 5 :][:1]
        return not flags or not flags[0] & 4  # the last page of a whole stream says that it is
    return False


def _mp3_is_cut_off(file: Any, size: int) -> bool:
    """Whether there are fewer bytes than the Xing header counts (most encoders write one)."""
    file.seek(0)
    tag = file.read(10)
    first = 0
    if tag[:3] == b"ID3" and len(tag) == 10:  # song titles and cover pictures lie before the first frame
        first = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    file.seek(first)
    frame = file.read(200)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0 or len(frame) < place + 16:
        return False
    flags = frame[place + 7]
    counted = place + (12 if flags & 1 else 8)
    return bool(flags & 2) and first + int.from_bytes(frame[counted : counted + 4], "big") > size * 1.01


def _by_system_decoder(path: Path, name: str) -> tuple[Samples, int]:
    """Formats outside libsndfile: librosa asks the decoders of the system (ffmpeg, Core Audio, GStreamer)."""
    import librosa

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa warns of its own fallback each time
            samples, rate = librosa.load(path, sr=None, mono=False)
    except Exception as error:  # audioread raises many kinds, some of them bare
        lacking = "" if shutil.which("ffmpeg") else f" ({path.suffix} needs ffmpeg, which was not found)"
        raise ItemError(name, f"not sound that can be decoded: {type(error).__name__}{lacking}") from None
    return _from_array(samples, rate, name)
