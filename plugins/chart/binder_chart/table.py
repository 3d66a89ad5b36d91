"""A table in memory: columns with their kinds, whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from binder import ItemError
from binder_chart.cells import Column, Decimals, decimals_of, understand
from binder_chart.config import KINDS, Kind

MOST_COLUMNS = 1_000
MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Table:
    """Columns of equal length; `kind` is the chart that the table asks to be drawn as, if it does."""

    columns: tuple[Column, ...]
    kind: Kind | None = None


def from_columns(name: str, columns: Mapping[str, Any], kind: str | None = None) -> Table:
    """Header -> cells (lists, arrays), all of one length. Raises ItemError for one that is not."""
    columns = {header: cells.tolist() if hasattr(cells, "tolist") else cells for header, cells in columns.items()}
    for header, cells in columns.items():
        if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Sequence):
            raise ItemError(
                name,
                f"column {header!r} holds {type(cells).__name__}, expected a list of cells "
                "(a list of records is one item only inside a list of items)",
            )
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1:
        raise ItemError(name, f"columns of {min(lengths)} to {max(lengths)} cells; expected the same number in each")
    return build(name, list(columns), list(columns.values()), ".", kind)


def from_records(name: str, records: Sequence[Any], kind: str | None = None) -> Table:
    """A list of mappings, as JSON holds them -> the table; a key that a record lacks is a missing cell."""
    headers: dict[str, None] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, Mapping):
            raise ItemError(
                name, f"record {number} is {type(record).__name__}, expected an object with a key per column"
            )
        headers |= dict.fromkeys(map(str, record))
    check_size(name, len(records), len(headers))
    by_name = [{str(key): value for key, value in record.items()} for record in records]
    return build(name, list(headers), [[record.get(header) for record in by_name] for header in headers], ".", kind)


def build(
    name: str, headers: Sequence[str], columns: Sequence[Sequence[Any]], decimals: Decimals, kind: str | None
) -> Table:
    """Headers and the cells of each column -> the table. Raises ItemError where there is nothing to draw."""
    if not headers:
        raise ItemError(name, "an empty table; expected a header and at least one row")
    check_size(name, max(map(len, columns)), len(headers))
    if not any(len(cells) for cells in columns):
        raise ItemError(name, "a table without rows; expected a header and at least one row")
    for header, cells in zip(headers, columns, strict=True):
        nested = next((cell for cell in cells if isinstance(cell, Mapping | list | tuple | set | bytes)), None)
        if nested is not None:
            raise ItemError(name, f"column {header!r} holds {type(nested).__name__} in a cell; expected a flat table")
    mark = decimals_of([cell for cells in columns for cell in cells if isinstance(cell, str)], decimals)
    found = [
        understand(header, cells, mark, first=i == 0)
        for i, (header, cells) in enumerate(zip(_unique(headers), columns, strict=True))
    ]
    return Table(tuple(found), check_kind(name, kind))


def differing(columns: Mapping[int, tuple[str, Sequence[Any]]]) -> dict[str, Sequence[Any]]:
    """Headers that may repeat, and their cells -> a mapping."""
    taken: dict[str, Sequence[Any]] = {}
    for i, (header, cells) in columns.items():
        taken[header if header not in taken else f"{header} ({i + 1})"] = cells
    return taken


def check_size(name: str, rows: int, columns: int) -> None:
    """Raise ItemError for a table that is too large to be one chart."""
    if columns > MOST_COLUMNS:
        raise ItemError(name, f"{columns:,} columns, at most {MOST_COLUMNS:,} can be drawn; select some of them")
    if rows * columns > MOST_CELLS:
        raise ItemError(name, f"{rows * columns:,} cells, at most {MOST_CELLS:,} can be drawn; sum it up first")


def check_kind(name: str, kind: str | None) -> Kind | None:
    """A chart type given as text. Raises ItemError for an unknown one."""
    if kind is not None and kind not in KINDS:
        raise ItemError(name, f"chart type {kind!r}: expected {', '.join(KINDS)}")
    return kind


def _unique(headers: Sequence[str]) -> list[str]:
    """Headers that may repeat or be blank -> ones that differ: a, a (2), column 3."""
    seen: dict[str, int] = {}
    result = []
    for number, header in enumerate(headers, start=1):
        plain = " ".join(str(header).split()) or f"column {number}"
        seen[plain] = seen.get(plain, 0) + 1
        result.append(plain if seen[plain] == 1 else f"{plain} ({seen[plain]})")
    return result
