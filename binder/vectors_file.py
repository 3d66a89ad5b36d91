"""Vectors in a Parquet file: columns item, modality, vector; the space is written in the schema's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from binder.anchor import Anchor
from binder.checkpoint import write
from binder.vectors import Vectors


def write_vectors(path: Path, items: Sequence[str], modalities: Sequence[str], z_ND: Vectors, anchor: Anchor) -> None:
    """(N, D) with what each row is -> a Parquet file, written beside and renamed. Raises RunError."""
    vector = pa.FixedSizeListArray.from_arrays(pa.array(z_ND.reshape(-1), pa.float32()), z_ND.shape[1])
    schema = pa.schema(
        [("item", pa.string()), ("modality", pa.string()), ("vector", vector.type)],
        metadata={"binder.space": anchor.fingerprint, "binder.anchor": anchor.name},
    )
    columns = [pa.array(list(items), pa.string()), pa.array(list(modalities), pa.string()), vector]
    write(path, lambda p: pq.write_table(pa.table(columns, schema=schema), p))
