"""The program of an exported folder: it prints one JSON object a line, with the unit vector of each item.

Shapes: W windows of an item, D length of a vector.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.portable.arrays import windows_of  # in an exported folder, that of its kind

FORMAT = 1  # of an exported folder
AT_ONCE = 16  # windows
HERE = Path(__file__).parent

Vector = NDArray[np.float32]


def load(folder: Path = HERE) -> Callable[[str], Vector]:
    """The function item -> (D,) unit vector of an exported folder. Raises ValueError for another format.

    It raises OSError or ValueError for an item that cannot be read.
    """
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise ValueError(f"model.json: of format {facts.get('format')}, this run.py knows {FORMAT}: export it again")
    settings = {**json.loads((folder / "preprocess.json").read_text(encoding="utf-8")), "folder": str(folder)}
    model = model_of(folder / facts["model"], facts.get("device", "cpu"))

    def embed(item: str) -> Vector:
        x = np.ascontiguousarray(windows_of(item, settings), facts["input"]["dtype"])
        z_WD = unit(np.concatenate([model(x[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE)]))
        return z_WD[0] if len(z_WD) == 1 else unit(z_WD.mean(0))

    return embed


def model_of(path: Path, device: str) -> Callable[[NDArray[Any]], Vector]:
    """The function (W, ...) -> (W, D) in a file, run by onnxruntime or by torch."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda x: np.asarray(session.run(None, {"windows": x})[0])
    import torch

    with warnings.catch_warnings(action="ignore"):  # of how torch reads its own file
        module = torch.export.load(str(path)).module()

    def forward(x: NDArray[Any]) -> Vector:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(x).to(device)).float().cpu())

    return forward


def unit(z: Vector) -> Vector:
    """(..., D) -> (..., D) of length 1. Raises ValueError for a vector that is zero or not finite."""
    length = np.linalg.norm(z, axis=-1, keepdims=True)
    if not np.isfinite(length).all() or not length.all():
        raise ValueError("its vector is zero or not finite")
    scaled: Vector = z / length
    return scaled


def main(takes: str) -> int:
    """Print a line for each item; of what cannot be read, one on stderr. Returns 0, or 1 where there was such."""
    parser = argparse.ArgumentParser(description="Print the unit vector of each item, as a JSON object a line.")
    parser.add_argument("items", nargs="*", metavar="ITEM", help=f"{takes}; without any, one a line on stdin")
    items = parser.parse_args().items or [line.rstrip("\n") for line in sys.stdin]
    try:
        embed = load()
    except ImportError as error:
        parser.exit(2, f"error: {error.name} is missing: pip install {error.name}\n")
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"error: {error}\n")
    status = 0
    for item in items:
        try:
            print(json.dumps({"item": item, "vector": [float(str(number)) for number in embed(item)]}), flush=True)
        except ImportError as error:
            parser.exit(2, f"error: {item}: needs {error.name}: pip install {error.name}\n")
        except (OSError, ValueError, KeyError) as error:
            status = 1
            print(f"error: {item}: {' '.join(str(error).split())}", file=sys.stderr)
    return status
