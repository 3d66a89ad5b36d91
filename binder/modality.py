"""A kind of input, as a plugin describes it to the core. Free of torch, so that plugins are listed fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from binder.config import Config

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchor import Anchor
    from binder.encoder import Encoder

Item = Any  # a path, bytes, text or an in-memory array: whatever the modality's `preprocess` reads


class EncoderConfig(Config):
    """Base of a modality's encoder configuration. Give every field its unit in a comment."""


class PictureConfig(EncoderConfig):
    """Base for encoders that see through an image tower, the anchor's by default."""

    trunk: str | None = None  # a pretrained tower in its place: timm:NAME or transformers:NAME, NAME also a folder
    tune: Literal["frozen", "lora", "full"] = "frozen"  # the tower: as it is, with low-rank additions, or all of it
    rank: int = Field(8, ge=1, le=256)  # of the low-rank additions
    views: int = Field(8, ge=1, le=64)  # pictures of each training item, where the plugin can vary them
    hidden: int | None = Field(None, ge=1)  # width of the adapter's hidden layer; the embed_dim by default


@dataclass(frozen=True)
class Modality:
    """Everything the core knows of a kind of input.

    Plugins return it from the hook `binder_register_modalities`. Modules that hold one import torch only
    inside `build`.
    """

    name: str  # singular, lower case: the manifest's column and the keyword of the Python API
    suffixes: frozenset[str]  # with the dot, lower case; several modalities may claim one, then nothing is guessed
    config: type[EncoderConfig]
    build: Callable[[Any, Anchor], Encoder]  # (config, anchor) -> encoder with fresh weights
    adapt: Callable[[Any, Sequence[Item]], Any] | None = None  # config, sample of training items -> config:
    # fills what the user left open from the data (a window length, statistics); stored with the encoder
    preview: Callable[[Item], Image] | None = None  # what people see in a report
    media: str | None = None  # MIME type by which a page can play the item
    diagnose: Callable[[], dict[str, str]] | None = None  # what `binder doctor` prints: decoders, versions
    inline: bool = False  # the item is the value itself (text), not a path to a file
    frozen: bool = False  # encoded by the anchor's own tower: nothing to train, nothing to load
