"""What keeps a table fast: its indexes, few files, few versions; done where it pays.

The settings are measured (benchmarks/index.py).
"""

from __future__ import annotations

import contextlib
import warnings
from datetime import timedelta
from typing import Any

import pyarrow as pa

from binder.index.guard import Conflict, guarded
from binder.index.rows import VECTOR
from binder.index.table import State, Table

UNINDEXED = 2048  # rows without a code up to which a search compares them one by one
# Small files up to which a table is indexed as it is; more are put together first, which writes them anew: a search
# reads a hundred rows or more from all over the table, and that costs by the file.
PIECES = 8
FRAGMENTS = 24  # more files than this, and one for 10,000 rows, are put together: that writes most rows anew
OPTIMIZE_S = 1e-5  # seconds a row that putting a table in order takes, about
# Partitions need not be good ones where all of them are read: recall as with the defaults, in half the time.
QUICK: dict[str, Any] = {"sample_rate": 64, "max_iterations": 10}
GROWN = 4  # times as many rows as the partitions were made for: make them again
KEEP_S = 600.0  # how long files of older versions stay for readers that are at work


def maintain(table: Table, *, force: bool = False, spent_s: float = 0.0, keep_s: float = KEEP_S) -> None:
    """Build or extend what makes search fast, put small files together, drop old versions; where it pays.

    It pays where much has come since the last time, or where it takes no longer than adding took (`spent_s`).
    """
    state = table.state()
    if state.rows == 0:
        return
    if not state.in_memory and (state.vector_index is None or _outgrown(state)):
        if state.vector_index is None and _small_files(table) > PIECES:
            with contextlib.suppress(Conflict):
                table.commit(lambda: _optimize(table, keep_s))
        table.commit(lambda: _build(table))
    for column in ["text", *(name for name, kind in state.metadata.items() if pa.types.is_string(kind))]:
        if column not in state.worded and table.count(f"`{column}` IS NOT NULL"):
            table.commit(lambda column=column: _build_words(table, column))  # type: ignore[misc]
    new = _unindexed(table)
    behind = new > UNINDEXED and (new > state.rows // 10 or spent_s > state.rows * OPTIMIZE_S)
    if force or behind or _scattered(table, state.rows):
        with contextlib.suppress(Conflict):  # another process is at it
            table.commit(lambda: _optimize(table, keep_s))
    table.commits = 0


def _optimize(table: Table, keep_s: float) -> None:
    with warnings.catch_warnings():
        if keep_s <= 0:  # the caller's wish; a millisecond instead would now and then keep what this very call wrote
            warnings.filterwarnings("ignore", "optimize.cleanup_older_than=0", UserWarning)
        table.inner.optimize(cleanup_older_than=timedelta(seconds=max(keep_s, 0.0)))


def _build(table: Table) -> None:
    from lancedb.index import IvfFlat, IvfRq

    state = table.state()
    config: Any = IvfFlat(distance_type="cosine")
    if state.embed_dim % 8 == 0:
        config = IvfRq(distance_type="cosine", num_bits=1, **QUICK)
    name = f"vector_{state.rows}"
    table.inner.create_index(VECTOR, config=config, replace=True, name=name)
    for index in table.inner.list_indices():
        if index.columns == [VECTOR] and index.name != name:  # that was outgrown: `replace` is by name
            table.inner.drop_index(index.name)


def _build_words(table: Table, column: str) -> None:
    from lancedb.index import FTS

    table.inner.create_index(column, config=FTS(), replace=True, name=f"words_{column}")


def _outgrown(state: State) -> bool:
    """Whether there are many more rows than the partitions were made for (the index's name says how many)."""
    made_for = (state.vector_index or "").rpartition("_")[2]
    return made_for.isdigit() and state.rows > GROWN * int(made_for)


def _scattered(table: Table, rows: int) -> bool:
    return _small_files(table) > FRAGMENTS + rows // 10_000


def _small_files(table: Table) -> int:
    with guarded(table.where):
        stats: Any = table.inner.stats()
        return int(stats["fragment_stats"]["num_small_fragments"])


def _unindexed(table: Table) -> int:
    with guarded(table.where):
        return max((index.num_unindexed_rows or 0 for index in table.inner.list_indices()), default=0)
