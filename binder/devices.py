"""Where models run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from binder.encoder import Encoder
from binder.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps' -> a device that is there. Raises ConfigError otherwise."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r}: unknown; expected cpu, cuda, cuda:1, mps or auto") from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = re.split(r"[.\n]", str(error))[0][:120]
        raise ConfigError(f"device {name!r}: not available here: {why}") from None
    return device


def device_of(encoder: Encoder) -> torch.device:
    """Where the encoder's (or, if it has none of its own, its anchor's) weights are."""
    parameter = next(encoder.parameters(), None)
    if parameter is not None:
        return parameter.device
    anchor = getattr(encoder, "anchor", None)
    return anchor.device if anchor is not None else torch.device("cpu")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within this, torch draws from `seed` on the CPU and on `device`; the caller's random state is back afterwards."""
    on = [device] if device.type != "cpu" else []
    with torch.random.fork_rng(devices=on, device_type=on[0].type if on else "cuda"):
        torch.manual_seed(seed)
        yield
