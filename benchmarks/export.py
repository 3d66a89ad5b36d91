"""Exported encoders beside binder: size of the model, time for a batch, time of a fresh process for one item.

Encoders have random weights and default settings; on each line binder and ONNX Runtime see the same windows, in turns,
with one thread each. Ratios are binder's time over ONNX Runtime's: above 1 the exported encoder is faster.

    python benchmarks/export.py [--only imu audio] [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import torch

import binder
from binder import get_modality

KINDS: dict[str, dict[str, Any]] = {  # modality -> its encoder's settings
    "text": {},
    "image": {},
    "imu": {"rate_hz": 50.0, "window_s": 4.0},
    "pointcloud": {},
    "depth": {"units": "m"},
    "audio": {},
}
BATCHES = (1, 32)
ONE = ("a red circle", "--as", "text", "--workers", "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each number")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| encoder | weights, MB | model.onnx, MB | batch of 1, ms | binder / ONNX | of 32, ms | binder / ONNX |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for modality in options.only:
            print(line(modality, Path(place), options.seconds), flush=True)
        print(f"\nA fresh process for one text: {' '.join(fresh(Path(place) / 'text'))}")


def line(modality: str, place: Path, seconds: float) -> str:
    """A row of the table."""
    space = binder.Binder("mini")
    if modality not in space.encoders:
        record = get_modality(modality)
        torch.manual_seed(0)
        made = record.build(record.config.model_validate(KINDS[modality]), space.anchor)
        space.encoders[modality] = made.eval().requires_grad_(False)
    encoder = space.encoders[modality]
    exported = binder.export(space, modality, place / modality)
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = 1
    path = str(exported.folder / exported.model)
    session = onnxruntime.InferenceSession(path, threads, providers=["CPUExecutionProvider"])
    cells = [modality, f"{used_mb(encoder):.1f}", f"{exported.bytes / 1e6:.1f}"]
    portable = encoder.portable()
    assert portable is not None and portable.example is not None
    for size in BATCHES:
        windows = portable.example[torch.zeros(size, dtype=torch.long)].clone()
        array = windows.numpy()

        def own(windows: torch.Tensor = windows) -> None:
            with torch.inference_mode():
                encoder(windows)

        def onnx(array: np.ndarray[Any, Any] = array) -> None:
            session.run(None, {"windows": array})

        slow, fast = in_turns((own, onnx), seconds)
        cells += [f"{1000 * fast:.2f}", f"{slow / fast:.2f}"]
    return "| " + " | ".join(cells) + " |"


def used_mb(encoder: torch.nn.Module) -> float:
    """The weights that an encoder's forward reads, its trunk's among them."""
    from binder.artifact.graphs import traced, without_unused

    assert isinstance(encoder, binder.Encoder)
    portable = encoder.portable()
    assert portable is not None and portable.example is not None
    program = traced(encoder, portable.example[torch.zeros(2, dtype=torch.long)].clone())
    without_unused(program)
    return sum(w.numel() * w.element_size() for w in program.state_dict.values()) / 1e6


def in_turns(calls: Sequence[Callable[[], None]], seconds: float) -> list[float]:
    """The median time of each call, which take turns, so that what else the machine does meets all alike."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    for call in calls:
        call()
    while time.perf_counter() < end:
        for call, found in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return [float(np.median(found)) for found in times]


def fresh(folder: Path) -> list[str]:
    """Seconds that a new process takes for one item: binder's command line and the exported program."""
    if not folder.exists():
        binder.export(binder.Binder("mini"), "text", folder)
    out = str(folder / "vectors.npz")
    commands = {
        "binder embed": [sys.executable, "-m", "binder", "embed", *ONE, "--out", out],
        "run.py": [sys.executable, str(folder / "run.py"), "a red circle"],
    }
    said = []
    for name, command in commands.items():
        took = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took.append(time.perf_counter() - began)
        said.append(f"{name} {min(took):.2f} s,")
    return said


if __name__ == "__main__":
    main()
