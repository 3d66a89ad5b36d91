"""The mini anchor's tokenizer: a small byte-level BPE in OpenCLIP's format, and the words it learns from."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

HEADER = "#version: binder mini"
END = "</w>"
# Kept out of the training words, so that tests can ask how mini treats words it has never seen.
UNSEEN = (
    "dog", "rain", "helicopter", "chainsaw", "rooster", "cow", "frog", "cat", "hen", "pig", "sheep", "crow", "insect",
    "sea", "fire", "crickets", "wind", "thunderstorm", "baby", "sneeze", "clapping", "cough", "footsteps", "laughing",
    "snoring", "door", "keyboard", "clock", "glass", "siren", "train", "engine", "church", "airplane", "fireworks",
    "guitar", "piano", "violin", "river", "mountain", "bicycle", "banana", "elephant", "tiger", "hammer", "window",
    "bridge", "pizza", "teacher", "winter",
)  # fmt: skip


def ordinary_words(limit: int) -> list[str]:
    """Up to `limit` frequent English words: the whole words of OpenCLIP's own vocabulary, most frequent first."""
    from open_clip.tokenizer import default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    words = ("".join(merge.split()) for merge in merges)
    whole = (word.removesuffix(END) for word in words if word.endswith(END))
    return [word for word in whole if word.isascii() and word.isalpha() and len(word) > 2 and word not in UNSEEN][
        :limit
    ]


def learn_merges(counts: Counter[str], n: int) -> list[tuple[str, str]]:
    """The `n` merges of a byte-pair encoding learned from counted ASCII words; ties go to the pair that sorts first."""
    words = [[*word[:-1], word[-1] + END] for word in counts]
    weights = list(counts.values())
    totals: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in pairwise(word):
            totals[pair] += weights[i]
            where[pair].add(i)
    merges: list[tuple[str, str]] = []
    while len(merges) < n and totals:
        best = min(totals, key=lambda pair: (-totals[pair], pair))
        merges.append(best)
        for i in where.pop(best):
            for pair in pairwise(words[i]):
                totals[pair] -= weights[i]
            words[i] = _merged(words[i], best)
            for pair in pairwise(words[i]):
                totals[pair] += weights[i]
                where[pair].add(i)
        totals = Counter({pair: count for pair, count in totals.items() if count > 0 and pair != best})
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for piece in word:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def write_merges(path: Path, merges: list[tuple[str, str]]) -> None:
    """Write merges as OpenCLIP's SimpleTokenizer reads them; the same merges give the same bytes."""
    text = "\n".join([HEADER, *(" ".join(merge) for merge in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
