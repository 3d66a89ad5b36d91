"""Work on whole tables: maintenance, which keeps searches fast, a summary, verification, near-duplicates.

When maintenance pays was measured (benchmarks/index.py).

Shapes: N rows, B rows of a block, D embed_dim.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from binder.data.cache import content_key
from binder.data.split import root
from binder.errors import BinderError, ConfigError, ItemError
from binder.index.calibration import SAMPLE, Calibration
from binder.index.hits import Hit, hits_of
from binder.index.lance import Conflict
from binder.index.rows import KEY, SCORE, VECTOR, kind_of_type, matrix
from binder.index.store import Record, Store
from binder.index.table import State, Table, one_of
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.data.encode import Progress

COMMITS = 64  # after this many, a long `add` maintains the table
UNINDEXED = 2048  # rows without a code up to which a search compares them one by one
# Up to this many small files a table is indexed as it is. More are joined first, which rewrites them: a search reads a
# hundred rows or more from all over the table, and its cost grows with the number of files.
FILES_TO_INDEX = 8
FRAGMENTS = 24  # more files than this, and one per 10,000 rows, are joined, which rewrites most rows
OPTIMIZE_S = 1e-5  # seconds per row that optimizing takes, roughly
GROWTH = 4  # the partitions are rebuilt when the table has this many times the rows that they were made for
KEEP_S = 600.0  # how long files of older versions stay, for processes that are reading them
BLOCK = 2048  # rows that are compared with others at a time


def maintain(table: Table, *, force: bool = False, spent_s: float = 0.0, keep_s: float = KEEP_S) -> None:
    """Build or extend the indexes, join small files, delete old versions, as far as it pays.

    It pays if much was added since the last time, or if it takes no longer than adding took (`spent_s`).
    """
    state = table.state()
    if state.rows == 0:
        return
    if not state.in_memory and (state.vector_index is None or _outgrown(state)):
        if state.vector_index is None and table.small_files() > FILES_TO_INDEX:
            with contextlib.suppress(Conflict):
                table.optimize(keep_s)
        table.index_vectors(f"vector_{table.state().rows}")
    for column in ["text", *(name for name, kind in state.metadata.items() if pa.types.is_string(kind))]:
        if column not in state.searchable and table.count(f"`{column}` IS NOT NULL"):
            table.index_words(column)
    new = table.unindexed()
    behind = new > UNINDEXED and (new > state.rows // 10 or spent_s > state.rows * OPTIMIZE_S)
    if force or behind or table.small_files() > FRAGMENTS + state.rows // 10_000:
        with contextlib.suppress(Conflict):  # another process is doing it
            table.optimize(keep_s)
    table.commits = 0


def info(store: Store, record: Record, tables: Sequence[Table], calibration: Calibration | None) -> dict[str, Any]:
    """What an index holds, as plain values."""
    modalities = {}
    for table in tables:
        state, null = table.state(), calibration.nulls.get(table.name) if calibration else None
        modalities[table.name] = {
            "rows": state.rows,
            "search": "exact, from memory" if state.in_memory else "1-bit codes" if state.vector_index else "scan",
            "words": list(state.searchable),
            "calibrated": calibration is not None and calibration.covers(table),
            "calibrated_from": min(null.rows, SAMPLE) if null else None,  # rows in the sample
            "calibrated_at": null.rows if null else None,  # rows that there were then
            "metadata": {name: kind_of_type(kind).replace("instant", "time") for name, kind in state.metadata.items()},
            "version": state.version,
        }
    return {
        "location": store.location,
        "space": record.space,
        "anchor": record.anchor,
        "embed_dim": record.embed_dim,
        "encoders": record.encoders,
        "created": record.created,
        "bytes": sum(f.stat().st_size for f in store.folder.rglob("*") if f.is_file()) if store.folder else None,
        "modalities": modalities,
    }


def verify(record: Record, tables: Sequence[Table], files: bool, progress: Progress) -> list[str]:
    """Read every row; one line per problem. With `files`, also compare the files with what was added."""
    problems: list[str] = []
    for table in tables:
        try:
            problems += [f"{table.name}: {problem}" for problem in _verified(record, table, files, progress)]
        except BinderError as error:
            problems.append(f"{table.name}: cannot be read: {error}")
    return problems


def near_duplicates(table: Table, cosine: float, progress: Progress) -> list[list[Hit]]:
    """Groups of items, the largest first, each item with its cosine to the first of its group.

    Two items are in one group if a chain of pairs at `cosine` or more connects them. Segments of one item are not
    duplicates of each other.
    """
    if not 0 < cosine <= 1:
        raise ConfigError(f"a cosine of {cosine:g}: expected more than 0, at most 1")
    with tempfile.TemporaryFile() as file:  # on disk: the vectors of a large index do not fit in memory
        keys: list[str] = []
        items: list[str] = []
        for batch in table.scan([KEY, "item", VECTOR]):
            matrix(batch[VECTOR]).tofile(file)
            keys += batch[KEY].to_pylist()
            items += batch["item"].to_pylist()
        if not keys:
            return []
        z_ND = np.memmap(file, np.float32, "r", shape=(len(keys), table.state().embed_dim))
        parent = np.arange(len(keys))
        for i, j in _pairs(z_ND, cosine, table.name, progress):
            if items[i] != items[j]:
                parent[root(parent, max(i, j))] = root(parent, min(i, j))
        members: dict[int, list[int]] = {}
        for i in range(len(keys)):
            members.setdefault(root(parent, i), []).append(i)
        found = [group for group in members.values() if len(group) > 1]
        scores = {keys[i]: float(z_ND[i] @ z_ND[group[0]]) for group in found for i in group}
    hits = _hits(table, scores)
    shown = [[hits[keys[i]] for i in group if keys[i] in hits] for group in found]
    return sorted((group for group in shown if len(group) > 1), key=lambda group: (-len(group), group[0].key))


def _outgrown(state: State) -> bool:
    """Whether there are many more rows than the partitions were made for; the index's name says how many."""
    made_for = (state.vector_index or "").rpartition("_")[2]
    return made_for.isdigit() and state.rows > GROWTH * int(made_for)


def _verified(record: Record, table: Table, files: bool, progress: Progress) -> Iterator[str]:
    """Problems: a vector's width and length, a key that is not unique, a row or a file that cannot be read."""
    state, keys, read = table.state(), set(), 0
    if state.embed_dim != record.embed_dim:
        yield f"vectors of {state.embed_dim} dimensions, the index has {record.embed_dim}"
    for batch in table.scan([KEY, "item", "_content", "_size", VECTOR]):
        wrong = ~np.isclose(np.linalg.norm(matrix(batch[VECTOR]), axis=1), 1, atol=1e-3)
        for i, row in enumerate(batch.drop_columns(VECTOR).to_pylist()):
            if wrong[i]:
                yield f"{row['item']}: its vector is not of length 1"
            if row[KEY] in keys:
                yield f"{row['item']}: its key is not unique"
            keys.add(row[KEY])
            if files and row["_size"] is not None:
                yield from _file_problem(row["item"], row["_content"])
        read += len(batch)
        progress(f"verifying {table.name}", read, state.rows)
    if read != state.rows:
        yield f"only {read} of {state.rows} rows could be read"


def _file_problem(path: str, content: str) -> Iterator[str]:
    try:
        if content_key(Path(path)).hex() != content:
            yield f"{path}: has changed since it was added"
    except ItemError as error:
        yield str(error)


def _pairs(z_ND: Vectors, cosine: float, name: str, progress: Progress) -> Iterator[tuple[int, int]]:
    """Every i < j whose vectors are that near, found block by block."""
    n = len(z_ND)
    for start in range(0, n, BLOCK):
        z_BD = np.array(z_ND[start : start + BLOCK])
        for other in range(start, n, BLOCK):
            near = z_BD @ z_ND[other : other + BLOCK].T >= cosine
            for i, j in zip(*np.nonzero(near), strict=True):
                if start + i < other + j:
                    yield int(start + i), int(other + j)
        progress(f"comparing {name}", min(n, start + BLOCK), n)


def _hits(table: Table, scores: dict[str, float]) -> dict[str, Hit]:
    """The rows with these keys as hits with these scores, by key."""
    found: dict[str, Hit] = {}
    for batch in table.scan(table.state().shown, one_of(KEY, list(scores))) if scores else ():
        rows = pa.Table.from_batches([batch]).append_column(SCORE, pa.array([0.0] * len(batch), pa.float32()))
        found |= {hit.key: replace(hit, score=scores[hit.key]) for hit in hits_of(table.name, rows)}
    return found
