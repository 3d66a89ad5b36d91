"""Helpers of the tests: plugins as if installed, and toy data."""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from binder import registry

NAMES = ["red", "green", "blue", "seven", "dog", "cat", "tree", "house", "car", "sky"]
posix = pytest.mark.skipif(os.name == "nt", reason="needs pipes, devices, sockets or signals as POSIX has them")
FAST: dict[str, Any] = {"epochs": 30, "sets": ["train.lr=0.01", "train.batch_size=64"]}


def distribution(site: Path, name: str, module: str, version: str = "1.0", key: str | None = None) -> None:
    """Write what pip would: metadata with an entry point of the group `binder`."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[binder]\n{key or name} = {module}\n")


@contextlib.contextmanager
def installed(*folders: Path, only: str | None = None) -> Iterator[None]:
    """Plugins as if installed: their metadata is found on the path, as in any environment."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for folder in folders:
            patch.syspath_prepend(str(folder))
        if only is None:
            patch.delenv("BINDER_PLUGINS", raising=False)
        else:
            patch.setenv("BINDER_PLUGINS", only)
        registry.registry.cache_clear()
        yield
    registry.registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


def centres(classes: int = 10) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(classes, 8)).astype(np.float32)


def write_toys(folder: Path, n: int = 120, classes: int = 10, images: bool = True) -> list[dict[str, str]]:
    """n toy items near their class centre, each with the class's name and a picture of it (paths are relative)."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng, middle = np.random.default_rng(1), centres(classes)
    rows = []
    for i in range(n):
        label = i % classes
        np.save(folder / f"{i}.npy", middle[label] + 0.1 * rng.normal(size=8).astype(np.float32))
        rows.append({"toy": f"{i}.npy", "text": NAMES[label]})
        if images:
            pixels = np.random.default_rng(label).integers(0, 255, (4, 4, 3), dtype=np.uint8)
            pixels[0, 0] = i  # something of its own
            Image.fromarray(pixels).save(folder / f"{i}.png")
            rows[-1]["image"] = f"{i}.png"
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def process_state() -> dict[str, Any]:
    """What a library has no business changing."""
    import torch
    from huggingface_hub import constants
    from PIL import Image

    error = os.fstat(2)
    return {
        "warnings": list(warnings.filters),
        "streams": (sys.stdout, sys.stderr, error.st_dev, error.st_ino),
        "formats of Pillow": sorted(Image.OPEN),
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "levels": {name: logging.getLogger(name).level for name in ("", "transformers", "PIL", "huggingface_hub")},
        "threads of torch": torch.get_num_threads(),
        "random": (torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()),  # type: ignore[index]
        "numbers": (np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled()),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "hub": constants.HF_HUB_OFFLINE,
    }


def one_line_error(result: tuple[int, str, str]) -> str:
    """What the `binder` fixture returns for a mistake -> its error, a single line on stderr."""
    status, out, err = result
    assert status == 2, (status, out, err)
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """The message of an error, which is a single line of bounded length."""
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900, text
    return text
