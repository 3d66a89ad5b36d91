"""The training loop: preprocessed items from memory maps, frozen targets from memory, a state that can be resumed.

Everything random in a step is drawn from (seed, step), so a resumed run takes the very steps of an uninterrupted one.

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
from binder.encoder import Encoder
from binder.errors import TrainingError, kind_and_words
from binder.train import losses
from binder.train.distributed import ALONE, Group
from binder.train.schedule import progress_of, rate_at, spoken, steps_per_epoch, total_steps

log = logging.getLogger(__name__)

CHECKS = 10  # on the held-out rows, in a run
PACED = 20  # steps after which a run says how long it will take


@dataclass(frozen=True)
class Targets:
    """The frozen vectors of one anchor modality."""

    vectors: Tensor  # (U, D) unit length, on the training device
    of_row: Tensor  # (N,) int64 position in `vectors`, -1 where the row has none

    @cached_property
    def complete(self) -> bool:
        """Whether every row has one."""
        return bool((self.of_row >= 0).all())


@dataclass(frozen=True)
class Data:
    """What there is to train on: row i is a sample of an epoch, an item (its views in `items`) and its targets."""

    items: Collection
    features: bool  # whether `items` holds what a frozen trunk made of them
    first: NDArray[np.int64]  # (N, 2) place of each row's first window
    counts: NDArray[np.int64]  # (N,) number of views
    targets: Mapping[str, Targets]

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, rows: NDArray[np.int64], rng: np.random.Generator, group: Group = ALONE) -> Tensor:
        """(B,) rows of all processes -> (this one's share, ...) one view of each, drawn at random."""
        places = self.first[rows].copy()
        places[:, 1] += rng.integers(0, self.counts[rows])
        places = group.share(places)
        return torch.from_numpy(self.items.take(places))


@dataclass
class Run:
    """The state of a run: everything `--resume` needs."""

    encoder: Encoder
    optimizer: torch.optim.Optimizer
    averaged: Encoder  # the averaged weights that are kept in the end
    log_scale: Tensor
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of log.jsonl
    window: list[float] = field(default_factory=list)  # the losses since the last of them

    def __post_init__(self) -> None:
        # looked up once: walking the modules in every step takes a small head's time
        self.trained: list[Tensor] = [p for p in self.encoder.parameters() if p.requires_grad]
        self.trained_averages: list[Tensor] = [
            mine
            for mine, own in zip(self.averaged.parameters(), self.encoder.parameters(), strict=True)
            if own.requires_grad
        ]
        self.buffers = list(zip(self.averaged.buffers(), self.encoder.buffers(), strict=True))

    def state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log_scale": self.log_scale.detach(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "window": self.window,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises TrainingError where it is of something else."""
        try:
            self._load(state)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            why = kind_and_words(error, 200)
            raise TrainingError(f"the state that was kept is not of this run; begin it again ({why})") from None

    def _load(self, state: Mapping[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log_scale.data.copy_(state["log_scale"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.history, self.window = list(state["history"]), list(state["window"])


def start(encoder: Encoder, config: AlignConfig) -> Run:
    """A run at step 0. Raises TrainingError where nothing is trainable."""
    trainable = [p for p in encoder.parameters() if p.requires_grad]
    if not trainable:
        raise TrainingError("the encoder has no trainable parameter")
    log_scale = losses.logit_scale_parameter(config.loss.temperature).requires_grad_(config.loss.learn_temperature)
    groups = _parameter_groups(encoder, config.train.weight_decay)
    if config.loss.learn_temperature:
        groups.append({"params": [log_scale], "weight_decay": 0.0, "lr_scale": 1.0})
    optimizer = torch.optim.AdamW(groups, lr=config.train.lr, betas=(0.9, 0.98), fused=True)
    averaged = copy.deepcopy(encoder).requires_grad_(False).eval()
    return Run(encoder, optimizer, averaged, log_scale.to(next(iter(trainable)).device))


def _parameter_groups(encoder: Encoder, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters by weight decay (none on biases and gains) and by the encoder's own `lr_scales`."""
    scales = encoder.lr_scales()
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in encoder.named_parameters():
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
    """Take `run` to its end: the last step, or `minutes`. `save` gets the state now and then and after each check.

    Of several processes each takes its share of every batch, which has `batch_size` rows per process. Raises
    TrainingError when the loss is no longer finite; the state saved last stays good.
    """
    total, per_epoch = total_steps(len(data), config, group), steps_per_epoch(len(data), config, group)
    check_every = per_epoch * max(1, total // per_epoch // CHECKS) if total >= per_epoch else max(1, total // CHECKS)
    device = run.log_scale.device
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    seen, since = 0, time.monotonic()
    first, paced = run.step, since
    while run.step < total and progress_of(run.step, run.seconds, total, config) < 1:
        rows = _rows_of_step(run.step, len(data), config, group)
        loss = _step(run, data, rows, config, total, device, group)
        run.window.append(loss)
        seen += len(rows)
        run.step += 1
        run.seconds = time.monotonic() - began
        if config.train.minutes:
            run.seconds = group.agree(run.seconds)
        progress("training", run.step, total)
        if run.step == first + PACED and group.is_main:
            left_s = (total - run.step) * (time.monotonic() - paced) / (PACED - 1)
            most_s = 60 * config.train.minutes if config.train.minutes else left_s
            log.info("about %s left", spoken(min(left_s, most_s)))
        elif run.step == first + 1:  # the first step is slow
            paced = time.monotonic()
        if run.step % check_every == 0 or run.step == total:
            line = {
                "step": run.step,
                "epoch": round(run.step / per_epoch, 3),
                "loss": float(np.mean(run.window)),
                "seconds": round(run.seconds, 2),
                "rows_per_second": round(seen / (time.monotonic() - since), 1),
            }
            run.window = []
            run.history.append({**line, **validate(run.averaged)})
            save(run.state())
            saved = time.monotonic()
            seen, since = 0, saved
        elif time.monotonic() - saved > config.train.checkpoint_seconds:
            save(run.state())
            saved = time.monotonic()


def _step(
    run: Run,
    data: Data,
    rows: NDArray[np.int64],
    config: AlignConfig,
    total: int,
    device: torch.device,
    group: Group = ALONE,
) -> float:
    """One optimiser step; returns the loss."""
    rng = np.random.default_rng([config.seed, run.step])
    drawn, augmented = rng.integers(2**62, size=2) + group.rank
    _seed(int(drawn), device)
    if not run.encoder.training:
        run.encoder.train()
    batch = data.batch(rows, rng, group).to(device)
    if not data.features:
        batch = run.encoder.augment(batch, torch.Generator().manual_seed(int(augmented)))
    with torch.autocast(device.type, torch.bfloat16, enabled=_bf16(device, config.train.precision)):
        z = run.encoder.head(batch) if data.features else run.encoder(batch)
    z_BD = group.gather(F.normalize(z.float(), dim=-1), len(rows))
    others = _bank(len(data), config.loss.bank, rng, device)
    loss = _loss(z_BD, torch.from_numpy(rows).to(device), others, data, run.log_scale.exp(), config)
    rate = config.train.lr * rate_at(progress_of(run.step, run.seconds, total, config), config.train.warmup)
    for parameters in run.optimizer.param_groups:
        parameters["lr"] = parameters["lr_scale"] * rate
        for parameter in parameters["params"]:  # `zero_grad` takes ten times as long, of a small head's step 2 %
            parameter.grad = None
    loss.backward()
    group.sum_gradients(run.trained)
    norm = nn.utils.get_total_norm([p.grad for p in run.trained if p.grad is not None])
    value, length = loss.item(), norm.item()
    _refuse_unless_finite(value, length, run.step + 1)  # before the weights take it in
    if length > config.train.clip_grad:
        nn.utils.clip_grads_with_norm_(run.trained, config.train.clip_grad, norm)
    run.optimizer.step()
    losses.clamp_logit_scale(run.log_scale)
    _average(run, config.train.ema)
    return value


def _refuse_unless_finite(loss: float, gradient: float, step: int) -> None:
    for what, value in (("loss", loss), ("gradient", gradient)):
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {step}; the state of the last checkpoint is kept. "
                "Try a smaller learning rate: --set train.lr=..."
            )


def _bank(n: int, size: int, rng: np.random.Generator, device: torch.device) -> Tensor | None:
    """The rows whose targets are negatives in a step, beside the batch's own; all n where as many are asked for."""
    if not size:
        return None
    return torch.from_numpy(np.arange(n) if size >= n else rng.integers(0, n, size)).to(device)


def _seed(seed: int, device: torch.device) -> None:
    """Seed what the encoder draws in a step (dropout, masks) as `torch.manual_seed` does, on the devices in use only.

    For an accelerator that is not in use yet `torch.manual_seed` formats the whole call stack, in every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.manual_seed(seed)


def _loss(z_BD: Tensor, rows: Tensor, others: Tensor | None, data: Data, scale: Tensor, config: AlignConfig) -> Tensor:
    """Mean over the anchor modalities of the loss on the rows that have one; `others` are the rows of the bank."""
    parts = []
    for targets in data.targets.values():
        of_row, z = targets.of_row[rows], z_BD
        if not targets.complete:  # as a rule every row has one, and a copy less is a tenth of a small head's step
            has = of_row >= 0
            of_row, z = of_row[has], z_BD[has]
        if len(z) < 2:
            continue
        t_BD = targets.vectors[of_row]
        if others is not None:
            of_other = targets.of_row[others]
            bank_MD = targets.vectors[of_other[of_other >= 0]]
            parts.append(losses.contrastive_with_bank(z, t_BD, bank_MD, scale, config.loss.soft))
        else:
            soft_BB = losses.soft_targets(t_BD, config.loss.soft)
            parts.append(losses.contrastive(z, t_BD, soft_BB, scale) - losses.entropy(soft_BB))
    return torch.stack(parts).mean() if parts else z_BD.sum() * 0.0


def _rows_of_step(step: int, n: int, config: AlignConfig, group: Group = ALONE) -> NDArray[np.int64]:
    """The rows of a step: each epoch is a new order of all rows, drawn from (seed, epoch)."""
    epoch, within = divmod(step, steps_per_epoch(n, config, group))
    order = _order_of_epoch(config.seed, epoch, n)
    size = config.train.batch_size * group.size
    rows = order[within * size : (within + 1) * size]
    least = max(2, group.size)  # a lone row has nothing to be told from, and every process needs one
    return np.array(rows if len(rows) >= least else order[-least:])


@lru_cache(maxsize=1)
def _order_of_epoch(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """A permutation of n rows; kept, as drawing it for a million rows takes longer than a small head's step."""
    return np.random.default_rng([seed, 1, epoch]).permutation(n)


def _bf16(device: torch.device, precision: str) -> bool:
    """Whether the forward pass runs in bf16: as asked, and by default where the processor has it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return device.type == "cuda"


@torch.no_grad()
def _average(run: Run, decay: float) -> None:
    """Polyak averaging of the weights, with a shorter memory in the first steps; buffers are copied."""
    decay = min(decay, (1 + run.step) / (10 + run.step)) if decay else 0.0
    torch._foreach_lerp_(run.trained_averages, run.trained, 1 - decay)
    for mine, theirs in run.buffers:
        mine.copy_(theirs)
