"""What users give: told apart, checked against the index, brought into one form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from binder.data.sources import Found
from binder.errors import ConfigError, SpaceError, name_of
from binder.files import utf8
from binder.index import metadata as saying
from binder.index.record import Record
from binder.index.rows import vector_rows
from binder.index.store import Store
from binder.registry import registry
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors


def are_vectors(value: Any, record: Record) -> bool:
    """Embeddings, a float array (N, D), or an iterator, which streams such; everything else is items."""
    if isinstance(value, np.ndarray):
        return value.ndim == 2 and value.shape[1] == record.embed_dim and value.dtype.kind == "f"
    return isinstance(value, Embeddings | Iterator)


def checked(part: Any, modality: str, names: Sequence[str] | None, record: Record) -> Embeddings:
    """Vectors to be added, as Embeddings of this space. Raises SpaceError, ConfigError where they do not belong."""
    if not isinstance(part, Embeddings):
        part = Embeddings(part, record.space, names or ())
    elif names is not None:
        part = Embeddings(part.vectors, part.space, names, part.modality)
    if part.modality not in (None, modality):
        raise ConfigError(f"these are vectors of {part.modality}, not of {modality}")
    _fits(part, record)
    return part


def vector_batches(
    value: Any, modality: str, metadata: Any, names: Sequence[str] | None, record: Record
) -> Iterator[pa.Table]:
    """Vectors as `Index.add` takes them -> rows, as they come. Raises SpaceError, ConfigError."""
    inline = modality in registry().names() and registry().get(modality).inline
    single = isinstance(value, Embeddings | np.ndarray)
    if not single and (metadata is not None or names is not None):
        raise ConfigError("metadata and names cannot go with an iterator; let it give pairs (vectors, metadata)")
    for part in [(value, metadata)] if single else value:
        vectors, said = part if isinstance(part, tuple) else (part, None)
        z = checked(vectors, modality, names, record)
        yield vector_rows(z, saying.columns_of(said, len(z)), inline)


def check_search(k: int, mode: str, rank_by: str | None) -> None:
    """Raises ConfigError for settings of a search that there are not."""
    if k < 1 or mode not in ("vector", "text", "hybrid"):
        raise ConfigError(f"k is {k}, mode {mode!r}; expected k of at least 1, mode vector, text or hybrid")
    if rank_by not in (None, "score", "probability") or (rank_by == "probability" and mode == "text"):
        raise ConfigError(f"rank_by is {rank_by!r} in mode {mode!r}; expected score, or probability (not of words)")


def check_query(query: Any, items: Mapping[str, Any]) -> None:
    """Raises ConfigError where it is not either a vector or one item."""
    if (query is None) == (not items):
        raise ConfigError("search needs a vector, or one item as a keyword such as text=...")
    if query is None and len(items) != 1:
        raise ConfigError(f"give exactly one modality as a keyword, got {', '.join(items)}")


def words_of(mode: str, query: Any, items: Mapping[str, Any]) -> str | None:
    """The words that a search looks up; None in mode "vector". Raises ConfigError where there are none."""
    if mode == "vector":
        return None
    words = items.get("text")
    if not isinstance(words, str) or len(items) > 1 or (mode == "text" and query is not None):
        raise ConfigError(f"mode {mode!r} looks words up: give them as text=...")
    return words


def one_vector(query: Embeddings | Vectors, record: Record) -> Vectors:
    """A query -> (D,) unit vector. Raises SpaceError for another space, for several, or one not of unit length."""
    if isinstance(query, str | os.PathLike):
        raise ConfigError("expected a vector; a text is search(text=...), a file is search(image=...) and so on")
    found = query if isinstance(query, Embeddings) else Embeddings(np.atleast_2d(query), record.space)
    _fits(found, record)
    if len(found) != 1:
        raise SpaceError(f"expected one vector to search with, got {len(found)}; take their mean(), or one by one")
    return found.vectors[0]


def with_metadata(found: list[Found], metadata: Any, store: Store) -> list[Found]:
    """The items with what is said of them, by manifest and by argument, in the kinds that are kept."""
    own: list[dict[str, Any]] = [{} for _ in found]
    for modality in dict.fromkeys(f.modality for f in found):
        places = [i for i, f in enumerate(found) if f.modality == modality]
        table = store.table(modality)
        have = table.state().metadata if table else {}
        names = [name_of(found[i].item) for i in places]
        for i, said in zip(places, saying.from_files([found[i].meta for i in places], names, have), strict=True):
            own[i] = said
    given = saying.columns_of(metadata, len(found))
    joined = []
    for f, a, b in zip(found, own, given.to_pylist() if given is not None else [{}] * len(found), strict=True):
        meta = {**a, **b}
        text = meta.pop("text", None)
        text = f.text if text is None else text
        joined.append(Found(f.modality, f.item, None if text is None else utf8(text), meta))
    return joined


def _fits(z: Embeddings, record: Record) -> None:
    if z.space != record.space:
        raise SpaceError(f"the index is of space {record.space[:8]}; vectors of space {z.space[:8]} do not fit")
    if z.vectors.shape[1] != record.embed_dim:
        raise SpaceError(f"vectors of {z.vectors.shape[1]} dimensions, the index has {record.embed_dim}")
