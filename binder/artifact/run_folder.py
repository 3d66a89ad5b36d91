"""Files of a run.

A run folder holds `config.toml` and `log.jsonl` from the start, `state.pt` while it trains, and at the end
`encoder.safetensors` and `card.json`: the aligned encoder. The card is written last: where it is, the run is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from binder.anchors.bounds import no_larger_than
from binder.anchors.openclip import Anchor
from binder.config import Config, validate
from binder.encoder import Encoder
from binder.errors import ConfigError, RunError, SpaceError
from binder.files import is_file, is_folder, read_json, why, write_beside, write_text
from binder.registry import registry

FORMAT = 1
CARD, WEIGHTS, STATE = "card.json", "encoder.safetensors", "state.pt"
CONFIG, LOG = "config.toml", "log.jsonl"
KEPT: dict[str, Any] = {  # what a state holds, in which types
    **dict.fromkeys(("encoder", "averaged", "optimizer"), dict),
    "log_scale": Tensor,
    "step": int,
    "seconds": (int, float),
    "history": list,
    "window": list,
}


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


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Keep what `--resume` needs: tensors, numbers and strings only."""
    write_beside(folder / STATE, lambda p: torch.save(state, p))


def read_state(folder: Path) -> dict[str, Any] | None:
    """What `write_state` kept, or None before the first time. Raises RunError where it is damaged."""
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}); delete it to start this run again") from None
    lacking = [name for name in KEPT if not isinstance(state, dict) or not isinstance(state.get(name), KEPT[name])]
    if lacking:
        raise RunError(f"{path}: of another kind, no {lacking[0]} in it; delete it to start this run again")
    return state


def write_aligned(folder: Path, card: Card, weights: dict[str, Tensor]) -> None:
    """The finished encoder; the card, written last, makes it complete."""
    from safetensors.torch import save_file

    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in weights.items()}  # tied ones apart
    write_beside(folder / WEIGHTS, lambda p: save_file(tensors, p))
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
    (folder / STATE).unlink(missing_ok=True)
    for leftover in folder.glob(f".{STATE}.*"):  # of a process killed while it wrote
        leftover.unlink(missing_ok=True)


def read_card(folder: Path) -> Card:
    """The card of an aligned encoder. Raises RunError: missing, unfinished, damaged, or of a newer binder."""
    path = folder / CARD
    if not is_file(path):
        if is_file(folder / STATE) or is_file(folder / CONFIG):
            raise RunError(f"{folder}: this run is not finished; go on with: binder align ... --resume")
        moved = "" if is_folder(folder) else "; if it has moved, name the new place (--encoder)"
        raise RunError(f"{str(folder)[:200]}: no aligned encoder there (no {CARD}){moved}")
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__}, where the keys of a card are expected")
        newer = values.get("format")
        if isinstance(newer, int) and newer > FORMAT:
            raise RunError(f"{path}: written by a newer binder (format {newer}); upgrade binder")
        return validate(Card, values, "card")
    except (OSError, ValueError, ConfigError) as error:
        raise RunError(f"{path}: damaged: {why(error)}") from None


def load(folder: Path, anchor: Anchor, trunk: str | None = None) -> Aligned:
    """An aligned encoder in eval mode on the anchor's device.

    `trunk` says where the pretrained model that it builds on, if it does, is now. Raises SpaceError for another
    anchor's space; RunError, ConfigError for what is damaged or is not there.
    """
    card = read_card(folder)
    if card.space != anchor.fingerprint:
        raise SpaceError(
            f"{folder}: aligned to anchor {card.anchor!r} (space {card.space[:8]}), "
            f"not to {anchor.name!r} (space {anchor.fingerprint[:8]}); vectors of two spaces cannot be compared"
        )
    if card.embed_dim != anchor.embed_dim:
        raise RunError(f"{folder / CARD}: damaged: embed_dim is {card.embed_dim}, the anchor has {anchor.embed_dim}")
    modality = registry().get(card.modality)
    moved = trunk is not None and ":" in (card.config.get("trunk") or "")
    values = {**card.config, **({"trunk": trunk} if moved else {})}
    config = validate(modality.config, values, f"{folder / CARD}: config")
    try:
        borrowed = ":" in (getattr(config, "trunk", None) or "")  # most of its weights lie elsewhere
        with no_larger_than(None if borrowed else folder / WEIGHTS):
            encoder = modality.build(config, anchor)
        _fill(encoder, folder / WEIGHTS)
    except (OSError, SafetensorError, RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        raise RunError(f"{folder / WEIGHTS}: {_unfit(card)}: {why(error)}") from None
    return Aligned(card, encoder.to(anchor.device).eval().requires_grad_(False), folder)


def _fill(encoder: Encoder, path: Path) -> None:
    """The weights in the file into the encoder. Raises RuntimeError, ValueError where they are not its own."""
    from safetensors.torch import load_file

    weights = load_file(path)
    own = encoder.state_dict()
    for name, tensor in weights.items():
        if name in own and tensor.is_floating_point() != own[name].is_floating_point():
            raise ValueError(f"{name} holds {tensor.dtype}, where {own[name].dtype} is expected")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")
    encoder.load_state_dict(weights)


def _unfit(card: Card) -> str:
    """Why weights may not fit the encoder that a card describes."""
    plugin = registry().owner(card.modality)
    if card.plugin_version == plugin.version:
        return "damaged or incomplete"
    versions = f"{card.plugin} {card.plugin_version}, here is {plugin.version}"
    return f"made with {versions}; install that, or align again"
