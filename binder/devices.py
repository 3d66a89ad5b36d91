"""The devices that models run on, and their random state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from binder.encoder import Encoder
from binder.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps' -> the device. Raises ConfigError where it is unknown or not available."""
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
    """The device of the encoder's weights or, where it has none of its own, of its anchor's."""
    parameter = next(encoder.parameters(), None)
    if parameter is not None:
        return parameter.device
    anchor = getattr(encoder, "anchor", None)
    return anchor.device if anchor is not None else torch.device("cpu")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within this, torch draws from `seed` on the CPU and on `device`; the caller's random state is back afterwards."""
    with random_state_restored(device):
        seed_torch(seed, device)
        yield


@contextmanager
def random_state_restored(device: torch.device) -> Iterator[None]:
    """Restore torch's random state on the CPU and on `device` when the body ends, however it ends."""
    modules: list[tuple[Any, tuple[torch.device, ...]]] = [(torch.random, ())]
    if device.type != "cpu":  # not by torch.random.fork_rng, which fails on MPS
        modules.append((torch.get_device_module(device.type), () if device.type == "mps" else (device,)))
    states = [module.get_rng_state(*where) for module, where in modules]
    try:
        yield
    finally:
        for (module, where), state in zip(modules, states, strict=True):
            module.set_rng_state(state, *where)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch on the CPU and on `device`.

    `torch.manual_seed` would seed every other device as well, and for an accelerator that is not in use yet it formats
    the whole call stack each time.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "mps":
        torch.mps.manual_seed(seed)
    elif device.type != "cpu":
        module = torch.get_device_module(device.type)
        with module.device(device):
            module.manual_seed(seed)
