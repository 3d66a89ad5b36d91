"""Parts of the training loop that a whole run would not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from binder.config import AlignConfig
from binder.data.cache import Collection
from binder.encoder import Encoder
from binder.train import loop, losses, schedule


class Two(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def lr_scales(self):
        return {"trunk.": 0.1}

    def features(self, batch):
        return self.trunk(batch)

    def head(self, features):
        return self.out(torch.dropout(features, 0.5, self.training))


def test_what_was_trained_before_learns_at_its_own_rate_and_only_matrices_decay():
    encoder = Two()
    run = loop.start(encoder, AlignConfig(), losses.make({}, losses.Context(None, 14.0)))
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in run.optimizer.param_groups
        for parameter in group["params"]
    }
    decay = AlignConfig().train.weight_decay
    assert found == {
        "trunk.weight": (0.1, decay),
        "trunk.bias": (0.1, 0.0),
        "out.weight": (1.0, decay),
        "out.bias": (1.0, 0.0),
    }


def test_every_epoch_takes_each_row_once_in_another_order():
    config = AlignConfig.model_validate({"train": {"batch_size": 4}})
    epochs = [
        torch.cat([torch.from_numpy(loop._rows_of_step(e * 3 + i, 10, config)) for i in range(3)]).tolist()
        for e in range(2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def four_rows(device="cpu"):
    items, keys = Collection("items-four"), [b"%016d" % i for i in range(4)]
    for key in keys:
        items.add(key, np.ones((1, 4), np.float32))
    items.flush()
    targets = loop.Targets(torch.eye(2, device=device), torch.arange(4, device=device) % 2)
    return loop.Data(items, False, items.first(keys), np.ones(4, int), {"text": targets})


def trained(device, progress=lambda *_: None):
    data, config = four_rows(device), AlignConfig.model_validate({"train": {"steps": 3}})
    torch.manual_seed(1)
    encoder = Two().to(device)
    run = loop.start(encoder, config, losses.make({}, losses.Context(data, 14.0)))
    torch.manual_seed(2)
    expected = torch.rand(2), torch.rand(2, device=device)
    torch.manual_seed(2)
    try:
        loop.train(run, data, config, validate=lambda _: {}, save=lambda _: None, progress=progress)
    finally:
        drawn = torch.rand(2), torch.rand(2, device=device)
        assert [d.tolist() for d in drawn] == [e.tolist() for e in expected]
    return [line["loss"] for line in run.history]


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_run_leaves_the_callers_random_state_as_it_was_also_where_it_is_interrupted(device):
    if device != "cpu" and not getattr(torch, device).is_available():
        pytest.skip("no such device here")
    assert trained(device) == trained(device)

    def stop(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(device, stop)


def settings(**train):
    return AlignConfig.model_validate({"train": {"batch_size": 10, **train}})


@pytest.mark.parametrize(
    ("n", "asked", "expected"),
    [
        (50, {}, 1000),  # the usual number of steps
        (10_000, {}, 10_000),  # ten epochs, where these are more
        (37, {}, 1000),  # in whole epochs: 4 steps each
        (70, {}, 1001),
        (200_000, {"steps": 20}, 20),  # what is asked is done
        (50, {"steps": 20}, 20),
        (50, {"epochs": 3}, 15),
        (50, {"epochs": 3, "steps": 7}, 7),  # whichever comes first
        (50, {"epochs": 1, "steps": 7}, 5),
    ],
)
def test_a_run_is_as_long_as_is_asked(n, asked, expected):
    assert schedule.total_steps(n, settings(**asked)) == expected


def test_the_length_of_a_run_is_explained():
    assert schedule.plan(200_000, settings(steps=20)) == "20 steps of 10 pairs, 0.001 epochs"
    assert schedule.plan(10_001, settings()).startswith("10,010 steps of 10 pairs, 10 epochs (by default 10 epochs; ")
    assert "(by default 1,000 steps in whole epochs; " in schedule.plan(70, settings())
    assert schedule.plan(50, settings(epochs=2, minutes=3)).endswith("2 epochs or 3 minutes, whichever comes first")
    assert [schedule.spoken(s) for s in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]
