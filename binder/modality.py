"""The record by which a plugin describes a modality to the core. Free of torch, so that listing plugins is fast."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from binder.config import Config
from binder.errors import ItemError, PluginError, kind_and_words, warn_renamed

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchors.base import Anchor
    from binder.encoder import Encoder

# words that mean something else in the Python API, manifests and indexes; a test checks that none is missing
RESERVED = frozenset(
    re.findall(
        r"\w+",
        "anchor batch_size both cards classify classify_vectors collapse device embed encode encoders end_s "
        "evaluate every_s exact for_queries force group item items k labels load metadata modalities mode modality "
        "names of per_item progress prompt query rank_by registry runs self space sources start_s strict template to "
        "trained_together trunk vector vectors where workers",
    )
)

Item = Any  # a path, bytes, text or an in-memory array: whatever the modality's `preprocess` reads


@dataclass(frozen=True)
class Unusable:
    """Stands for an item that is known to be unreadable before anything opens it; opening it raises ItemError."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name

    def __fspath__(self) -> str:
        raise ItemError(self.name, self.reason)


class EncoderConfig(Config):
    """Base of a modality's encoder configuration. Give every field its unit in a comment."""

    former_names: ClassVar[Mapping[str, str]] = {}  # old name of a field -> its name; works for one release

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not any(name in values for name in cls.former_names):
            return values
        accepted = dict(values)
        for name, new in cls.former_names.items():
            if name in values:
                warn_renamed(f"encoder.{name}", f"encoder.{new}")
                accepted.setdefault(new, accepted.pop(name))  # the new name wins: it may override a saved configuration
        return accepted


class PictureConfig(EncoderConfig):
    """Base for encoders that show an item to an image tower, by default the anchor's."""

    trunk: str | None = None  # a pretrained tower instead: timm:NAME or transformers:NAME; NAME may be a folder
    tune: Literal["frozen", "lora", "full"] = "frozen"  # the tower: unchanged, with low-rank updates, or all of it
    rank: int = Field(8, ge=1, le=256)  # of the low-rank updates
    views: int = Field(8, ge=1, le=64)  # pictures of each training item, where the plugin can vary them
    hidden: int | None = Field(None, ge=1)  # width of the adapter's hidden layer; by default embed_dim


def only_by_anchors(config: Any, anchor: Anchor) -> Encoder:
    """Stands for the `build` of a modality that only anchors encode. Raises PluginError."""
    raise PluginError("a modality without an encoder of its own: only an anchor can encode it")


@dataclass(frozen=True)
class Modality:
    """Everything the core knows about a kind of input.

    Plugins return these records from the hook `binder_register_modalities`. The module that makes them imports torch
    only inside `build`.
    """

    name: str  # singular, lower case: the column in manifests and the keyword in the Python API
    suffixes: frozenset[str]  # with the dot, lower case; a suffix that several modalities claim is ambiguous
    config: type[EncoderConfig]
    build: Callable[[Any, Anchor], Encoder] = only_by_anchors  # (config, anchor) -> encoder with fresh weights
    adapt: Callable[[Any, Sequence[Item]], Any] | None = None  # (config, sample of training items) -> config with
    # the fields that the user left open filled from the data (a window length, statistics); saved with the encoder
    read: Callable[..., Any] | None = None  # the item decoded, for an anchor that encodes the modality itself and
    # brings its own preprocessing; which keyword arguments it takes (a rate) is the modality's to say
    preview: Callable[[Item], Image] | None = None  # the picture of an item in reports
    media: str | None = None  # MIME type as which a web page can play the item
    diagnose: Callable[[], dict[str, str]] | None = None  # what `binder doctor` prints: decoders, versions
    inline: bool = False  # the item is the value itself (text), not a path to a file

    @property
    def trainable(self) -> bool:
        """Whether there is an encoder that can be aligned."""
        return self.build is not only_by_anchors


def check_name(name: object) -> None:
    """Raises PluginError for a name that cannot be a column of manifests and a Python keyword argument."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} cannot be a modality: expected a lower-case name such as 'sonar' or 'heart_rate'")
    if name in RESERVED:
        raise PluginError(f"{name!r} cannot be a modality: binder uses the word for something else; choose another")


def check(modality: Modality) -> None:
    """Raises PluginError for a record with a wrong field, which the message names."""
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
    for field in ("build", "adapt", "read", "preview", "diagnose"):
        value = getattr(modality, field)
        if not (callable(value) or (value is None and field != "build")):
            raise PluginError(f"{where}: {field} must be a function, got {type(value).__name__}")
    if modality.media is not None and not re.fullmatch(r"[a-z]+/[\w.+-]+", str(modality.media)):
        raise PluginError(f"{where}: media must be a MIME type such as 'image/png', got {modality.media!r}")
    if not isinstance(modality.inline, bool):
        raise PluginError(f"{where}: inline must be True or False, got {modality.inline!r}")
    try:
        modality.config()
    except Exception as error:
        raise PluginError(
            f"{where}: config must have a default for every field: {kind_and_words(error, 200)}"
        ) from None
