"""The tables behind charts, as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from binder_playground.charts import table
from binder_playground.world import Concept

HEADERS = {
    "line": (("year", "month", "day", "week"), ("value", "price", "sales", "visitors")),
    "area": (("year", "month", "day", "week"), ("total", "volume", "stock", "users")),
    "bar": (("name", "city", "team", "product"), ("amount", "count", "score", "sales")),
    "pie": (("part", "party", "brand", "group"), ("share", "votes", "amount", "percent")),
    "scatter": (("x", "age", "length", "dose"), ("y", "weight", "height", "effect")),
}


def write_tables(concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> list[Path]:
    """Write a random table for each concept, `folder/<number>-<concept>.csv` -> the paths.

    Its first line is a comment that names the type of chart."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}-{concept.key.partition('/')[2]}.csv" for i, concept in enumerate(concepts)]
    for path, concept in zip(paths, concepts, strict=True):
        values = table(concept, rng)
        headers = [names[int(rng.integers(len(names)))] for names in HEADERS[concept.chart]]
        with path.open("w", newline="", encoding="utf-8") as file:
            file.write(f"# kind: {concept.chart}\n")
            writer = csv.writer(file)
            writer.writerow(headers)
            writer.writerows(zip(_along(concept, len(values), rng), (f"{v:.5g}" for v in values), strict=True))
    return paths


def _along(concept: Concept, n: int, rng: np.random.Generator) -> Sequence[object]:
    """The column beside the values: years, names or positions."""
    if concept.chart in ("line", "area"):
        first = int(rng.integers(1950, 2024 - n))
        return range(first, first + n)
    if concept.chart == "scatter":
        return [f"{x:.3f}" for x in np.arange(n) + rng.normal(0, 0.3, n)]
    return [f"{chr(65 + i)}{''.join(chr(int(k)) for k in rng.integers(97, 123, 4))}" for i in range(n)]
