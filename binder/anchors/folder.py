"""Checks an anchor's folder in OpenCLIP's layout, which may come from anywhere, before a model is built from it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from binder.errors import AnchorError
from binder.files import is_file, read_json, why

CONFIG, CARD, VOCABULARY = "open_clip_config.json", "card.json", "bpe.txt.gz"
LARGEST = 4096  # pixels of a picture's side
UNPACKED = 64 * 2**20  # bytes of an unpacked vocabulary; OpenCLIP's own has 3 MB


def check(folder: Path) -> None:
    """Raises AnchorError where the configuration is missing or damaged, or has impossible preprocessing values."""
    path = folder / CONFIG
    if not is_file(path):
        raise AnchorError(f"anchor folder {folder}: no {CONFIG} in it")
    try:
        config = _mapping(read_json(path), "the configuration")
        model = _mapping(config.get("model_cfg"), "model_cfg")
        text, vision = (_mapping(model.get(key), key) for key in ("text_cfg", "vision_cfg"))
        _check_preprocessing(_mapping(config.get("preprocess_cfg", {}), "preprocess_cfg"))
        _check_size("image_size", vision.get("image_size", 224))
        if "bpe_path" in _mapping(text.get("tokenizer_kwargs", {}), "tokenizer_kwargs"):
            raise ValueError(f"bpe_path: put a vocabulary into the folder as {VOCABULARY} instead")
    except (OSError, ValueError) as error:
        raise AnchorError(f"anchor folder {folder}: {CONFIG}: {why(error)}") from None
    _check_vocabulary(folder / VOCABULARY)


def card(folder: Path | None) -> dict[str, Any] | None:
    """An anchor's card; None where there is none. Raises AnchorError where it is damaged."""
    path = folder / CARD if folder else None
    if path is None or not is_file(path):
        return None
    try:
        found = _mapping(read_json(path), "the card")
        words = found.get("words", [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("words: expected a list of words")
        if not isinstance(found.get("description", ""), str):
            raise ValueError("description: expected text")
    except (OSError, ValueError) as error:
        raise AnchorError(f"{path}: damaged: {why(error)}") from None
    return found


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {'missing' if value is None else type(value).__name__}, expected keys and values")
    return value


def _check_preprocessing(values: dict[str, Any]) -> None:
    for name in ("mean", "std"):
        numbers = values.get(name, [0.5])
        numbers = numbers if isinstance(numbers, list) else [numbers]
        if len(numbers) not in (1, 3) or not all(_is_number(n) for n in numbers):
            raise ValueError(f"{name}: expected a number for each of three colors")
        if name == "std" and min(numbers) <= 0:
            raise ValueError(f"std: {min(numbers)}: pictures are divided by it, expected more than 0")
    if "size" in values:
        _check_size("size", values["size"])
    for name, known in (
        ("interpolation", ("bicubic", "bilinear", "random")),
        ("resize_mode", ("shortest", "longest", "squash")),
    ):
        if name in values and values[name] not in known:
            raise ValueError(f"{name}: {values[name]!r:.40}: expected {', '.join(known)}")


def _check_size(name: str, size: Any) -> None:
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= LARGEST for side in sides):
        raise ValueError(f"{name}: {size!r:.40}: expected 1 to {LARGEST} pixels")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_vocabulary(path: Path) -> None:
    if not is_file(path):
        return
    size = 0
    try:
        with gzip.open(path) as file:
            while part := file.read(2**20):
                size += len(part)
                if size > UNPACKED:
                    raise AnchorError(f"{path}: unpacks to more than {UNPACKED // 2**20} MiB: not a vocabulary")
    except (OSError, EOFError, zlib.error) as error:
        raise AnchorError(f"{path}: damaged: {why(error)}") from None
