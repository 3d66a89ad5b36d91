"""The files of a run.

A run folder contains `config.toml` and `log.jsonl` from the start, the checkpoint `state.pt` during training, and in
the end the aligned encoder: `encoder.safetensors` and `card.json`. The card is written last, so a run with a card is
complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import AliasChoices, Field
from safetensors import SafetensorError
from torch import Tensor

from binder.anchors.base import Anchor
from binder.anchors.bounds import no_larger_than
from binder.config import Config, validate
from binder.encoder import Encoder
from binder.errors import ConfigError, RunError, SpaceError, warn_renamed
from binder.files import is_file, is_folder, read_json, why, write_beside, write_text
from binder.registry import Registry

FORMAT = 2  # of the card; in format 1 `license` was spelled `licence`
CARD, WEIGHTS, STATE = "card.json", "encoder.safetensors", "state.pt"
CONFIG, LOG = "config.toml", "log.jsonl"
STATE_TYPES: dict[str, Any] = {  # what a checkpoint contains
    **dict.fromkeys(("encoder", "averaged", "optimizer"), dict),
    "step": int,
    "seconds": (int, float),
    "history": list,
    "window": list,
}


class Card(Config):
    """The description of an aligned encoder, for people and for `load`."""

    format: int = FORMAT
    modality: str
    kind: str | None = None  # the plugin's modality, where `modality` is a name of one's own
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
    held_out: str | None = None  # how the held-out rows were chosen; None in cards of binder 0.2.0
    metrics: dict[str, Any]
    binder_version: str
    created: str  # ISO 8601, UTC
    license: str | None = Field(None, validation_alias=AliasChoices("license", "licence"))

    @property
    def licence(self) -> str | None:
        """The earlier name of `license`."""
        warn_renamed("Card.licence", "Card.license")
        return self.license


@dataclass(frozen=True)
class Aligned:
    """An aligned encoder, ready to encode."""

    card: Card
    encoder: Encoder
    folder: Path


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint from which `--resume` continues: tensors, numbers and strings only."""
    write_beside(folder / STATE, lambda p: torch.save(state, p))


def read_state(folder: Path) -> dict[str, Any] | None:
    """The checkpoint that `write_state` wrote last, or None if there is none. Raises RunError if it is damaged."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}); delete it to start this run again") from None
    types = STATE_TYPES.items()
    missing = [name for name, kind in types if not isinstance(state, dict) or not isinstance(state.get(name), kind)]
    if missing:
        raise RunError(f"{path}: not a checkpoint of a run, it has no {missing[0]}; delete it to start this run again")
    return state


def write_aligned(folder: Path, card: Card, weights: dict[str, Tensor]) -> None:
    """Write the finished encoder; the card is last and marks it complete."""
    from safetensors.torch import save_file

    tensors = {
        key: tensor.detach().cpu().contiguous().clone() for key, tensor in weights.items()
    }  # tied weights are stored separately
    write_beside(folder / WEIGHTS, lambda p: save_file(tensors, p))
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
    (folder / STATE).unlink(missing_ok=True)
    for leftover in folder.glob(f".{STATE}.*"):  # of a process that was killed while writing
        leftover.unlink(missing_ok=True)


def read_card(folder: Path) -> Card:
    """The card of an aligned encoder. Raises RunError: missing, unfinished, damaged, or written by a newer binder."""
    path = folder / CARD
    if not is_file(path):
        if is_file(folder / STATE) or is_file(folder / CONFIG):
            raise RunError(f"{folder}: this run is not finished; continue with: binder align ... --resume")
        moved = "" if is_folder(folder) else "; if it was moved, give its new path (--encoder)"
        raise RunError(f"{str(folder)[:200]}: no aligned encoder there (no {CARD}){moved}")
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"expected an object with the keys of a card, got {type(values).__name__}")
        newer = values.get("format")
        if isinstance(newer, int) and newer > FORMAT:
            raise RunError(f"{path}: written by a newer binder (format {newer}); upgrade binder")
        return validate(Card, values, "card")
    except (OSError, ValueError, ConfigError) as error:
        raise RunError(f"{path}: damaged: {why(error)}") from None


def load(folder: Path, anchor: Anchor, registry: Registry, trunk: str | None = None) -> Aligned:
    """An aligned encoder in eval mode on the anchor's device.

    `trunk` is the new location of the encoder's pretrained trunk, if it has one that was moved. Raises SpaceError for
    an encoder of another anchor's space; RunError, ConfigError for files that are damaged or missing.
    """
    card = read_card(folder)
    if card.space != anchor.fingerprint:
        raise SpaceError(
            f"{folder}: aligned to anchor {card.anchor!r} (space {card.space[:8]}), "
            f"not to {anchor.name!r} (space {anchor.fingerprint[:8]}); vectors of two spaces cannot be compared"
        )
    if card.embed_dim != anchor.embed_dim:
        raise RunError(f"{folder / CARD}: damaged: embed_dim is {card.embed_dim}, the anchor has {anchor.embed_dim}")
    modality = registry.get(card.kind or card.modality)
    if not modality.trainable:
        raise RunError(f"{folder / CARD}: damaged: {card.modality} has no encoder of a plugin")
    moved = trunk is not None and ":" in (card.config.get("trunk") or "")
    values = {**card.config, **({"trunk": trunk} if moved else {})}
    config = validate(modality.config, values, f"{folder / CARD}: config")
    try:
        pretrained = ":" in (getattr(config, "trunk", None) or "")  # most weights are not in this file
        with no_larger_than(None if pretrained else folder / WEIGHTS):
            encoder = modality.build(config, anchor)
        _fill(encoder, folder / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        raise RunError(f"{folder / WEIGHTS}: {_unfit(card, registry)}: {why(error)}") from None
    return Aligned(card, encoder.to(anchor.device).eval().requires_grad_(False), folder)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of an aligned encoder by name, whatever its space. Raises RunError for a damaged file."""
    from safetensors.torch import load_file

    read_card(folder)  # an unfinished or damaged run is told first
    try:
        with no_larger_than(folder / WEIGHTS):
            weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError, ValueError, MemoryError) as error:
        raise RunError(f"{folder / WEIGHTS}: damaged or incomplete: {why(error)}") from None
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise RunError(f"{folder / WEIGHTS}: damaged or incomplete: {bad[0]} holds numbers that are not finite")
    return weights


def _fill(encoder: Encoder, path: Path) -> None:
    """Load the weights in the file into the encoder. Raises RuntimeError, ValueError where they do not fit."""
    from safetensors.torch import load_file

    weights = load_file(path)
    own = encoder.state_dict()
    for name, tensor in weights.items():
        if name in own and tensor.is_floating_point() != own[name].is_floating_point():
            raise ValueError(f"{name} is {tensor.dtype}, expected {own[name].dtype}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")
    encoder.load_state_dict(weights)


def _unfit(card: Card, registry: Registry) -> str:
    """Why the weights may not fit the encoder that the card describes."""
    plugin = registry.owner(card.kind or card.modality)
    if card.plugin_version == plugin.version:
        return "damaged or incomplete"
    versions = f"{card.plugin} {card.plugin_version}, installed is {plugin.version}"
    return f"written by {versions}; install that version, or align again"
