"""How much of the bare encoder's speed `binder align` keeps.

Baseline, in turns in the same process, on the same threads and in the same precision, on a batch that lies in memory:
for audio forward and backward of the encoder and nothing else. For video and charts, whose trunk is frozen, the head
on its features takes 3 ms; there the baseline also has the loss and AdamW, as a loop of one's own would. The run:
`binder.align` on things of the playground against their text, everything included. Medians of CPU seconds, from the
second epoch on.

    python benchmarks/align.py [--modality audio video chart] [--steps 200] [--batch 48] [--precision bf16]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from binder_playground import clips, speech, tables, world
from torch.nn import functional as F
from turns import Turns

import binder
from binder.train import loop, losses

ITEMS = 480


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--modality", nargs="+", choices=["audio", "video", "chart"], default=["audio", "video", "chart"]
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    given = parser.parse_args()
    print(f"{'CPU ms a step':14}{'bare':>10}{'binder':>10}{'ratio':>8}")
    for modality in given.modality:
        with tempfile.TemporaryDirectory() as folder:
            ours, bare = _measure(modality, Path(folder), given.steps, given.batch, given.precision)
        print(f"{modality:14}{1000 * bare:10.2f}{1000 * ours:10.2f}{bare / ours:8.2f}", flush=True)


def _measure(modality: str, folder: Path, steps: int, batch: int, precision: str) -> tuple[float, float]:
    """Median CPU seconds of a step of binder and of the bare one."""
    rows = _rows(modality, folder)
    train = {"batch_size": batch, "val_fraction": 0.0, "precision": precision}
    settings = {"train": train, "encoder": {"trunk": "none"} if modality == "audio" else {}}
    turns, begin = Turns(block=20, skip=ITEMS // batch), loop.train

    def train_in_turns(run: loop.Run, data: loop.Data, *rest: Any, **more: Any) -> None:
        bare = _bare_head if data.features else _bare_encoder
        turns.other = bare(copy.deepcopy(run.encoder).train(), data, batch, precision == "bf16")
        begin(run, data, *rest, **more)

    with patch.object(loop, "train", train_in_turns):
        epochs = -(-steps * batch // len(rows))
        binder.align(modality, rows, to="text", epochs=epochs, config=settings, out=folder / "run", progress=turns)
    return turns.medians()


def _bare_encoder(encoder: binder.Encoder, data: loop.Data, batch: int, bf16: bool) -> Iterator[None]:
    x = data.batch(np.arange(batch), np.random.default_rng(0))
    while True:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = encoder(x)
        z.float().square().mean().backward()
        yield


def _bare_head(encoder: binder.Encoder, data: loop.Data, batch: int, bf16: bool) -> Iterator[None]:
    (targets,) = data.targets.values()
    x, t_BD = data.batch(np.arange(batch), np.random.default_rng(0)), targets.vectors[targets.of_row[:batch]]
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad])
    while True:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = encoder.head(x)
        soft_BB = losses.soft_targets(t_BD, 0.02)
        losses.contrastive(F.normalize(z.float(), dim=-1), t_BD, soft_BB, 20.0).backward()
        optimizer.step()
        yield


def _rows(modality: str, folder: Path) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    if modality == "audio":
        said = speech.clips("train", "scene")[:ITEMS]
        paths, texts = speech.write_wavs(said, folder / "audio"), [clip.text for clip in said]
    else:
        of_kind = list(world.concepts("motion" if modality == "video" else "chart"))
        concepts = [of_kind[i % len(of_kind)] for i in range(ITEMS)]
        write = clips.write_clips if modality == "video" else tables.write_tables
        paths, texts = write(concepts, folder / modality, rng), [world.caption(c) for c in concepts]
    return [{modality: path, "text": text} for path, text in zip(paths, texts, strict=True)]


if __name__ == "__main__":
    main()
