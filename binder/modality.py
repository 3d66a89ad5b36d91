"""A kind of input, as a plugin describes it to the core. Free of torch, so that plugins are listed fast."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from binder.config import Config
from binder.errors import ItemError, PluginError, kind_and_words

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchors.openclip import Anchor
    from binder.encoder import Encoder

# what the Python API, manifests and indexes call something else; a test finds what is missing here
RESERVED = frozenset(
    re.findall(
        r"\w+",
        "anchor batch_size both cards classify classify_vectors collapse device embed encode encoders end_s evaluate "
        "every_s exact force group item items k labels load metadata mode modality names of progress query rank_by "
        "runs self space sources start_s strict template to trained_together trunk vector vectors where workers",
    )
)

Item = Any  # a path, bytes, text or an in-memory array: whatever the modality's `preprocess` reads


@dataclass(frozen=True)
class Unusable:
    """In place of an item: what is known to be none before anything opens it. Opening it raises ItemError."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name

    def __fspath__(self) -> str:
        raise ItemError(self.name, self.reason)


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


def check_name(name: object) -> None:
    """Raises PluginError for what cannot be the name of a modality: it becomes a column and a Python keyword."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} cannot be a modality: expected a lower-case name such as 'sonar' or 'heart_rate'")
    if name in RESERVED:
        raise PluginError(f"{name!r} cannot be a modality: binder uses the word for something else; choose another")


def check(modality: Modality) -> None:
    """Raises PluginError that names the field of a record which is not what it should be."""
    check_name(modality.name)
    where = f"modality {modality.name!r}"
    suffixes: Any = modality.suffixes
    if not isinstance(suffixes, frozenset | set):
        raise PluginError(f"{where}: suffixes must be a set such as {{'.csv'}}, got {type(suffixes).__name__}")
    for suffix in suffixes:
        if not isinstance(suffix, str) or not re.fullmatch(r"\.[^\s/\\A-Z]+", suffix):
            raise PluginError(f"{where}: suffix {suffix!r} must be lower case with a dot in front, such as '.csv'")
    if not (isinstance(modality.config, type) and issubclass(modality.config, EncoderConfig)):
        raise PluginError(f"{where}: config must be a class derived from binder.EncoderConfig, got {modality.config!r}")
    for field in ("build", "adapt", "preview", "diagnose"):
        value = getattr(modality, field)
        if not (callable(value) or (value is None and field != "build")):
            raise PluginError(f"{where}: {field} must be a function, got {type(value).__name__}")
    if modality.media is not None and not re.fullmatch(r"[a-z]+/[\w.+-]+", str(modality.media)):
        raise PluginError(f"{where}: media must be a MIME type such as 'image/png', got {modality.media!r}")
    for field in ("inline", "frozen"):
        if not isinstance(getattr(modality, field), bool):
            raise PluginError(f"{where}: {field} must be True or False, got {getattr(modality, field)!r}")
    try:
        modality.config()
    except Exception as error:
        raise PluginError(
            f"{where}: config must have a default for every field: {kind_and_words(error, 200)}"
        ) from None
