"""Many queries in one call beside the same queries one by one, in the same run; the hits must be the same.

    python benchmarks/index_batch.py            # 100,000 rows, 64 queries: about a minute on two cores, 0.3 GB of disk

Vectors and queries are those of benchmarks/index.py. Each way is timed REPEATS times in turns, and the best of each
counts: other work on the machine only ever slows down.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from index import K, build, drawn, memory

REPEATS = 3
TARGET = 3.0
WAYS: dict[str, dict[str, Any]] = {
    "by codes": {},
    "exact, from memory": {"exact": True},
    "by codes, a filter that leaves 10 %": {"where": "share < 0.1"},
    "a filter that leaves 1 %": {"where": "share < 0.01"},
    "by codes, collapsed": {"collapse": 0.98},
}
MUST = ("by codes", "exact, from memory")


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=64)
    given = parser.parse_args()
    from binder import Index

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "batch.idx"
        build(place, given.rows)
        z_QD = drawn(given.queries, 10**6, shifted=True)
        with Index.open(place) as index:
            for name, how in WAYS.items():
                index.search(z_QD[0], k=K, **how)  # what is read once, and stays
                alone, together = [], []
                for _ in range(REPEATS):
                    alone.append(spent(lambda how=how: [index.search(z, k=K, **how) for z in z_QD]))
                    together.append(spent(lambda how=how: index.search(z_QD, k=K, **how)))
                    assert alone[-1][1] == together[-1][1], name
                one_by_one, batch = min(s for s, _ in alone), min(s for s, _ in together)
                ratio = one_by_one / batch
                verdict = "" if name not in MUST else "held  " if ratio >= TARGET else "MISSED"
                print(
                    f"{verdict:7}{name}: one by one {1000 * one_by_one:.0f} ms, in one call {1000 * batch:.0f} ms, "
                    f"{ratio:.1f} times as fast" + (f" (target {TARGET:g})" if verdict else ""),
                    flush=True,
                )
        print(f"       highest memory {memory('VmHWM'):.0f} MB")


if __name__ == "__main__":
    main()
