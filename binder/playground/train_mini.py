"""Train the mini anchor from nothing: draw the pool, learn the tokenizer, train, evaluate, write the folder.

    python -m binder.playground.train_mini --config configs/mini.toml --out DIR [--minutes M] [--seed S]
        [--device auto|cpu|cuda] [--resume]

Pool, checkpoint and log go to DIR.work; DIR receives what is shipped, anew after every evaluation.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from binder.playground import mini_eval, mini_tokenizer, world
from binder.playground.mini_data import VALUES, batches, build_pool, named, numbered
from binder.playground.mini_model import (
    NOTHING,
    FieldHeads,
    encode_text,
    make_model,
    make_tokenizer,
    matching_losses,
    pixels,
    spreading_loss,
    write_folder,
)

log = logging.getLogger(__name__)
SOME = {"scene": 16, "motion": 8, "digit": 10, "chart": 25, "solid": 20}  # classes captioned in each step


@dataclass
class Run:
    """Everything that changes while training, and goes into a checkpoint."""

    model: CLIP
    average: CLIP
    heads: FieldHeads
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0  # of training so far

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill leaves the former one."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "average", "heads", "optimizer")}
        torch.save({**parts, "step": self.step, "seconds": self.seconds}, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        saved = torch.load(path, weights_only=True)
        for name in ("model", "average", "heads", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]


def captions(
    shown: NDArray[np.int16], words: list[str], spread: int, rng: np.random.Generator
) -> tuple[list[str], NDArray[np.int64]]:
    """Texts for a step and their claims (M, F): a wording per picture, some classes, `spread` words put in two ways."""
    said = [world.phrase(named(row), rng) for row in shown]
    for kind, some in SOME.items():
        known = world.concepts(kind)
        chosen = [known[int(i)] for i in rng.choice(len(known), some, replace=False)]
        said += [(world.caption(c), c) if rng.random() < 0.7 else world.phrase(c, rng) for c in chosen]
    texts = [text for text, _ in said]
    claims = np.array([numbered(claim) for _, claim in said])
    picked = [words[int(i)] for i in rng.choice(len(words), spread, replace=False)]
    ways = ("a {}", "the {}", "a picture of {}", "the sound of {}", "a photo of a {}", "this is {}", "two {}", "{} {}")
    other = [ways[int(i)] for i in rng.integers(len(ways), size=spread)]
    second = [way.format(word, picked[(k + 1) % spread]) if way.count("{}") == 1 else way.format(word, word)
              for k, (way, word) in enumerate(zip(other, picked, strict=True))]  # fmt: skip
    nothing = np.full((2 * spread, claims.shape[1]), NOTHING)
    return texts + picked + second, np.concatenate([claims, nothing])


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
    shown_BF, claims_MF = torch.from_numpy(shown.astype(np.int64)).to(device), torch.from_numpy(claims).to(device)
    losses = matching_losses(image_BD, text_MD, shown_BF, claims_MF, scale)
    losses["fields"] = run.heads(raw_BD.float(), shown_BF)
    spread = config["spread"]
    known, first, second = text_MD.split([len(texts) - 2 * spread, spread, spread])
    losses["words"] = spreading_loss(first, second, known, scale)
    total = torch.stack([losses[name] * weight for name, weight in config["losses"].items()]).sum()
    return total, {name: float(value.detach()) for name, value in losses.items()}


def train(config: dict[str, Any], out: Path, minutes: float, seed: int, device: torch.device, resume: bool) -> None:
    """Run the whole recipe."""
    torch.manual_seed(seed)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    size = config["image_size"]
    pool = build_pool(work / "pool", config["pool"], seed, size, config["workers"])
    tokenizer = make_tokenizer(
        work / "bpe.txt.gz", config["model"]["text_cfg"]["context_length"], config["merges"], config["words"]
    )
    model, model_cfg = make_model(config["model"], tokenizer.vocab_size)
    model = model.to(device, memory_format=torch.channels_last)
    heads = FieldHeads(model_cfg["embed_dim"]).to(device)
    run = Run(model, copy.deepcopy(model).requires_grad_(False), heads, _optimizer(model, heads, config))
    checkpoint = work / "checkpoint.pt"
    if resume and checkpoint.exists():
        run.load(checkpoint)
    pools = mini_eval.held_out(seed, size)
    words = mini_tokenizer.ordinary_words(config["words"])
    log.info("%d pictures, %d tokens, %.2f M parameters", len(pool.shown), tokenizer.vocab_size, _millions(model))

    def publish() -> None:
        report = mini_eval.accuracies(run.average, tokenizer, pools)
        unseen = mini_eval.unseen_cosine(run.average, tokenizer)
        brief = {k: round(v["caption"], 3) for k, v in report.items()}
        log.info("after %.1f min, %d steps: %s; unseen words %.3f", run.seconds / 60, run.step, brief, unseen)
        card = make_card(run, config, seed, device, report, unseen)
        write_folder(out, run.average, model_cfg, work / "bpe.txt.gz", card)
        with (work / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": run.step, "seconds": run.seconds, "unseen": unseen, **report}) + "\n")

    rng = np.random.default_rng((seed, 7, run.step))
    source = batches(pool, config["shares"], config["batch"], rng)
    saved = evaluated = run.seconds
    last = time.monotonic()
    while run.seconds < minutes * 60:
        losses = _step(run, tokenizer, next(source), words, rng, config, run.seconds / (minutes * 60))
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % 100 == 0:
            brief = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            log.info("step %d, %.1f min: %s, scale %.1f", run.step, run.seconds / 60, brief, float(model.logit_scale.exp()))
        if run.seconds - saved > 120:
            run.save(checkpoint)
            saved = run.seconds
        if run.seconds - evaluated > config["every"] * 60:
            publish()
            evaluated = run.seconds
            last = time.monotonic()
    run.save(checkpoint)
    publish()


def _step(
    run: Run, tokenizer: SimpleTokenizer, batch: tuple[NDArray[np.uint8], NDArray[np.int16]], words: list[str],
    rng: np.random.Generator, config: dict[str, Any], progress: float,
) -> dict[str, float]:  # fmt: skip
    """One update of the weights and of their average; `progress` runs from 0 to 1."""
    run.model.train()
    for group in run.optimizer.param_groups:
        group["lr"] = config["rate"] * max(min(1.0, run.step / 300) * (0.5 + 0.5 * math.cos(math.pi * progress)), 1e-3)
    pictures, shown = batch
    texts, claims = captions(shown, words, config["spread"], rng)
    images = pixels(pictures, run.model.logit_scale.device)
    total, losses = step_loss(run, tokenizer, images, shown, texts, claims, config)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
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


def make_card(
    run: Run, config: dict[str, Any], seed: int, device: torch.device, report: dict[str, Any], unseen: float
) -> dict[str, Any]:
    """What ships beside the weights: what mini knows, how well, and where it comes from."""
    return {
        "name": "mini",
        "licence": "Apache-2.0",
        "description": "A small OpenCLIP model trained from nothing on binder's playground. It knows drawn shapes, their "
        "motions, digits, simple charts and shaded solids, and nothing else.",
        "knows": {name: list(values) for name, values in VALUES.items()},
        "example_captions": [world.caption(world.concepts(kind)[-1]) for kind in world.KINDS],
        "words": known_words(),
        "accuracy": {"task": "zero-shot among all classes of the kind, held-out drawings", "seed": seed, **report},
        "largest_cosine_of_unseen_words": unseen,
        "training": {
            "recipe": "python -m binder.playground.train_mini --config configs/mini.toml --out DIR",
            "seed": seed,
            "minutes": round(run.seconds / 60, 1),
            "steps": run.step,
            "pictures_seen": run.step * config["batch"],
            "machine": f"{os.cpu_count()} CPU cores" if device.type == "cpu" else torch.cuda.get_device_name(),
            "data": "drawn by the recipe; handwriting: the first 1,437 digits of scikit-learn's load_digits "
            "(UCI Optical Recognition of Handwritten Digits, CC BY 4.0)",
        },
        "parameters": {"all": sum(p.numel() for p in run.model.parameters()),
                       "image": sum(p.numel() for p in run.model.visual.parameters())},  # fmt: skip
    }


def known_words() -> list[str]:
    """All words of the playground's captions, sorted."""
    rng = np.random.default_rng(0)
    every = (c for kind in world.KINDS for c in world.concepts(kind) * (20 if kind in ("digit", "chart", "solid") else 2))
    return sorted({word for c in every for word in world.wording(world.detailed(c, rng), rng).split()})


def _optimizer(model: CLIP, heads: FieldHeads, config: dict[str, Any]) -> torch.optim.Optimizer:
    parameters = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config["decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config["rate"], betas=(0.9, 0.98))


def _millions(model: torch.nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="of training; default: the config's")
    parser.add_argument("--seed", type=int, help="default: the config's")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--resume", action="store_true", help="continue from DIR.work/checkpoint.pt")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = tomllib.loads(given.config.read_text())
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    minutes = config["minutes"] if given.minutes is None else given.minutes
    seed = config["seed"] if given.seed is None else given.seed
    train(config, given.out, minutes, seed, torch.device(device), given.resume)


if __name__ == "__main__":
    main()
