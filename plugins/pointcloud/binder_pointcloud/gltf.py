"""glTF 2 with everything inside (glb, or data URIs) -> points. Free of torch.

Nothing that the file names beside itself is opened: no file, no address.

Shapes: V vertices, F triangles, P points.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import PointConfig, Points
from binder_pointcloud.surface import Floats, Ints, Mesh, named, sampled

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
READ = {"KHR_mesh_quantization", "KHR_texture_transform"}  # extensions that change nothing here that is not handled
MOST_NODES = 100_000  # of a scene; a graph that leads back to itself, or fans out, has no end
MOST_CORNERS = 20_000_000  # of all triangles once every node has its own
MOST_JSON = 1 << 26  # bytes
MOST_PIXELS = 64_000_000  # of a texture


def read_gltf(data: bytes, config: PointConfig) -> Points:
    """All that the scene shows, where its nodes put it: points on its surfaces, or its points. Raises ValueError."""
    tree, inside = _chunks(data)
    needed = set(_list(tree, "extensionsRequired")) - READ
    if needed:
        raise ValueError(f"it needs {', '.join(sorted(map(str, needed)))[:80]}; export it without compression")
    file = _File(tree, inside)
    meshes: list[Mesh] = []
    clouds: list[tuple[Floats, NDArray[Any] | None]] = []
    corners = 0
    for node, matrix in _placed(tree):
        for primitive in _list(file.item("meshes", node["mesh"]), "primitives"):
            mesh = file.primitive(primitive, config)
            corners += mesh.faces_F3.size + mesh.vertices_V3.size // 3
            if corners > MOST_CORNERS:
                raise ValueError(f"more than {MOST_CORNERS // 1_000_000} million corners; simplify it first")
            vertices = mesh.vertices_V3 @ matrix[:3, :3].T + matrix[:3, 3]
            if mesh.faces_F3.size:
                meshes.append(Mesh(vertices, mesh.faces_F3, mesh.vertex_colours_V3))
            else:
                clouds.append((vertices, mesh.vertex_colours_V3))
    if meshes:
        return sampled(_together(meshes), config)
    if not clouds:
        raise ValueError("its scene holds neither surfaces nor points")
    coloured = all(levels is not None for _, levels in clouds)
    levels = np.concatenate([c for _, c in clouds if c is not None]) if coloured else None
    return Points(np.concatenate([xyz for xyz, _ in clouds]), None, levels)


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """-> what the file says, and the bytes it carries."""
    text, inside = data, None
    if data.startswith(b"glTF"):
        length, size = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
        if length > len(data) or 20 + size > len(data):
            raise ValueError(f"truncated: {len(data)} of {max(length, 20 + size)} bytes")
        text, after = data[20 : 20 + size], 20 + size
        claimed = int.from_bytes(data[after : after + 4], "little")
        if after < length and data[after + 4 : after + 8] == b"BIN\0":
            if after + 8 + claimed > len(data):
                raise ValueError(f"truncated: {len(data)} of {after + 8 + claimed} bytes")
            inside = data[after + 8 : after + 8 + claimed]
    if len(text) > MOST_JSON:
        raise ValueError(f"its description is larger than {MOST_JSON >> 20} MiB")
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("its description is nested too deep") from None
    if not isinstance(tree, dict) or str(tree.get("asset", {}).get("version", ""))[:1] != "2":
        raise ValueError("it is not glTF of version 2")
    return tree, inside


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    found = holder.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"its {key!r} is no list")
    return found


def _placed(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Floats]]:
    """Nodes with a mesh, each with its place in the world (4, 4)."""
    nodes, scenes = _list(tree, "nodes"), _list(tree, "scenes")
    if scenes:
        roots = _list(scenes[int(tree.get("scene", 0))], "nodes")
    else:
        below = {child for node in nodes for child in _list(node, "children")}
        roots = [i for i in range(len(nodes)) if i not in below]
    waiting, seen = [(int(i), np.eye(4)) for i in roots], 0
    while waiting:
        index, above = waiting.pop()
        seen += 1
        if seen > MOST_NODES or not 0 <= index < len(nodes):
            raise ValueError(f"more than {MOST_NODES} nodes, or one within itself" if seen > MOST_NODES else
                             f"node {index} is missing")  # fmt: skip
        matrix = above @ _matrix(nodes[index])
        waiting += [(int(child), matrix) for child in _list(nodes[index], "children")]
        if len(waiting) > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES} nodes, or one within itself")
        if "mesh" in nodes[index]:
            yield nodes[index], matrix


def _matrix(node: dict[str, Any]) -> Floats:
    """Where a node is within the one above it (4, 4)."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    made = np.eye(4)
    made[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    made[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64)
    return made


def _together(meshes: list[Mesh]) -> Mesh:
    """Several as one; coloured where all are."""
    before = np.cumsum([0] + [len(m.vertices_V3) for m in meshes])
    coloured = all(m.vertex_colours_V3 is not None for m in meshes)
    return Mesh(
        np.concatenate([m.vertices_V3 for m in meshes]),
        np.concatenate([m.faces_F3 + at for m, at in zip(meshes, before, strict=False)]),
        np.concatenate([m.vertex_colours_V3 for m in meshes if m.vertex_colours_V3 is not None]) if coloured else None,
    )


class _File:
    """What the parts of a file refer to, each checked against the bytes that are there."""

    def __init__(self, tree: dict[str, Any], inside: bytes | None) -> None:
        self.tree, self.inside = tree, inside
        self.buffers: dict[int, bytes] = {}
        self.primitives: dict[int, Mesh] = {}  # by identity: nodes may share them

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """One of the file's `kind`. Raises ValueError where it is missing."""
        found = _list(self.tree, kind)
        if not isinstance(index, int) or not 0 <= index < len(found) or not isinstance(found[index], dict):
            raise ValueError(f"{kind} {str(index)[:20]} is missing")
        return found[index]

    def primitive(self, primitive: dict[str, Any], config: PointConfig) -> Mesh:
        """One surface or set of points, before its node places it."""
        made = self.primitives.get(id(primitive))
        if made is None:
            places = primitive["attributes"]
            vertices = self.numbers(places["POSITION"], 3).astype(np.float64)
            faces: Ints = np.empty((0, 3), np.int64)
            mode = primitive.get("mode", 4)
            if mode in (4, 5, 6):
                indexed = "indices" in primitive
                corners = self.numbers(primitive["indices"], 1)[:, 0] if indexed else np.arange(len(vertices))
                faces = named(_triangles(corners.astype(np.int64), mode), len(vertices))
            colours = self.colours(primitive, len(vertices)) if config.colors else None
            made = self.primitives[id(primitive)] = Mesh(
                vertices if mode in (0, 4, 5, 6) else vertices[:0], faces, colours
            )
        return made

    def colours(self, primitive: dict[str, Any], count: int) -> Floats | None:
        """(V, 3) of 0 to 1: those of the vertices, times those of the material; None where it has neither."""
        found = None
        if "COLOR_0" in primitive["attributes"]:
            found = self.numbers(primitive["attributes"]["COLOR_0"], 3)
        if "material" in primitive:
            own = self.item("materials", primitive["material"]).get("pbrMetallicRoughness", {})
            if "baseColorFactor" in own:
                factor = np.array(own["baseColorFactor"][:3], np.float64)
                found = np.tile(factor, (count, 1)) if found is None else found * factor
            place = f"TEXCOORD_{own.get('baseColorTexture', {}).get('texCoord', 0)}"
            if "baseColorTexture" in own and place in primitive["attributes"]:
                seen = self.texture(own["baseColorTexture"]["index"], primitive["attributes"][place])
                found = seen if found is None else found * seen
        if found is not None and len(found) != count:
            raise ValueError(f"{count} vertices but {len(found)} colours")
        return None if found is None else found.clip(0, 1)

    def texture(self, index: Any, accessor: Any) -> Floats:
        """The colours (V, 3) of a texture at the vertices' places in it."""
        import io

        from PIL import Image

        source = self.item("images", self.item("textures", index).get("source"))
        data = self.view(source["bufferView"]) if "bufferView" in source else _inline(source.get("uri"), "a texture")
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"a texture of {picture.width} x {picture.height} pixels; make it smaller")
            pixels = np.asarray(picture.convert("RGB"))
        uv = self.numbers(accessor, 2).astype(np.float64)
        uv = np.where(np.isfinite(uv), uv, 0) % 1
        at = np.minimum((uv * (pixels.shape[1], pixels.shape[0])).astype(np.int64), np.array(pixels.shape[1::-1]) - 1)
        return pixels[at[:, 1], at[:, 0]] / 255

    def numbers(self, index: Any, width: int) -> NDArray[Any]:
        """An accessor -> (count, width); whole numbers that stand for 0 to 1 (or -1 to 1) as such."""
        accessor = self.item("accessors", index)
        kind, columns = COMPONENTS.get(accessor["componentType"]), WIDTHS.get(accessor["type"], 0)
        count, offset = accessor["count"], accessor.get("byteOffset", 0)
        if kind is None or columns < width or not isinstance(count, int) or not isinstance(offset, int):
            raise ValueError(f"accessor {index} is not of {width} numbers")
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError("of sparse accessors, which are not read; export it without")
        data, each = self.view(accessor["bufferView"]), np.dtype(kind).itemsize * columns
        stride = self.item("bufferViews", accessor["bufferView"]).get("byteStride", each)
        if count < 0 or offset < 0 or not each <= stride <= 252 or offset + stride * (count - 1) + each > len(data):
            raise ValueError(f"truncated: accessor {index} of {count} elements in {len(data)} bytes")
        if not count:
            return np.empty((0, width), kind)
        values = np.ndarray((count, columns), kind, data, offset, (stride, np.dtype(kind).itemsize))[:, :width]
        if accessor.get("normalized") and values.dtype.kind in "iu":
            return np.maximum(values / np.iinfo(values.dtype).max, -1)
        return values

    def view(self, index: Any) -> bytes:
        """The bytes of a buffer view."""
        view = self.item("bufferViews", index)
        buffer, start, length = self.buffer(view["buffer"]), view.get("byteOffset", 0), view["byteLength"]
        if not (isinstance(start, int) and isinstance(length, int)) or min(start, length) < 0:
            raise ValueError(f"buffer view {index} has no place")
        if start + length > len(buffer):
            raise ValueError(f"truncated: {len(buffer)} of {start + length} bytes")
        return buffer[start : start + length]

    def buffer(self, index: Any) -> bytes:
        """The bytes of a buffer: those the file carries."""
        if index not in self.buffers:
            uri = self.item("buffers", index).get("uri")
            if uri is None and (index != 0 or self.inside is None):
                raise ValueError("truncated: its bytes are missing")
            self.buffers[index] = self.inside or b"" if uri is None else _inline(uri, "a buffer")
        return self.buffers[index]


def _inline(uri: Any, what: str) -> bytes:
    """The bytes of a data URI. Raises ValueError for any other: nothing beside the file is opened."""
    head, _, body = str(uri).partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        raise ValueError(f"{what} lies in another file, {str(uri)[:40]!r}; export it as one glb")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError(f"{what} holds damaged base64") from None


def _triangles(corners: Ints, mode: int) -> Ints:
    """Vertices in the order of a list (4), a strip (5) or a fan (6) -> (F, 3)."""
    if mode == 4:
        if len(corners) % 3:
            raise ValueError(f"{len(corners)} corners are no whole number of triangles")
        return corners.reshape(-1, 3)
    first = corners[:-2] if mode == 5 else np.repeat(corners[:1], max(len(corners) - 2, 0))
    return np.column_stack([first, corners[1:-1], corners[2:]])
