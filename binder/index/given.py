"""What users give: told apart, checked against the index, brought into one form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from binder.embeddings import Embeddings
from binder.errors import ConfigError, SpaceError
from binder.index import rows
from binder.index.record import Record
from binder.items import Found
from binder.vectors import Vectors


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


def one_vector(query: Embeddings | Vectors, record: Record) -> Vectors:
    """A query -> (D,) unit vector. Raises SpaceError for another space, for several, or one not of unit length."""
    found = query if isinstance(query, Embeddings) else Embeddings(np.atleast_2d(query), record.space)
    _fits(found, record)
    if len(found) != 1:
        raise SpaceError(f"expected one vector to search with, got {len(found)}; take their mean(), or one by one")
    return found.vectors[0]


def with_metadata(found: list[Found], metadata: Any) -> list[Found]:
    """The items with what is said of them, by manifest and by argument, in the types that are kept."""
    own = rows.metadata_table([f.meta for f in found], len(found))
    given = rows.metadata_table(metadata, len(found))
    said = [t.to_pylist() if t is not None else [{}] * len(found) for t in (own, given)]
    joined = []
    for f, a, b in zip(found, *said, strict=True):
        meta = {**a, **b}
        text = meta.pop("text", None)
        joined.append(Found(f.modality, f.item, f.text if text is None else text, meta))
    return joined


def _fits(z: Embeddings, record: Record) -> None:
    if z.space != record.space:
        raise SpaceError(f"the index is of space {record.space[:8]}; vectors of space {z.space[:8]} do not fit")
    if z.vectors.shape[1] != record.embed_dim:
        raise SpaceError(f"vectors of {z.vectors.shape[1]} dimensions, the index has {record.embed_dim}")
