"""Zero-shot classification by prompts.

Shapes: N items, C classes, D embed_dim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder.errors import ConfigError
from binder.space import vectors

log = logging.getLogger(__name__)

SAME_LABEL = 0.995  # cosine of two labels above which an anchor cannot tell them apart


@dataclass(frozen=True)
class Classification:
    """The result of zero-shot classification for one item."""

    item: str
    label: str  # the most probable one
    score: float  # its probability among the labels given
    scores: dict[str, float]  # label -> probability; they sum to 1


def class_vectors(
    labels: Sequence[str], templates: Iterable[str], embed_text: Callable[[Sequence[str]], vectors.Vectors]
) -> vectors.Vectors:
    """C labels -> (C, D): the normalized mean of each label's prompts (prompt ensembling, Radford et al. 2021).

    Raises ConfigError for duplicate labels and for a template without {}.
    """
    templates = list(templates)
    if len(set(labels)) != len(labels) or not labels:
        raise ConfigError("labels must be given and must differ")
    if not templates:
        raise ConfigError("at least one template must be given")
    wrong = [t for t in templates if t.count("{}") != 1]
    if wrong:
        raise ConfigError(f"template {wrong[0]!r}: needs {{}} once, where the label goes")
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    z = embed_text(prompts).reshape(len(labels), len(templates), -1)
    return vectors.normalize(z.mean(1))


def classified(
    z_ND: vectors.Vectors, names: Sequence[str], labels: Sequence[str], classes_CD: vectors.Vectors, scale: float
) -> list[Classification]:
    """(N, D) vectors of items with these names -> the most probable of C labels for each, by `scale` times cosine."""
    probabilities_NC = softmax(scale * z_ND @ classes_CD.T) if len(z_ND) else np.empty((0, len(labels)))
    return [
        Classification(name, labels[int(p.argmax())], float(p.max()), dict(zip(labels, map(float, p), strict=True)))
        for name, p in zip(names, probabilities_NC, strict=True)
    ]


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, C) -> (N, C) rows that sum to 1."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.floating] = shifted / shifted.sum(1, keepdims=True)
    return shares


def warn_same_labels(labels: Sequence[str], classes_CD: vectors.Vectors, anchor: str) -> None:
    """Warn about labels that the anchor cannot tell apart, between which scores are arbitrary."""
    cosines = np.triu(classes_CD @ classes_CD.T, 1)
    same = [(labels[i], labels[j]) for i, j in np.argwhere(cosines > SAME_LABEL)[:3]]
    if same:
        pairs = ", ".join(f"{a!r} and {b!r}" for a, b in same)
        log.warning("anchor %s cannot tell these labels apart: %s", anchor, pairs)
