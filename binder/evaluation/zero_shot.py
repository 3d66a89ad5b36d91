"""Zero-shot classification by prompts.

Shapes: N items, C classes, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from binder.errors import ConfigError
from binder.space import vectors


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


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, C) -> (N, C) rows that sum to 1."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.floating] = shifted / shifted.sum(1, keepdims=True)
    return shares
