"""Items a second through binder's reader processes, with their limits, over a plain DataLoader's of the same number.

Both read the same files with the same encoder and are timed once they run; `--rounds` take turns, medians count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from binder import readers
from binder.api import Binder
from binder.readers.windows import Read


class Files(torch.utils.data.Dataset[Any]):
    def __init__(self, encoder: Any, paths: list[Path]) -> None:
        self.encoder, self.paths = encoder, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.encoder.preprocess(self.paths[index])


def pictures(folder: Path, count: int, side: int) -> list[Path]:
    rng, paths = np.random.default_rng(0), []
    for i in range(count):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = folder / f"{i}.jpg"
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def rate(outcomes: Iterable[Any], warm: int) -> float:
    """Items a second after the first `warm` of them."""
    found: Iterator[Any] = iter(outcomes)
    for _ in islice(found, warm):
        pass
    began = time.perf_counter()
    count = sum(1 for _ in found)
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--side", type=int, default=400, help="pixels of the pictures that are read")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    encoder = Binder("mini").encoders["image"]
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder), given.items, given.side)
        warm, ours, theirs = given.items // 5, [], []
        for _ in range(given.rounds):
            wanted = [(path, None) for path in paths]
            ours.append(rate(readers.run(Read(encoder), wanted, given.workers, str), warm))
            loader = torch.utils.data.DataLoader(
                Files(encoder, paths), batch_size=None, num_workers=given.workers, multiprocessing_context="spawn"
            )
            theirs.append(rate(loader, warm))
        one, other = statistics.median(ours), statistics.median(theirs)
        print(f"readers {one:.0f} items/s, DataLoader {other:.0f} items/s: {one / other:.2f}")


if __name__ == "__main__":
    main()
