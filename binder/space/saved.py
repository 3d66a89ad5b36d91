"""Embeddings as files and as data frames: their rows named as in a file of vectors. Free of torch.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder.errors import ConfigError, ManifestError, SpaceError
from binder.space import vectors_file
from binder.space.segments import fragment, parted
from binder.space.vectors import Vectors
from binder.space.vectors_file import ANCHOR, SPACE


def write(
    path: Path, z_ND: Vectors, items: Sequence[str], space: str, modality: str | None, anchor: str | None
) -> None:
    """Write (N, D) vectors to a file. Raises ConfigError, RunError."""
    vectors_file.write(path, _table(z_ND, items, space, modality, anchor))


def read(path: Path, modality: str | None = None) -> tuple[Vectors, str, list[str], str | None, str | None]:
    """A file of vectors -> (N, D) vectors, space, items, modality, anchor. Raises ManifestError, SpaceError.

    With `modality`, its rows only; without, None where there are several.
    """
    table, z_ND = vectors_file.read(path)
    metadata = {key: value.decode("utf-8", "replace") for key, value in table.schema.metadata.items()}
    modalities = [name or None for name in table["modality"].to_pylist()]
    if modality is not None:
        kept = np.array([name == modality for name in modalities], bool)
        if not kept.any():
            found = ", ".join(sorted({str(name) for name in modalities if name})) or "none"
            raise ManifestError(f"{path}: no vectors of {modality}; it has {found}")
        table, z_ND, modalities = table.filter(pa.array(kept)), z_ND[kept], [modality]
    if len(z_ND) and not np.allclose(np.linalg.norm(z_ND, axis=1), 1, atol=1e-3):
        raise SpaceError(f"{path}: not a file of vectors of length 1")
    items = _names(table)
    kinds = set(modalities)
    kind = kinds.pop() if len(kinds) == 1 else None
    return z_ND, metadata[SPACE], items if any(items) else [], kind, metadata.get(ANCHOR) or None


def frame(z_ND: Vectors, items: Sequence[str], space: str, modality: str | None, anchor: str | None) -> Any:
    """(N, D) vectors -> a pandas data frame with the columns of a file. Raises ConfigError without pandas."""
    try:
        import pandas as pd  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("a data frame needs the package pandas: pip install pandas") from None
    table = _table(z_ND, items, space, modality, anchor)
    columns: dict[str, Any] = {name: table[name].to_pylist() for name in table.column_names if name != "vector"}
    made = pd.DataFrame({**columns, "vector": list(z_ND)})
    made.attrs.update(space=space, anchor=anchor)
    return made


def _table(z_ND: Vectors, items: Sequence[str], space: str, modality: str | None, anchor: str | None) -> pa.Table:
    """The table of a file: names of segments are parted into items and seconds."""
    parts = [parted(item) for item in items] if modality else [(item, None) for item in items]  # no sum's formula
    spans = [span for _, span in parts]
    given = spans if any(spans) else None
    return vectors_file.table_of([item for item, _ in parts], [modality or ""] * len(z_ND), z_ND, space, anchor, given)


def _names(table: pa.Table) -> list[str]:
    """What each row is: its item, and of a segment when it starts and ends."""
    items = [item or "" for item in table["item"].to_pylist()]
    if not {"start_s", "end_s"} <= set(table.column_names):
        return items
    spans = zip(table["start_s"].to_pylist(), table["end_s"].to_pylist(), strict=True)
    return [item + _fragment(*span) for item, span in zip(items, spans, strict=True)]


def _fragment(start_s: float | None, end_s: float | None) -> str:
    known = start_s is not None and end_s is not None and math.isfinite(start_s) and math.isfinite(end_s)
    return fragment(start_s, end_s) if known else ""
