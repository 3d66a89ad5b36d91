"""A made-up sensor that shakes as its caption says, and a small text model that knows the words of the captions.

Shapes: N recordings, C channels, T samples, B batch, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

CHANNELS, RATE_HZ, SECONDS = 3, 32, 4
STRENGTH = {"faint": 0.5, "medium": 1.0, "strong": 2.0}
PACE_HZ = {"slow": 0.8, "steady": 1.6, "quick": 3.2, "hasty": 6.4}
SHAPES = ("smooth", "square", "pointed", "toothed")
AXES = ("sideways", "forwards", "upwards")
ENVELOPES = ("even", "growing", "fading")
KNOCKS = ("no knocks", "one knock", "two knocks", "three knocks")

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """Recordings (N, C, T) and their captions; those held out are one of each caption."""

    recordings: Vectors
    captions: list[str]
    held_out: Vectors
    held_out_captions: list[str]


def recording(words: Sequence[str], rng: np.random.Generator) -> Vectors:
    """The values of the six lists above -> (C, T); phase, pace, noise and the places of the knocks vary."""
    strength, pace, shape, axis, envelope, knocks = words
    time_s = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    phase = PACE_HZ[pace] * rng.uniform(0.9, 1.1) * time_s + rng.uniform()
    saw = 2 * (phase % 1) - 1
    wave = {"smooth": np.sin(2 * np.pi * phase), "square": np.sign(saw), "pointed": 2 * np.abs(saw) - 1, "toothed": saw}
    ramp = {"even": np.full_like(time_s, 0.6), "growing": time_s / SECONDS, "fading": 1 - time_s / SECONDS}
    x_CT = 0.15 * rng.standard_normal((CHANNELS, len(time_s)))
    x_CT[AXES.index(axis)] += STRENGTH[strength] * rng.uniform(0.85, 1.15) * wave[shape] * ramp[envelope]
    places = rng.permutation(np.arange(8, len(time_s) - 8, 8))[: KNOCKS.index(knocks)]
    x_CT[:, places] += 3.0  # all channels at once
    return x_CT.astype(np.float32)


def make_data(n: int, held_out: int, seed: int) -> Data:
    """`held_out` captions of the 1,728 with a recording of each, and n recordings of others."""
    rng = np.random.default_rng(seed)
    every = list(product(STRENGTH, PACE_HZ, SHAPES, AXES, ENVELOPES, KNOCKS))
    order = rng.permutation(len(every))
    test = [every[i] for i in order[:held_out]]
    train = [every[i] for i in rng.choice(order[held_out:], n)]

    def caption(words: Sequence[str]) -> str:
        return "a {} {} {} shaking {}, {}, with {}".format(*words)

    return Data(
        np.stack([recording(words, rng) for words in train]),
        [caption(words) for words in train],
        np.stack([recording(words, rng) for words in test]),
        [caption(words) for words in test],
    )


def make_text_model(folder: Path, captions: Sequence[str], layers: int, width: int) -> None:
    """A BERT with random weights that tells the captions apart, saved by sentence-transformers in folder / "model"."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    lists = (STRENGTH, PACE_HZ, SHAPES, AXES, ENVELOPES, KNOCKS)
    words = {w for values in lists for value in values for w in value.split()} | {"a", "shaking", "with", ","}
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(words)])}
    words_of = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words_of.normalizer, words_of.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    words_of.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words_of, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        intermediate_size=4 * width,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    bert = BertModel(config)
    bert.save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    pooled = [Transformer(str(folder / "bert"), max_seq_length=64), Pooling(width, pooling_mode="mean")]
    mean_D = SentenceTransformer(modules=pooled, device="cpu").encode(captions).mean(0)
    # random weights give all captions nearly the same vector: what they have in common is taken away
    center = Dense(
        width, width, activation_function=None, init_weight=torch.eye(width), init_bias=-torch.tensor(mean_D)
    )
    SentenceTransformer(modules=[*pooled, center, Normalize()], device="cpu").save(str(folder / "model"))


def network(dim: int) -> nn.Module:
    """(B, C, T) -> (B, D): the encoder that all but `series` train."""
    from torch import nn

    def block(channels: int, width: int, stride: int) -> list[nn.Module]:
        return [nn.Conv1d(channels, width, 7, stride, padding=3), nn.GroupNorm(8, width), nn.GELU()]

    layers = [*block(CHANNELS, 32, 1), *block(32, 64, 2), *block(64, 128, 2), *block(128, 128, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(512, dim))
