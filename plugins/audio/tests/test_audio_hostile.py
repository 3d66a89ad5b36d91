"""Audio files in the wild: odd ones are read, damaged and false ones are rejected. Makes its own files."""

from __future__ import annotations

import io
import itertools
import struct
import time
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import soundfile
from binder_audio import reading
from binder_audio.decoders import opened
from binder_audio.preview import preview
from binder_audio.reading import read, read_segments

from binder import ItemError

RATE = 16_000  # Hz


def sound(seconds: float = 2.0, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    """(S,) float32: a tone that swells twice."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * t) * np.sin(2 * np.pi * t / seconds) ** 2).astype(np.float32)


def by_soundfile(samples: np.ndarray, rate: int = RATE, **how: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


def by_ffmpeg(samples: np.ndarray, form: str, codec: str, rate: int = RATE, picture: bool = False) -> bytes:
    """(S,) -> a file written by FFmpeg, with a video stream if `picture`."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = cast(av.AudioStream, container.add_stream(codec, rate=rate, layout="mono"))
        video = container.add_stream("mpeg4", rate=10) if picture else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            for _ in range(10):
                container.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            container.mux(video.encode())
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 0)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    return file.getvalue()


MAKERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "wav": lambda x: by_soundfile(x, format="WAV"),
    "rf64": lambda x: by_soundfile(x, format="RF64"),
    "aiff": lambda x: by_soundfile(x, format="AIFF"),
    "au": lambda x: by_soundfile(x, format="AU"),
    "w64": lambda x: by_soundfile(x, format="W64"),
    "caf": lambda x: by_soundfile(x, format="CAF"),
    "flac": lambda x: by_soundfile(x, format="FLAC"),
    "ogg": lambda x: by_soundfile(x, format="OGG"),
    "opus": lambda x: by_soundfile(x, format="OGG", subtype="OPUS"),
    "mp3": lambda x: by_soundfile(x, format="MP3"),
    "m4a": lambda x: by_ffmpeg(x, "ipod", "aac"),
    "aac": lambda x: by_ffmpeg(x, "adts", "aac"),
    "mka": lambda x: by_ffmpeg(x, "matroska", "aac"),
    "mp4": lambda x: by_ffmpeg(x, "mp4", "aac", picture=True),
    "mkv": lambda x: by_ffmpeg(x, "matroska", "libmp3lame", picture=True),
    "mov": lambda x: by_ffmpeg(x, "mov", "pcm_s16le", picture=True),
    "avi": lambda x: by_ffmpeg(x, "avi", "libmp3lame", picture=True),
}
DELAY = {"aac": 1_024, "avi": 1_105}  # samples by which the encoder delays the sound, where the format cannot say so

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def whole() -> Files:
    return {name: make(sound()) for name, make in MAKERS.items()}


def reason(item: object, rate: int = RATE) -> str:
    """Why an item is rejected, in one line; empty where it is read."""
    try:
        assert np.isfinite(read(item, rate)).all()
    except ItemError as error:
        assert "\n" not in str(error)
        return error.reason
    return ""


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    n = min(a.size, b.size)
    return float(a[:n] @ b[:n] / np.linalg.norm(a[:n]) / np.linalg.norm(b[:n]))


# Formats


@pytest.mark.parametrize("name", MAKERS)
def test_formats_are_recognized_by_content_and_aligned_within_a_frame(name: str, whole: Files, tmp_path: Path) -> None:
    path = tmp_path / "named.wav"  # the wrong suffix for most
    path.write_bytes(whole[name])
    found = read(path, RATE)
    delay = DELAY.get(name, 0)
    assert abs(found.size - delay - sound().size) <= 1_152, "within a frame of mp3 or AAC"
    assert cosine(found[delay:], sound()) > 0.99
    assert np.array_equal(found, read(whole[name], RATE))


def test_a_video_without_audio_is_reported_as_such() -> None:
    silent = io.BytesIO()
    with av.open(silent, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux([*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode()])
    assert reason(silent.getvalue()) == "it contains no audio, only video"


def test_flac_of_unknown_length_and_mp3_in_wav(whole: Files) -> None:
    flac = bytearray(whole["flac"])
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    assert np.array_equal(read(bytes(flac), RATE), read(whole["flac"], RATE))
    assert cosine(read(by_ffmpeg(sound(), "wav", "libmp3lame"), RATE)[1_105:], sound()) > 0.99


def test_tags_and_junk_around_an_mp3_are_ignored(whole: Files) -> None:
    junk, plain = np.random.default_rng(0).bytes(3_000), read(whole["mp3"], RATE)
    for data in (whole["mp3"] + bytes(5_000), whole["mp3"] + b"TAG" + bytes(125)):
        assert np.array_equal(read(data, RATE)[: plain.size], plain)
    for data in (bytes(3_000) + whole["mp3"], junk + whole["mp3"]):
        found = read(data, RATE)
        delay = int(np.correlate(found, plain[:20_000]).argmax())
        assert delay < 3_000, "a frame or two and the encoder's delay"
        assert cosine(found[delay:], plain) > 0.99
    tag = b"ID3\x04\x00\x00" + bytes([100, 0, 0, 0])  # claims 200 MB
    assert reason(tag + whole["mp3"]).startswith("truncated")


# Incomplete files


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_ogg_without_a_last_page_flag(name: str, whole: Files) -> None:
    data = bytearray(whole[name])
    last = data.rfind(b"OggS")
    data[last + 5] &= ~4
    segments = data[last + 26]
    checksum = 0
    data[last + 22 : last + 26] = bytes(4)
    for byte in data[last:]:  # bit by bit, as in RFC 3533
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    data[last + 22 : last + 26] = checksum.to_bytes(4, "little")
    assert np.array_equal(read(bytes(data), RATE), read(whole[name], RATE))
    for cut in (1, 3, 20, len(data) - last - 27 - segments, len(data) - last - 5, len(data) - last - 1):
        assert reason(bytes(data[:-cut])).startswith("truncated"), "ends within a page"


def sized(data: bytes, total: int | None, samples: int | None, form: str = "<I", name: bytes = b"data") -> bytes:
    """A RIFF or AIFF file with other sizes in its header."""
    changed = bytearray(data)
    if total is not None:
        struct.pack_into(form, changed, 4, total)
    if samples is not None:
        struct.pack_into(form, changed, changed.index(name) + 4, samples)
    return bytes(changed)


@pytest.mark.parametrize("total", [0, 36, 64_044, 64_036 + (0x20 << 24), 0xFFFFFFFF, None])
@pytest.mark.parametrize("samples", [None, 0, 64_044, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB])
def test_wav_with_wrong_sizes_and_all_its_samples(total: int | None, samples: int | None, whole: Files) -> None:
    assert np.array_equal(read(sized(whole["wav"], total, samples), RATE), read(whole["wav"], RATE))


def test_rf64_aiff_au_and_big_endian_wav_with_wrong_sizes(whole: Files) -> None:
    aiff, plain = whole["aiff"], read(whole["wav"], RATE)
    for samples in (0, 8, 0xFFFFFFFF, None):
        for total in (0, 0x7FFFFFFF, None):
            assert np.array_equal(read(sized(aiff, total, samples, ">I", b"SSND"), RATE), plain)
    for samples in (0, 0xFFFFFFFF):
        au = bytearray(whole["au"])
        struct.pack_into(">I", au, 8, samples)
        assert np.array_equal(read(bytes(au), RATE), plain)
    rf64, place = bytearray(whole["rf64"]), whole["rf64"].index(b"ds64") + 8
    for sizes in ((0, 0), (10**12, 64_000), (0, 64_000)):
        struct.pack_into("<QQ", rf64, place, *sizes)
        assert np.array_equal(read(bytes(rf64), RATE), plain)
    rifx = by_soundfile(sound(), format="WAV", endian="BIG")
    assert rifx[:4] == b"RIFX"
    assert np.array_equal(read(sized(rifx, 0, 0, ">I"), RATE), plain)


def test_wav_without_samples_is_empty_whatever_chunks_follow(whole: Files) -> None:
    listed = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"
    for rest in (b"", listed):
        assert reason(sized(whole["wav"][:44], None, 0) + rest) == "empty: no samples"


def test_headers_that_state_more_samples_than_there_are(whole: Files) -> None:
    lie = "truncated: the header says 3,200,000,000 bytes of samples, but there are 64,000"
    assert reason(sized(whole["wav"], 3_200_000_036, 3_200_000_000)) == lie
    assert "says 3,200,000,000" in reason(sized(whole["aiff"], None, 3_200_000_000, ">I", b"SSND"))
    rf64, place = bytearray(whole["rf64"]), whole["rf64"].index(b"ds64") + 16
    struct.pack_into("<Q", rf64, place, 10**12)
    assert "says 1,000,000,000,000" in reason(bytes(rf64))
    flac = bytearray(whole["flac"])
    flac[22] = 1  # 16 million samples more
    assert reason(bytes(flac))
    assert reason(b"RIFF\0\0\0\0WAVE" + bytes(8) * 20_000) == "more than 10,000 chunks"


# Damage


@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_file_is_either_read_or_reported_in_one_line(
    name: str, whole: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    data, rng = whole[name], np.random.default_rng(0)
    for share in (0.0, 0.01, 0.1, 0.3, 0.5, 0.8):
        assert reason(data[: int(share * len(data))]), "cut off"
    for first, last, count in ((0, 200, 12), (0, len(data), 8)):  # only in the header, and anywhere
        for _ in range(count):
            flipped = bytearray(data)
            for place in rng.integers(first, last, 8):
                flipped[place] = rng.integers(256)
            reason(bytes(flipped))
    middle = len(data) // 2
    for noise in (rng.bytes(1_500), bytes(1_500)):
        reason(data[:middle] + noise + data[middle + 1_500 :])
    assert reason(rng.bytes(20_000))
    assert reason(b"\xff\xfb\x90\x00" + rng.bytes(20_000)), "a frame header of mp3, followed by noise"
    assert capfd.readouterr().err == "", "the libraries print nothing"


# Headers that would cost memory or time


@pytest.mark.parametrize("rate", [0, 1, 8, 999, 1_000_001, 2**31 - 1, 10**30])
def test_impossible_rates(rate: int, whole: Files) -> None:
    assert reason((sound(), rate)) == f"a sample rate of {rate:,} Hz; expected 1,000 to 1,000,000"
    if 0 < rate < 2**31:
        wav = bytearray(whole["wav"])
        struct.pack_into("<I", wav, 24, rate)
        assert reason(bytes(wav))


@pytest.mark.parametrize("rate", [1_000, 250_000, 384_000])
def test_unusual_rates(rate: int) -> None:
    assert abs(read((sound(0.5, rate, 200), rate), RATE).size - 8_000) < 3


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), "fast", None])
def test_rates_that_are_no_numbers(rate: object) -> None:
    assert reason((sound(), rate)).startswith("not (samples, rate in Hz): ")


def test_65535_channels(whole: Files) -> None:
    wav = bytearray(whole["wav"])
    struct.pack_into("<H", wav, 22, 65_535)
    assert reason(bytes(wav))
    assert "neither axis can be channels" in reason((np.zeros((65_535, 70_000), np.int8), RATE))


@pytest.mark.parametrize("values", [np.zeros((0, 5)), np.zeros(0), np.zeros((5, 0), np.int16)])
def test_empty_arrays(values: np.ndarray) -> None:
    assert reason((values, RATE)) == "empty: no samples"


def test_numbers_beyond_float32() -> None:
    assert reason((sound().astype(np.float64) * 1e300, RATE)) == "contains samples that are NaN or infinite"


@pytest.fixture(scope="module")
def silence() -> bytes:
    """Three hours of silence in a few kilobytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 1_000, 1, format="FLAC") as flac:
        flac.write(np.zeros(3 * 3_600 * 1_000, np.int16))
    return file.getvalue()


def test_hours_in_a_few_bytes_are_rejected_before_they_are_decoded(silence: bytes) -> None:
    began = time.monotonic()
    most = "180 minutes long; one item may have 60: embed it in segments, with --every 10s (every_s=10)"
    assert reason(silence) == most
    assert time.monotonic() - began < 1
    with opened(silence) as flac:
        assert flac.stated_s == 3 * 3_600
    with pytest.raises(ItemError, match="silent: every sample is zero"):
        list(read_segments(silence, RATE, 60.0))
    with pytest.raises(ItemError, match="60 minutes long"):
        list(read_segments(silence, RATE, 1e7))


def test_decoding_stops_where_an_item_is_longer_than_its_header_says(
    monkeypatch: pytest.MonkeyPatch, whole: Files
) -> None:
    monkeypatch.setattr(reading, "LONGEST_S", 1.5)
    for name in ("aac", "mp3", "wav"):
        with pytest.raises(ItemError, match=r"long; one item may have"):
            read(whole[name], RATE)
        assert len(list(read_segments(whole[name], RATE, 1.0))) in (2, 3)


def test_peak_memory_is_that_of_the_result_not_of_the_channels() -> None:
    many = np.broadcast_to(sound(100)[None], (16, 100 * RATE))  # 102 MB as float32
    tracemalloc.start()
    read((many, RATE), 8_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6


@pytest.mark.parametrize(("every_s", "count"), [(0.025, 80), (0.1, 20), (1.99, 1), (1e7, 1)])
def test_segments_of_any_length(every_s: float, count: int) -> None:
    steady = np.sin(np.arange(2 * RATE) / 5).astype(np.float32)
    found = list(read_segments((steady, RATE), RATE, every_s))
    assert len(found) == count
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100])
def test_segments_shorter_than_a_frame_are_rejected(rate: int) -> None:
    assert list(read_segments((sound(0.5, rate), rate), RATE, 0.025)), "the shortest allowed, at any rate"
    with pytest.raises(ItemError, match="segments of 1 ms; expected at least 25 ms"):
        list(read_segments((sound(rate=rate), rate), RATE, 0.001))


def test_the_preview_reads_only_the_first_minute() -> None:
    long = np.concatenate([sound(50), np.zeros(10 * RATE, np.float32), np.full(RATE, np.nan, np.float32)])
    assert preview((long, RATE)).size == (320, 160), "the NaN after a minute are not read"
