"""Times as metadata: with a time zone they are instants, kept in UTC beside their zone; without one, they are as given.

The store compares what it holds without a look at zones, so all instants are in UTC; the zone is a note at the column.
Only named zones are kept: an offset such as +02:00 differs from row to row, and from summer to winter.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from typing import Any

import pyarrow as pa

from binder.errors import ConfigError

TIME, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
ZONE = b"binder.zone"  # the key of a column's zone in the metadata of its field
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799  # the years 1 to 9999, as Python can show them
WITH_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)", re.ASCII)


def converted(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates and times -> in microseconds, in their zone. Raises ConfigError for years that Python cannot show."""
    zone = getattr(column.type, "tz", None)
    try:
        seconds = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
        ends = pa.compute.min_max(seconds).as_py()
        if ends["min"] is None or FIRST_S <= ends["min"] <= ends["max"] <= LAST_S:
            return column.cast(pa.timestamp("us", _named(zone)) if zone else TIME, safe=False)
    except pa.ArrowException:
        pass
    raise ConfigError(f"metadata column {name!r} holds times outside the years 1 to 9999")


def as_time(cell: Any, *, instant: bool) -> datetime.datetime:
    """A date, a time or its ISO text -> an instant, or a time without a zone, both in UTC. Raises ValueError."""
    if isinstance(cell, str):
        cell = datetime.datetime.fromisoformat(cell)
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        cell = datetime.datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime.datetime):
        raise ValueError(f"{type(cell).__name__} is not a time")
    made = cell.replace(tzinfo=datetime.UTC) if cell.tzinfo is None else cell.astimezone(datetime.UTC)
    return made if instant else made.replace(tzinfo=None)


def stored(column: pa.Field) -> pa.Field:
    """A column as a table holds it: instants in UTC, with their zone beside them."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    if zone is None:
        return column
    return column.with_type(INSTANT).with_metadata({ZONE: zone} if zone != "UTC" else None)


def given(column: pa.Field) -> pa.DataType:
    """The type of a table's column as it was given, with its zone."""
    zone = _zone_of(column)
    return pa.timestamp("us", zone) if zone and column.type == INSTANT else column.type


def shown(cell: datetime.datetime, column: pa.Field) -> datetime.datetime:
    """A cell of a table's column as a hit shows it: an instant in the column's zone, or else in UTC."""
    if cell.tzinfo is None:
        return cell
    zone = _zone_of(column)
    try:
        return cell.astimezone(zoneinfo.ZoneInfo(zone) if zone else datetime.UTC)
    except OverflowError:  # the first hours of the year 1, the last of 9999
        return cell.astimezone(datetime.UTC)


def same(a: datetime.datetime, b: datetime.datetime) -> bool:
    """Whether two times are one as a table holds them: without a zone, of UTC."""
    return as_time(a, instant=True) == as_time(b, instant=True)


def _zone_of(column: pa.Field) -> str | None:
    """The zone beside a table's column; None where there is none, or this machine does not know it."""
    zone = _named((column.metadata or {}).get(ZONE, b"UTC").decode("utf-8", "replace"))
    return None if zone == "UTC" else zone


@functools.cache
def _named(zone: str) -> str:
    """The zone if it has a name that this machine knows, or else UTC."""
    try:
        return zone if zoneinfo.ZoneInfo(zone).key and not re.match(r"[+-]", zone) else "UTC"
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"
