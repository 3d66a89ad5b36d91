"""The recipe of a row: what identifies how its vector was made, so that another encoder makes it anew.

A hash of the encoder's weights and settings, or "anchor" (a hash where it gives texts a prompt), and where items are
cut into segments "/" and their length: "5c0fa7d2e1b3a694/2s". Vectors that were made elsewhere have none.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binder.api import Binder

LENGTH = re.compile(r"[^/]*/(\d{1,8}(?:\.\d{1,20})?(?:e[+-]\d\d)?)s", re.ASCII)


def has_time(space: Binder, modality: str) -> bool:
    """Whether items of the modality have a time axis."""
    from binder.encoder import Encoder

    return type(space.encoders[modality]).segments is not Encoder.segments


def recipe_of(space: Binder, modality: str, every_s: float | None) -> str:
    """How the space makes vectors of that modality, whole or in segments of so many seconds."""
    from binder.anchors.trunk import hash_weights

    card = space.cards.get(modality)
    prompt = space.anchor.prompt if space.registry.get(modality).inline else None
    if card:
        short = _hashed(f"{hash_weights(space.encoders[modality].state_dict())} {card.config}")
    else:
        short = _hashed(f"anchor with prompt {prompt}") if prompt else "anchor"
    if every_s is None:
        return short
    shown = f"{every_s:g}"
    return f"{short}/{shown if float(shown) == every_s else repr(every_s)}s"


def _hashed(made: str) -> str:
    return hashlib.blake2b(made.encode(), digest_size=8).hexdigest()


def every_of(recipe: str | None) -> float | None:
    """The length of segments that a recipe names; None for whole items, and where there is none that can be."""
    from binder.data.encode import SEGMENT_S

    found = LENGTH.fullmatch(recipe or "")
    every_s = float(found[1]) if found else 0.0
    return every_s if SEGMENT_S[0] <= every_s <= SEGMENT_S[1] else None
