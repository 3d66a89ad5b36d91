"""The training loop: items from memory-mapped files, frozen targets in memory, a state from which a run resumes.

Everything random in a step is drawn from (seed, step), so a resumed run takes the same steps as an uninterrupted one.

Shapes: N rows, U unique targets, B batch, D embed_dim.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from binder.config import AlignConfig
from binder.data.cache import Collection
from binder.data.encode import Progress
from binder.devices import random_state_restored, seed_torch
from binder.encoder import Encoder
from binder.errors import TrainingError, kind_and_words
from binder.train.distributed import ALONE, Group
from binder.train.losses import Loss
from binder.train.schedule import progress_of, rate_at, spoken, steps_per_epoch, total_steps

log = logging.getLogger(__name__)

CHECKS = 10  # evaluations on the held-out rows during a run
PACED = 20  # steps after which a run says how long it will take


@dataclass(frozen=True)
class Targets:
    """The frozen vectors of one anchor modality."""

    vectors: Tensor  # (U, D) unit length, on the training device
    of_row: Tensor  # (N,) int64 position in `vectors`, -1 if the row has none

    @cached_property
    def complete(self) -> bool:
        """Whether every row has a target."""
        return bool((self.of_row >= 0).all())


@dataclass(frozen=True)
class Data:
    """The training set: row i is one sample of an epoch, an item (its views in `items`) and its targets."""

    items: Collection
    features: bool  # whether `items` holds the output of a frozen trunk
    first: NDArray[np.int64]  # (N, 2) place of each row's first window
    counts: NDArray[np.int64]  # (N,) number of views
    targets: Mapping[str, Targets]

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, rows: NDArray[np.int64], rng: np.random.Generator, group: Group = ALONE) -> Tensor:
        """(B,) rows of all processes -> (share of this process, ...) one randomly drawn view of each."""
        places = self.first[rows].copy()
        places[:, 1] += rng.integers(0, self.counts[rows])
        places = group.share(places)
        return torch.from_numpy(self.items.take(places))

    def bank(self, size: int, rng: np.random.Generator) -> Tensor | None:
        """The rows whose targets a loss gets beyond those of the batch: `size` drawn at random, or all N."""
        if not size:
            return None
        drawn = np.arange(len(self)) if size >= len(self) else rng.integers(0, len(self), size)
        return torch.from_numpy(drawn)


@dataclass
class Run:
    """The state of a run: everything that `--resume` needs."""

    encoder: Encoder
    optimizer: torch.optim.Optimizer
    averaged: Encoder  # with the averaged weights, which are the result
    loss: Loss
    step: int = 0
    seconds: float = 0.0
    lr: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of log.jsonl
    window: list[float] = field(default_factory=list)  # the losses since the last line

    def __post_init__(self) -> None:
        # looked up once: walking the modules in every step would take as long as the step of a small head
        self.trained: list[Tensor] = [p for p in self.encoder.parameters() if p.requires_grad]
        self.trained_averages: list[Tensor] = [
            mine
            for mine, own in zip(self.averaged.parameters(), self.encoder.parameters(), strict=True)
            if own.requires_grad
        ]
        self.buffers = list(zip(self.averaged.buffers(), self.encoder.buffers(), strict=True))
        self.device = self.trained[0].device

    def state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "window": self.window,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned. Raises TrainingError if it belongs to another run."""
        try:
            self._load(state)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            why = kind_and_words(error, 200)
            raise TrainingError(f"the saved state does not belong to this run; start it again ({why})") from None

    def _load(self, state: Mapping[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        older = "loss" not in state  # from before a loss had a state of its own
        self.loss.load_state_dict({"log_scale": state["log_scale"]} if older else state["loss"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.history, self.window = list(state["history"]), list(state["window"])


def start(encoder: Encoder, config: AlignConfig, loss: Loss) -> Run:
    """A run at step 0. Raises TrainingError if the encoder has no trainable parameter."""
    trainable = [p for p in encoder.parameters() if p.requires_grad]
    if not trainable:
        raise TrainingError("the encoder has no trainable parameter")
    loss = loss.to(trainable[0].device)
    groups = [*_parameter_groups(encoder, config.train.weight_decay), *_parameter_groups(loss, 0.0)]
    optimizer = torch.optim.AdamW(groups, lr=config.train.lr, betas=(0.9, 0.98), fused=True)
    averaged = copy.deepcopy(encoder).requires_grad_(False).eval()
    return Run(encoder, optimizer, averaged, loss)


def _parameter_groups(trained: Encoder | Loss, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters by weight decay (none on biases and gains) and by the module's own `lr_scales`."""
    scales = trained.lr_scales()
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            scale = math.prod(factor for prefix, factor in scales.items() if name.startswith(prefix))
            groups.setdefault((weight_decay if parameter.ndim > 1 else 0.0, scale), []).append(parameter)
    return [{"params": own, "weight_decay": decay, "lr_scale": scale} for (decay, scale), own in groups.items()]


def train(
    run: Run,
    data: Data,
    config: AlignConfig,
    *,
    validate: Callable[[Encoder], dict[str, float]],
    save: Callable[[dict[str, Any]], None],
    progress: Progress,
    group: Group = ALONE,
) -> None:
    """Train until the last step, or for `minutes`. `save` gets the state from time to time and after each evaluation.

    With several processes each takes its share of every batch, which has `batch_size` rows per process. The caller's
    random state is restored. Raises TrainingError if the loss is not finite; the last saved state is still good.
    """
    total, per_epoch = total_steps(len(data), config, group), steps_per_epoch(len(data), config, group)
    check_every = per_epoch * max(1, total // per_epoch // CHECKS) if total >= per_epoch else max(1, total // CHECKS)
    pace = Pace(run.step, total, config.train.minutes, tell=group.is_main)
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    with random_state_restored(run.device):
        while run.step < total and progress_of(run.step, run.seconds, total, config) < 1:
            rows = _rows_of_step(run.step, len(data), config, group)
            run.window.append(_step(run, data, rows, config, total, group))
            run.step += 1
            run.seconds = time.monotonic() - began
            if config.train.minutes:
                run.seconds = group.agree(run.seconds)
            progress("training", run.step, total)
            pace.after_step(run.step, len(rows))
            if run.step % check_every == 0 or run.step == total:
                run.history.append({**_line(run, per_epoch, pace), **validate(run.averaged)})
                run.window = []
                save(run.state())
                saved = pace.reset()
            elif time.monotonic() - saved > config.train.checkpoint_seconds:
                save(run.state())
                saved = time.monotonic()


class Pace:
    """How fast a run is: rows per second since the last evaluation, and, once, an estimate of the time left."""

    def __init__(self, step: int, total: int, minutes: float | None, tell: bool) -> None:
        self.first, self.total, self.minutes, self.tell = step, total, minutes, tell
        self.paced = self.reset()

    def reset(self) -> float:
        self.rows, self.since = 0, time.monotonic()
        return self.since

    def after_step(self, step: int, rows: int) -> None:
        self.rows += rows
        if step == self.first + 1:  # from here on: the first step is slow
            self.paced = time.monotonic()
        elif step == self.first + PACED and self.tell:
            left_s = (self.total - step) * (time.monotonic() - self.paced) / (PACED - 1)
            log.info("about %s left", spoken(min(left_s, 60 * self.minutes if self.minutes else left_s)))

    @property
    def rows_per_second(self) -> float:
        return self.rows / (time.monotonic() - self.since)


def _line(run: Run, per_epoch: int, pace: Pace) -> dict[str, float]:
    """A line of log.jsonl, without the evaluation."""
    return {
        "step": run.step,
        "epoch": round(run.step / per_epoch, 3),
        "loss": float(np.mean(run.window)),
        "lr": run.lr,
        "seconds": round(run.seconds, 2),
        "rows_per_second": round(pace.rows_per_second, 1),
    }


def _step(
    run: Run, data: Data, rows: NDArray[np.int64], config: AlignConfig, total: int, group: Group = ALONE
) -> float:
    """One step of the optimizer; returns the loss."""
    device = run.device
    rng = np.random.default_rng([config.seed, run.step])
    drawn, augmented = rng.integers(2**62, size=2) + group.rank
    seed_torch(int(drawn), device)
    if not run.encoder.training:
        run.encoder.train()
    batch = data.batch(rows, rng, group).to(device)
    if not data.features:
        batch = run.encoder.augment(batch, torch.Generator().manual_seed(int(augmented)))
    with torch.autocast(device.type, torch.bfloat16, enabled=_bf16(device, config.train.precision)):
        z = run.encoder.head(batch) if data.features else run.encoder(batch)
    z_BD = group.gather(F.normalize(z.float(), dim=-1), len(rows))
    loss = _loss(run.loss, z_BD, torch.from_numpy(rows).to(device), data.bank(run.loss.bank, rng), data)
    run.lr = config.train.lr * rate_at(progress_of(run.step, run.seconds, total, config), config.train.warmup)
    for parameters in run.optimizer.param_groups:
        parameters["lr"] = parameters["lr_scale"] * run.lr
        for parameter in parameters["params"]:  # ten times as fast as `zero_grad`, which is 2 % of a small head's step
            parameter.grad = None
    loss.backward()
    group.sum_gradients(run.trained)
    norm = nn.utils.get_total_norm([p.grad for p in run.trained if p.grad is not None])
    value, length = loss.item(), norm.item()
    _refuse_unless_finite(value, length, run.step + 1)  # before the weights change
    if length > config.train.clip_grad:
        nn.utils.clip_grads_with_norm_(run.trained, config.train.clip_grad, norm)
    run.optimizer.step()
    run.loss.after_step()
    _average(run, config.train.ema)
    return value


def _refuse_unless_finite(loss: float, gradient: float, step: int) -> None:
    for what, value in (("loss", loss), ("gradient", gradient)):
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {step}; the state of the last checkpoint is kept. "
                "Try a smaller learning rate: --set train.lr=..."
            )


def _loss(loss: Loss, z_BD: Tensor, rows: Tensor, others: Tensor | None, data: Data) -> Tensor:
    """The loss on the rows that have a target, averaged over the anchor modalities; `others` are the bank's rows."""
    parts = []
    others = others if others is None else others.to(z_BD.device)
    for targets in data.targets.values():
        of_row, z = targets.of_row[rows], z_BD
        if not targets.complete:  # usually every row has one, and the copy would take a tenth of a small head's step
            has = of_row >= 0
            of_row, z = of_row[has], z_BD[has]
        if len(z) < 2:
            continue
        bank_MD = None
        if others is not None:
            of_other = targets.of_row[others]
            bank_MD = targets.vectors[of_other[of_other >= 0]]
        parts.append(loss(z, targets.vectors[of_row], bank_MD))
    return torch.stack(parts).mean() if parts else z_BD.sum() * 0.0


def _rows_of_step(step: int, n: int, config: AlignConfig, group: Group = ALONE) -> NDArray[np.int64]:
    """The rows of a step: each epoch goes through all rows in an order of its own, drawn from (seed, epoch)."""
    epoch, within = divmod(step, steps_per_epoch(n, config, group))
    order = _order_of_epoch(config.seed, epoch, n)
    size = config.train.batch_size * group.size
    rows = order[within * size : (within + 1) * size]
    least = max(2, group.size)  # a single row has no negatives, and every process needs a row
    return np.array(rows if len(rows) >= least else order[-least:])


@lru_cache(maxsize=1)
def _order_of_epoch(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """A permutation of n rows; kept, because drawing one of a million rows takes longer than a small head's step."""
    return np.random.default_rng([seed, 1, epoch]).permutation(n)


def _bf16(device: torch.device, precision: str) -> bool:
    """Whether the forward pass runs in bf16: as configured, by default if the device supports it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    """Polyak averaging of the weights, with a smaller decay in the first steps; buffers are copied."""
    decay = min(decay, (1 + run.step) / (10 + run.step)) if decay else 0.0
    torch._foreach_lerp_(run.trained_averages, run.trained, 1 - decay)
    for mine, theirs in run.buffers:
        mine.copy_(theirs)
