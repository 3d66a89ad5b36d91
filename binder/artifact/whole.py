"""Whether names alone bring back the parts of a space as they are: what a pickle of it depends on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn

from binder.anchors.base import Anchor
from binder.errors import BinderError, ConfigError
from binder.registry import Registry


def version(module: nn.Module) -> int:
    """A number that changes when weights of a module are changed in place, as by a step of training."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor._version for tensor in tensors if not tensor.is_inference())


def check_encoders(encoders: Mapping[str, nn.Module], runs: Collection[str], loaded: Mapping[str, int]) -> None:
    """Raises ConfigError for an encoder that is in none of the `runs`, or whose weights are not as loaded."""
    for name, encoder in encoders.items():
        if name not in runs:
            raise ConfigError(f"a Binder cannot be pickled: its encoder for {name!r} is in no run folder")
        if loaded.get(name) != version(encoder):
            raise ConfigError(
                f"a Binder cannot be pickled: its encoder for {name!r} was changed since it was loaded from its run "
                "folder; pickle its state_dict"
            )


def check_anchor(anchor: Anchor, registry: Registry) -> None:
    """Raises ConfigError for an anchor that was made in memory: one that does not load by its name."""
    try:
        found = registry.load_anchor(anchor.name, "cpu").fingerprint
    except BinderError as error:
        raise ConfigError(
            f"a Binder cannot be pickled: its anchor {anchor.name!r} was made in memory, and none loads by that name: "
            f"{error}"
        ) from None
    if found != anchor.fingerprint:
        raise ConfigError(
            f"a Binder cannot be pickled: its anchor was made in memory; {anchor.name!r} loads another one, of space "
            f"{found[:8]} instead of {anchor.fingerprint[:8]}"
        )
