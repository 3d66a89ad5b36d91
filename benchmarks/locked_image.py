"""What encoding the anchor's side once saves: `binder align` beside the usual loop, which encodes it in every step.

The usual loop is OpenCLIP's training with a locked image tower (LiT, Zhai et al. 2022), written out: per step the
frozen tower on the pictures, the encoder on the sounds, ClipLoss, AdamW, a learned logit scale. Anchor: ViT-B-32 with
random weights (its speed is that of any). Both loops get the same pictures and sounds, already preprocessed, the same
encoder with its augmentation, batch, number of steps and precision, and take turns of one epoch in one process; times
are CPU seconds. The ideal is a step without the anchor and without anything else but the encoder's bare forward and
backward pass: (anchor + encoder) / encoder times as fast as with it.

    python benchmarks/locked_image.py                                           # the default encoder, a few minutes
    python benchmarks/locked_image.py --preset vit-b --pairs 48 --batch 8 --epochs 3
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from turns import Turns

import binder
from binder import Anchor, Encoder, OpenClipAnchor
from binder.registry import registry

LEAST = 0.85  # of the ideal
RATE, SECONDS, PIXELS = 16_000, 2.0, 64


def write_pairs(folder: Path, n: int) -> list[dict[str, Path]]:
    """Pictures of noise and two-second chords."""
    import soundfile

    rng, rows = np.random.default_rng(0), []
    time_s = np.arange(round(RATE * SECONDS)) / RATE
    for i in range(n):
        picture, sound = folder / f"{i}.png", folder / f"{i}.wav"
        Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)).save(picture)
        chord = np.sin(2 * np.pi * np.outer(rng.uniform(80, 4000, 3), time_s)).mean(0)
        soundfile.write(sound, 0.5 * chord + 0.02 * rng.standard_normal(len(time_s)), RATE)
        rows.append({"audio": sound, "image": picture})
    return rows


def random_anchor(name: str) -> Anchor:
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(name)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    return OpenClipAnchor(f"random {name}", model, preprocess, open_clip.get_tokenizer(name))


class UsualLoop:
    """Steps that encode both sides, and the CPU seconds of each and of its parts."""

    def __init__(self, anchor: Anchor, encoder: Encoder, rows: list[dict[str, Path]], batch: int, bf16: bool) -> None:
        self.model, self.encoder, self.batch, self.bf16 = anchor.model, encoder.train(), batch, bf16
        self.pictures = torch.stack([anchor.transform(Image.open(row["image"])) for row in rows])
        self.sounds = torch.cat([encoder.preprocess(row["audio"])[:1] for row in rows])
        self.spent: dict[str, list[float]] = defaultdict(list)

    def __iter__(self) -> Iterator[None]:
        import open_clip

        self.model.lock_image_tower()  # type: ignore[operator]
        log_scale = torch.nn.Parameter(torch.tensor(1 / 0.07).log())
        parameters = [*self.encoder.parameters(), log_scale]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
        loss_of, generator = open_clip.ClipLoss(), torch.Generator().manual_seed(0)
        while True:
            for rows in torch.randperm(len(self.sounds)).split(self.batch):
                began = time.process_time()
                optimizer.zero_grad()
                with self._autocast():
                    t_BD = self.model.encode_image(self.pictures[rows], normalize=True)  # type: ignore[operator]
                self.spent["anchor"].append(time.process_time() - began)
                x = self.encoder.augment(self.sounds[rows], generator)
                with self._autocast():
                    z_BD = F.normalize(self.encoder(x), dim=-1)
                loss = loss_of(z_BD.float(), t_BD.float(), log_scale.exp())
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    log_scale.clamp_(0, math.log(100))
                loss.item()
                self.spent["step"].append(time.process_time() - began)
                self._bare(self.sounds[rows])
                yield

    def _bare(self, x: Tensor) -> None:
        """Forward and backward pass of the encoder, nothing else."""
        with torch.no_grad():
            x = self.encoder.augment(x, torch.Generator())  # in the form that training sees; not timed
        self.encoder.zero_grad()
        began = time.process_time()
        with self._autocast():
            z_BD = self.encoder(x)
        z_BD.float().square().mean().backward()
        self.spent["encoder"].append(time.process_time() - began)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    kind, anchor = registry().get("audio"), random_anchor(given.anchor)
    rows = write_pairs(folder, given.pairs)
    config = kind.config(preset=given.preset)
    assert kind.adapt is not None
    encoder = kind.build(kind.adapt(config, [row["audio"] for row in rows]), anchor)
    usual = UsualLoop(anchor, encoder, rows, given.batch, given.precision == "bf16")
    per_epoch = given.pairs // given.batch
    turns = Turns(iter(usual), block=per_epoch, skip=per_epoch)
    train = {"batch_size": given.batch, "val_fraction": 0.0, "precision": given.precision}
    settings = {"train": train, "encoder": {"preset": given.preset}}
    began = time.process_time()
    binder.align("audio", rows, anchor=anchor, epochs=given.epochs, config=settings, out=folder / "run", progress=turns)
    ours_s = time.process_time() - began - sum(turns.theirs)
    step = {name: statistics.median(seconds[per_epoch:]) for name, seconds in usual.spent.items()}
    binder_step, _ = turns.medians()
    ideal = (step["anchor"] + step["encoder"]) / step["encoder"]
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "steps": len(turns.ours),
        "anchor_s": step["anchor"],
        "encoder_s": step["encoder"],
        "usual_step_s": step["step"],
        "binder_step_s": binder_step,
        "times_as_fast": step["step"] / binder_step,
        "ideal": ideal,
        "of_ideal": step["step"] / binder_step / ideal,
        "usual_run_s": sum(usual.spent["step"]),
        "binder_run_s": ours_s,
        "binder_caching_s": sum(seconds for stage, seconds in turns.stages.items() if stage != "training"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=["small", "vit-b"], default="small", help="of the audio encoder")
    parser.add_argument("--anchor", default="ViT-B-32", help="architecture of OpenCLIP")
    parser.add_argument("--pairs", type=int, default=128, help="a multiple of the batch")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of both loops, anchor included")
    parser.add_argument("--out", type=Path, help="JSON of everything measured")
    given = parser.parse_args()
    if given.pairs % given.batch or given.epochs < 2:
        parser.error("--pairs must be a multiple of --batch, and --epochs at least 2")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BINDER_CACHE"] = str(Path(folder) / "cache")  # empty
        found = measure(given, Path(folder))
    print(f"encoder: {found['parameters'] / 1e6:.1f} M parameters, batch {given.batch}, {given.precision}; CPU seconds")
    print(f"a step    anchor {found['anchor_s']:.3f}, encoder's forward and backward {found['encoder_s']:.3f}")
    print(f"          usual loop {found['usual_step_s']:.3f}, binder {found['binder_step_s']:.3f}")
    print(f"          binder is {found['times_as_fast']:.1f} times as fast, the ideal is {found['ideal']:.1f}")
    usual_s, binder_s, caching_s = (found[f"{name}_s"] for name in ("usual_run", "binder_run", "binder_caching"))
    print(
        f"{given.epochs} epochs  usual loop {usual_s:.0f}, binder {binder_s:.0f}, {caching_s:.0f} of them for the cache"
    )
    print(f"          the whole run is {usual_s / binder_s:.1f} times as fast")
    held = found["of_ideal"] >= LEAST
    print(f"{'held  ' if held else 'MISSED'} share of the ideal: {found['of_ideal']:.2f} (at least {LEAST})")
    if given.out:
        given.out.write_text(json.dumps({**vars(given), **found}, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
