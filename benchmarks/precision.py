"""What bf16 and torch.compile bring to a step of the audio encoder: forward and backward, beside fp32 as it is.

CPU seconds where there is no accelerator, the least of several steps; compiling is timed apart. The small preset
takes a batch of 48, the one of ImageBind's shape 8.

    python benchmarks/precision.py [--preset small vit-b] [--steps 6]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch

from binder.registry import registry
from binder.testing import tiny_anchor

BATCH = {"small": 48, "vit-b": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", choices=list(BATCH), default=list(BATCH))
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, frozen = registry().get("audio"), tiny_anchor()
    print(f"{'on ' + device:8}{'step, s':>18}{'of fp32':>10}{'compiling, s':>14}")
    for preset in given.preset:
        encoder = kind.build(kind.config(preset=preset, trunk="none"), frozen).to(device).train()
        sound = torch.randn(32_000).numpy(), 16_000
        x = encoder.augment(encoder.preprocess(sound).repeat(BATCH[preset], 1, 1).to(device), torch.Generator())
        first = None
        for how in ("fp32", "bf16", "fp32 compiled", "bf16 compiled"):
            model, before = copy.deepcopy(encoder), time.monotonic()
            if "compiled" in how:
                model.compile()
                _step(model, x, "bf16" in how)
            compiling = time.monotonic() - before
            step = min(_timed(lambda: _step(model, x, "bf16" in how)) for _ in range(given.steps))  # noqa: B023
            first = first or step
            said = f"{compiling:14.0f}" if "compiled" in how else ""
            print(f"{preset:8}{how:>14} {step:.3f}{step / first:10.2f}{said}", flush=True)


def _step(model: torch.nn.Module, x: torch.Tensor, bf16: bool) -> None:
    model.zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        z = model(x)
    z.float().square().mean().backward()


def _timed(step: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    now = time.monotonic if torch.cuda.is_available() else time.process_time
    began = now()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return now() - began


if __name__ == "__main__":
    main()
