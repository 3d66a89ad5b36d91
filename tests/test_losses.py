"""The loss against loops that say the same slowly, and what its least value is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from binder.train import losses


def unit(n, d, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def near():
    """Targets of which some are near each other and two pairs are equal: (6, 8)."""
    t = unit(6, 8)
    t[1] = F.normalize(t[0] + 0.2 * t[1], dim=-1)
    t[3], t[5] = t[2], t[4]
    return t


def twin_soft_targets(t, temperature):
    n = len(t)
    rows = []
    for i in range(n):
        cosines = [min(1.0, float(t[i] @ t[j])) for j in range(n)]
        if temperature == 0:
            weights = [1.0 if c > 0.999 else 0.0 for c in cosines]
        else:
            weights = [math.exp((c - 1) / temperature) for c in cosines]
        rows.append([w / sum(weights) for w in weights])
    return torch.tensor(rows)


def twin_contrastive(z, t, targets, scale):
    n, total = len(z), 0.0
    for i in range(n):
        forth = [scale * float(z[i] @ t[j]) for j in range(n)]
        back = [scale * float(z[j] @ t[i]) for j in range(n)]
        for logits in (forth, back):
            norm = math.log(sum(math.exp(v) for v in logits))
            total -= sum(float(targets[i][j]) * (logits[j] - norm) for j in range(n))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0, 0.02, 0.1, 1.0])
def test_soft_targets_equal_their_twin_and_sum_to_one(near, temperature):
    t = near
    got = losses.soft_targets(t, temperature)
    torch.testing.assert_close(got, twin_soft_targets(t, temperature), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got.sum(1), torch.ones(6))


def test_repeated_targets_are_positives_at_any_temperature(near):
    t = near
    for temperature in (0, 0.02):
        soft = losses.soft_targets(t, temperature)
        assert float(soft[2, 3]) == pytest.approx(float(soft[2, 2]), rel=1e-3)
        assert float(soft[4, 5]) == pytest.approx(float(soft[4, 4]), rel=1e-3)
        assert float(soft[2, 4]) < 1e-3


def test_hard_targets_count_only_equals(near):
    t = near
    hard = losses.soft_targets(t, 0)
    assert hard[0].tolist() == [1, 0, 0, 0, 0, 0]  # its near neighbour is no match
    assert hard[2].tolist() == [0, 0, 0.5, 0.5, 0, 0]
    assert hard[4].tolist() == [0, 0, 0, 0, 0.5, 0.5]


def test_contrastive_equals_its_twin(near):
    t = near
    z = unit(6, 8, seed=1)
    targets = losses.soft_targets(t, 0.1)
    assert float(losses.contrastive(z, t, targets, 7.0)) == pytest.approx(
        twin_contrastive(z, t, targets, 7.0), abs=1e-5
    )


def test_on_orthogonal_targets_it_is_plain_infonce():
    t, z = torch.eye(5), unit(5, 5)
    for soft in (0, 0.01):
        targets = losses.soft_targets(t, soft)
        logits = 20 * z @ t.T
        plain = (F.cross_entropy(logits, torch.arange(5)) + F.cross_entropy(logits.T, torch.arange(5))) / 2
        torch.testing.assert_close(losses.contrastive(z, t, targets, 20.0), plain)
        assert float(losses.entropy(targets)) == pytest.approx(0, abs=1e-4)


def test_with_equal_temperatures_the_embedding_at_its_target_is_the_minimum_and_excess_loss_is_zero(near):
    t = near
    targets = losses.soft_targets(t, 0.1)

    def excess(z):
        return losses.contrastive(F.normalize(z, dim=-1), t, targets, 10.0) - losses.entropy(targets)

    z = t.clone().requires_grad_()
    loss = excess(z)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert float(z.grad.abs().max()) < 1e-5
    for seed in range(5):
        assert float(excess(t + 0.1 * torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)))) > 1e-5


def test_no_embedding_has_less_than_no_excess_loss(near):
    t = near
    targets = losses.soft_targets(t, 0.1)
    w = unit(6, 8, seed=2).requires_grad_()
    optimizer = torch.optim.Adam([w], lr=0.05)
    for _ in range(200):
        loss = losses.contrastive(F.normalize(w, dim=-1), t, targets, 10.0) - losses.entropy(targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() > -1e-6


def test_the_learned_scale_starts_at_one_over_the_temperature_and_stays_in_1_to_100():
    scale = losses.logit_scale_parameter(0.05)
    assert scale.exp().item() == pytest.approx(20)
    for value, want in ((-3.0, 1.0), (9.0, 100.0), (1.5, math.exp(1.5))):
        scale.data.fill_(value)
        losses.clamp_logit_scale(scale)
        assert scale.exp().item() == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("temperature", [0, 0.02, 0.1])
@pytest.mark.parametrize("bank", [[], [0, 2, 2], [1, 3, 4, 5]])
def test_a_bank_adds_negatives_to_items_and_counts_what_is_in_the_batch_as_a_match(near, temperature, bank):
    t, z, others, scale = near, unit(6, 8, 1), torch.cat([unit(3, 8, 2), near[bank]]), 20.0
    soft = losses.soft_targets(t, temperature)
    got = losses.contrastive_with_bank(z, t, others, scale, temperature)
    every, total = torch.cat([t, others]), 0.0
    for i in range(6):
        cosines = [min(1.0, float(t[i] @ e)) for e in every]
        weights = [float(c > 0.999) if temperature == 0 else math.exp((c - 1) / temperature) for c in cosines]
        forth = [scale * float(z[i] @ e) for e in every]
        norm = math.log(sum(math.exp(v) for v in forth))
        for w, v in zip(weights, forth, strict=True):
            share = w / sum(weights)
            total += share * (norm - v) + (share * math.log(share) if share else 0.0)
    back = F.cross_entropy(scale * t @ z.T, soft) - losses.entropy(soft)
    torch.testing.assert_close(got, (total / 6 + back) / 2, atol=1e-4, rtol=1e-4)


def test_without_a_bank_it_is_the_contrastive_loss(near):
    z, soft = unit(6, 8, 1), losses.soft_targets(near, 0.02)
    got = losses.contrastive_with_bank(z, near, near[:0], 20.0, 0.02)
    torch.testing.assert_close(
        got, losses.contrastive(z, near, soft, 20.0) - losses.entropy(soft), atol=1e-5, rtol=1e-5
    )
