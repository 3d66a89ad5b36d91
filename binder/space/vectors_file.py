"""Files of vectors in one of these layouts, chosen by the suffix; `binder index add` reads all of them.

.parquet  columns item, modality, vector; the space in the schema's metadata (binder.space, binder.anchor)
.jsonl    a line per vector: {"item": ..., "modality": ..., "space": ..., "vector": [...]}
.csv      columns item, modality, space, v0, v1, ...
.npz      arrays vectors (N, D), items (N,), modalities (N,), space (), anchor ()

For segments of items there are also start_s and end_s: columns, keys, or arrays (N,) with NaN for whole items. Free of
torch.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from binder import files
from binder.errors import BinderError, ConfigError, ManifestError, SpaceError, one_line
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.anchors.base import Anchor
    from binder.encoder import Span

SPACE, ANCHOR = b"binder.space", b"binder.anchor"  # keys in a schema's metadata
ARRAYS = ("vectors", "items", "modalities", "space")  # in every npz file
MAX_FIRST_LINE = 2**20  # bytes read to recognize a layout
MAX_LINE = 2**24  # characters
BATCH = 8192  # rows


def check_target(path: Path) -> None:
    """Check, before any vector is computed, that a file of vectors can be written to `path`.

    Raises ConfigError for a suffix without a layout, RunError for what `files.check_target` rejects.
    """
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(WRITERS)}")
    files.check_target(path)


def write_vectors(
    path: Path,
    items: Sequence[str],
    modalities: Sequence[str],
    rows: Sequence[Vectors],
    anchor: Anchor,
    spans: Sequence[Span | None] | None = None,
) -> None:
    """Write N vectors (D,) with their items to a file, which is replaced atomically. Raises RunError, ConfigError."""
    seconds = None if spans is None else [(span.start_s, span.end_s) if span else None for span in spans]
    write(path, table_of(items, modalities, np.stack(rows), anchor.fingerprint, anchor.name, seconds))


def table_of(
    items: Sequence[str],  # "" where it is not known, as of a modality
    modalities: Sequence[str],
    z_ND: Vectors,
    space: str,
    anchor: str | None = None,
    spans: Sequence[tuple[float, float] | None] | None = None,
) -> pa.Table:
    """(N, D) vectors with what they are -> a table of the columns that a file has, `spans` in seconds."""
    columns = {"item": pa.array([files.utf8(item) for item in items], pa.string())}
    columns["modality"] = pa.array(list(modalities), pa.string())
    if spans is not None:
        columns["start_s"] = pa.array([span[0] if span else None for span in spans], pa.float64())
        columns["end_s"] = pa.array([span[1] if span else None for span in spans], pa.float64())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(z_ND.reshape(-1), pa.float32()), z_ND.shape[1])
    return pa.table(columns).replace_schema_metadata({SPACE: space, ANCHOR: files.utf8(anchor or "")})


def write(path: Path, table: pa.Table) -> None:
    """Write such a table to a file, which is replaced atomically. Raises RunError, ConfigError."""
    check_target(path)
    if not len(table) and path.suffix.lower() in LINES:
        raise ConfigError(f"{path}: no vectors, and lines alone do not say of which space; write .parquet or .npz")
    files.write_beside(path, lambda beside: WRITERS[path.suffix.lower()](beside, table))


def read(path: Path) -> tuple[pa.Table, Vectors]:
    """A file's rows and its vectors (N, D), with the space in the schema's metadata.

    Raises ConfigError for a suffix without a layout, SpaceError where the space is not named, and ManifestError for a
    file that is missing or damaged, or has no vectors in it.
    """
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(WRITERS)}")
    if not files.is_file(path):
        raise ManifestError(f"{path}: no such file")
    try:
        table = _whole(path)
        if SPACE not in (table.schema.metadata or {}):
            raise SpaceError(f"{path}: its vectors do not name their space")
        return _of_types(table), _matrix(table)
    except BinderError:
        raise
    except Exception as error:  # Arrow, zipfile, csv and NumPy raise their own
        raise ManifestError(f"{path}: not a readable file of vectors: {one_line(error)}") from None


def _of_types(table: pa.Table) -> pa.Table:
    """The table, its own columns cast to their types. Raises pa.ArrowException where they are something else."""
    types = {"item": pa.string(), "modality": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}
    for name in types.keys() & set(table.column_names):
        cells = table[name]
        if types[name] == pa.string() and not (pa.types.is_null(cells.type) or "string" in str(cells.type)):
            raise ValueError(f"{name} is a column of {cells.type}, not of text")
        table = table.set_column(table.schema.get_field_index(name), name, cells.cast(types[name]))
    return table


def _whole(path: Path) -> pa.Table:
    if path.suffix.lower() != ".parquet":
        if not holds_vectors(path):
            raise ManifestError(f"{path}: not a file of vectors, or damaged; see `binder embed`, `Embeddings.save`")
        tables = list(batches(path))
        if len({table.schema.metadata[SPACE] for table in tables}) != 1:
            raise ValueError("its vectors are of several spaces" if tables else "it has no rows")
        return pa.concat_tables(tables, promote_options="permissive")
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if not {"item", "modality", "vector"} <= set(file.schema_arrow.names):
            raise ManifestError(f"{path}: not a file of vectors: it needs columns item, modality and vector")
        return file.read()


def holds_vectors(path: Path) -> bool:
    """Whether a .jsonl, .csv or .npz is a file of vectors, judged by its beginning, and not a manifest or an item."""
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {f"{name}.npy" for name in ARRAYS} <= set(archive.namelist())
        with path.open("rb") as file:
            first = file.readline(MAX_FIRST_LINE).decode()
        if path.suffix.lower() == ".csv":
            return {"item", "modality", "space", "v0"} <= set(next(csv.reader([first]), []))
        keys = files.parse_json(first)
        return isinstance(keys, dict) and {"item", "modality", "space", "vector"} <= set(keys)
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile):
        return False


def batches(path: Path) -> Iterator[pa.Table]:
    """The rows of a .jsonl, .csv or .npz, as tables like a Parquet file's. Raises OSError, ValueError, KeyError."""
    return {".jsonl": _from_jsonl, ".csv": _from_csv, ".npz": _from_npz}[path.suffix.lower()](path)


def _write_parquet(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def _write_jsonl(path: Path, table: pa.Table) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row, vector in _rows(table):
            cells = {name: cell for name, cell in row.items() if cell is not None}
            file.write(json.dumps({**cells, "vector": [float(digits) for digits in vector]}, ensure_ascii=False) + "\n")


def _write_csv(path: Path, table: pa.Table) -> None:
    named = [name for name in (*table.column_names, "space") if name != "vector"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*named, *(f"v{i}" for i in range(table.schema.field("vector").type.list_size))])
        for row, vector in _rows(table):
            writer.writerow([*(row[name] for name in named), *vector])


def _write_npz(path: Path, table: pa.Table) -> None:
    arrays = {
        "vectors": _matrix(table),
        "items": np.array(table["item"].to_pylist(), np.str_),
        "modalities": np.array(table["modality"].to_pylist(), np.str_),
        "space": np.array(table.schema.metadata[SPACE].decode()),
        "anchor": np.array(table.schema.metadata[ANCHOR].decode()),
    }
    for name in ("start_s", "end_s"):
        if name in table.column_names:
            arrays[name] = table[name].to_numpy().astype(np.float64)  # null becomes NaN
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub expects only arrays and bool


WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_jsonl, ".npz": _write_npz}
LINES = (".csv", ".jsonl")  # in which each row repeats its space


def _rows(table: pa.Table) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each row's cells and its vector as decimal numbers, whose nine digits identify every float32."""
    space = table.schema.metadata[SPACE].decode()
    for start in range(0, len(table), BATCH):
        part = table.slice(start, BATCH)
        cells = part.drop_columns("vector").to_pylist()
        for row, vector in zip(cells, _matrix(part), strict=True):
            yield {**row, "space": space}, [f"{x:.9g}" for x in vector.tolist()]


def _matrix(table: pa.Table) -> Vectors:
    """(N,) list column -> (N, D) array. Raises ValueError for lists of several lengths, and for missing ones."""
    vectors = table["vector"].combine_chunks()
    if vectors.null_count:
        raise ValueError("a row has no vector")
    if pa.types.is_fixed_size_list(vectors.type):
        dims = vectors.type.list_size
    else:
        lengths = set(vectors.value_lengths().to_pylist())
        if len(lengths) != 1:
            raise ValueError("its vectors are not all of one length")
        dims = lengths.pop()
    return np.asarray(vectors.flatten(), np.float32).reshape(len(table), dims)


def _from_jsonl(path: Path) -> Iterator[pa.Table]:
    held: list[Any] = []
    with path.open(encoding="utf-8-sig") as file:
        for line in iter(lambda: file.readline(MAX_LINE), ""):
            if len(line) == MAX_LINE:
                raise ValueError(f"a line of more than {MAX_LINE // 2**20} million characters")
            if line.strip():
                held.append(files.parse_json(line))
            if len(held) == BATCH:
                yield _table_of(held)
                held = []
    if held:
        yield _table_of(held)


def _table_of(held: list[Any]) -> pa.Table:
    if not all(isinstance(row, dict) and isinstance(row.get("vector"), list) for row in held):
        raise ValueError("a line without a vector")
    made = pa.table({k: [row.get(k) for row in held] for k in dict.fromkeys(k for row in held for k in row)})
    return _of_space(made, set(made["space"].to_pylist()))


def _from_csv(path: Path) -> Iterator[pa.Table]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader)
        dims = [i for i, name in enumerate(names) if name == f"v{i - names.index('v0')}"]
        others = [i for i in range(len(names)) if i not in set(dims)]
        held: list[list[str]] = []
        for cells in reader:
            if len(cells) != len(names):
                raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the header {len(names)}")
            held.append(cells)
            if len(held) == BATCH:
                yield _table_of_cells(held, names, dims, others)
                held = []
        if held:
            yield _table_of_cells(held, names, dims, others)


def _table_of_cells(held: list[list[str]], names: list[str], dims: list[int], others: list[int]) -> pa.Table:
    columns: dict[str, Any] = {names[i]: [cells[i] or None for cells in held] for i in others}
    for name in ("start_s", "end_s"):
        if name in columns:
            columns[name] = [None if cell is None else float(cell) for cell in columns[name]]
    columns["vector"] = [[float(cells[i]) for i in dims] for cells in held]
    return _of_space(pa.table(columns), set(columns["space"]))


def _from_npz(path: Path) -> Iterator[pa.Table]:
    whole = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > whole for entry in archive.infolist()):
            raise ValueError("compressed; expected arrays as numpy.savez writes them")
        arrays = {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
    columns: dict[str, Any] = {"item": arrays["items"].tolist(), "modality": arrays["modalities"].tolist()}
    for name in ("start_s", "end_s"):
        if name in arrays:
            columns[name] = pa.array(arrays[name], from_pandas=True)  # NaN becomes null
    z_ND = arrays["vectors"]
    if z_ND.ndim != 2 or z_ND.dtype.kind != "f":
        raise ValueError(f"vectors are {z_ND.dtype} of shape {z_ND.shape}, expected (N, D) of floats")
    flat = pa.array(np.ascontiguousarray(z_ND, np.float32).reshape(-1))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, z_ND.shape[1])
    table = _of_space(pa.table(columns), {str(arrays["space"])})
    table = table.replace_schema_metadata({**table.schema.metadata, ANCHOR: str(arrays.get("anchor", ""))})
    for start in range(0, max(1, len(table)), BATCH):  # without rows it still says which space
        yield table.slice(start, BATCH)


def _array(data: bytes) -> NDArray[Any]:
    """The array in the bytes of an npy file. Its header is checked against their number before memory is allocated."""
    import io

    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = header(file)
    claimed = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if dtype.hasobject or claimed != len(data) - file.tell():
        raise ValueError("an array's header does not match its data")
    file.seek(0)
    array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def _of_space(table: pa.Table, spaces: set[Any]) -> pa.Table:
    """The table with its space in the schema's metadata, not in a column. Raises ValueError for several spaces."""
    if len(spaces) != 1 or not all(isinstance(space, str) for space in spaces):
        raise ValueError("its vectors are of several spaces, or of an unnamed one")
    left = table.drop_columns("space") if "space" in table.column_names else table
    return left.replace_schema_metadata({SPACE: spaces.pop()})
