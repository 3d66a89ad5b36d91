"""What each part of the recipe is worth: `align` with one thing changed, beside the default, on small data.

Every run of a seed has the same pairs, the same test and sees as many pairs; what is printed are the default's score
and, for each change, the mean over seeds of its difference to the default of the same seed, with the standard
deviation of these differences. Scores are named in `small_data`. Losses and other changes that the core does not have,
because they were measured not to help, are defined here.

    BINDER_DATA=... python benchmarks/ablation.py [--data speech digits imu charts sounds] [--seeds 0 1 2]
        [--only hard mixup] [--steps 400] [--out results.jsonl]     # goes on where results.jsonl ends
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from results import Results
from small_data import TASKS, Task
from torch import Tensor
from torch.nn import functional as F

import binder
from binder.train import loop, losses

DEFAULT_BATCH = 48
SOFT = losses.InfoNCE.Config().soft


@dataclass(frozen=True)
class Change:
    """One thing that is not as by default."""

    sets: tuple[str, ...] = ()
    to: str | None = None
    put: Callable[[], AbstractContextManager[Any]] = nullcontext
    data: tuple[str, ...] = tuple(TASKS)  # where it means anything
    batch: int = DEFAULT_BATCH
    first: tuple[str, ...] | None = None  # settings of a run before it, whose weights it starts from


class Sigmoid(losses.Loss):
    """The sigmoid loss with a learned scale and bias (Zhai et al., ICCV 2023), its labels as soft as by default."""

    name = "sigmoid"

    def __init__(self, settings: Any, context: losses.Context) -> None:
        super().__init__(settings, context)
        self.log_scale = torch.nn.Parameter(torch.tensor(10.0).log())
        self.bias = torch.nn.Parameter(torch.tensor(-10.0))

    def forward(self, z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor | None = None) -> Tensor:
        targets_BB = losses.soft_targets(t_BD, SOFT)
        labels = (targets_BB / targets_BB.diagonal()[:, None]).clamp(max=1)
        logits = self.log_scale.exp() * z_BD @ t_BD.T + self.bias
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(z_BD)

    def lr_scales(self) -> dict[str, float]:
        return {"bias": 10.0}


class Mixup(losses.InfoNCE):
    """Features and targets of two rows mixed in one proportion per step: Vouitsis et al., CVPR 2024 (FuseMix)."""

    name = "mixup"
    share, order = torch.ones(()), torch.zeros(0, dtype=torch.long)  # of the step

    @classmethod
    def mix(cls, x: Tensor) -> Tensor:
        return cls.share * x + (1 - cls.share) * x[cls.order]

    def forward(self, z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor | None = None) -> Tensor:
        return super().forward(z_BD, F.normalize(self.mix(t_BD), dim=-1))


@contextmanager
def mixup() -> Iterator[None]:
    """Heads that mix their features as `Mixup` mixes the targets."""
    begin = loop.start

    def start(encoder: Any, config: Any, loss: losses.Loss) -> loop.Run:
        run = begin(encoder, config, loss)
        plain = encoder.head

        def head(features: Tensor) -> Tensor:
            Mixup.share, Mixup.order = torch.rand(()), torch.randperm(len(features))
            return plain(Mixup.mix(features))

        run.encoder.head = head
        return run

    with patch.object(loop, "start", start):
        yield


@contextmanager
def early_stopping() -> Iterator[None]:
    """The weights that had the best R@10 (then R@1) on the held-out rows, in place of the last ones."""
    train = loop.train

    def watched(run: loop.Run, *given: Any, validate: Any, **more: Any) -> None:
        best: dict[str, Any] = {"score": (-1.0, -1.0)}

        def noted(encoder: Any) -> Any:
            scores = validate(encoder)
            score = tuple(np.mean([v for key, v in scores.items() if key.endswith(k)]) for k in ("_r10", "_r1"))
            if score > best["score"]:
                best.update(score=score, state=copy.deepcopy(encoder.state_dict()))
            return scores

        train(run, *given, validate=noted, **more)
        run.averaged.load_state_dict(best["state"])

    with patch.object(loop, "train", watched):
        yield


losses.LOSSES |= {loss.name: loss for loss in (Sigmoid, Mixup)}
HEARD, SEEN = ("speech", "digits", "sounds"), ("speech", "digits", "imu")  # has a trunk to choose; has two targets
CHANGES: dict[str, Change] = {
    "default": Change(),
    "to text": Change(to="text", data=SEEN),
    "to both": Change(to="both", data=SEEN),
    "hard targets": Change(("loss.soft=0",)),
    "soft targets at 0.05": Change(("loss.soft=0.05",)),
    "learned temperature": Change(("loss.learn_temperature=true",)),
    "temperature 0.02": Change(("loss.temperature=0.02",)),
    "temperature 0.1": Change(("loss.temperature=0.1",)),
    "sigmoid loss": Change(("loss.kind=sigmoid",)),
    "all cached targets as negatives": Change(("loss.kind=infonce_bank", "loss.bank=1000000")),
    "all cached targets, hard": Change(("loss.kind=infonce_bank", "loss.bank=1000000", "loss.soft=0")),
    "batch 24": Change(batch=24),
    "batch 128": Change(batch=128),
    "latent mixup": Change(("loss.kind=mixup",), put=mixup),
    "early stopping": Change(put=early_stopping),
    "last weights, not averaged": Change(("train.ema=0",)),
    "trunk from random weights": Change(("encoder.trunk=none",), data=("digits", "sounds")),
    "trunk at the full rate": Change(("encoder.trunk_lr=1",), data=("digits",)),
    "trunk frozen": Change(("encoder.trunk_lr=1e-9",), data=("digits",)),
    "tower with LoRA": Change(("encoder.tune=lora",), data=("charts",)),
    "tower with LoRA, after the head": Change(("encoder.tune=lora",), data=("charts",), first=("encoder.tune=frozen",)),
    "tower trained in full": Change(("encoder.tune=full",), data=("charts",)),
    "adapter at the full rate": Change(("encoder.adapter_lr=1",), data=("charts",)),
    "half the augmentation": Change(("encoder.strength=0.5",), data=("digits", "sounds")),
    "no augmentation": Change(("encoder.strength=0",), data=HEARD),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400, help=f"of {DEFAULT_BATCH} pairs; larger batches take fewer")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="changes whose name holds one of these")
    parser.add_argument("--out", type=Path, help="JSON lines; what is in it already is not run again")
    given = parser.parse_args()
    results = Results(given.out, ("data", "change", "seed"))
    for name in given.data:
        for seed in given.seeds:
            wanted = [
                change
                for change in CHANGES
                if name in CHANGES[change].data
                and (not given.only or change == "default" or any(word in change for word in given.only))
                and not results.has(name, change, seed)
            ]
            with tempfile.TemporaryDirectory() as work:
                task = TASKS[name](Path(work), seed) if wanted else None
                for change in wanted:
                    assert task is not None
                    began = time.process_time()
                    scores = _run(task, CHANGES[change], Path(work) / "runs" / change, seed, given.steps)
                    seconds = round(time.process_time() - began)
                    results.add({"data": name, "change": change, "seed": seed, "cpu_s": seconds, "scores": scores})
    _print(results)


def _run(task: Task, change: Change, out: Path, seed: int, steps: int) -> dict[str, float]:
    sets = [f"train.batch_size={change.batch}", f"train.steps={steps * DEFAULT_BATCH // change.batch}", *task.sets]
    to, before = change.to or task.to, None
    if change.first is not None:
        before = out.with_name(f"{out.name} first")
        binder.align(task.modality, task.rows, to=to, out=before, seed=seed, sets=[*sets, *change.first])
    with change.put():
        binder.align(task.modality, task.rows, to=to, out=out, seed=seed, init=before, sets=[*sets, *change.sets])
    return task.score(out)


def _print(results: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys((r["data"], key) for r in results for key in r["scores"]))
    score = {(r["data"], key, r["change"], r["seed"]): v for r in results for key, v in r["scores"].items()}
    print(f"\n{'':36}" + "".join(f"{f'{name} > {key}':>20}" for name, key in columns))
    for change in CHANGES:
        cells = [_cell(score, name, key, change) for name, key in columns]
        if any(cells):
            print(f"{change:36}" + "".join(f"{cell:>20}" for cell in cells))


def _cell(score: dict[Any, float], name: str, key: str, change: str) -> str:
    """The default's mean score, or the mean difference to it; and the deviation over seeds."""
    own = {seed: v for (d, k, c, seed), v in score.items() if (d, k, c) == (name, key, change)}
    if change != "default":
        own = {s: v - score[name, key, "default", s] for s, v in own.items() if (name, key, "default", s) in score}
    if not own:
        return ""
    sign = "" if change == "default" else "+"
    return f"{np.mean(list(own.values())):{sign}.3f} ({np.std(list(own.values())):.3f})"


if __name__ == "__main__":
    main()
