"""The spoken captions of the playground: thousands of clips in many synthetic voices, shipped with the package.

`speech/index.parquet` lists the clips, `speech/<voice>.ogg` holds all clips of one voice one after the other.
No voice is in both `train` and `test`. Where `heard` is false, no `train` voice ever says what the clip says.
Made by `speech_record.py`. Imports no torch.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent / "speech"
INDEX = "index.parquet"
RATE = 16_000  # Hz
SPLITS = ("train", "test")
KINDS = ("scene", "motion", "digit", "chart", "solid", "word")

Samples = npt.NDArray[np.float32]  # mono, in -1..1


@dataclass(frozen=True)
class Clip:
    """One utterance by one voice."""

    id: str  # "en-us_m3-017"; a file name on any system
    voice: str  # accent and speaker: "en-us_m3"
    text: str  # what is said: "three red circles"
    kind: str  # one of KINDS; "word" is a single word such as "red"
    concept: str  # key of the `world.Concept` that the text states: "scene/red-circle-3"; of a word "/red"
    split: str  # one of SPLITS
    heard: bool  # whether any train voice says the same
    take: int  # from 0; of the same text in the same split
    start_s: float  # where it begins in the file of its voice, in seconds
    end_s: float  # where it ends, in seconds

    @property
    def seconds(self) -> float:
        """How long the clip lasts, in seconds."""
        return self.end_s - self.start_s


def clips(split: str | None = None, kind: str | None = None) -> list[Clip]:
    """The clips of one split and kind (None: of all), in a fixed order that mixes the voices."""
    _check("split", split, SPLITS)
    _check("kind", kind, KINDS)
    return [c for c in _index() if split in (None, c.split) and kind in (None, c.kind)]


def audio(clip: Clip) -> tuple[Samples, int]:
    """Samples (T,) float32 in -1..1 of one clip, and their rate in Hz. For many clips, `write_wavs`."""
    return _cut(clip).copy(), RATE


def write_wavs(clips: Iterable[Clip], folder: Path) -> list[Path]:
    """Write each clip as `folder/<id>.wav` (16-bit mono) -> the paths, in the order of the clips.

    Files are never left half-written, and those that exist are kept.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(clips)
    by_voice: dict[str, list[Clip]] = defaultdict(list)
    for clip in wanted:
        if not (folder / f"{clip.id}.wav").exists():
            by_voice[clip.voice].append(clip)  # so that each voice is decoded once
    for missing in by_voice.values():
        for clip in missing:
            wav = io.BytesIO()  # soundfile syncs to disk after each file that it writes itself
            soundfile.write(wav, _cut(clip), RATE, subtype="PCM_16", format="WAV")
            part = folder / f"{clip.id}.part"
            part.write_bytes(wav.getvalue())
            part.replace(folder / f"{clip.id}.wav")
    return [folder / f"{clip.id}.wav" for clip in wanted]


def _cut(clip: Clip) -> Samples:
    return _decode(clip.voice)[round(clip.start_s * RATE) : round(clip.end_s * RATE)]


@lru_cache(maxsize=4)
def _decode(voice: str) -> Samples:
    """The whole file of one voice: after a seek, Opus decodes to slightly different samples."""
    import soundfile

    samples: Samples = soundfile.read(FOLDER / f"{voice}.ogg", dtype="float32")[0]
    return samples


@cache
def _index() -> tuple[Clip, ...]:
    import pyarrow.parquet as pq

    rows = pq.read_table(FOLDER / INDEX).to_pylist()
    so_far: Counter[str] = Counter()
    found = []
    for row in rows:
        found.append(Clip(id=f"{row['voice']}-{so_far[row['voice']]:03d}", **row))
        so_far[row["voice"]] += 1
    return tuple(found)


def _check(what: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"unknown {what} {value!r}; one of {', '.join(known)}")
