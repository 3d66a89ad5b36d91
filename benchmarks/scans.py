"""scikit-learn's handwritten digits as picture files, for the benchmarks that pair something with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAIN_SCANS = 1437
PICTURES_PER_ITEM = 2


def write_scans(folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """The 8 x 8 scans as PNG files, dark ink on white, split as the mini anchor's recipe splits them."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    found: dict[str, list[tuple[Path, str]]] = {"train": [], "test": []}
    for i, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / f"scan{i}.png"
        Image.fromarray((255 - scan * 15.9).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC).save(path)
        found["train" if i < TRAIN_SCANS else "test"].append((path, NAMES[label]))
    return found


def pairs(items: Iterable[Mapping[str, Any]], scans: Mapping[str, list[tuple[Path, str]]], seed: int) -> list[dict]:
    """Each item with scans of its "label" from the train part, drawn from the seed: rows to align."""
    rng = np.random.default_rng([seed, 7])
    of_class = {name: [path for path, label in scans["train"] if label == name] for name in NAMES}
    return [
        {**{key: value for key, value in item.items() if key != "label"}, "image": path}
        for item in items
        for path in rng.choice(of_class[item["label"]], PICTURES_PER_ITEM, replace=False)
    ]
