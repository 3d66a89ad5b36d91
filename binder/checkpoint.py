"""Files of a run: written beside and renamed, so that none is ever half-written.

A run folder holds `config.toml` and `log.jsonl` from the start, `state.pt` while it trains, and at the end
`encoder.safetensors` and `card.json`: the aligned encoder. The card is written last: where it is, the run is complete.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from binder.anchor import Anchor
from binder.config import Config, validate
from binder.encoder import Encoder
from binder.errors import ConfigError, RunError, SpaceError
from binder.plugins import registry

FORMAT = 1
CARD, WEIGHTS, STATE = "card.json", "encoder.safetensors", "state.pt"
CONFIG, LOG = "config.toml", "log.jsonl"


class Card(Config):
    """What an aligned encoder is, for people and for `load`."""

    format: int = FORMAT
    modality: str
    plugin: str
    plugin_version: str
    config: dict[str, Any]  # of the encoder
    anchor: str
    space: str  # the anchor's fingerprint
    embed_dim: int
    trained_against: list[str]
    logit_scale: float
    data: str  # fingerprint of the training rows
    n_train: int
    n_val: int
    metrics: dict[str, Any]
    binder_version: str
    created: str  # ISO 8601, UTC
    licence: str | None = None


@dataclass(frozen=True)
class Aligned:
    """An aligned encoder, ready to encode."""

    card: Card
    encoder: Encoder
    folder: Path


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a file beside `path`, make it durable, rename. Raises RunError where it cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {_why(error)}; what was there before is unchanged") from None
    except (RuntimeError, SafetensorError) as error:  # torch.save and safetensors report a full disk so
        why = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: cannot be written (is the disk full?): {why}") from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Keep what `--resume` needs: tensors, numbers and strings only."""
    write(folder / STATE, lambda p: torch.save(state, p))


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `write_state` kept, or None before the first time. Raises RunError where it is damaged."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}); delete it to start this run again") from None


def write_aligned(folder: Path, card: Card, weights: dict[str, Tensor]) -> None:
    """The finished encoder; the card, written last, makes it complete."""
    from safetensors.torch import save_file

    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in weights.items()}  # tied ones apart
    write(folder / WEIGHTS, lambda p: save_file(tensors, p))
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
    (folder / STATE).unlink(missing_ok=True)
    for leftover in folder.glob(f".{STATE}.*"):  # of a process killed while it wrote
        leftover.unlink(missing_ok=True)


def read_card(folder: Path) -> Card:
    """The card of an aligned encoder. Raises RunError: missing, unfinished, damaged, or of a newer binder."""
    path = folder / CARD
    if not path.is_file():
        if (folder / STATE).is_file() or (folder / CONFIG).is_file():
            raise RunError(f"{folder}: this run is not finished; go on with: binder align ... --resume")
        raise RunError(f"{folder}: no aligned encoder there (no {CARD})")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if int(values.get("format", 0)) > FORMAT:
            raise RunError(f"{path}: written by a newer binder (format {values['format']}); upgrade binder")
        return validate(Card, values, str(path))
    except (OSError, ValueError, TypeError, AttributeError, ConfigError) as error:
        raise RunError(f"{path}: damaged: {error}") from None


def load(folder: Path, anchor: Anchor) -> Aligned:
    """An aligned encoder in eval mode on the anchor's device. Raises SpaceError for another anchor's space."""
    from safetensors.torch import load_file

    card = read_card(folder)
    if card.space != anchor.fingerprint:
        raise SpaceError(
            f"{folder}: aligned to anchor {card.anchor!r} (space {card.space[:8]}), "
            f"not to {anchor.name!r} (space {anchor.fingerprint[:8]}); vectors of two spaces cannot be compared"
        )
    modality, plugin = registry().get(card.modality), registry().owner(card.modality)
    config = validate(modality.config, card.config, f"{folder / CARD}: config")
    encoder = modality.build(config, anchor)
    try:
        encoder.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        what = "damaged or incomplete"
        if card.plugin_version != plugin.version:
            versions = f"{card.plugin} {card.plugin_version}, here is {plugin.version}"
            what = f"made with {versions}; install that, or align again"
        raise RunError(f"{folder / WEIGHTS}: {what}: {' '.join(str(error).split())[:200]}") from None
    return Aligned(card, encoder.to(anchor.device).eval().requires_grad_(False), folder)


def _why(error: OSError) -> str:
    return "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror or error)
