"""Losses: their formulas against slow loops that say the same, and how a run chooses one by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support import FAST
from torch import nn
from torch.nn import functional as F

import binder
from binder import ConfigError
from binder.artifact import run_folder
from binder.config import AlignConfig, Config, read_toml
from binder.data.cache import Collection
from binder.encoder import Encoder
from binder.train import loop, losses
from binder.train.losses import Loss


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


# --- a short run with each, on the same data


class Small(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 6)

    def preprocess(self, item):
        return torch.as_tensor(item)

    def augment(self, batch, generator):
        return batch + 0.05 * torch.randn(batch.shape, generator=generator)

    def features(self, batch):
        return torch.tanh(self.hidden(batch))

    def head(self, features):
        return self.out(self.drop(features))


def some_data(both: bool) -> loop.Data:
    """60 items with two views each, targets among 30 texts and, all but ten of them, among 20 pictures."""
    rng, items = np.random.default_rng(0), Collection("items-small")
    keys = [i.to_bytes(16, "big") for i in range(60)]
    for key in keys:
        items.add(key, rng.standard_normal((2, 8)).astype(np.float32))
    items.flush()
    texts, pictures = (
        F.normalize(torch.from_numpy(rng.standard_normal((n, 6)).astype(np.float32)), dim=-1) for n in (30, 20)
    )
    place = torch.arange(60) % 25
    targets = {"text": loop.Targets(texts, torch.arange(60) % 30)}
    if both:
        targets["image"] = loop.Targets(pictures, torch.where(place < 20, place, -1))
    return loop.Data(items, False, items.first(keys), np.full(60, 2), targets)


def short_run(table, both=False, steps=40):
    """A finished run with that `loss` table."""
    train = {"batch_size": 16, "steps": steps, "precision": "fp32", "lr": 0.01}
    settings = AlignConfig.model_validate({"train": train, "loss": table})
    torch.manual_seed(0)
    encoder, data = Small(), some_data(both)
    run = loop.start(encoder, settings, losses.make(settings.loss, losses.Context(data, 14.0)))
    loop.train(run, data, settings, validate=lambda _: {}, save=lambda _: None, progress=lambda *_: None)
    return run


# a `loss` table without a kind, `both`; what binder 0.2 reached with it: every third loss of its log, the logit scale
BEFORE = [
    ({}, False, [12.3556, 9.06473, 7.83283, 7.72831], 20.0),
    ({}, True, [10.94368, 8.18289, 7.51871, 6.90416], 20.0),
    ({"soft": 0.0}, True, [10.9616, 8.1919, 7.51909, 6.90563], 20.0),
    ({"learn_temperature": True}, True, [10.88424, 7.38379, 6.42842, 5.84418], 16.5517),
    ({"bank": 16}, True, [11.30757, 8.83618, 8.12868, 7.42956], 20.0),
    ({"bank": 1000}, False, [13.41988, 9.75564, 8.72176, 8.8489], 20.0),
]


@pytest.mark.parametrize(("table", "both", "lines", "scale"), BEFORE)
def test_what_was_configured_before_there_were_kinds_trains_as_it_did(table, both, lines, scale):
    run = short_run(table, both)
    assert [line["loss"] for line in run.history[::3]] == pytest.approx(lines, rel=1e-4)
    assert run.loss.logit_scale == pytest.approx(scale, rel=1e-4)


def test_the_contrastive_loss_of_a_step_is_that_of_its_twin(near):
    z = unit(6, 8, seed=1)
    made = losses.make({"temperature": 0.1, "soft": 0.05}, losses.Context(None, 14.0))
    soft = twin_soft_targets(near, 0.05)
    least = -sum(float(p) * math.log(p) for row in soft for p in row if p > 0) / len(soft)
    assert float(made(z, near)) == pytest.approx(twin_contrastive(z, near, soft, 10.0) - least, abs=1e-5)


def test_the_learned_scale_starts_at_one_over_the_temperature_and_stays_in_1_to_100():
    loss = losses.make({"learn_temperature": True}, losses.Context(None, 14.0))
    assert loss.logit_scale == pytest.approx(20)
    assert loss.log_scale.requires_grad
    for value, want in ((-3.0, 1.0), (9.0, 100.0), (1.5, math.exp(1.5))):
        loss.log_scale.data.fill_(value)
        loss.after_step()
        assert loss.logit_scale == pytest.approx(want, rel=1e-3)


# --- another loss: all it takes is a class in the table of them


class Sigmoid(Loss):
    """Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023."""

    name = "sigmoid"

    class Config(Config):
        bias: float = -10.0

    def __init__(self, settings, context):
        super().__init__(settings, context)
        self.log_scale = nn.Parameter(torch.tensor(context.logit_scale).log())
        self.bias = nn.Parameter(torch.tensor(settings.bias))

    def forward(self, z_BD, t_BD, bank_MD=None):
        labels = 2 * losses.soft_targets(t_BD, 0).sign() - 1
        return -F.logsigmoid(labels * (self.log_scale.exp() * z_BD @ t_BD.T + self.bias)).sum(1).mean()

    def lr_scales(self):
        return {"bias": 10.0}

    @property
    def logit_scale(self):
        return self.log_scale.exp().item()


class Distance(Loss):
    """Plain regression to the targets: neither settings nor parameters."""

    name = "distance"

    def forward(self, z_BD, t_BD, bank_MD=None):
        return (1 - (z_BD * t_BD).sum(1)).mean()


@pytest.fixture
def more(monkeypatch):
    """The two are registered."""
    for loss in (Sigmoid, Distance):
        monkeypatch.setitem(losses.LOSSES, loss.name, loss)


@pytest.fixture
def align(toy, toys, anchor_folder, tmp_path):
    def call(**options):
        defaults = {"anchor": str(anchor_folder), "to": "text", "out": tmp_path / "run", **FAST}
        return binder.align("toy", toys / "pairs.csv", **{**defaults, **options})

    return call


def test_a_new_loss_trains_with_its_own_settings_and_parameters_and_resumes(more, align, tmp_path):
    options = {"sets": [*FAST["sets"], "loss.kind=sigmoid", "loss.bias=-5", "train.checkpoint_seconds=0"]}
    card = align(**options).card
    cell = next(row for row in card.metrics["retrieval"] if row["query"] == "toy")
    assert cell["r1"] > 0.8 > 5 * cell["chance_r1"]
    assert read_toml(tmp_path / "run" / "config.toml")["loss"] == {"kind": "sigmoid", "bias": -5.0}
    assert card.logit_scale not in (pytest.approx(14.3, rel=1e-3), pytest.approx(20))

    def stop(stage, done, total):
        if stage == "training" and done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(**options, out=tmp_path / "cut", progress=stop)
    kept = run_folder.read_state(tmp_path / "cut")["loss"]
    assert set(kept) == {"log_scale", "bias"} and float(kept["bias"]) != -5
    assert align(**options, out=tmp_path / "cut", resume=True).card.logit_scale == card.logit_scale
    cut, whole = ((tmp_path / name / "encoder.safetensors").read_bytes() for name in ("cut", "run"))
    assert cut == whole


def test_its_parameters_are_trained_at_their_own_rate_without_decay(more):
    run = short_run({"kind": "sigmoid"}, steps=5)
    groups = {id(p): group for group in run.optimizer.param_groups for p in group["params"]}
    bias, log_scale = groups[id(run.loss.bias)], groups[id(run.loss.log_scale)]
    assert (bias["lr_scale"], bias["weight_decay"]) == (10.0, 0.0)
    assert (log_scale["lr_scale"], log_scale["weight_decay"]) == (1.0, 0.0)
    assert run.loss.bias.item() != -10 and run.loss.logit_scale != pytest.approx(14)


def test_a_loss_without_parameters_trains_and_the_card_has_the_scale_of_the_anchor(more, align, anchor):
    card = align(sets=[*FAST["sets"], "loss.kind=distance"]).card
    cell = next(row for row in card.metrics["retrieval"] if row["query"] == "toy")
    assert cell["r1"] > 5 * cell["chance_r1"]
    assert card.logit_scale == pytest.approx(anchor.logit_scale)


class Greedy(Distance):
    """Notes how many targets of other rows it was given."""

    name = "greedy"

    class Config(Config):
        bank: int = 7

    def __init__(self, settings, context):
        super().__init__(settings, context)
        self.bank, self.given = settings.bank, []

    def forward(self, z_BD, t_BD, bank_MD=None):
        self.given.append(0 if bank_MD is None else len(bank_MD))
        return super().forward(z_BD, t_BD)


@pytest.mark.parametrize(("bank", "given"), [(0, {0}), (7, {7}), (60, {60}), (1000, {60})])
def test_a_loss_is_given_as_many_other_targets_as_it_asks_for(monkeypatch, bank, given):
    monkeypatch.setitem(losses.LOSSES, "greedy", Greedy)
    run = short_run({"kind": "greedy", "bank": bank}, steps=3)
    assert set(run.loss.given) == given


def test_what_a_loss_draws_when_it_is_made_comes_from_the_seed_and_leaves_the_callers_random_state(monkeypatch):
    class Drawn(Distance):
        def __init__(self, settings, context):
            super().__init__(settings, context)
            self.start = float(torch.rand(()))

    monkeypatch.setitem(losses.LOSSES, "drawn", Drawn)
    before = torch.get_rng_state()
    one, same, other = (losses.make({"kind": "drawn"}, losses.Context(None, 1.0, seed)).start for seed in (3, 3, 4))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before)


# --- the table `loss` of a configuration


def resolved(table):
    return losses.resolved(AlignConfig(loss=table), "here.toml").loss


def test_the_table_is_completed_with_the_defaults_of_its_kind():
    assert resolved({}) == {"kind": "infonce", "temperature": 0.05, "soft": 0.02, "learn_temperature": False}
    assert resolved({"kind": "infonce_bank", "soft": 0})["bank"] == 16_384
    assert resolved({"kind": "infonce_bank", "soft": 0})["soft"] == 0


OF_INFONCE = "loss 'infonce' has learn_temperature, soft, temperature"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            {"kind": "infonec"},
            "loss.kind: unknown loss 'infonec' (did you mean 'infonce'?); there is infonce, infonce_",
        ),
        ({"kind": 3}, "loss.kind: unknown loss '3'; there is infonce, infonce_bank"),
        ({"kind": ["infonce"]}, "loss.kind: unknown loss "),
        ({"knd": "infonce"}, f"unknown key 'loss.knd' (did you mean 'kind'?); {OF_INFONCE}"),
        ({"temprature": 1}, f"unknown key 'loss.temprature' (did you mean 'temperature'?); {OF_INFONCE}"),
        ({"kind": "infonce", "bank": 5}, f"unknown key 'loss.bank' (a setting of infonce_bank); {OF_INFONCE}"),
        ({"temperature": 0}, "loss infonce: temperature: Input should be greater than 0 (got 0)"),
        ({"kind": "infonce_bank", "bank": 0}, "loss infonce_bank: bank: Input should be greater than or equal to 1"),
        ({"bank": -1}, "loss infonce_bank: bank: Input should be greater than or equal to 1 (got -1)"),
    ],
)
def test_what_is_wrong_with_a_loss_is_one_line_that_names_it(table, says):
    with pytest.raises(ConfigError) as caught:
        resolved(table)
    assert str(caught.value).startswith(f"here.toml: {says}")
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_unknown_fails_before_anything_is_read(align, tmp_path):
    with pytest.raises(ConfigError, match=r"configuration: loss\.kind: unknown loss 'sigmod'"):
        align(sets=["loss.kind=sigmod"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bank", [0, 16])
def test_a_table_without_a_kind_is_one_of_binder_0_2_whose_bank_of_0_was_none(bank):
    old = {"temperature": 0.07, "soft": 0.0, "learn_temperature": True, "bank": bank}
    assert resolved(old) == {
        "kind": "infonce_bank" if bank else "infonce",
        **{key: value for key, value in old.items() if value or key != "bank"},
    }
