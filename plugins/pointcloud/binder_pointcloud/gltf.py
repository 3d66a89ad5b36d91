"""Self-contained glTF 2 (glb, or data URIs) -> points. Free of torch.

External references are never opened, whether files or addresses.

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
from binder_pointcloud.surface import Floats, Ints, Mesh, check_faces, sampled

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
SUPPORTED = {"KHR_mesh_quantization", "KHR_texture_transform"}  # required extensions that need nothing more here
MAX_NODES = 100_000  # visited in a scene; a graph with a cycle, or one that fans out, would never end
MAX_CORNERS = 20_000_000  # of all triangles and points, counted for every node that shows them
MAX_JSON = 1 << 26  # bytes
MAX_PIXELS = 64_000_000  # of a texture
ENDLESS = f"more than {MAX_NODES} nodes, or a cycle of nodes"


def read_gltf(data: bytes, config: PointConfig) -> Points:
    """The scene with all its nodes in place -> points on its surfaces, or else its points. Raises ValueError."""
    tree, binary = _chunks(data)
    needed = set(_list(tree, "extensionsRequired")) - SUPPORTED
    if needed:
        raise ValueError(f"it needs {', '.join(sorted(map(str, needed)))[:80]}; export it without compression")
    file = _File(tree, binary)
    meshes: list[Mesh] = []
    clouds: list[tuple[Floats, NDArray[Any] | None]] = []
    corners = 0
    for node, matrix in _placed(tree):
        for primitive in _list(file.item("meshes", node["mesh"]), "primitives"):
            mesh = file.primitive(primitive, config)
            corners += mesh.faces_F3.size + mesh.vertices_V3.size // 3
            if corners > MAX_CORNERS:
                raise ValueError(f"more than {MAX_CORNERS // 1_000_000} million corners; simplify it first")
            vertices = mesh.vertices_V3 @ matrix[:3, :3].T + matrix[:3, 3]
            if mesh.faces_F3.size:
                meshes.append(Mesh(vertices, mesh.faces_F3, mesh.vertex_colors_V3))
            else:
                clouds.append((vertices, mesh.vertex_colors_V3))
    if meshes:
        return sampled(_together(meshes), config)
    if not clouds:
        raise ValueError("its scene contains neither surfaces nor points")
    colored = all(levels is not None for _, levels in clouds)
    levels = np.concatenate([c for _, c in clouds if c is not None]) if colored else None
    return Points(np.concatenate([xyz for xyz, _ in clouds]), None, levels)


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """-> the JSON of the file, and its binary chunk, if any. Raises ValueError."""
    text, binary = data, None
    if data.startswith(b"glTF"):
        length, size = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
        if length > len(data) or 20 + size > len(data):
            raise ValueError(f"truncated: {len(data)} of {max(length, 20 + size)} bytes")
        text, after = data[20 : 20 + size], 20 + size
        stated = int.from_bytes(data[after : after + 4], "little")
        if after < length and data[after + 4 : after + 8] == b"BIN\0":
            if after + 8 + stated > len(data):
                raise ValueError(f"truncated: {len(data)} of {after + 8 + stated} bytes")
            binary = data[after + 8 : after + 8 + stated]
    if len(text) > MAX_JSON:
        raise ValueError(f"its JSON is larger than {MAX_JSON >> 20} MiB")
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(tree, dict) or str(tree.get("asset", {}).get("version", ""))[:1] != "2":
        raise ValueError("it is not glTF version 2")
    return tree, binary


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    """A list in the JSON, empty if missing. Raises ValueError for any other type."""
    found = holder.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"its {key!r} is not a list")
    return found


def _placed(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Floats]]:
    """Each node with a mesh, and its transform into the world (4, 4). Raises ValueError."""
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
        if seen > MAX_NODES or not 0 <= index < len(nodes):
            raise ValueError(ENDLESS if seen > MAX_NODES else f"node {index} is missing")
        matrix = above @ _matrix(nodes[index])
        waiting += [(int(child), matrix) for child in _list(nodes[index], "children")]
        if len(waiting) > MAX_NODES:
            raise ValueError(ENDLESS)
        if "mesh" in nodes[index]:
            yield nodes[index], matrix


def _matrix(node: dict[str, Any]) -> Floats:
    """The transform of a node into its parent (4, 4)."""
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
    """Several meshes as one, with colors if all have colors."""
    before = np.cumsum([0] + [len(m.vertices_V3) for m in meshes])
    colored = all(m.vertex_colors_V3 is not None for m in meshes)
    return Mesh(
        np.concatenate([m.vertices_V3 for m in meshes]),
        np.concatenate([m.faces_F3 + at for m, at in zip(meshes, before, strict=False)]),
        np.concatenate([m.vertex_colors_V3 for m in meshes if m.vertex_colors_V3 is not None]) if colored else None,
    )


class _File:
    """Looks up what the parts of a file refer to, checked against the bytes that there are. Raises ValueError."""

    def __init__(self, tree: dict[str, Any], binary: bytes | None) -> None:
        self.tree, self.binary = tree, binary
        self.buffers: dict[int, bytes] = {}
        self.primitives: dict[int, Mesh] = {}  # by identity: nodes may share them

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """An entry of the list `kind`. Raises ValueError where it is missing."""
        entries = _list(self.tree, kind)
        found = entries[index] if isinstance(index, int) and 0 <= index < len(entries) else None
        if not isinstance(found, dict):
            raise ValueError(f"{kind} {str(index)[:20]} is missing")
        return found

    def primitive(self, primitive: dict[str, Any], config: PointConfig) -> Mesh:
        """A surface or a set of points, before the transform of its node."""
        made = self.primitives.get(id(primitive))
        if made is None:
            places = primitive["attributes"]
            vertices = self.numbers(places["POSITION"], 3).astype(np.float64)
            faces: Ints = np.empty((0, 3), np.int64)
            mode = primitive.get("mode", 4)
            if mode in (4, 5, 6):
                indexed = "indices" in primitive
                corners = self.numbers(primitive["indices"], 1)[:, 0] if indexed else np.arange(len(vertices))
                faces = check_faces(_triangles(corners.astype(np.int64), mode), len(vertices))
            colors = self.colors(primitive, len(vertices)) if config.colors else None
            made = self.primitives[id(primitive)] = Mesh(
                vertices if mode in (0, 4, 5, 6) else vertices[:0], faces, colors
            )
        return made

    def colors(self, primitive: dict[str, Any], count: int) -> Floats | None:
        """(V, 3) from 0 to 1: the colors of the vertices times those of the material; None where there are neither."""
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
            raise ValueError(f"{count} vertices but {len(found)} colors")
        return None if found is None else found.clip(0, 1)

    def texture(self, index: Any, accessor: Any) -> Floats:
        """The colors (V, 3) of a texture at the texture coordinates of the vertices."""
        import io

        from PIL import Image

        source = self.item("images", self.item("textures", index).get("source"))
        data = self.view(source["bufferView"]) if "bufferView" in source else _inline(source.get("uri"), "a texture")
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"a texture of {picture.width} x {picture.height} pixels; make it smaller")
            pixels = np.asarray(picture.convert("RGB"))
        uv = self.numbers(accessor, 2).astype(np.float64)
        uv = np.where(np.isfinite(uv), uv, 0) % 1
        at = np.minimum((uv * (pixels.shape[1], pixels.shape[0])).astype(np.int64), np.array(pixels.shape[1::-1]) - 1)
        levels_V3: Floats = pixels[at[:, 1], at[:, 0]] / 255
        return levels_V3

    def numbers(self, index: Any, width: int) -> NDArray[Any]:
        """An accessor -> (count, width); normalized integers become floats from 0 (or -1) to 1."""
        accessor = self.item("accessors", index)
        kind, columns = COMPONENTS.get(accessor["componentType"]), WIDTHS.get(accessor["type"], 0)
        count, offset = accessor["count"], accessor.get("byteOffset", 0)
        if kind is None or columns < width or not isinstance(count, int) or not isinstance(offset, int):
            raise ValueError(f"accessor {index} does not have {width} numbers per element")
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError("it has sparse accessors, which are not supported; export it without")
        data, each = self.view(accessor["bufferView"]), np.dtype(kind).itemsize * columns
        stride = self.item("bufferViews", accessor["bufferView"]).get("byteStride", each)
        if count < 0 or offset < 0 or not each <= stride <= 252 or offset + stride * (count - 1) + each > len(data):
            raise ValueError(f"truncated: accessor {index} with {count} elements in {len(data)} bytes")
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
            raise ValueError(f"buffer view {index} has no valid offset and length")
        if start + length > len(buffer):
            raise ValueError(f"truncated: {len(buffer)} of {start + length} bytes")
        return buffer[start : start + length]

    def buffer(self, index: Any) -> bytes:
        """The bytes of a buffer, which must be in the file."""
        if index not in self.buffers:
            uri = self.item("buffers", index).get("uri")
            if uri is None and (index != 0 or self.binary is None):
                raise ValueError("truncated: its binary chunk is missing")
            self.buffers[index] = self.binary or b"" if uri is None else _inline(uri, "a buffer")
        return self.buffers[index]


def _inline(uri: Any, what: str) -> bytes:
    """The bytes of a data URI. Raises ValueError for any other URI."""
    head, _, body = str(uri).partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        raise ValueError(f"{what} is in another file, {str(uri)[:40]!r}; export it as one glb")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError(f"{what} has damaged base64") from None


def _triangles(corners: Ints, mode: int) -> Ints:
    """Vertices of a list (mode 4), a strip (5) or a fan (6) of triangles -> (F, 3)."""
    if mode == 4:
        if len(corners) % 3:
            raise ValueError(f"{len(corners)} corners are not a multiple of three")
        return corners.reshape(-1, 3)
    first = corners[:-2] if mode == 5 else np.repeat(corners[:1], max(len(corners) - 2, 0))
    return np.column_stack([first, corners[1:-1], corners[2:]])
