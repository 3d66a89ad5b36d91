"""The audio plugin: the encoder contract and what is specific to sound. All but the last test synthesize their data."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from binder_audio import AUDIO, AudioConfig, pretrain
from binder_audio.adapting import adapt
from binder_audio.config import complete
from binder_audio.cutting import windows
from binder_audio.encoder import AudioEncoder, Trunk
from binder_audio.pretrained import SPEECH, load
from binder_audio.reading import read
from binder_audio.spectrogram import normalize, sounding, valid_frames

from binder import ConfigError, ItemError
from binder.testing import EncoderContract

RATE = 16_000  # Hz
SMALL = {"width": 32, "layers": 1, "heads": 2, "mels": 32}


def tone(seconds: float = 0.7, hz: float = 440.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """(S,) float32: a tone that fades in and out, with a little noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=t.size)
    shape = np.sin(np.pi * np.clip(t / seconds, 0, 1))
    return (0.3 * shape * (np.sin(2 * np.pi * hz * t) + 0.05 * noise)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **how: str) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


def encoder(**values: object) -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(AudioConfig.model_validate({**SMALL, "window_s": 1.0, **values}), 16).eval()


def vector(model: AudioEncoder, item: object) -> torch.Tensor:
    """(D,): the mean over the windows, as in the core."""
    with torch.inference_mode():
        return torch.nn.functional.normalize(model(model.preprocess(item)), dim=1).mean(0)


class TestContract(EncoderContract):
    modality = AUDIO
    config = SMALL

    def items(self, tmp_path: Path) -> list[object]:
        # a file, a long file in stereo, bytes, an array: four kinds, four lengths, four rates
        stereo = np.stack([tone(2.6, 300, 44_100), tone(2.6, 900, 44_100)], axis=1)
        held = io.BytesIO()
        soundfile.write(held, tone(0.4, 600, 8_000), 8_000, format="FLAC")
        return [
            write(tmp_path / "short.wav", tone(0.3, 500)),
            write(tmp_path / "stereo.ogg", stereo, 44_100),
            held.getvalue(),
            (tone(1.1, 2_000, 22_050), 22_050),
        ]

    def broken(self, tmp_path: Path) -> list[object]:
        whole = write(tmp_path / "whole.wav", tone(1.0)).read_bytes()
        cut = tmp_path / "cut.wav"
        cut.write_bytes(whole[: len(whole) // 2])
        picture = tmp_path / "picture.wav"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
        hole = tone(0.5)
        hole[100] = np.nan
        return [
            cut,
            picture,
            tmp_path,
            b"",
            b"RIFF",
            None,
            3.5,
            write(tmp_path / "nan.wav", hole, subtype="FLOAT"),
            (np.full(9_000, np.inf, np.float32), RATE),
            write(tmp_path / "silent.wav", np.zeros(RATE, np.float32)),
            (tone()[:10], RATE),
            (tone(), 0),
            (np.zeros((3, 40, 500)), RATE),
        ]


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_sample_rate_is_resampled_to_the_same_sound(rate: int) -> None:
    sound = read((tone(0.5, 440, rate), rate), RATE)
    assert abs(sound.size - 0.5 * RATE) <= 2
    spectrum = np.abs(np.fft.rfft(sound))
    assert abs(spectrum.argmax() / 0.5 - 440) <= 4


@pytest.mark.parametrize("how", ["wav", "flac", "ogg", "opus", "mp3", "aiff"])
def test_formats(how: str, tmp_path: Path) -> None:
    kind = {"format": "OGG", "subtype": "OPUS"} if how == "opus" else {}
    path = write(tmp_path / f"a.{how}", tone(0.8), RATE, **kind)
    wav = write(tmp_path / "a.wav", tone(0.8))
    model = encoder()
    near = torch.cosine_similarity(vector(model, path), vector(model, wav), dim=0)
    assert near > 0.97
    assert torch.equal(vector(model, path), vector(model, path.read_bytes()))


def test_the_right_channel_is_not_lost(tmp_path: Path) -> None:
    left, right = np.zeros(RATE, np.float32), tone(1.0)
    path = write(tmp_path / "right.wav", np.stack([left, right], axis=1))
    model = encoder()
    assert torch.allclose(vector(model, path), vector(model, (right, RATE)), atol=2e-3)
    by_rows, by_columns = (np.stack([left, right], axis=axis) for axis in (0, 1))
    assert np.array_equal(read((by_rows, RATE), RATE), read((by_columns, RATE), RATE))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.float64])
def test_sample_types(kind: type) -> None:
    sound = tone(0.5)
    if np.issubdtype(kind, np.integer):
        info = np.iinfo(kind)
        middle = 0 if info.min else (info.max + 1) // 2
        values: np.ndarray = (sound * (info.max - middle) + middle).astype(kind)
    else:
        values = sound.astype(kind)
    assert np.abs(read((values, RATE), RATE) - sound).max() < 0.01


def test_the_recording_level_does_not_matter() -> None:
    model, sound = encoder(), tone()
    assert torch.allclose(vector(model, (sound, RATE)), vector(model, (sound * 1e-4, RATE)), atol=1e-3)


def test_silence_added_at_the_end_does_not_change_the_vector() -> None:
    model, sound = encoder(), tone(0.6)
    padded = np.concatenate([sound, np.zeros(3 * RATE, np.float32)])
    assert torch.equal(vector(model, (sound, RATE)), vector(model, (padded, RATE)))


def test_padding_is_zero_after_normalization_and_excluded_from_pooling() -> None:
    model = encoder()
    db, valid = sounding(model.preprocess((tone(0.5), RATE)))
    x = normalize(db, valid, model.config)
    valid = valid[0]
    assert valid.sum() == -(-RATE // 2 // model.spectrogram.hop)
    assert torch.equal(valid_frames(x)[0], valid)
    assert x[0, :, :, ~valid].abs().max() == 0
    mean = x[0, 1][:, valid].mean(1)
    assert mean.abs().max() < 1e-4, "the band means do not include the padding"


def test_a_recording_of_ten_minutes(tmp_path: Path) -> None:
    sound = np.tile(tone(2.0, rate=8_000), 300)
    path = write(tmp_path / "long.flac", sound, 8_000)
    model = encoder(window_s=5.0)
    seen = model.preprocess(path)
    assert seen.shape[:2] == (120, 32)
    assert seen.nbytes < 120 * 2 * 5 * RATE / 4, "the cache holds far less than the windows' samples"
    spans = [span for span, _ in model.segments(path, 7.0)]
    assert [span.start_s for span in spans] == [7.0 * i for i in range(86)]
    assert abs(spans[-1].end_s - 600) < 0.01


def test_a_segment_equals_a_file_of_its_own_and_silent_ones_are_left_out(tmp_path: Path) -> None:
    first, last = tone(1.0, rate=8_000), tone(1.0, rate=8_000) * np.linspace(0, 1, 8_000, dtype=np.float32)
    sound = np.concatenate([first, np.zeros(8_000, np.float32), last, last[-100:]])
    path = write(tmp_path / "three.wav", sound, 8_000)
    model = encoder()
    found = list(model.segments(path, 1.0))
    assert [(span.start_s, span.end_s) for span, _ in found] == [(0, 1), (2, 3)], "the last 12 ms are too short"
    for (_, windows_WT), part in zip(found, (first, last), strict=True):
        alone = model.preprocess(write(tmp_path / "part.wav", part, 8_000))
        assert torch.equal(windows_WT, alone)
    in_memory = list(model.segments((sound, 8_000), 1.0))
    assert [span for span, _ in in_memory] == [span for span, _ in found]
    with pytest.raises(ItemError, match="silent"):
        list(model.segments((np.zeros(8_000, np.float32), 8_000), 0.5))


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.03, 1), (0.5, 1), (1.0, 1), (1.05, 1), (1.3, 2), (2.05, 2), (9.5, 10)]
)
def test_number_of_windows(seconds: float, count: int) -> None:
    sound = tone(seconds)
    cut, spans = windows(sound, RATE)
    assert cut.shape == (count, RATE)
    assert len(spans) == count
    covered = sum(b - a for a, b in spans)
    assert covered >= 0.95 * min(sound.size, cut.size)


def test_silent_windows_of_a_long_file_are_left_out() -> None:
    sound = np.concatenate([tone(1.0), np.zeros(3 * RATE, np.float32), tone(1.0)])
    _, spans = windows(sound, RATE)
    assert [a / RATE for a, _ in spans] == [0, 4]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((np.zeros(RATE), RATE), "silent"),
        ((np.ones(10), RATE), "same"),
        ((tone()[:10], RATE), "too short: 0.625 ms"),
        ((np.zeros(0), RATE), "empty"),
        ((np.array([0.1, np.nan] * 900), RATE), "NaN"),
        (tone(), "samples, rate"),
        ((tone(), "fast"), "rate"),
    ],
)
def test_messages(item: object, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        encoder().preprocess(item)


@pytest.mark.parametrize("how", ["wav", "flac", "ogg", "mp3"])
def test_truncated_files_are_reported(how: str, tmp_path: Path) -> None:
    data = write(tmp_path / f"whole.{how}", tone(3.0)).read_bytes()
    path = tmp_path / f"cut.{how}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ItemError, match=r"truncated|decoded|empty"):
        encoder().preprocess(path)


def test_adapt_fills_open_fields_and_keeps_the_others() -> None:
    short = [(tone(0.4 + 0.01 * i, rate=8_000), 8_000) for i in range(20)]
    config = adapt(AudioConfig(), short)
    assert (config.window_s, config.hop_ms) == (1.0, 10.0)
    assert config.mean_db is not None
    assert config.mean_db < -5
    five = adapt(AudioConfig(), [(tone(5.0), RATE), (tone(5.002), RATE), b"not sound"])
    assert (five.window_s, five.hop_ms) == (5.0, 20.0)
    assert adapt(AudioConfig(), [(tone(60), RATE)]).window_s == 5.0
    own = adapt(AudioConfig(window_s=2.5, hop_ms=12.0, mean_db=-30.0, std_db=10.0), short)
    assert (own.window_s, own.hop_ms, own.mean_db, own.std_db) == (2.5, 12.0, -30.0, 10.0)
    assert adapt(AudioConfig(), [b"nothing readable"]).window_s is not None


def test_augmented_clips_differ_and_keep_their_statistics() -> None:
    model = encoder().train()
    batch = model.preprocess((tone(0.8), RATE)).repeat(32, 1, 1)
    x = model.augment(batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(x).all()
    assert x.shape[1:] == (2, *batch.shape[1:])
    assert (x[0] - x[1]).abs().mean() > 0.1
    assert 0.3 < x[x != 0].std() < 3
    plain = encoder(strength=0.0)
    assert torch.equal(plain.features(plain.augment(batch, torch.Generator())), plain.features(batch))


def test_augment_does_not_use_the_global_generator() -> None:
    model, before = encoder(), torch.random.get_rng_state()
    model.augment(model.preprocess((tone(), RATE)), torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_in_bfloat16() -> None:
    model = encoder().train()
    with torch.autocast("cpu", torch.bfloat16):
        z = model(model.preprocess((tone(), RATE)).repeat(2, 1, 1))
    z.float().square().sum().backward()
    assert torch.isfinite(z.float()).all()


def test_the_vit_b_preset_has_imagebinds_shape() -> None:
    with torch.device("meta"):
        trunk = Trunk(complete(AudioConfig(preset="vit-b")))
    assert 80e6 < sum(p.numel() for p in trunk.parameters()) < 95e6
    small = encoder(preset="vit-b", mels=128)
    assert vector(small, (tone(), RATE)).shape == (16,)


def test_the_speech_trunk_is_loaded_only_into_an_encoder_of_its_shape() -> None:
    torch.manual_seed(0)
    config = complete(AudioConfig(trunk="speech"))
    one = AudioEncoder(config, 8).trunk.state_dict()
    two = AudioEncoder(config, 16).trunk.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert SPEECH.stat().st_size < 5_000_000
    with pytest.raises(ConfigError, match=r"needs .*width = .*trunk = \"none\""):
        AudioEncoder(AudioConfig(trunk="speech", width=64), 8)


def test_the_speech_trunk_is_the_default_where_it_fits() -> None:
    assert complete(AudioConfig()).trunk == "speech"
    assert complete(AudioConfig(trunk="none")).trunk == "none"
    assert complete(AudioConfig(width=64)).trunk == "none"
    assert complete(AudioConfig(preset="vit-b")).trunk == "none"


def test_the_pretraining_script_learns_and_saves(tmp_path: Path) -> None:
    model = AudioEncoder(AudioConfig.model_validate({**SMALL, "window_s": 1.0}), 1)
    task = pretrain.Task(model, ["one cat", "two"])
    rows = torch.cat([model.preprocess((tone(0.9, hz), RATE)) for hz in (300, 900)])
    trained = pretrain.train(task, rows, minutes=0.01, batch_size=2, seed=0, out=tmp_path / "a.safetensors")
    pretrain.save(trained, tmp_path / "a.safetensors", clips=2)
    other = AudioEncoder(model.config, 1)
    load(other.trunk, model.config, tmp_path / "a.safetensors")
    for mine, theirs in zip(other.trunk.parameters(), trained.trunk.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-2)


def test_the_preview_shows_low_tones_below_high_ones() -> None:
    assert AUDIO.preview is not None
    low, high = (np.asarray(AUDIO.preview((tone(1.0, hz), RATE)).convert("L"), float) for hz in (200, 3_000))
    rows = np.arange(low.shape[0])
    assert (rows @ low.mean(1)) / low.mean(1).sum() > (rows @ high.mean(1)) / high.mean(1).sum()


def test_diagnose_names_versions() -> None:
    assert AUDIO.diagnose is not None
    found = AUDIO.diagnose()
    assert "libsndfile" in found
    assert all(isinstance(value, str) for value in found.values())


def real_recordings(name: str) -> list[Path]:
    root = os.environ.get("BINDER_DATA")
    if not root:
        pytest.skip("needs real recordings: BINDER_DATA is not set")
    with (Path(root) / name / "labels.csv").open() as file:
        return [Path(root) / name / row["audio"] for row in list(csv.DictReader(file))[::40]]


@pytest.mark.parametrize(("name", "window_s"), [("fsdd", 1.0), ("esc10", 5.0)])
def test_real_recordings(name: str, window_s: float) -> None:
    paths = real_recordings(name)
    config = adapt(AudioConfig(), paths)
    assert config.window_s == window_s
    model = AudioEncoder(config, 16).eval()
    for path in paths:
        assert torch.isfinite(vector(model, path)).all()
