"""The exceptions that binder raises, how their messages are worded, and warnings about old names.

BinderError                 anything the user can fix; the command line prints it as one line, exit status 2
├── ConfigError             an unknown key, a value out of range
├── ManifestError           a manifest cannot be used: names file and row
├── ItemError               one item cannot be read; skipped and counted unless --strict
├── PluginError             an unknown modality, a broken or duplicate plugin
├── AnchorError             an unknown anchor, weights that do not cover the model
├── SpaceError              vectors or encoders of different spaces
├── RunError                a run folder or an aligned encoder: exists, is missing, is damaged
├── StoreError              an index: missing, damaged, full, written by a newer binder, or an invalid condition
└── TrainingError           the loss is not finite, nothing is left to train on

Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
import functools
import os
import warnings
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

OLD_NAMES = "the next release drops the old name"

P = ParamSpec("P")
R = TypeVar("R")


class BinderError(Exception):
    """Base of every error that the user can fix. `str(error)` is one line."""


class ConfigError(BinderError):
    """A configuration has an unknown key or an invalid value."""


class ManifestError(BinderError):
    """A manifest cannot be used; the message names file and row."""


class ItemError(BinderError):
    """One item cannot be read: `item` (an item, or its name) for `reason`."""

    def __init__(self, item: object, reason: str) -> None:
        self.item = name_of(item)
        self.reason = reason
        super().__init__(" ".join(f"{self.item[:200]}: {reason}".split()))  # one line

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str]]:
        return type(self), (self.item, self.reason)  # can be pickled


class PluginError(BinderError):
    """A modality is unknown, or the plugin that provides it is broken."""


class AnchorError(BinderError):
    """An anchor is unknown, or its weights could not be loaded completely."""


class SpaceError(BinderError):
    """Vectors, encoders or indexes belong to different spaces."""


class RunError(BinderError):
    """A run folder or an aligned encoder exists already, is missing or is damaged."""


class StoreError(BinderError):
    """An index is missing, damaged or cannot be written, or it cannot do what it is asked to."""


class TrainingError(BinderError):
    """Training cannot start or continue."""


def name_of(item: object) -> str:
    """An item's name in messages: its path or text, or what kind of object it is."""
    if isinstance(item, tuple) and item:  # a table with its rate, say
        return name_of(item[0])
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{len(item)} bytes>"
    return str(item) if isinstance(item, str | os.PathLike) else f"<{type(item).__name__} in memory>"


def one_line(error: BaseException, most: int = 200) -> str:
    """An exception's message as one printable line of at most `most` characters; its type where it has no message.

    For an OSError it is the reason alone: whoever reports it says which file it was.
    """
    message = str(getattr(error, "strerror", None) or error)
    said = " ".join(message[: 10 * most].split())[:most]  # which may quote a whole file
    return "".join(c if c.isprintable() else "?" for c in said) or type(error).__name__


def kind_and_words(error: BaseException, most: int = 300) -> str:
    """The same after the exception's type, for exceptions that were not expected."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest of `known`, or '' where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn, by default the caller of the caller, that what was called `old` is now `new`."""
    warnings.warn(f"{old} is now {new}; {OLD_NAMES}", FutureWarning, stacklevel=stacklevel)


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose keyword arguments were renamed, old=new: the old names still work, with a warning."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]  # of the class, for its constructor

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in names.keys() & kwargs.keys():
                if names[old] in kwargs:
                    raise TypeError(f"{name}() got {names[old]}= and also its old name, {old}=")
                warn_renamed(f"{name}({old}=)", f"{names[old]}=")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return called

    return decorate
