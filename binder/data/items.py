"""What a caller gives for one modality -> a list of its items: one value, or any collection or stream of values.

What something is decides: nothing is taken for items that has no order, or that are vectors already. An item that
cannot be one becomes `Unusable`, so that it is reported with its position, like any other that cannot be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

from binder.data import manifest
from binder.errors import ConfigError, ItemError, name_of
from binder.formats.content import read_bytes
from binder.modality import Item, Modality, Unusable
from binder.space.embeddings import Embeddings

# names of the types of columns of paths or texts: NumPy's, pandas' and polars'
TEXTS = re.compile(r"object|str\b.*|string\b.*|large_string\b.*|utf8", re.IGNORECASE)


def listed(values: Any, kind: Modality) -> list[Item]:
    """One item, or any collection or stream of items of one modality -> a list of items.

    An array of numbers, a picture, bytes, an open file, a data frame and (array, rate) are one item; four-dimensional
    arrays are stacks of pictures, where a page shows the modality's items as such. A string is a path, unless the
    modality is `inline`. Raises ConfigError for a set, for vectors, and for a data frame that has a column of items.
    """
    _refuse(values, kind.name)
    if getattr(values, "ndim", None) == 0 and _of_texts(values):
        values = values.item()
    stacked = getattr(values, "ndim", 0) == 4 and (kind.media or "").startswith("image/")
    several = values if stacked or holds_items(values) else [values]
    return [_item(value, f"item {position}", kind.inline) for position, value in enumerate(several)]


def _refuse(values: Any, modality: str) -> None:
    """Raises ConfigError for what would give wrong items without a word."""
    if isinstance(values, set | frozenset):
        raise ConfigError(f"{modality}: a set has no order, and the rows of the result have; give a list")
    if isinstance(values, Embeddings):
        raise ConfigError(f"{modality}: Embeddings are vectors already; give items")
    if _is_frame(values) and modality in list(getattr(values, "column_names", values.columns)):
        raise ConfigError(f"{modality}: a table of several columns; give that column alone: table[{modality!r}]")


def holds_items(values: Any) -> bool:
    """Whether it is a collection or a stream of items, not a single one."""
    if isinstance(values, str | bytes | bytearray | memoryview | os.PathLike | Mapping) or hasattr(values, "read"):
        return False
    if _is_frame(values) or not isinstance(values, Iterable):
        return False
    if isinstance(values, tuple):  # (array, rate) and (value, name of its kind) are one item
        if all(isinstance(value, str | os.PathLike) for value in values):
            return True
        return not any(isinstance(value, str | Number) for value in values)
    if hasattr(values, "dtype") or hasattr(values, "to_pylist"):
        return _of_texts(values)
    return not hasattr(values, "convert")  # a method of Pillow's pictures


def _of_texts(values: Any) -> bool:
    """Whether an array or a column holds paths, texts or other objects, not numbers."""
    kind = getattr(values, "dtype", None)
    if kind is None:  # a column of Arrow's
        return any(word in str(values.type) for word in ("string", "binary"))
    categories = getattr(kind, "categories", None)
    if categories is not None:  # pandas' type of few repeated values
        return _of_texts(categories)
    return getattr(kind, "kind", "") in ("U", "T") or TEXTS.fullmatch(str(kind)) is not None


def _is_frame(values: Any) -> bool:
    """Whether it is a table with several columns, of any library."""
    return (hasattr(values, "columns") or hasattr(values, "column_names")) and not isinstance(values, Mapping)


def _item(value: Any, place: str, inline: bool) -> Item:
    """One value of a collection -> an item that encoders know; `place` names it where it has no name."""
    if callable(getattr(value, "as_py", None)):  # a cell of a column of Arrow's
        value = value.as_py()
    if isinstance(value, str):
        return str(value) if inline else _path(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return Unusable(place, "missing")
    if callable(getattr(value, "read", None)) and not isinstance(value, type):
        return _read(value, inline)
    if _is_nested(value):
        return Unusable(place, f"holds items itself ({type(value).__name__}); give them one after the other")
    return manifest.plain(value)


def _path(text: str) -> Item:
    if manifest.URL.match(text):
        return Unusable(text, "is a URL; binder reads files: download it first")
    return Path(text) if text else Unusable("''", "an empty path")


def _read(file: Any, inline: bool) -> Item:
    """An open file -> its bytes. Its position is put back, so that it can be given again."""
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else name_of(file)
    if inline:
        return Unusable(name, "an open file; give its text: file.read()")
    try:
        return read_bytes(file)
    except ItemError as error:
        return Unusable(name, error.reason)


def _is_nested(value: Any) -> bool:
    """Whether what should be one item is a collection of items itself."""
    if isinstance(value, Iterator | set | frozenset):
        return True
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str | os.PathLike)
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0 and _of_texts(value)
