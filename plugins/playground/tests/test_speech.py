"""The spoken captions: what they promise about voices, captions and audio, and where the clips are cut."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from binder_playground import speech, speech_record, world

soundfile = pytest.importorskip("soundfile")

VOICES = ("en-us_grandpa", "en_f4")  # decoding a voice takes a while, so two stand for all
TWO_VOICES = [c for c in speech.clips() if c.voice in VOICES]


def test_there_are_enough_clips_of_every_kind() -> None:
    counts = Counter((c.split, c.kind) for c in speech.clips())
    assert counts["train", "scene"] == 4000 and counts["test", "scene"] == 2000
    assert all(counts[split, kind] >= 60 for split in speech.SPLITS for kind in speech.KINDS)
    assert len({c.id for c in speech.clips()}) == len(speech.clips())


def test_no_test_voice_is_heard_in_train() -> None:
    voices = {split: {c.voice for c in speech.clips(split)} for split in speech.SPLITS}
    speakers = {split: {v.split("_")[1] for v in of_split} for split, of_split in voices.items()}
    assert not speakers["train"] & speakers["test"]
    assert len(voices["test"]) >= 10


def test_unheard_captions_are_absent_from_train_and_balanced() -> None:
    said = {c.concept for c in speech.clips("train", "scene")}
    unheard = {c.concept for c in speech.clips("test", "scene") if not c.heard}
    assert len(said) == 400 and len(unheard) == 100 and not said & unheard
    assert unheard == speech_record.unheard_scenes(0)
    missed = [c for c in world.concepts("scene") if c.key in unheard]
    assert set(Counter(c.color for c in missed).values()) == {10}
    assert set(Counter(c.shape for c in missed).values()) == {10}
    assert set(Counter(c.count for c in missed).values()) == {20}
    assert len({(c.color, c.shape) for c in missed}) == 100  # so each pair is heard with four other counts


def test_heard_means_that_a_train_voice_says_it() -> None:
    said = {c.text for c in speech.clips("train")}
    assert all(c.heard == (c.text in said) for c in speech.clips())


def test_texts_are_the_captions_of_their_concepts() -> None:
    captions = {c.key: world.caption(c) for kind in world.KINDS for c in world.concepts(kind)}
    spoken = [c for c in speech.clips() if c.kind != "word"]
    assert all(c.text == captions[c.concept] for c in spoken)
    assert {c.concept for c in spoken if c.split == "test" and c.kind != "motion"} == {
        c.key for kind in ("scene", "digit", "chart", "solid") for c in world.concepts(kind)
    }


def test_the_index_is_what_the_recipe_plans() -> None:
    planned = [(t.voice, t.line.text, t.split, t.take) for t in speech_record.plan(seed=0)]
    assert [(c.voice, c.text, c.split, c.take) for c in speech.clips()] == planned


def test_a_caption_is_spoken_by_another_voice_each_time() -> None:
    assert max(Counter((c.voice, c.kind, c.text) for c in speech.clips()).values()) == 1


def test_durations_are_those_of_speech() -> None:
    seconds = np.array([c.seconds for c in speech.clips()])
    assert seconds.min() > 0.15 and seconds.max() < 3
    assert 0.8 < np.median([c.seconds for c in speech.clips(kind="scene")]) < 1.3


def test_clips_of_a_voice_do_not_overlap_and_fill_its_file() -> None:
    for voice in {c.voice for c in speech.clips()}:
        spans = sorted((c.start_s, c.end_s) for c in speech.clips() if c.voice == voice)
        assert all(a[1] < b[0] for a, b in pairwise(spans))
        length = soundfile.info(speech.FOLDER / f"{voice}.ogg").duration
        assert spans[-1][1] < length < spans[-1][1] + 0.1


def test_every_clip_holds_speech_and_the_gaps_hold_none() -> None:
    for clip in TWO_VOICES[::10]:
        samples, rate = speech.audio(clip)
        assert rate == 16_000 and samples.dtype == np.float32 and samples.ndim == 1
        assert len(samples) == round(clip.seconds * rate)
        loudness = float(np.sqrt(np.mean(samples**2)))
        assert 0.04 < loudness < 0.15 and np.abs(samples).max() < 1.2
        edge = float(np.sqrt(np.mean(np.r_[samples[:160], samples[-160:]] ** 2)))
        assert edge < 0.3 * loudness  # a shifted cut would begin or end within a word


def test_two_voices_of_one_word_differ() -> None:
    of_voice = [{c.text: c for c in TWO_VOICES if c.voice == v} for v in VOICES]
    word = next(text for text in of_voice[0] if text in of_voice[1])
    first, second = of_voice[0][word], of_voice[1][word]
    a, b = speech.audio(first)[0], speech.audio(second)[0]
    common = min(len(a), len(b))
    assert abs(np.corrcoef(a[:common], b[:common])[0, 1]) < 0.9


def test_the_folder_is_small() -> None:
    files = [f for f in speech.FOLDER.iterdir() if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 10.5e6
    voices = {c.voice for c in speech.clips()}
    assert {f.stem for f in files if f.suffix == ".ogg"} == voices


def test_write_wavs_round_trip(tmp_path: Path) -> None:
    chosen = TWO_VOICES[50:20:-6]
    paths = speech.write_wavs(chosen, tmp_path / "wavs")
    assert [p.name for p in paths] == [f"{c.id}.wav" for c in chosen]
    for path, clip in zip(paths, chosen, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        np.testing.assert_allclose(samples, np.clip(speech.audio(clip)[0], -1, 1), atol=1e-4)
        assert rate == speech.RATE
    assert sorted(p.suffix for p in (tmp_path / "wavs").iterdir()) == [".wav"] * 5


def test_write_wavs_keeps_what_is_there(tmp_path: Path) -> None:
    clip = speech.clips("train", "word")[0]
    (tmp_path / f"{clip.id}.wav").write_bytes(b"kept")
    assert speech.write_wavs([clip, clip], tmp_path)[0].read_bytes() == b"kept"


@pytest.mark.parametrize("wrong", [{"split": "valid"}, {"kind": "song"}])
def test_an_unknown_split_or_kind_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of"):
        speech.clips(**wrong)


def test_a_missing_espeak_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speech_record.shutil, "which", lambda name: None)
    assert speech_record.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_importing_the_reader_imports_neither_torch_nor_soundfile() -> None:
    code = "import sys, binder_playground.speech; print(*{'torch', 'soundfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
