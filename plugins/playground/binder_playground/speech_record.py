"""The recipe of the spoken captions: makes `speech/` from scratch with espeak-ng.

    python -m binder_playground.speech_record --out DIR --seed 0

The same seed and the same espeak-ng give the same audio (not the same bytes: an Ogg file carries a random
serial number). A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from binder import BinderError
from binder_playground import world
from binder_playground.speech import INDEX, RATE, Samples
from binder_playground.world import Concept

# Accent and espeak-ng variant. No variant is in both splits, nor a near copy of one (adam, caleb, klatt and
# klatt6 are one voice; so are steph, steph2 and steph3). British English is "en": with "en-gb" espeak-ng
# silently ignores the variant. Left out because a simple classifier confuses their words, or because they
# whisper or echo: the RicishayMax family, announcer, Lee, Marco, kaukovalta, Demonic, zac, Alicia,
# robosoft6, robosoft8, whisper, whisperf, croak.
TRAIN_VOICES = (
    # women
    "en_f1", "en-us_f1", "en-gb-x-rp_f2", "en-us_f2", "en_f4", "en-us_f4", "en-us_f5",
    "en-gb-x-gbclan_Andrea", "en-us_Andrea", "en-029_anika", "en_anika", "en-us-nyc_aunty", "en_aunty",
    "en-gb-scotland_linda", "en-us_linda", "en_steph", "en-us-nyc_steph",
    # men
    "en-us_Alex", "en-gb-x-rp_Andy", "en-gb-x-gbcwmd_Denis", "en_Diogo", "en-gb-scotland_Gene",
    "en-029_Jacky", "en_Michael", "en-gb-scotland_adam", "en-us_antonio", "en_benjamin",
    "en-gb-scotland_boris", "en-029_david", "en-us-nyc_ed", "en-gb-x-gbcwmd_edward", "en-us_grandpa",
    "en-gb-x-rp_iven2", "en-029_john", "en-us_klatt2", "en-gb-x-gbclan_klatt4", "en-us_m1", "en-gb-x-rp_m2",
    "en_m4", "en-us_m6", "en_norbert", "en-us-nyc_quincy", "en-gb-x-gbcwmd_rob", "en-gb-x-gbclan_sandro",
    "en-us_victor",
)  # fmt: skip
TEST_VOICES = (
    # women (shelby is listed as a man, but speaks at 180 Hz)
    "en-gb-x-rp_f3", "en-029_Annie", "en-us_belinda", "en-us-nyc_grandma", "en-gb-scotland_shelby",
    # men
    "en-us_m3", "en_m7", "en-gb-x-rp_m8", "en-gb-x-gbclan_pablo", "en-gb-x-gbcwmd_max",
    "en-gb-scotland_travis", "en-us-nyc_gustave",
)  # fmt: skip
BRISK = ("Andrea", "anika", "antonio")  # variants that speak a quarter faster than asked

WPM = (155, 235)  # speaking speed, words per minute
PITCH = (30, 70)  # espeak-ng's scale, 0..99; 50 is the voice's default
# How often each caption of a kind is spoken in train and in test, each time by a different voice.
TAKES = {
    "scene": (10, 4),
    "motion": (1, 1),
    "digit": (12, 6),
    "chart": (16, 8),
    "solid": (8, 4),
    "word": (12, 4),
}
MOTIONS_SPOKEN = (300, 200)  # captions in train, in test; half of the latter are also in train

LOUDNESS = 0.1  # root mean square of a clip
PEAK = 0.9  # and no sample above this
PAD = RATE * 30 // 1000  # samples kept before and after the speech
GAP = RATE * 40 // 1000  # samples of silence between clips
GRID = RATE // 100  # samples; clips begin and end on hundredths of a second
# libsndfile's scale, 0 is 256 kbit/s and 1 is 6 kbit/s. From 0.989 on (under 9 kbit/s)
# Opus drops everything above 4 kHz, and with it what tells one sibilant from another.
OPUS_COMPRESSION = 0.988


@dataclass(frozen=True)
class Line:
    """A text to be spoken: a caption or a single word."""

    text: str
    kind: str
    concept: str  # key
    heard: bool = True


@dataclass(frozen=True)
class Take:
    """A line as spoken by one voice."""

    line: Line
    voice: str
    split: str
    take: int
    pitch: int  # espeak-ng's scale, 0..99
    wpm: int  # words per minute


def unheard_scenes(seed: int) -> frozenset[str]:
    """Keys of the 100 scenes that train voices never say.

    Every color with every shape misses one count, by a shuffled Latin square: each color and each shape
    misses 10 of its 50 captions, each count 20 of its 100, and any two of the three are heard in combination.
    """
    rng = np.random.default_rng([seed, 1])
    colors, shapes = rng.permutation(world.COLORS), rng.permutation(world.SHAPES)
    every = len(world.COUNTS)
    return frozenset(
        Concept("scene", color=str(c), shape=str(s), count=world.COUNTS[(i + j) % every]).key
        for i, c in enumerate(colors)
        for j, s in enumerate(shapes)
    )


def words() -> list[Line]:
    """Every word that matters in a caption, with the key of the concept that the word alone states."""
    return [Line(text, "word", concept.key) for text, concept in world.words().items()]


def script(seed: int) -> tuple[list[Line], list[Line]]:
    """The lines of train and those of test, without repetition."""
    unheard = unheard_scenes(seed)
    scenes = [_line(c, heard=c.key not in unheard) for c in world.concepts("scene")]
    rest = [_line(c) for kind in ("digit", "chart", "solid") for c in world.concepts(kind)] + words()
    order = np.random.default_rng([seed, 2]).permutation(np.array(world.concepts("motion"), dtype=object))
    in_train, in_test = MOTIONS_SPOKEN
    motions = [_line(c, heard=i < in_train) for i, c in enumerate(order)]
    tested = motions[in_train - in_test // 2 : in_train + in_test // 2]
    return [line for line in scenes + motions if line.heard] + rest, scenes + tested + rest


def plan(seed: int) -> list[Take]:
    """Which voice says what, at which pitch and speed: every voice about equally often, and no line twice."""
    takes: list[Take] = []
    for n, (split, voices) in enumerate((("train", TRAIN_VOICES), ("test", TEST_VOICES))):
        rng = np.random.default_rng([seed, 3, n])
        load: Counter[str] = Counter()
        for line in script(seed)[n]:
            chance = {voice: rng.random() for voice in voices}
            chosen = sorted(voices, key=lambda v: (load[v], chance[v]))[: TAKES[line.kind][n]]
            load.update(chosen)
            for i, voice in enumerate(chosen):
                takes.append(Take(line, voice, split, i, _between(rng, PITCH), _between(rng, WPM)))
    return takes


def say(voice: str, text: str, pitch: int, wpm: int) -> Samples:
    """Speak a text -> samples (T,) at RATE, trimmed and normalized in loudness."""
    from scipy.signal import resample_poly
    from soundfile import read

    accent, variant = voice.split("_")
    speed = round(wpm * 0.8) if variant in BRISK else wpm
    call = ["espeak-ng", "-v", f"{accent}+{variant}", "-p", str(pitch), "-s", str(speed), "--stdout", text]
    done = subprocess.run(call, capture_output=True, check=True)
    raw, rate = read(io.BytesIO(done.stdout), dtype="float32")
    return level(trim(resample_poly(raw, RATE, rate).astype(np.float32)))


def trim(x: Samples) -> Samples:
    """Cut silence (below 2 % of the peak, -34 dB) from both ends, except PAD; round the length up to GRID."""
    x = np.pad(x, PAD)
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    x = x[loud[0] - PAD : loud[-1] + 1 + PAD]
    return np.pad(x, (0, -len(x) % GRID))


def level(x: Samples) -> Samples:
    """Scale to LOUDNESS, or to PEAK where that would clip."""
    gain = min(LOUDNESS / float(np.sqrt(np.mean(x**2))), PEAK / float(np.abs(x).max()))
    return x * np.float32(gain)


def record(voice: str, takes: Sequence[Take], path: Path) -> list[tuple[float, float]]:
    """Write all takes of one voice into one Ogg Opus file -> their spans in seconds."""
    from soundfile import SoundFile

    pieces, spans, at = [np.zeros(GAP, np.float32)], [], GAP
    for take in takes:
        x = say(voice, take.line.text, take.pitch, take.wpm)
        pieces += [x, np.zeros(GAP, np.float32)]
        spans.append((at / RATE, (at + len(x)) / RATE))
        at += len(x) + GAP
    whole = np.concatenate(pieces)
    with SoundFile(path, "w", RATE, 1, format="OGG", subtype="OPUS", compression_level=OPUS_COMPRESSION) as file:
        for start in range(0, len(whole), RATE):  # libsndfile can crash on one long write
            file.write(whole[start : start + RATE])
    return spans


def make(out: Path, seed: int) -> None:
    """Write one audio file per voice, then the index."""
    if shutil.which("espeak-ng") is None:
        raise BinderError("espeak-ng is not installed (apt install espeak-ng, or brew install espeak-ng)")
    out.mkdir(parents=True, exist_ok=True)
    takes = plan(seed)
    by_voice = {voice: [t for t in takes if t.voice == voice] for voice in (*TRAIN_VOICES, *TEST_VOICES)}
    jobs = [(voice, said, out / f"{voice}.ogg") for voice, said in by_voice.items()]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        spans = dict(zip(by_voice, pool.starmap(record, jobs, chunksize=1), strict=True))
    _write_index(takes, spans, out / INDEX)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    parser = argparse.ArgumentParser(prog="python -m binder_playground.speech_record")
    parser.add_argument("--out", type=Path, required=True, help="folder for the audio and the index")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        make(options.out, options.seed)
    except BinderError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _line(concept: Concept, heard: bool = True) -> Line:
    return Line(world.caption(concept), concept.kind, concept.key, heard)


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _write_index(takes: Sequence[Take], spans: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Write one row per clip; the clips of a voice are in the same order as in its file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = {voice: iter(of_voice) for voice, of_voice in spans.items()}
    rows = []
    for t in takes:
        start_s, end_s = next(where[t.voice])
        rows.append(
            {"voice": t.voice, **asdict(t.line), "split": t.split, "take": t.take}
            | {"start_s": start_s, "end_s": end_s}
        )
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


if __name__ == "__main__":
    raise SystemExit(main())
