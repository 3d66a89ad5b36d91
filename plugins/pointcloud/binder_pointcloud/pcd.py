"""The Point Cloud Library's PCD files, version 0.7, ascii and binary. Free of torch.

https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

import io

import numpy as np

from binder import ItemError, Points

KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(data: bytes, name: str) -> Points:
    """The bytes of a file -> its points, normals and colours as far as it has them. Raises ItemError.

    Points that are not finite are left out: depth cameras mark with them what they did not see.
    """
    header, kind, start = _header(data, name)
    try:
        names, sizes, types = (header[key] for key in ("FIELDS", "SIZE", "TYPE"))
        counts = [int(n) for n in header.get("COUNT", ["1"] * len(names))]
        points = int(header["POINTS"][0])
        fields = [
            (f"{field}#{i}" if field == "_" else field, f"<{KINDS[letter]}{size}", (count,))
            for i, (field, size, letter, count) in enumerate(zip(names, sizes, types, counts, strict=True))
        ]
        layout = np.dtype(fields)
        if kind == "ascii":
            table = np.loadtxt(io.BytesIO(data[start:]), ndmin=2)
            columns = np.cumsum([0, *counts])
            places = zip(layout.names or (), columns, strict=False)
            rows = {field: table[:, a].astype(layout[field].base) for field, a in places}
        elif kind == "binary":
            body = np.frombuffer(data, layout, points, start)
            rows = {field: body[field][:, 0] for field in layout.names or ()}
        else:
            raise ItemError(name, f"a PCD file with DATA {kind}: expected ascii or binary; convert it, e.g. with pcl")
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ItemError(name, f"not a readable pcd file: {error}") from None
    if not {"x", "y", "z"} <= set(rows):
        raise ItemError(name, f"a PCD file without x, y and z; found: {', '.join(names)}")
    if len(rows["x"]) != points:
        raise ItemError(name, f"truncated: {len(rows['x'])} of {points} points")
    xyz = np.stack([rows[axis] for axis in "xyz"], axis=1).astype(np.float64)
    seen = np.isfinite(xyz).all(1)
    normals = None
    if {"normal_x", "normal_y", "normal_z"} <= set(rows):
        normals = np.stack([rows[f"normal_{axis}"] for axis in "xyz"], axis=1)[seen]
    return Points(xyz[seen], normals, _colours(rows, seen))


def _header(data: bytes, name: str) -> tuple[dict[str, list[str]], str, int]:
    """Keys and their words, how the points are stored, where they start."""
    header: dict[str, list[str]] = {}
    start = 0
    while (end := data.find(b"\n", start)) >= 0 and start < 10_000:
        words = data[start:end].decode("ascii", "replace").split()
        start = end + 1
        if words and words[0] == "DATA" and len(words) == 2:
            return header, words[1], start
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    raise ItemError(name, "not a readable pcd file: its header has no line DATA")


def _colours(rows: dict[str, np.ndarray], seen: np.ndarray) -> np.ndarray | None:
    """The packed colours, which PCD writes as the bits of a float or as a whole number."""
    packed = rows.get("rgb", rows.get("rgba"))
    if packed is None:
        return None
    bits = packed.astype(np.float32).view(np.uint32) if packed.dtype.kind == "f" else packed.astype(np.uint32)
    return np.stack([(bits >> shift) & 255 for shift in (16, 8, 0)], axis=1)[seen].astype(np.uint8)
