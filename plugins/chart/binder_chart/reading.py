"""An item -> a table, a Vega-Lite spec or a picture, recognized by its content. Free of torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from binder import Item, ItemError, decode_text, existing_file, name_of, read_bytes, read_image
from binder_chart.config import PICTURE_SUFFIXES
from binder_chart.delimited import read_delimited
from binder_chart.parquet import read_parquet
from binder_chart.table import MAX_CELLS, Table, check_kind, from_columns, from_records, unique_headers

if TYPE_CHECKING:
    from PIL.Image import Image

Spec = dict[str, Any]

MAX_BYTES = 64 * 2**20  # of a file; a chart shows a few thousand numbers
MAX_SIGNS = 4 * MAX_CELLS  # commas and brackets in JSON: each may be a value that takes a hundred bytes of memory
# first bytes of PNG, JPEG, WebP, GIF, TIFF
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
# keys that make a JSON object a Vega-Lite view rather than columns
VIEWS = frozenset({"mark", "layer", "hconcat", "vconcat", "concat", "repeat", "facet", "spec"})


def read(item: Item) -> Table | Spec | Image:
    """Path, bytes, records, columns, data frame, PIL image, or (any table, chart type) -> its content.

    Raises ItemError: not a chart, damaged, too large, empty.
    """
    name = name_of(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str):
        found = read(item[0])
        if not isinstance(found, Table):
            raise ItemError(name, "a chart type can be set only for a table")
        return Table(found.columns, check_kind(name, item[1]))
    if isinstance(item, str | os.PathLike):
        path = existing_file(item)
        _check_length(name, path.stat().st_size)
        return _from_bytes(name, read_bytes(path), path.suffix.lower())
    if isinstance(item, bytes | bytearray | memoryview) or callable(getattr(item, "read", None)):
        return _from_bytes(name, read_bytes(item), "")
    if isinstance(item, list):
        return from_records(name, item)
    if isinstance(item, Mapping):
        return _from_object(name, dict(item))
    if hasattr(item, "to_pydict"):  # pyarrow
        return from_columns(name, item.to_pydict())
    if hasattr(item, "iloc") and hasattr(item, "columns"):  # pandas, which may not be installed
        frame = item if type(item.index).__name__ == "RangeIndex" else item.reset_index()
        return from_columns(
            name, unique_headers({i: (_header(c), frame.iloc[:, i].tolist()) for i, c in enumerate(frame)})
        )
    if hasattr(item, "__array__") or hasattr(item, "getpixel"):  # NumPy, torch, Pillow
        return read_image(item)
    raise ItemError(
        name,
        f"expected a path, bytes, a table (list of records, dict of columns) or a picture, not {type(item).__name__}",
    )


def _check_length(name: str, size: int) -> None:
    """Raises ItemError for more bytes than a chart needs."""
    if size > MAX_BYTES:
        raise ItemError(name, f"{size / 2**20:,.0f} MiB; expected at most {MAX_BYTES >> 20} MiB: aggregate it first")


def _from_bytes(name: str, data: bytes, suffix: str) -> Table | Spec | Image:
    """The bytes of a file, and its suffix where it has one -> its content. Raises ItemError."""
    _check_length(name, len(data))
    bitmap = data.startswith(b"BM") and b"\0" in data[:14]
    if data.startswith(PICTURES) or bitmap or data[4:8] == b"ftyp" or suffix in PICTURE_SUFFIXES:
        return read_image(data, name)
    if data.startswith(b"PAR1") or suffix == ".parquet":
        return read_parquet(name, data)
    text = decode_text(data, name)
    if suffix == ".json" or (suffix == "" and text.lstrip()[:1] in "{["):
        return _json(name, text)
    if not text.strip():
        raise ItemError(name, "empty: it contains no text")
    return read_delimited(name, text, tab=suffix == ".tsv")


def _json(name: str, text: str) -> Table | Spec:
    """JSON -> its content. Raises ItemError."""
    if sum(map(text.count, ",[{")) > MAX_SIGNS:
        raise ItemError(name, f"JSON of more than {MAX_SIGNS:,} values; at most {MAX_CELLS:,} cells can be drawn")
    try:
        found = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ItemError(name, "JSON nested too deeply; expected records, columns or a Vega-Lite spec") from None
    except ValueError as error:
        raise ItemError(name, f"not JSON, or truncated: {error}") from None
    if isinstance(found, list):
        return from_records(name, found)
    if isinstance(found, dict):
        return _from_object(name, found)
    raise ItemError(name, f"JSON that is {type(found).__name__}; expected records, columns or a Vega-Lite spec")


def _from_object(name: str, found: dict[Any, Any]) -> Table | Spec:
    """A mapping -> a spec, or a table of columns. Raises ItemError."""
    if any(
        not isinstance(part, list) or any(isinstance(p, Mapping) for p in part)
        for part in map(found.get, VIEWS & set(found))
    ):
        return found  # a column of such a name would be a list of plain cells
    if "$schema" in found or "marks" in found:
        raise ItemError(
            name, f"not a Vega-Lite spec (expected one of {', '.join(sorted(VIEWS))}); Vega specs are not supported"
        )
    return from_columns(name, {str(key): value for key, value in found.items()})


def _integer(digits: str) -> int | float:
    """An integer in JSON; thousands of digits, which Python would reject, become an infinite float."""
    return int(digits) if len(digits) <= 400 else float(digits)


def _header(label: Any) -> str:
    """The label of a column of a data frame; several levels are joined."""
    return " ".join(map(str, label)).strip() if isinstance(label, tuple) else str(label)
