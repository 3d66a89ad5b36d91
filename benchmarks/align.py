"""How much of the bare encoder's speed `binder align` keeps.

Baseline, in the same process, on the same threads and in the same precision: forward and backward of the same encoder
on a batch that lies in memory, without augmentation, loss, optimiser or data. The run: `binder.align` on spoken
captions of the playground against their text, everything included; rows per second from the second epoch on, read from
its own log.

    python benchmarks/align.py [--steps 60] [--batch 48] [--precision bf16]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

import binder
from binder import anchor, config
from binder.playground import speech
from binder.plugins import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--clips", type=int, default=960)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = speech.clips("train", "scene")[: given.clips]
        wavs = speech.write_wavs(clips, Path(folder) / "audio")
        rows = [{"audio": wav, "text": clip.text} for wav, clip in zip(wavs, clips, strict=True)]
        train = {"batch_size": given.batch, "val_fraction": 0.0, "precision": given.precision}
        settings = {"train": train, "encoder": {"trunk": "none"}}
        epochs = max(3, given.steps * given.batch // len(rows))
        out = Path(folder) / "run"
        binder.align("audio", rows, to="text", epochs=epochs, config=settings, out=out)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        speeds = [line["rows_per_second"] for line in lines if line.get("epoch", 0) > 1]
        aligned = statistics.median(speeds)
        bare = _bare(rows, out, given.batch, given.precision, steps=max(10, given.steps // 4))
    print(f"bare forward+backward  {bare:8.1f} rows/s")
    print(f"binder align           {aligned:8.1f} rows/s (median of {len(speeds)} epochs from the second on)")
    print(f"ratio                  {aligned / bare:8.2f}")


def _bare(rows: list[dict[str, object]], out: Path, batch: int, precision: str, steps: int) -> float:
    """Rows per second of forward and backward alone on a preloaded batch."""
    kind = registry().get("audio")
    card = json.loads((out / "card.json").read_text())
    encoder = kind.build(config.validate(kind.config, card["config"], "card"), anchor.load("mini")).train()
    x = torch.cat([encoder.preprocess(row["audio"])[:1] for row in rows[:batch]])
    seconds = []
    for step in range(steps + 3):
        began = time.perf_counter()
        encoder.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            z = encoder(x)
        z.float().square().mean().backward()
        if step >= 3:  # warm-up
            seconds.append(time.perf_counter() - began)
    return len(x) / statistics.median(seconds)


if __name__ == "__main__":
    main()
