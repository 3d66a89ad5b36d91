"""Clips per second and core that the audio plugin reads, resamples and cuts into windows.

Baseline in the same run: soundfile alone, decoding the same files without resampling or windows.

    python benchmarks/preprocess.py [--clips 100]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from binder.anchors import openclip
from binder.registry import registry

CASES = [
    ("wav", 8_000, 0.5),
    ("wav", 44_100, 5.0),
    ("flac", 44_100, 5.0),
    ("ogg", 44_100, 5.0),
    ("mp3", 44_100, 5.0),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kind = registry().get("audio")
    rng = np.random.default_rng(0)
    print(f"{'format':8}{'rate Hz':>9}{'seconds':>9}{'clips/s':>10}{'decode only':>13}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for suffix, rate, seconds in CASES:
            paths = [Path(folder) / f"{rate}-{i}.{suffix}" for i in range(given.clips)]
            for path in paths:
                soundfile.write(path, 0.1 * rng.standard_normal(int(rate * seconds)), rate)
            encoder = kind.build(kind.adapt(kind.config(), paths[:20]), openclip.load("mini"))  # type: ignore[misc]
            whole = _per_second(encoder.preprocess, paths)
            decode = _per_second(lambda p: soundfile.read(p, dtype="float32"), paths)
            print(f"{suffix:8}{rate:9}{seconds:9.1f}{whole:10.0f}{decode:13.0f}{whole / decode:8.2f}")


def _per_second(work: Callable[[Path], object], paths: list[Path]) -> float:
    work(paths[0])
    began = time.perf_counter()
    for path in paths:
        work(path)
    return len(paths) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
