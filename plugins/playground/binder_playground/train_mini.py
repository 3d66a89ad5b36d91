"""Train the mini anchor from scratch: draw the pool, learn the tokenizer, train, evaluate, write the folder.

    python -m binder_playground.train_mini --config configs/mini.toml --out DIR [--minutes M] [--seed S]
        [--device auto|cpu|cuda] [--resume]

The pool, the checkpoint and the log go to DIR.work; DIR gets the finished anchor, rewritten after every evaluation.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import distributed
from torch.multiprocessing.spawn import spawn

from binder_playground import world
from binder_playground.mini import bpe, evaluation
from binder_playground.mini.data import VALUES, Pool, batches, build_pool
from binder_playground.mini.model import FieldHeads, make_model, make_tokenizer, write_folder
from binder_playground.mini.step import Run, update, word_lists

log = logging.getLogger(__name__)
SAVE_EVERY = 120  # seconds between checkpoints


def train(config: dict[str, Any], out: Path, minutes: float, seed: int, device: str, resume: bool) -> None:
    """Run the whole recipe; on a CPU in several processes with one thread each."""
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    build_pool(work / "pool", config["pool"], seed, config["image_size"], config["workers"])
    text = config["model"]["text_cfg"]
    make_tokenizer(work / "bpe.txt.gz", text["context_length"], config["merges"], config["words"])
    many = config["workers"] if device == "cpu" else 1
    arguments = (many, config, out, minutes, seed, device, resume)
    if many == 1:
        train_process(0, *arguments)
    else:
        (work / "meeting").unlink(missing_ok=True)
        spawn(train_process, arguments, nprocs=many)


def train_process(
    rank: int,
    many: int,
    config: dict[str, Any],
    out: Path,
    minutes: float,
    seed: int,
    device: str,
    resume: bool,
) -> None:
    """The work of each of `many` processes; the first also evaluates and writes."""
    work, lead = out.with_name(out.name + ".work"), rank == 0
    logging.basicConfig(level=logging.INFO if lead else logging.ERROR, format="%(asctime)s %(message)s")
    if many > 1:
        torch.set_num_threads(1)
        meeting = f"file://{(work / 'meeting').absolute()}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=many)
    torch.manual_seed(seed)
    text, size = config["model"]["text_cfg"], config["image_size"]
    pool = build_pool(work / "pool", config["pool"], seed, size, workers=1)
    tokenizer = make_tokenizer(work / "bpe.txt.gz", text["context_length"], config["merges"], config["words"])
    words = word_lists(bpe.ordinary_words(config["words"]))
    run, model_cfg = new_run(config, tokenizer.vocab_size, torch.device(device))
    if resume and (work / "checkpoint.pt").exists():
        run.load(work / "checkpoint.pt")
    pools = evaluation.held_out(seed, size) if lead else {}
    rng = np.random.default_rng((seed, 7, run.step, rank))
    source = batches(pool, config["pool"], config["shares"], config["batch"], rng)
    budget, last = minutes * 60, time.monotonic()
    before = run.seconds  # the first process's clock, which all share, so that all stop after the same step
    while before < budget:
        losses = update(run, tokenizer, next(source), words, rng, config, budget)
        now, before = time.monotonic(), run.seconds
        run.seconds, last = before + now - last, now
        if not lead:
            continue
        if run.step % 100 == 0:
            brief = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            log.info("step %d, %.1f min: %s", run.step, run.seconds / 60, brief)
        if run.seconds // SAVE_EVERY > before // SAVE_EVERY:
            run.save(work / "checkpoint.pt")
        if run.seconds // (config["every"] * 60) > before // (config["every"] * 60) and run.seconds < budget:
            publish(run, config, model_cfg, tokenizer, pools, out, seed)
            last = time.monotonic()
    if lead:
        run.save(work / "checkpoint.pt")
        publish(run, config, model_cfg, tokenizer, pools, out, seed)


def new_run(config: dict[str, Any], vocab_size: int, device: torch.device) -> tuple[Run, dict[str, Any]]:
    """Untrained weights with their optimizer, and OpenCLIP's model_cfg of the model."""
    model, model_cfg = make_model(config["model"], vocab_size)
    model = model.to(device, memory_format=torch.channels_last)
    heads = FieldHeads(model_cfg["embed_dim"]).to(device)
    parameters = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config["decay"]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config["rate"], betas=(0.9, 0.98))
    log.info("%.2f M parameters, %d tokens", sum(p.numel() for p in model.parameters()) / 1e6, vocab_size)
    return Run(model, copy.deepcopy(model).requires_grad_(False), heads, optimizer), model_cfg


def publish(
    run: Run, config: dict[str, Any], model_cfg: dict[str, Any], tokenizer: SimpleTokenizer, pools: dict[str, Pool],
    out: Path, seed: int,
) -> None:  # fmt: skip
    """Evaluate the averaged weights, write the folder, and add a line to the log."""
    work = out.with_name(out.name + ".work")
    report = evaluation.accuracies(run.average, tokenizer, pools)
    unseen = evaluation.unseen_cosine(run.average, tokenizer)
    brief = {name: round(values["caption"], 3) for name, values in report.items()}
    log.info("after %.1f min, %d steps: %s; unseen words %.3f", run.seconds / 60, run.step, brief, unseen)
    write_folder(out, run.average, model_cfg, work / "bpe.txt.gz", make_card(run, config, seed, report, unseen))
    with (work / "log.jsonl").open("a") as file:
        file.write(json.dumps({"step": run.step, "seconds": run.seconds, "unseen": unseen, **report}) + "\n")


def make_card(run: Run, config: dict[str, Any], seed: int, report: dict[str, Any], unseen: float) -> dict[str, Any]:
    """The card that ships with the weights: what mini knows, how well, and how it was made."""
    cpu = run.model.logit_scale.device.type == "cpu"
    return {
        "name": "mini",
        "license": "Apache-2.0",
        "description": "A small OpenCLIP model trained from nothing on binder's playground. It knows drawn shapes, "
        "their motions, digits, simple charts and shaded solids, and nothing else.",
        "knows": {name: list(values) for name, values in VALUES.items()},
        "example_captions": [world.caption(world.concepts(kind)[-1]) for kind in world.KINDS],
        "words": known_words(),
        "accuracy": {
            "task": "zero-shot among all classes of the kind, held-out drawings",
            "seed": seed,
            **report,
        },
        "largest_cosine_of_unseen_words": unseen,
        "training": {
            "recipe": "python -m binder_playground.train_mini --config configs/mini.toml --out DIR",
            "seed": seed,
            "minutes": round(run.seconds / 60, 1),
            "steps": run.step,
            "pictures_seen": run.step * config["batch"] * (config["workers"] if cpu else 1),
            "machine": f"{os.cpu_count()} CPU cores" if cpu else torch.cuda.get_device_name(),
            "data": "drawn by the recipe; handwriting: the first 1,437 digits of scikit-learn's load_digits "
            "(UCI Optical Recognition of Handwritten Digits, CC BY 4.0)",
        },
        "parameters": {
            "all": sum(p.numel() for p in run.model.parameters()),
            "image": sum(p.numel() for p in run.model.visual.parameters()),
        },
    }


def known_words() -> list[str]:
    """All words of the playground's captions, sorted."""
    rng = np.random.default_rng(0)
    every = (
        c for kind in world.KINDS for c in world.concepts(kind) * (20 if kind in ("digit", "chart", "solid") else 2)
    )
    return sorted({word for c in every for word in world.wording(world.detailed(c, rng), rng).split()})


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = tomllib.loads(given.config.read_text())
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    minutes = config["minutes"] if given.minutes is None else given.minutes
    seed = config["seed"] if given.seed is None else given.seed
    train(config, given.out, minutes, seed, device, given.resume)


if __name__ == "__main__":
    main()
