"""What can go wrong, by whom it can be put right.

BinderError                 anything a user can mend; the command line prints it as one line, exit status 2
├── ConfigError             an unknown key, a value out of range
├── ManifestError           a pairs or items file: names file and row
├── ItemError               one item cannot be read; skipped and counted unless --strict
├── PluginError             an unknown modality, a broken or duplicate plugin
├── AnchorError             an unknown anchor, weights that do not cover the model
├── SpaceError              vectors or encoders of different spaces
├── RunError                a run folder or an aligned encoder: exists, is missing, is damaged
├── StoreError              an index: missing, damaged, full, of a newer binder, a condition it cannot read
└── TrainingError           the loss is not finite, nothing is left to train on

Anything else that is raised is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class BinderError(Exception):
    """Base of every error a user can mend. `str(error)` is one line."""


class ConfigError(BinderError):
    """A configuration holds an unknown key or an unusable value."""


class ManifestError(BinderError):
    """A pairs or items file cannot be used; the message names file and row."""


class ItemError(BinderError):
    """One item cannot be read. `item` says which (an item, or its name), `reason` why."""

    def __init__(self, item: object, reason: str) -> None:
        self.item = name_of(item)
        self.reason = reason
        super().__init__(" ".join(f"{self.item[:200]}: {reason}".split()))  # one line

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str]]:
        return type(self), (self.item, self.reason)  # crosses process borders whole


class PluginError(BinderError):
    """A modality is unknown, or the plugin that provides it is broken."""


class AnchorError(BinderError):
    """An anchor is unknown, or its weights could not be loaded completely."""


class SpaceError(BinderError):
    """Vectors, encoders or indexes belong to different spaces."""


class RunError(BinderError):
    """A run folder or aligned encoder exists already, is missing or is damaged."""


class StoreError(BinderError):
    """An index is missing, damaged or cannot be written, or it cannot do what it was asked."""


class TrainingError(BinderError):
    """Training cannot start or cannot go on."""


def name_of(item: object) -> str:
    """How a message names an item: its path or text, or what is held in memory."""
    if isinstance(item, tuple) and item:  # a table with its rate, say
        return name_of(item[0])
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{len(item)} bytes>"
    return str(item) if isinstance(item, str | os.PathLike) else f"<{type(item).__name__} in memory>"


def one_line(error: BaseException, most: int = 200) -> str:
    """An exception's message as one printable line of bounded length; its type where it has no message."""
    said = " ".join(str(error)[: 10 * most].split())[:most]  # which may quote a whole file
    return "".join(c if c.isprintable() else "?" for c in said) or type(error).__name__


def kind_and_words(error: BaseException, most: int = 300) -> str:
    """The same with the kind of exception in front: for one that nobody foresaw."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest of `known`, or '' where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
