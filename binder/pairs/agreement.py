"""How well the two sides of each pair agree, without an encoder that was trained before: by cross-fitting.

A linear map from a trunk's features to the targets is fitted on all pairs but a fold's (`closed_form.ridge`) and
predicts that fold's targets; a pair agrees as far as its target points where the prediction does. Wrong pairs are not
predictable from the others, so they agree no better than chance. The idea of scoring a pair by models that never saw it
is that of Northcutt et al., "Confident learning", JAIR 2021; keeping the best-agreeing share is that of DataComp (Gadre
et al., NeurIPS 2023), which has a CLIP for the scores.

Shapes: N pairs, F features, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from binder.train.ridge import Moments, ridge

FOLDS = 5
FEWEST = 20  # pairs; of fewer nothing can be said


def cross_fit(x_NF: ArrayLike, y_ND: ArrayLike, groups: Sequence[int] | None = None, seed: int = 0) -> NDArray:
    """(N, F) features, (N, D) targets -> (N, D) each pair's target as the others foretell it.

    Pairs of one group, such as those of one recording, are foretold together.
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


def agreement(a_ND: ArrayLike, b_ND: ArrayLike) -> NDArray:
    """(N, D), (N, D) -> (N,) the cosine of each pair once what all rows of a side share is taken away, -1..1."""
    a, b = (_centred(np.asarray(side, np.float32)) for side in (a_ND, b_ND))
    return np.asarray((a * b).sum(1))


def wrong_share(a_ND: ArrayLike, b_ND: ArrayLike, seed: int = 0) -> float:
    """(N, D), (N, D) -> the estimated share of pairs that agree no better than chance, 0..1.

    Of pairs drawn at random half lie below their own median; right pairs hardly ever do. So twice the share that lies
    there is that of the wrong ones (Storey, "A direct approach to false discovery rates", JRSS B 2002).
    """
    b = np.asarray(b_ND)
    other = np.random.default_rng(seed).permutation(len(b))
    return float(min(1.0, 2 * (agreement(a_ND, b) < np.median(agreement(a_ND, b[other]))).mean()))


def _centred(x_ND: NDArray) -> NDArray:
    """Rows of length 1 about their mean; a row that is the mean has no direction and stays zero."""
    x = x_ND / np.clip(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12, None)
    x = x - x.mean(0)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.where(norm > 1e-6, x / np.clip(norm, 1e-12, None), 0.0)
