"""One training step of mini: captions for a batch, the losses, the update, gradients shared between processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, distributed

from binder_playground import world
from binder_playground.mini.data import named, numbered
from binder_playground.mini.model import (
    NOTHING,
    FieldHeads,
    encode_text,
    matching_losses,
    pixels,
    spreading_loss,
)

SOME = {"scene": 16, "motion": 8, "digit": 10, "chart": 25, "solid": 20}  # classes captioned in each step
WordLists = tuple[list[str], list[str]]
ASIDES = ("a {}", "the {}", "a picture of {}", "the sound of {}", "a photo of a {}", "this is {}", "two {}")


@dataclass
class Run:
    """The state of a training run, which goes into a checkpoint."""

    model: CLIP
    average: CLIP
    heads: FieldHeads
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0  # of training so far

    def save(self, path: Path) -> None:
        """Write a checkpoint; if the process is killed meanwhile, the previous one stays."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "heads", "optimizer")}
        torch.save({**parts, "step": self.step, "seconds": self.seconds}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        saved = torch.load(path, weights_only=True)
        for name in ("model", "average", "heads", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]


def captions(
    shown: NDArray[np.int16], words: WordLists, spread: int, rng: np.random.Generator
) -> tuple[list[str], NDArray[np.int64]]:
    """Texts for a step and their claims (M, F): a wording per picture, some classes, `spread` words worded twice."""
    said = [world.phrase(named(row), rng) for row in shown]
    for kind, some in SOME.items():
        known = world.concepts(kind)
        chosen = [known[int(i)] for i in rng.choice(len(known), some, replace=False)]
        said += [(world.caption(c), c) if rng.random() < 0.7 else world.phrase(c, rng) for c in chosen]
    claims = np.array([numbered(claim) for _, claim in said])
    picked = _lookalikes(words, spread, rng)
    aside = [
        ASIDES[int(i)].format(word) for i, word in zip(rng.integers(len(ASIDES), size=spread), picked, strict=True)
    ]
    nothing = np.full((2 * spread, claims.shape[1]), NOTHING)
    return [text for text, _ in said] + picked + aside, np.concatenate([claims, nothing])


def word_lists(words: list[str]) -> WordLists:
    """The words sorted by their beginnings, and by their endings."""
    return sorted(words), sorted(words, key=lambda word: word[::-1])


def _lookalikes(words: WordLists, n: int, rng: np.random.Generator) -> list[str]:
    """`n` words in groups of four with similar beginnings or endings; a word may, but rarely does, come twice."""
    starts = rng.integers(len(words[0]) - 4, size=n // 4)
    return [word for k, start in enumerate(starts) for word in words[k % 2][start : start + 4]]


def step_loss(
    run: Run, tokenizer: SimpleTokenizer, images: Tensor, shown: NDArray[np.int16], texts: list[str],
    claims: NDArray[np.int64], config: dict[str, Any],
) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
    """The weighted loss of one step and its parts."""
    device = images.device
    with torch.autocast(device.type, torch.bfloat16):
        raw_BD = run.model.encode_image(images)
        raw_MD = encode_text(run.model, tokenizer(texts).to(device))
    image_BD, text_MD = F.normalize(raw_BD.float(), dim=1), F.normalize(raw_MD.float(), dim=1)
    scale = run.model.logit_scale.exp()
    shown_BF = torch.from_numpy(shown.astype(np.int64)).to(device)
    claims_MF = torch.from_numpy(claims).to(device)
    losses = matching_losses(image_BD, text_MD, shown_BF, claims_MF, scale)
    losses["fields"] = run.heads(raw_BD.float(), shown_BF)
    spread = config["spread"]
    known, first, second = text_MD.split([len(texts) - 2 * spread, spread, spread])
    losses["words"] = spreading_loss(first, second, known)
    total = torch.stack([losses[name] * weight for name, weight in config["losses"].items()]).sum()
    return total, {name: float(value.detach()) for name, value in losses.items()}


def update(
    run: Run, tokenizer: SimpleTokenizer, batch: tuple[NDArray[np.uint8], NDArray[np.int16]], words: WordLists,
    rng: np.random.Generator, config: dict[str, Any], budget: float,
) -> dict[str, float]:  # fmt: skip
    """Update the weights and their moving average; the learning rate follows a cosine over `budget` seconds."""
    run.model.train()
    pictures, shown = batch
    texts, claims = captions(shown, words, config["spread"], rng)
    images = pixels(pictures, run.model.logit_scale.device)
    total, losses = step_loss(run, tokenizer, images, shown, texts, claims, config)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    share_gradients(run)
    warm, along = (
        min(1.0, (run.step + 1) / 300),
        0.5 + 0.5 * math.cos(math.pi * min(1.0, run.seconds / budget)),
    )
    for group in run.optimizer.param_groups:
        group["lr"] = config["rate"] * max(warm * along, 1e-3)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 2.0)
    run.optimizer.step()
    run.step += 1
    with torch.no_grad():
        run.model.logit_scale.clamp_(math.log(5.0), math.log(config["max_scale"]))
        keep = min(config["ema"], run.step / (run.step + 10))
        theirs = run.model.state_dict()
        for name, mine in run.average.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1 - keep)
            else:
                mine.copy_(theirs[name])
    return losses


def share_gradients(run: Run) -> None:
    """Average the gradients over the processes, if there are several, and adopt the clock of the first."""
    if not distributed.is_initialized():
        return
    parameters = [p for module in (run.model, run.heads) for p in module.parameters()]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    many = distributed.get_world_size()
    clock = torch.tensor([run.seconds * many if distributed.get_rank() == 0 else 0.0], device=gradients[0].device)
    flat = torch.cat([*(g.flatten() for g in gradients), clock])
    distributed.all_reduce(flat)
    flat /= many
    for parameter, shared in zip(parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True):
        parameter.grad = shared.view_as(parameter)
    run.seconds = float(flat[-1])
