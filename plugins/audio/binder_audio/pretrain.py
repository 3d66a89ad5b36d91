"""Trains the trunk `speech`: python -m binder_audio.pretrain --out speech.safetensors

The default trunk learns English words from synthetic speech: the playground's spoken captions (training voices only)
and the words in `words.txt`, spoken by the same voices at many pitches and speeds, which needs espeak-ng. No pictures,
no anchor and no human recordings are used.
Two tasks are trained together: spelling (CTC on the tokens) teaches phonemes, and word recognition (from the pooled
vector) teaches the pooling.

Shapes: B batch, N clips, M mel bands, F frames, L tokens, V words.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import multiprocessing
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from binder_audio.adapting import adapt
from binder_audio.channels import Samples
from binder_audio.config import AudioConfig
from binder_audio.encoder import AudioEncoder
from binder_audio.pretrained import load
from binder_audio.reading import read
from binder_audio.spectrogram import sounding, valid_frames

WORDS = Path(__file__).with_name("words.txt")  # common English words that cover the sounds of the language
LETTERS = " abcdefghijklmnopqrstuvwxyz'"  # class 0 is the blank of CTC
TAKES = 12  # of each word of the list
NUMBERS, NUMBER_TAKES = 11, 48  # the first words are zero to ten, of which there are more takes
PITCH = (5, 95)  # on espeak-ng's scale, 0 to 99
WPM = (110, 280)  # words per minute
LONGEST_S = 2.0  # s of a clip; batches are cut to their longest clip
TEMPERATURE = 0.1  # of the cosine between clip and word
# settings that must agree for the weights to fit
SHAPE = ("preset", "sample_rate", "mels", "width", "layers", "heads")
log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--cache", type=Path, help="file (.pt) that keeps the spoken clips between runs")
    parser.add_argument("--start", type=Path, help="start from the weights in this file")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time (default 20)")
    parser.add_argument("--batch-size", type=int, default=64, help="clips per batch (default 64)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.cache and options.cache.exists():
        held = torch.load(options.cache, weights_only=True)
        spoken = Spoken(held["sounds"], held["texts"], AudioConfig.model_validate(held["config"]))
    else:
        spoken = speak(options.seed)
        if options.cache:
            held = {"sounds": spoken.db_NMF, "texts": spoken.texts, "config": spoken.config.model_dump()}
            torch.save(held, options.cache)
    torch.manual_seed(options.seed)
    encoder = AudioEncoder(spoken.config, 1)
    if options.start:
        load(encoder.trunk, encoder.config, options.start)
    task = Task(encoder, spoken.texts)
    log.info("%d clips, %d different words", len(spoken.texts), len(task.words))
    averaged = train(task, spoken.db_NMF, options.minutes, options.batch_size, options.seed, options.out)
    save(averaged, options.out, clips=len(spoken.texts), minutes=options.minutes, seed=options.seed)


@dataclass(frozen=True)
class Spoken:
    """The training set: sound i says text i."""

    db_NMF: Tensor  # from the encoder's `preprocess`
    texts: list[str]
    config: AudioConfig


def speak(seed: int) -> Spoken:
    """The playground's training clips and TAKES of every word, each by a random training voice."""
    from binder_playground import speech
    from binder_playground.speech_record import TRAIN_VOICES

    clips = speech.clips("train")
    texts = [clip.text for clip in clips]
    voices = sorted({clip.voice for clip in clips})  # read whole, as seeking in Opus is slow
    whole = {voice: read(speech.FOLDER / f"{voice}.ogg", speech.RATE) for voice in voices}
    sounds = [whole[clip.voice][round(clip.start_s * speech.RATE) : round(clip.end_s * speech.RATE)] for clip in clips]
    dice = random.Random(seed)
    jobs = []
    for place, word in enumerate(WORDS.read_text(encoding="utf-8").split()):
        for _ in range(NUMBER_TAKES if place < NUMBERS else TAKES):
            jobs.append((dice.choice(TRAIN_VOICES), word, dice.randint(*PITCH), dice.randint(*WPM)))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sounds += pool.starmap(_say, jobs, chunksize=50)
    texts += [job[1] for job in jobs]
    items = [(sound, speech.RATE) for sound in sounds]
    config = adapt(AudioConfig(trunk="none", window_s=LONGEST_S), random.Random(seed).sample(items, 512))
    encoder = AudioEncoder(config, 1)
    return Spoken(torch.cat([encoder.preprocess(item)[:1] for item in items]), texts, config)


def _say(voice: str, text: str, pitch: int, wpm: int) -> Samples:
    """Speak a text -> (S,)."""
    from binder_playground.speech_record import say

    return np.asarray(say(voice, text, pitch, wpm))


class Task(nn.Module):
    """An encoder with the output layers for both tasks."""

    def __init__(self, encoder: AudioEncoder, texts: list[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.texts = [text.lower() for text in texts]
        self.words = sorted({word for text in self.texts for word in text.split()})
        self.spell = nn.Linear(encoder.trunk.norm.normalized_shape[0], len(LETTERS) + 1)
        self.say = nn.Linear(encoder.trunk.out_features, len(self.words), bias=False)
        place = {word: i for i, word in enumerate(self.words)}
        self.said_NV = torch.zeros(len(texts), len(self.words))
        for row, text in zip(self.said_NV, self.texts, strict=True):
            row[[place[word] for word in text.split()]] = 1.0
        self.letters = [torch.tensor([LETTERS.index(c) + 1 for c in text if c in LETTERS]) for text in self.texts]

    def loss(self, x_B2MN: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented spectrograms of the clips `rows_B` -> the losses of spelling and of naming the words."""
        trunk = self.encoder.trunk
        h_BLE, valid_BL = trunk.tokens(x_B2MN, valid_frames(x_B2MN))
        targets = [self.letters[i] for i in rows_B.tolist()]
        spelled = functional.ctc_loss(
            self.spell(h_BLE).float().log_softmax(2).transpose(0, 1),
            torch.cat(targets),
            valid_BL.sum(1),
            torch.tensor([len(t) for t in targets]),
            zero_infinity=True,  # a clip squeezed to fewer tokens than letters
        )
        pooled_BE = trunk.dropout(trunk.pooled(h_BLE, valid_BL))
        cosine_BV = functional.normalize(pooled_BE, dim=1) @ functional.normalize(self.say.weight, dim=1).T
        said_BV = self.said_NV[rows_B]
        said_BV = said_BV / said_BV.sum(1, keepdim=True)
        named = -(said_BV * (cosine_BV / TEMPERATURE).log_softmax(1)).sum(1).mean()
        return spelled, named


def train(task: Task, db_NMF: Tensor, minutes: float, batch_size: int, seed: int, out: Path) -> AudioEncoder:
    """Train for so many minutes -> the encoder with averaged weights."""
    generator = torch.Generator().manual_seed(seed)
    groups = [
        {"params": [p for p in task.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in task.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
    averaged = copy.deepcopy(task.encoder).eval()
    length_N = sounding(db_NMF)[1].sum(1)  # frames
    began, step, done = time.monotonic(), 0, 0.0
    running = torch.zeros(2)
    batches: list[Tensor] = []
    while done < 1:
        if not batches:
            batches = _batches(length_N, batch_size, generator)
        rows = batches.pop()
        task.train()
        longest = int(length_N[rows].max() * 1.25)  # the augmentation may stretch clips that far
        spelled, named = task.loss(task.encoder.augment(db_NMF[rows, :, :longest], generator), rows)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(spelled + named)
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        done = (time.monotonic() - began) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
        optimizer.step()
        step += 1
        decay = min(0.995, (1 + step) / (10 + step))
        with torch.no_grad():
            for mine, theirs in zip(averaged.parameters(), task.encoder.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
        running += (torch.stack((spelled, named)).detach() - running) / min(step, 50)
        if step % 50 == 0:
            log.info("step %d, %.0f %%, spelling %.3f, words %.3f", step, 100 * done, *running.tolist())
        if step % 500 == 0:
            save(averaged, out, step=step)
    return averaged


def _batches(length_N: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """All rows in random batches of clips of similar length, to waste little time on padding."""
    order = torch.randperm(len(length_N), generator=generator)
    batches: list[Tensor] = []
    for some in torch.split(order, 20 * size):
        batches += torch.split(some[length_N[some].argsort()], size)
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in shuffled]


def save(encoder: AudioEncoder, out: Path, **facts: object) -> None:
    """Write the trunk as float16 safetensors, with its shape and how it was made in the metadata."""
    from safetensors.torch import save_file

    shape = {key: getattr(encoder.config, key) for key in SHAPE}
    weights = {name: value.half().contiguous() for name, value in encoder.trunk.state_dict().items()}
    card = {"shape": shape, "recipe": "python -m binder_audio.pretrain", **facts}
    save_file(weights, out, metadata={"card": json.dumps(card, sort_keys=True)})


if __name__ == "__main__":
    main()
