"""Checks what plugins return, so that a bug in a plugin becomes a one-line error that names the plugin.

Free of torch until an encoder is built. Shapes: B batch, W windows of one item, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from binder.errors import BinderError, ItemError, PluginError, kind_and_words
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from torch import Tensor

    from binder.anchors.base import Anchor
    from binder.encoder import Encoder


REPORT = "please report it to its author, with the item"
MAX_VALUE = 1e15  # in a window: the squares of larger values overflow float32


class NotFinite(PluginError):
    """A vector is NaN or infinite, because of the item or of the encoder."""


def guarded(modality: Modality, plugin: str) -> Modality:
    """The same modality, with a `build` and an `adapt` that raise PluginError for bugs in the plugin."""
    build = partial(_build, modality, plugin) if modality.trainable else modality.build
    return replace(modality, build=build, adapt=partial(_adapt, modality, plugin) if modality.adapt else None)


def watch(encoder: Encoder, where: str, embed_dim: int) -> None:
    """From now on, check each output of an encoder; what is wrong is said of `where`."""
    encoder.register_forward_hook(partial(_check_output, where, embed_dim))


def _build(modality: Modality, plugin: str, config: Any, anchor: Anchor) -> Encoder:
    from binder.encoder import Encoder

    where = f"plugin {plugin}, modality {modality.name!r}"
    encoder = _called(f"{where}: build", modality.build, config, anchor)
    if not isinstance(encoder, Encoder):
        raise PluginError(f"{where}: build returned {type(encoder).__name__}, expected a binder.Encoder")
    watch(encoder, where, anchor.embed_dim)
    return encoder


def _adapt(modality: Modality, plugin: str, config: Any, items: Sequence[Item]) -> EncoderConfig:
    assert modality.adapt is not None
    where = f"plugin {plugin}, modality {modality.name!r}"
    adapted = _called(f"{where}: adapt", modality.adapt, config, items)
    if not isinstance(adapted, modality.config):
        kind = type(adapted).__name__
        raise PluginError(f"{where}: adapt returned {kind}, expected a {modality.config.__name__}")
    return adapted


def _called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a plugin's function. Raises PluginError where it raises what is no BinderError."""
    try:
        return function(*arguments)
    except BinderError:
        raise
    except Exception as error:
        raise PluginError(f"{what} failed: {kind_and_words(error)}") from error


def _check_output(where: str, embed_dim: int, encoder: Encoder, arguments: tuple[Any, ...], output: Any) -> None:
    """A forward hook: checks that the output is (B, D) and finite. In training only the loss is, which is cheaper.

    It steps aside while the encoder is exported or compiled: a graph cannot ask a question of its numbers.
    """
    import torch

    if torch.compiler.is_compiling():  # also while exporting
        return
    batch: Tensor = arguments[0]
    if not isinstance(output, torch.Tensor):
        raise PluginError(f"{where}: forward returned {type(output).__name__}, expected a tensor (B, {embed_dim})")
    if tuple(output.shape) != (len(batch), embed_dim):
        raise PluginError(
            f"{where}: forward returned shape {tuple(output.shape)} for a batch of {len(batch)}, "
            f"expected ({len(batch)}, {embed_dim}): (B, the anchor's embed_dim)"
        )
    if not encoder.training and not torch.isfinite(output).all():
        raise NotFinite(f"{where}: forward returned numbers that are not finite (NaN or infinite)")


def check_windows(encoder: Encoder, item: Item, made: object) -> Tensor:
    """What `preprocess`, `views` or `segments` returned for one item -> the same, if it is (W, ...) with W at least 1.

    Otherwise raises ItemError, which says whose fault it is.
    """
    import torch

    where = f"plugin {plugin_of(encoder)}: preprocess returned"
    if not isinstance(made, torch.Tensor):
        raise ItemError(item, f"{where} {type(made).__name__}, expected a tensor (W, ...); {REPORT}")
    if made.ndim < 2 or not len(made):
        raise ItemError(
            item, f"{where} shape {tuple(made.shape)}, expected (W, ...) with at least one window; {REPORT}"
        )
    if made.is_floating_point() and not (made.abs() <= MAX_VALUE).all():  # it would spoil its whole batch
        finite = bool(torch.isfinite(made).all())
        raise ItemError(item, f"holds numbers {f'beyond {MAX_VALUE:g}' if finite else 'that are not finite'}")
    return made


def alike(encoder: Encoder, item: Item, made: Tensor, before: Tensor | None) -> Tensor | ItemError:
    """The same windows, if they have shape and dtype of those `before`; otherwise an ItemError."""
    if before is None or (made.shape[1:], made.dtype) == (before.shape[1:], before.dtype):
        return made
    both = " and ".join(f"{tuple(x.shape[1:])} of {x.dtype}" for x in (before, made))
    where = f"plugin {plugin_of(encoder)}: preprocess returned windows of shape"
    return ItemError(item, f"{where} {both}; every item's must be the same; {REPORT}")


def mistake(encoder: Encoder, item: Item, error: BaseException) -> ItemError:
    """An unexpected exception in `preprocess` -> an ItemError that says whose fault it is."""
    if isinstance(error, MemoryError):
        return ItemError(item, "needs more memory than there is to be read")
    return ItemError(item, f"plugin {plugin_of(encoder)}: {kind_and_words(error)}{_place_in(encoder, error)}; {REPORT}")


def _place_in(encoder: Encoder, error: BaseException) -> str:
    """The innermost line of the plugin's own code in a traceback, for its author."""
    import traceback

    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == plugin_of(encoder) and package != "binder":
            found = f" (in {'/'.join(frame.f_code.co_filename.replace(chr(92), '/').split('/')[-2:])}:{line})"
    return found


def plugin_of(encoder: Encoder) -> str:
    """The package that defines an encoder, or the function with which it reads."""
    read = getattr(encoder, "read", None) or getattr(encoder, "draw", None) or type(encoder)
    return str(getattr(read, "__module__", None) or type(encoder).__module__).partition(".")[0]
