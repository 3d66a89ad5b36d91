"""Ridge regression from the features of the untrained trunk to the targets: a baseline without any training.

Hoerl and Kennard, "Ridge regression", Technometrics 1970; the penalty by generalized cross-validation: Golub, Heath
and Wahba, Technometrics 1979. Everything is computed from sums over the samples, so memory does not grow with their
number. Sums can be added and subtracted, so a fit that leaves out some of the samples needs no second pass.

Shapes: N samples, B batch, F features, D embed_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from binder.devices import device_of
from binder.encoder import Encoder
from binder.train.loop import Data

MAX_FEATURES = 1024  # solving takes less than a second
MAX_ROWS = 2048  # that have to go through the trunk: about a hundredth of the work of a default run
MAX_CACHED_ROWS = 32_768  # if the features of a frozen trunk are cached
PENALTIES = np.logspace(-4, 3, 57)  # relative to the mean variance of the features
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over N samples of features and targets."""

    n: int
    x_F: Floats
    y_D: Floats
    xx_FF: Floats
    xy_FD: Floats
    yy: float

    @classmethod
    def of(cls, x_NF: Tensor, y_ND: Tensor) -> Moments:
        x, y = x_NF.double().cpu().numpy(), y_ND.double().cpu().numpy()
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, float((y * y).sum()))

    def __add__(self, other: Moments) -> Moments:
        return self._combined(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._combined(other, -1)

    def _combined(self, other: Moments, sign: int) -> Moments:
        return Moments(
            self.n + sign * other.n,
            self.x_F + sign * other.x_F,
            self.y_D + sign * other.y_D,
            self.xx_FF + sign * other.xx_FF,
            self.xy_FD + sign * other.xy_FD,
            self.yy + sign * other.yy,
        )


@dataclass(frozen=True)
class Linear:
    """A fitted map, to be called: (B, F) -> (B, D), neither normalized nor scaled."""

    weight_FD: Tensor
    bias_D: Tensor
    penalty: float

    def __call__(self, x_BF: Tensor) -> Tensor:
        return x_BF.float() @ self.weight_FD.to(x_BF.device) + self.bias_D.to(x_BF.device)


def ridge(moments: Moments) -> Linear:
    """Ridge regression on standardized features, with the penalty of the least generalized cross-validation error."""
    n, mean_F, mean_D = moments.n, moments.x_F / moments.n, moments.y_D / moments.n
    covariance_FF = moments.xx_FF / n - np.outer(mean_F, mean_F)
    scale_F = np.sqrt(np.clip(np.diag(covariance_FF), 0, None))
    scale_F[scale_F <= 1e-6 * np.sqrt(np.diag(moments.xx_FF) / n)] = np.inf  # constant up to rounding: no weight
    values_F, vectors_FF = np.linalg.eigh(covariance_FF / np.outer(scale_F, scale_F))
    values_F = np.clip(values_F, 0, None)
    along_FD = vectors_FF.T @ ((moments.xy_FD / n - np.outer(mean_F, mean_D)) / scale_F[:, None])
    error = float(moments.yy / n - mean_D @ mean_D)  # of predicting the mean
    penalty = min(PENALTIES, key=lambda p: _gcv(p, n, values_F, (along_FD**2).sum(1), error))
    weight_FD = vectors_FF @ (along_FD / (values_F + penalty)[:, None]) / scale_F[:, None]
    bias_D = mean_D - mean_F @ weight_FD
    return Linear(torch.from_numpy(weight_FD).float(), torch.from_numpy(bias_D).float(), float(penalty))


def _gcv(penalty: float, n: int, values_F: Floats, power_F: Floats, error: float) -> float:
    """Generalized cross-validation error of a penalty, up to a factor; infinite without any degrees of freedom left."""
    residual = error - (power_F * (values_F + 2 * penalty) / (values_F + penalty) ** 2).sum()
    free = 1 - ((values_F / (values_F + penalty)).sum() + 1) / n
    return float(max(residual, 0.0) / free**2) if free > 1e-6 else float("inf")


def pooled(features: Tensor) -> Tensor:
    """Output of `Encoder.features`, (B, F) or (B, T, F) -> (B, at most MAX_FEATURES).

    Tokens are averaged. More features than that are hashed: summed with random signs (Weinberger et al., ICML 2009),
    which preserves the angles between rows and needs no matrix.
    """
    x_BF = features.float().mean(1) if features.ndim == 3 else features.float().flatten(1)
    if x_BF.shape[1] <= MAX_FEATURES:
        return x_BF
    generator = torch.Generator().manual_seed(0)
    bucket_F = torch.randint(MAX_FEATURES, (x_BF.shape[1],), generator=generator).to(x_BF.device)
    sign_F = (torch.randint(2, (x_BF.shape[1],), generator=generator) * 2.0 - 1).to(x_BF.device)
    return x_BF.new_zeros(len(x_BF), MAX_FEATURES).index_add_(1, bucket_F, x_BF * sign_F)


@torch.inference_mode()
def fit(encoder: Encoder, data: Data, seed: int) -> Linear:
    """The map from the trunk's present features to the targets, from at most MAX_ROWS rows drawn with `seed`."""
    rng = np.random.default_rng([seed, 2])
    rows = rng.permutation(len(data))[: MAX_CACHED_ROWS if data.features else MAX_ROWS]
    encoder.eval()
    parts = []
    for part in np.array_split(rows, -(-len(rows) // 64)):
        batch = data.batch(part, rng).to(device_of(encoder))
        x_BF = pooled(batch if data.features else encoder.features(batch))
        for targets in data.targets.values():
            of_row = targets.of_row[torch.from_numpy(part).to(targets.of_row.device)]
            parts.append(Moments.of(x_BF[of_row.to(x_BF.device) >= 0], targets.vectors[of_row[of_row >= 0]]))
            parts = [parts[0] + parts[1]] if len(parts) > 1 else parts
    return ridge(parts[0])
