"""A model's own preprocessing, without its weights: what the towers need in reader processes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from PIL.Image import Image

from binder_transformers.rows import Features

LONGEST = 8192  # tokens of a text, for models that take more or have no limit
LONGEST_S = 30  # s of a sound that is given to a model at once, where the model has no limit of its own


class Reading(Protocol):
    """Items -> features as a model's own processor returns them for one item."""

    pad: int  # id of the token that fills up texts
    rate: int  # Hz, of sounds
    longest: int  # samples of a sound that the model takes at once

    def text(self, text: str, prompt: str | None, whole: bool = False) -> Features:
        """Its tokens with the prompt of that name in front; with `whole`, none is cut off."""

    def image(self, picture: Image) -> Features:
        """An RGB picture as the model takes it."""

    def audio(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Features:
        """(T,) as the model takes it."""


def samples_at_once(extractor: Any) -> tuple[int, int]:
    """A feature extractor -> its rate in Hz, and how many samples it takes at once."""
    rate = int(getattr(extractor, "sampling_rate", 0) or 16_000)
    seconds = getattr(extractor, "max_length_s", None) or getattr(extractor, "chunk_length", None)
    return rate, round((seconds if isinstance(seconds, int | float) else LONGEST_S) * rate)
