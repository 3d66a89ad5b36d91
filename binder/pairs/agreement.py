"""How well the two sides of each pair agree, estimated by cross-fitting, without a trained encoder.

A linear map from a trunk's features to the targets is fitted on all folds but one (`train.ridge`) and predicts the
targets of that fold; a pair's agreement is the cosine of its target and the prediction. Wrong pairs cannot be predicted
from the others, so they agree no better than chance. Scoring pairs with models that never saw them follows Northcutt et
al., "Confident learning", JAIR 2021; keeping the share that agrees best follows DataComp (Gadre et al., NeurIPS 2023),
where the scores come from a CLIP.

Shapes: N pairs, F features, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from binder.train.ridge import Moments, ridge

FOLDS = 5
MIN_PAIRS = 20  # below this no estimate is made
Floats = NDArray[np.float32]


def cross_fit(x_NF: ArrayLike, y_ND: ArrayLike, groups: Sequence[int] | None = None, seed: int = 0) -> Floats:
    """(N, F) features, (N, D) targets -> (N, D) each pair's target as predicted from the other pairs.

    Pairs of one group, such as those of one recording, are in the same fold.
    """
    x, y = torch.as_tensor(np.asarray(x_NF)), torch.as_tensor(np.asarray(y_ND))
    _, group_N = np.unique(np.arange(len(x)) if groups is None else np.asarray(groups), return_inverse=True)
    fold_N = (np.random.default_rng(seed).permutation(int(group_N.max()) + 1) % FOLDS)[group_N]
    parts = [Moments.of(x[fold_N == fold], y[fold_N == fold]) for fold in range(FOLDS)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    found = np.empty(y.shape, np.float32)
    for fold, part in enumerate(parts):
        if part.n:
            found[fold_N == fold] = ridge(total - part)(x[fold_N == fold]).numpy()
    return found


def agreement(a_ND: ArrayLike, b_ND: ArrayLike) -> Floats:
    """(N, D), (N, D) -> (N,) the cosine of each pair after subtracting the mean of each side, -1..1."""
    a, b = (_centered(np.asarray(side, np.float32)) for side in (a_ND, b_ND))
    return np.asarray((a * b).sum(1))


def wrong_share(a_ND: ArrayLike, b_ND: ArrayLike, seed: int = 0) -> float:
    """(N, D), (N, D) -> the estimated share of pairs that agree no better than chance, 0..1.

    Half of all randomly drawn pairs agree less than their median, correct pairs hardly ever. So the share of wrong
    pairs is about twice the share below it (Storey, "A direct approach to false discovery rates", JRSS B 2002).
    """
    b = np.asarray(b_ND)
    other = np.random.default_rng(seed).permutation(len(b))
    return float(min(1.0, 2 * (agreement(a_ND, b) < np.median(agreement(a_ND, b[other]))).mean()))


def _centered(x_ND: Floats) -> Floats:
    """(N, D) -> (N, D) rows minus their mean, with unit length; a row equal to the mean stays zero."""
    x = x_ND / np.clip(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12, None)
    x = x - x.mean(0)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.where(norm > 1e-6, x / np.clip(norm, 1e-12, None), 0.0)
