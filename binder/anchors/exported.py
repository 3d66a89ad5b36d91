"""The preprocessing of pictures and texts as data, for encoders that are exported: see `binder.portable`.

What is found is tried: where the data do not do what the preprocessing does, windows are given as arrays instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from binder.anchors.trunk import of_rgb
from binder.portable import Portable, arrays, picture, text

PICTURE = "a picture: PNG, JPEG or another format of Pillow"
SIZES = ((64, 48), (97, 301), (640, 480))  # of pictures on which steps are tried
PROBES = (
    "a photo of two red circles",
    "It's  SNAKE_case, 0123 <b>&amp;</b> don't !!!",
    "Ünïcode “quotes” ½ ١٢ 日本語 🙂",
    " ".join(["long"] * 300),
)
CLEANINGS = {"_clean_lower": True, "_clean_whitespace": False}  # of OpenCLIP's tokenizer -> whether it lowers letters


def picture_portable(
    transform: Callable[[Any], Tensor],
    code: tuple[ModuleType, ...] = (picture,),
    takes: str = PICTURE,
    **settings: Any,
) -> Portable:
    """How a tower's `transform` of pictures is done without torch; from arrays, where its steps are not known."""
    example = transform(Image.new("RGB", SIZES[0]))[None]
    steps = steps_of(transform)
    if steps is None or not all(_same(transform, steps, size) for size in SIZES):
        return array_portable(example)
    same = takes == PICTURE
    return Portable(code, {**settings, "steps": steps}, takes, ("pillow",), example, same_items=same)


def array_portable(example: Tensor) -> Portable:
    """Windows are given as arrays: for preprocessing that cannot be told as data."""
    return Portable(
        (arrays,),
        {"shape": list(example.shape[1:])},
        f"a .npy file of prepared windows (W, {', '.join(map(str, example.shape[1:]))}), as `preprocess` returns them",
        example=example,
    )


def text_portable(tokenizer: Any, example: Tensor) -> Portable:
    """How a tokenizer of OpenCLIP makes tokens without torch; from arrays, where it is of another kind."""
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    if clean not in CLEANINGS or not hasattr(tokenizer, "bpe_ranks") or tokenizer.reduction_fn is not None:
        return array_portable(example)
    tokens = sorted(tokenizer.encoder, key=tokenizer.encoder.__getitem__)
    merges = [" ".join(pair) for pair in sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__) if pair]
    letters = [tokenizer.byte_encoder[byte] for byte in range(256)]
    words = json.dumps({"tokens": tokens, "merges": merges, "letters": letters}, ensure_ascii=False).encode()
    settings = {"lower": CLEANINGS[clean], "length": example.shape[1]}
    return Portable((text,), settings, "a text", ("ftfy",), example, {"vocabulary.json": words}, same_items=True)


def steps_of(transform: Any) -> list[dict[str, Any]] | None:
    """The steps of a picture's preprocessing by torchvision, timm or OpenCLIP; None where one of them is not known."""
    if isinstance(transform, partial) and transform.func is of_rgb:
        transform = transform.args[0]
    steps: list[dict[str, Any]] = []
    for step in getattr(transform, "transforms", [None]):
        name, size = type(step).__name__, getattr(step, "size", 0)
        pair = list(size) if isinstance(size, tuple | list) and len(size) == 2 else None
        if name in ("Resize", "ResizeKeepRatio"):
            fit = "exact" if pair else "shortest"
            if name == "ResizeKeepRatio":
                if step.longest not in (0, 1):
                    return None
                fit = "inside" if step.longest else "outside"
            how = str(getattr(step.interpolation, "name", ""))
            steps.append({"do": "resize", "fit": fit, "size": pair or _both(size), "interpolation": how})
        elif name in ("CenterCrop", "CenterCropOrPad"):
            steps.append({"do": "crop", "size": pair or _both(size), "fill": int(getattr(step, "fill", 0))})
        elif name == "Normalize":
            mean, std = (np.broadcast_to(np.asarray(x, np.float64), 3).tolist() for x in (step.mean, step.std))
            return [*steps, {"do": "normalize", "mean": mean, "std": std}]
        elif name not in ("MaybeConvertMode", "MaybeToTensor", "ToTensor"):
            return None
    return None


def _both(size: Any) -> list[int]:
    side = int(size[0] if isinstance(size, tuple | list) else size)
    return [side, side]


def _same(transform: Callable[[Any], Tensor], steps: list[dict[str, Any]], size: tuple[int, int]) -> bool:
    """Whether the steps do to a picture of this size what the transform does."""
    colors = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    drawn = Image.fromarray(colors)
    made = torch.from_numpy(picture.pixels(drawn, steps))
    wanted = transform(drawn)
    return made.shape == wanted.shape and bool(torch.allclose(made, wanted, atol=1e-5))
