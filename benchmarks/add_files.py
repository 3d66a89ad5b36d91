"""Adding files to an index beside encoding them and nothing else, by CPU time.

    binder demo --out demo                  # once
    python benchmarks/add_files.py demo     # half a minute

The demo's pictures and spoken captions, through the shipped anchor's image tower and the demo's speech encoder: both
are so small that whatever `add` does besides (hashing, the store, waiting for the disk) weighs more than elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import binder

REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="the folder that `binder demo` left")
    demo = parser.parse_args().demo
    space = binder.Binder("mini").load(demo / "runs" / "audio")
    items = {
        "image": sorted((demo / "data" / "audio_pictures").glob("*.png"))[:2000],
        "audio": sorted((demo / "held_out" / "audio").glob("*.wav"))[:600],
    }
    for modality, paths in items.items():
        bare, added = [], []
        space.encode(modality, paths[:64])  # whatever happens once
        for _ in range(REPEATS):
            bare.append(cpu_s(lambda m=modality, p=paths: space.encode(m, p)))
            with tempfile.TemporaryDirectory() as folder:
                index = binder.Index.create(Path(folder) / "files.idx", space)
                added.append(cpu_s(lambda i=index, m=modality, p=paths: i.add(**{m: p})))
        share = statistics.median(bare) / statistics.median(added)
        print(f"{modality}: {len(paths)} files, encoded in {statistics.median(bare):.2f} CPU seconds, "
              f"added in {statistics.median(added):.2f}: {share:.2f} of bare encoding (target 0.9)")  # fmt: skip


def cpu_s(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    main()
