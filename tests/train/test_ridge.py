"""The closed-form baseline, held against its plain textbook twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from binder.train import ridge as closed_form
from binder.train.ridge import PENALTIES, Moments, pooled, ridge


def sample(n=60, features=12, targets=3, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)) * rng.uniform(0.1, 30, features) + rng.normal(size=features)
    y = x @ rng.normal(size=(features, targets)) / 20 + 1 + noise * rng.normal(size=(n, targets))
    return torch.from_numpy(x), torch.from_numpy(y)


def twin(x, y):
    """The same with every hat matrix written out: standardise, solve for each penalty, keep the least GCV error."""
    x, y, n = x.numpy(), y.numpy(), len(x)
    mean, scale = x.mean(0), x.std(0)
    z, best = (x - mean) / scale, (np.inf, None)
    for penalty in PENALTIES:
        solve = np.linalg.solve(z.T @ z + n * penalty * np.eye(z.shape[1]), z.T)
        hat = z @ solve + 1 / n
        error = ((y - hat @ y) ** 2).sum() / (1 - np.trace(hat) / n) ** 2
        best = min(best, (error, penalty), key=lambda b: b[0])
    weight = np.linalg.solve(z.T @ z + n * best[1] * np.eye(z.shape[1]), z.T @ (y - y.mean(0)))
    return best[1], lambda new: (new.numpy() - mean) / scale @ weight + y.mean(0)


@pytest.mark.parametrize("noise", [0.01, 0.5, 20])
def test_it_equals_its_twin_in_penalty_and_prediction(noise):
    x, y = sample(noise=noise)
    new, _ = sample(seed=1)
    penalty, predict = twin(x, y)
    fitted = ridge(Moments.of(x, y))
    assert fitted.penalty == pytest.approx(penalty)
    np.testing.assert_allclose(fitted(new).numpy(), predict(new), atol=2e-4)


def test_more_noise_means_more_penalty_and_with_more_features_than_samples_it_still_predicts():
    clean, noisy = (ridge(Moments.of(*sample(noise=noise))).penalty for noise in (0.01, 20))
    assert clean < noisy
    x, y = sample(n=200, features=50, noise=0.05)
    few = ridge(Moments.of(x[:40], y[:40]))
    rest = y[40:] - y[40:].mean(0)
    assert ((few(x[40:]) - y[40:]) ** 2).sum() < 0.7 * (rest**2).sum()


def test_sums_are_added_and_taken_away():
    x, y = sample()
    whole = Moments.of(x, y)
    parts = Moments.of(x[:20], y[:20]) + Moments.of(x[20:], y[20:])
    without = whole - Moments.of(x[:20], y[:20])
    np.testing.assert_allclose(ridge(parts)(x), ridge(whole)(x), atol=1e-5)
    np.testing.assert_allclose(ridge(without)(x), ridge(Moments.of(x[20:], y[20:]))(x), atol=1e-5)


def test_constant_features_and_constant_targets_do_no_harm():
    x, y = sample()
    x = torch.cat([x, torch.full((len(x), 1), 7.3e3, dtype=x.dtype), torch.zeros(len(x), 1)], 1)
    np.testing.assert_allclose(ridge(Moments.of(x, y))(x), ridge(Moments.of(x[:, :-2], y))(x[:, :-2]), atol=1e-4)
    flat = ridge(Moments.of(torch.ones(5, 3), y[:5]))
    np.testing.assert_allclose(flat(torch.ones(1, 3)), y[:5].mean(0)[None], atol=1e-5)


def test_tokens_are_averaged_and_of_too_many_features_the_angles_stay(monkeypatch):
    x = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooled(x), x.mean(1))
    wide = torch.randn(8, 60_000, generator=torch.Generator().manual_seed(0))
    wide[1] = wide[0] + 0.5 * wide[1]
    narrow = pooled(wide)
    assert narrow.shape == (8, closed_form.MAX_FEATURES)
    assert torch.equal(narrow, pooled(wide))
    cosine = torch.nn.functional.normalize(narrow) @ torch.nn.functional.normalize(narrow).T
    expected = torch.nn.functional.normalize(wide) @ torch.nn.functional.normalize(wide).T
    torch.testing.assert_close(cosine, expected, atol=0.12, rtol=0)
