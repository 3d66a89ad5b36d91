"""What `binder pairs check --keep` wins back where a share of the pairs is wrong.

Pairs of items and pictures from `small_data`, tested on item -> text, never trained. The pictures of a share of the
rows are exchanged at random; the check does not know which. The oracle drops exactly the wrong rows. Every line is an
`align` with the same steps and seed.

    python benchmarks/noisy_pairs.py [--data speech digits imu] [--wrong 0.3] [--keep auto] [--steps 400] [--seeds 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from small_data import TASKS, Task

import binder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["speech", "digits", "imu"], default=["speech", "digits"])
    parser.add_argument("--wrong", type=float, default=0.3, help="share of the rows whose pictures are exchanged")
    parser.add_argument("--keep", default="auto")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    keep = given.keep if given.keep == "auto" else float(given.keep)
    results = []
    for name in given.data:
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as work:
                data = TASKS[name](Path(work), seed)
                for line in _compare(data, Path(work), given.wrong, keep, given.steps, seed):
                    results.append({"data": name, "seed": seed, **line})
                    print(json.dumps(results[-1]), flush=True)
    _print(results)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


def _compare(data: Task, work: Path, wrong: float, keep: Any, steps: int, seed: int) -> list[dict[str, Any]]:
    """Scores of encoders aligned on the clean, the noisy, the filtered and the rightly filtered pairs."""
    noisy, bad = _exchanged(data, wrong, seed)
    began = time.process_time()
    checked = binder.check_pairs(noisy, anchor="mini", keep=keep)
    seconds = time.process_time() - began
    kept = [row.line - 1 for row in checked.kept]  # rows that say the same as another are left out when read
    subsets = {
        "clean": (data.rows, range(len(noisy)), set()),
        "noisy": (noisy, range(len(noisy)), bad),
        "filtered": (noisy, kept, bad),
        "oracle": (noisy, [i for i in range(len(noisy)) if i not in bad], bad),
    }
    found = []
    for what, (rows, chosen, wrong_ones) in subsets.items():
        settings = [f"train.steps={steps}", "train.val_fraction=0", *data.sets]
        out = work / "runs" / what
        own = [rows[i] for i in chosen]
        binder.align(data.modality, own, anchor="mini", to="image", out=out, seed=seed, sets=settings)
        line = {"pairs": what, "n": len(chosen), "wrong": len(wrong_ones & set(chosen)) / len(chosen)}
        found.append({**line, "score": data.score(out)["text"]})
    found[2] |= {"estimated_wrong": checked.wrong_share, "check_cpu_seconds": round(seconds, 1)}
    return found


def _exchanged(data: Task, share: float, seed: int) -> tuple[list[dict[str, Any]], set[int]]:
    """The rows with the pictures of a share of them exchanged, and which now show something else."""
    rng = np.random.default_rng([seed, 11])
    chosen = rng.choice(len(data.rows), round(share * len(data.rows)), replace=False)
    source = np.arange(len(data.rows))
    source[chosen] = np.roll(chosen, 1)
    rows = [
        {data.modality: row[data.modality], "image": data.rows[j]["image"]}
        for row, j in zip(data.rows, source, strict=True)
    ]
    return rows, {i for i, j in enumerate(source) if data.shows[i] != data.shows[j]}


def _print(results: list[dict[str, Any]]) -> None:
    print(f"\n{'data':8}{'pairs':10}{'n':>6}{'wrong':>8}{'score':>8}{'recovered':>11}   (means over seeds)")
    for name in dict.fromkeys(r["data"] for r in results):
        own = [r for r in results if r["data"] == name]
        mean = {
            what: {key: np.mean([r[key] for r in own if r["pairs"] == what]) for key in ("n", "wrong", "score")}
            for what in ("clean", "noisy", "filtered", "oracle")
        }
        lost = mean["clean"]["score"] - mean["noisy"]["score"]
        for what, m in mean.items():
            back = f"{(m['score'] - mean['noisy']['score']) / lost:11.0%}" if lost else f"{'-':>11}"
            print(f"{name:8}{what:10}{m['n']:6.0f}{m['wrong']:8.3f}{m['score']:8.3f}{back}")


if __name__ == "__main__":
    main()
