"""What a plugin returns, checked where the core takes it over: a mistake of its author is one line that names it.

Free of torch until an encoder is built. Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from binder.errors import BinderError, ItemError, PluginError
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from torch import Tensor

    from binder.anchor import Anchor
    from binder.encoder import Encoder


def guarded(modality: Modality, plugin: str) -> Modality:
    """The same modality, whose `build` and `adapt` raise PluginError where the plugin makes a mistake."""
    checked = partial(_build, modality, plugin)
    return replace(modality, build=checked, adapt=partial(_adapt, modality, plugin) if modality.adapt else None)


def _build(modality: Modality, plugin: str, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoder import Encoder

    where = f"plugin {plugin}, modality {modality.name!r}"
    try:
        encoder = modality.build(config, anchor)
    except BinderError:
        raise
    except Exception as error:
        raise PluginError(f"{where}: build failed: {_one_line(error)}") from error
    if not isinstance(encoder, Encoder):
        raise PluginError(f"{where}: build returned {type(encoder).__name__}, expected a binder.Encoder")
    encoder.register_forward_hook(partial(_check_output, where, anchor.embed_dim))
    return encoder


def _adapt(modality: Modality, plugin: str, config: Any, items: Sequence[Item]) -> EncoderConfig:
    assert modality.adapt is not None
    where = f"plugin {plugin}, modality {modality.name!r}"
    try:
        adapted = modality.adapt(config, items)
    except BinderError:
        raise
    except Exception as error:
        raise PluginError(f"{where}: adapt failed: {_one_line(error)}") from error
    if not isinstance(adapted, modality.config):
        kind = type(adapted).__name__
        raise PluginError(f"{where}: adapt returned {kind}, expected a {modality.config.__name__}")
    return adapted


def _check_output(where: str, embed_dim: int, encoder: Encoder, arguments: tuple[Any, ...], output: Any) -> None:
    """A forward hook: (B, D), and finite. In training the loss is watched instead, which is cheaper."""
    import torch

    batch: Tensor = arguments[0]
    if not isinstance(output, torch.Tensor):
        raise PluginError(f"{where}: forward returned {type(output).__name__}, expected a tensor (B, {embed_dim})")
    if tuple(output.shape) != (len(batch), embed_dim):
        raise PluginError(
            f"{where}: forward returned shape {tuple(output.shape)} for a batch of {len(batch)}, "
            f"expected ({len(batch)}, {embed_dim}): (B, the anchor's embed_dim)"
        )
    if not encoder.training and not torch.isfinite(output).all():
        raise PluginError(f"{where}: forward returned numbers that are not finite (NaN or infinite)")


def check_windows(encoder: Encoder, made: object, before: Tensor | None = None) -> Tensor:
    """What `preprocess`, `views` or `moments` gave of one item -> the same, found to be (W, ...) with W at least 1.

    `before` is what an item before gave: every window has one shape. Raises PluginError.
    """
    import torch

    where = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
    if not isinstance(made, torch.Tensor):
        raise PluginError(f"{where}: preprocess returned {type(made).__name__}, expected a tensor (W, ...)")
    if made.ndim < 2 or not len(made):
        shape = tuple(made.shape)
        raise PluginError(f"{where}: preprocess returned shape {shape}, expected (W, ...) with at least one window")
    if before is not None and (made.shape[1:], made.dtype) != (before.shape[1:], before.dtype):
        both = " and ".join(f"{tuple(x.shape[1:])} of {x.dtype}" for x in (before, made))
        raise PluginError(f"{where}: preprocess returned windows of shape {both}; every item's must be the same")
    return made


def mistake(encoder: Encoder, item: Item, error: Exception) -> ItemError:
    """An exception in `preprocess` that is no ItemError: the item is left out, and it says whose fault it is."""
    return ItemError(item, f"{_one_line(error)} in {type(encoder).__qualname__}, which should say ItemError")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
