"""An item -> what is in it: a table, a Vega-Lite spec or a picture. Told apart by content. Free of torch."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from binder import Item, ItemError, existing_file, name_of
from binder_chart.delimited import decode, read_delimited
from binder_chart.table import Table, check_kind, check_size, from_columns, from_records

if TYPE_CHECKING:
    from PIL.Image import Image

Spec = dict[str, Any]

MOST_BYTES = 64 * 2**20  # of a file; a chart shows some thousand numbers
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF8")  # how pictures begin
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
# what makes a JSON object a Vega-Lite view rather than columns
VIEWS = frozenset({"mark", "layer", "hconcat", "vconcat", "concat", "repeat", "facet", "spec"})


def read(item: Item) -> Table | Spec | Image:
    """Path, bytes, records, columns, data frame, PIL image, or (any table, chart type) -> what it holds.

    Raises ItemError in one line: not a chart, damaged, too large, empty.
    """
    from PIL import Image

    name = name_of(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str):
        found = read(item[0])
        if not isinstance(found, Table):
            raise ItemError(name, "only a table can be given a chart type")
        return Table(found.columns, check_kind(name, item[1]))
    if isinstance(item, Image.Image):
        return upright(name, item)
    if isinstance(item, str | os.PathLike):
        path = existing_file(item)
        _check_length(name, path.stat().st_size)
        return _from_bytes(name, path.read_bytes(), path.suffix.lower())
    if isinstance(item, bytes | bytearray | memoryview):
        return _from_bytes(name, bytes(item), "")
    if isinstance(item, list):
        return from_records(name, item)
    if isinstance(item, Mapping):
        return _from_object(name, dict(item))
    if hasattr(item, "to_pydict"):  # pyarrow
        return from_columns(name, item.to_pydict())
    if hasattr(item, "iloc") and hasattr(item, "columns"):  # pandas, which need not be installed
        frame = item if type(item.index).__name__ == "RangeIndex" else item.reset_index()
        return from_columns(name, _differing({i: (str(c), frame.iloc[:, i].tolist()) for i, c in enumerate(frame)}))
    raise ItemError(
        name,
        f"expected a path, bytes, a table (list of records, dict of columns) or a picture, not {type(item).__name__}",
    )


def upright(name: str, picture: Image) -> Image:
    """A decoded or opened picture -> RGB, the right way up, transparency on white. Raises ItemError."""
    from PIL import Image, ImageOps

    try:
        turned = ImageOps.exif_transpose(picture)
        if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
            turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA"))
        return turned.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ItemError(name, f"a picture that is damaged or cut off: {error}") from None


def open_picture(name: str, data: bytes) -> Image:
    """Bytes of a picture -> RGB. Raises ItemError, before decoding where the picture would be enormous."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ItemError(name, "not a picture that can be decoded") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ItemError(name, f"a picture of more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise ItemError(name, f"a picture that is damaged or cut off: {error}") from None
    return upright(name, picture)


def _check_length(name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise ItemError(name, f"{size / 2**20:,.0f} MiB, at most {MOST_BYTES >> 20} MiB are read; sum it up first")


def _from_bytes(name: str, data: bytes, suffix: str) -> Table | Spec | Image:
    if not data:
        raise ItemError(name, "empty: no bytes in it")
    _check_length(name, len(data))
    if data.startswith(PICTURES) or suffix in PICTURE_SUFFIXES:
        return open_picture(name, data)
    if data.startswith(b"PAR1") or suffix == ".parquet":
        return _parquet(name, data)
    text = decode(name, data)
    if suffix == ".json" or (suffix == "" and text.lstrip()[:1] in "{["):
        return _json(name, text)
    return read_delimited(name, text, tab=suffix == ".tsv")


def _json(name: str, text: str) -> Table | Spec:
    try:
        found = json.loads(text)
    except RecursionError:
        raise ItemError(name, "JSON nested too deeply; expected records, columns or a Vega-Lite spec") from None
    except ValueError as error:
        raise ItemError(name, f"not JSON, or cut off: {error}") from None
    if isinstance(found, list):
        return from_records(name, found)
    if isinstance(found, dict):
        return _from_object(name, found)
    raise ItemError(name, f"JSON that is {type(found).__name__}; expected records, columns or a Vega-Lite spec")


def _from_object(name: str, found: dict[Any, Any]) -> Table | Spec:
    if any(
        not isinstance(part, list) or any(isinstance(p, Mapping) for p in part)
        for part in map(found.get, VIEWS & set(found))
    ):
        return found  # a column of that name would be a list of plain cells
    if "$schema" in found or "marks" in found:
        raise ItemError(name, f"not a Vega-Lite spec ({', '.join(sorted(VIEWS))} expected); a Vega spec is not read")
    return from_columns(name, {str(key): value for key, value in found.items()})


def _parquet(name: str, data: bytes) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        check_size(name, file.metadata.num_rows, len(file.schema_arrow))  # before a small file unfolds
        table = file.read()
        columns = {i: (str(header), table.column(i).to_pylist()) for i, header in enumerate(table.column_names)}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ItemError(name, f"not Parquet that can be read, or cut off: {error}") from None
    kind = (table.schema.metadata or {}).get(b"kind")
    return from_columns(name, _differing(columns), kind.decode("utf-8", "replace") if kind else None)


def _differing(columns: dict[int, tuple[str, list[Any]]]) -> dict[str, list[Any]]:
    """Headers that may repeat -> a mapping."""
    taken: dict[str, list[Any]] = {}
    for i, (header, cells) in columns.items():
        taken[header if header not in taken else f"{header} ({i + 1})"] = cells
    return taken
