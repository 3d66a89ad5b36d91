"""Parts of the training loop that a whole run would not show."""

from __future__ import annotations

import torch
from torch import nn

from binder import training
from binder.config import AlignConfig
from binder.encoder import Encoder


class Two(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.out = nn.Linear(4, 4), nn.Linear(4, 2)

    def lr_scales(self):
        return {"trunk.": 0.1}


def test_what_was_trained_before_learns_at_its_own_rate_and_only_matrices_decay():
    encoder = Two()
    run = training.start(encoder, AlignConfig())
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
        torch.cat([torch.from_numpy(training._rows_of_step(e * 3 + i, 10, config)) for i in range(3)]).tolist()
        for e in range(2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_steps_decide_the_epochs_but_every_row_is_seen_ten_times():
    config = AlignConfig.model_validate({"train": {"batch_size": 10, "steps": 100}})
    assert training.total_steps(50, config) == 100
    assert training.total_steps(1000, config) == 1000
