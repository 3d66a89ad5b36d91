"""Vectors in a Parquet file: columns item, modality, vector, for pieces of items also start_s and end_s.

The space is written in the schema's metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from binder.anchor import Anchor
from binder.encoder import Span
from binder.files import write_beside
from binder.vectors import Vectors


def write_vectors(
    path: Path,
    items: Sequence[str],
    modalities: Sequence[str],
    rows: Sequence[Vectors],
    anchor: Anchor,
    spans: Sequence[Span | None] | None = None,
) -> None:
    """N rows (D,) with what each is -> a Parquet file, written beside and renamed. Raises RunError."""
    z_ND = np.stack(rows)
    columns = {"item": pa.array(list(items), pa.string()), "modality": pa.array(list(modalities), pa.string())}
    if spans is not None:
        columns["start_s"] = pa.array([span.start_s if span else None for span in spans], pa.float64())
        columns["end_s"] = pa.array([span.end_s if span else None for span in spans], pa.float64())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(z_ND.reshape(-1), pa.float32()), z_ND.shape[1])
    metadata = {"binder.space": anchor.fingerprint, "binder.anchor": anchor.name}
    write_beside(path, lambda p: pq.write_table(pa.table(columns).replace_schema_metadata(metadata), p))
