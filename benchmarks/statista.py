"""Tables aligned to pictures of their charts: which of a hundred charts shows this table, and the other way round.

Data: `statista` under BINDER_DATA: 400 tables, the picture of the chart of each, and titles. Four folds of 100, titles
alike in the same one; the fold left out is searched, the other three train. The pictures are encoded by the plain
anchor. Beside it, in the same run: no training (the table drawn, and the plain anchor on the drawing), and chance.

    BINDER_DATA=... python benchmarks/statista.py [--seeds 0 1 2] [--anchor mini] [--set encoder.views=8] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import binder

FOLDS = 4
ALIKE = 0.5  # share of common words (Jaccard) from which two titles belong together
COLUMNS = ("t->p R@1", "R@5", "p->t R@1", "R@5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), help="which ones are left out")
    parser.add_argument("--anchor", default="mini")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    given = parser.parse_args()
    folder = Path(os.environ["BINDER_DATA"]) / "statista"
    with (folder / "pairs.csv").open(encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    fold_of = folds([pair["title"] for pair in pairs])
    print(f"sizes of the folds: {np.bincount(fold_of).tolist()}", flush=True)
    results = []
    with tempfile.TemporaryDirectory() as work:
        for seed in given.seeds:
            for fold in given.folds:
                rows = [{"chart": folder / pair["table"], "image": folder / pair["image"]} for pair in pairs]
                train = [row for row, own in zip(rows, fold_of, strict=True) if own != fold]
                test = [row for row, own in zip(rows, fold_of, strict=True) if own == fold]
                result = _aligned(train, test, given.anchor, Path(work) / f"{fold}-{seed}", seed, given.sets)
                results.append({"fold": fold, "seed": seed, **result})
                print(json.dumps(results[-1]), flush=True)
    _print(results, given.seeds)
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _aligned(
    train: list[dict[str, Path]], test: list[dict[str, Path]], anchor: str, out: Path, seed: int, sets: list[str]
) -> dict[str, Any]:
    space = binder.Binder(anchor)
    pictures = np.asarray(space.embed(image=[row["image"] for row in test]))
    began = time.monotonic()
    binder.align("chart", train, anchor=anchor, to="image", out=out, seed=seed, sets=sets)
    minutes = round((time.monotonic() - began) / 60, 1)
    tables = [row["chart"] for row in test]
    trained = np.asarray(space.load(out).embed(chart=tables))
    encoder: Any = space.encoders["chart"]
    drawn = np.asarray(space.embed(image=[encoder.picture(table) for table in tables]))
    return {
        "trained": recalls(trained, pictures),
        "untrained": recalls(drawn, pictures),
        "n_test": len(test),
        "minutes": minutes,
    }


def recalls(tables_ND: np.ndarray, pictures_ND: np.ndarray) -> list[float]:
    """R@1, R@5 of tables asking for pictures, then of pictures asking for tables; a tie counts as half."""
    scores = tables_ND @ pictures_ND.T
    found = []
    for side in (scores, scores.T):
        own = np.diag(side)[:, None]
        before = (side > own).sum(1) + ((side == own).sum(1) - 1) / 2
        found += [float(np.mean(before < k)) for k in (1, 5)]
    return found


def folds(titles: list[str]) -> np.ndarray:
    """(N,) fold of each title: groups of titles alike, the largest first, each into the smallest fold so far."""
    words = [frozenset(re.findall(r"[a-z]+", title.lower())) for title in titles]
    group = list(range(len(titles)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i in range(len(titles)):
        for j in range(i):
            if len(words[i] & words[j]) >= ALIKE * len(words[i] | words[j]):
                group[root(i)] = root(j)
    members: dict[int, list[int]] = {}
    for i in range(len(titles)):
        members.setdefault(root(i), []).append(i)
    order = np.random.default_rng(0).permutation(len(members))
    groups = [list(members.values())[k] for k in order]
    fold_of = np.full(len(titles), -1)
    for group_members in sorted(groups, key=len, reverse=True):
        fold_of[group_members] = np.argmin(np.bincount(fold_of[fold_of >= 0], minlength=FOLDS))
    return fold_of


def _print(results: list[dict[str, Any]], seeds: list[int]) -> None:
    print(f"\n{'mean over the folds':24}" + "".join(f"{column:>10}" for column in COLUMNS))
    for what in ("trained", "untrained"):
        per_seed = np.array([np.mean([r[what] for r in results if r["seed"] == seed], axis=0) for seed in seeds])
        print(f"{what:24}" + "".join(f"{value:10.3f}" for value in per_seed.mean(0)))
        if len(seeds) > 1:
            print(f"{'  deviation over seeds':24}" + "".join(f"{value:10.3f}" for value in per_seed.std(0)))
    n = np.mean([r["n_test"] for r in results])
    print(f"{'chance':24}" + "".join(f"{k / n:10.3f}" for k in (1, 5, 1, 5)))


if __name__ == "__main__":
    main()
