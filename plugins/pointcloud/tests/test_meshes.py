"""Meshes and scanner formats in their variants, and a comparison of our readers with a well-known library."""

from __future__ import annotations

import io
import json
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import laspy  # type: ignore[import-untyped]  # has no annotations
import numpy as np
import pytest
import trimesh
from binder_pointcloud import POINTCLOUD, PointcloudConfig
from binder_pointcloud.ply import read_ply
from binder_pointcloud.reading import read
from binder_pointcloud.surface import Mesh, sampled, triangles
from PIL import Image

from binder import ItemError, Points
from binder.testing import tiny_anchor

ANCHOR = tiny_anchor()
CONFIG = PointcloudConfig(points=64, groups=8, neighbors=8)
SEEN = PointcloudConfig(points=256, normals=True, colors=True)
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)  # of a cube
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
Faces = Sequence[tuple[int, ...]]
SPLIT = [part for a, b, c, d in SIDES for part in ((a, b, c), (a, c, d))]


def points(item: object, config: PointcloudConfig) -> Points:
    """The item, read by the plugin."""
    found = read(item, config)
    assert isinstance(found, Points)
    return found


def window(item: object, config: PointcloudConfig) -> np.ndarray:
    """(N, C): the input of the encoder."""
    return POINTCLOUD.build(config, ANCHOR).preprocess(item)[0].numpy()


def is_cube(data: bytes, suffix: str, folder: Path, config: PointcloudConfig = CONFIG) -> Points:
    """Reads a file and checks that its points are evenly spread over the six sides of a cube."""
    (folder / f"a.{suffix}").write_bytes(data)
    found = points(folder / f"a.{suffix}", config)
    assert isinstance(found, Points)
    shares = [np.isclose(found.xyz[:, axis], side).mean() for axis in range(3) for side in (0, 1)]
    np.testing.assert_allclose(shares, 1 / 6, atol=0.08)
    return found


def off(faces: Faces, head: str = "OFF\n", behind: str = "", vertex: str = "") -> str:
    rows = [f"{x:g} {y:g} {z:g}{vertex}" for x, y, z in CORNERS] + [
        f"{len(f)} {' '.join(map(str, f))}{behind}" for f in faces
    ]
    return f"{head}8 {len(faces)} 0\n" + "\n".join(rows) + "\n"


MIXED: Faces = [*SIDES[:3], *SPLIT[6:]]
OFFS = {
    "triangles": off(SPLIT),
    "quads": off(SIDES),
    "mixed": off(MIXED),
    "counts in the first line": off(SPLIT, "OFF "),
    "counts against the word": off(SPLIT, "OFF"),
    "comments": off(SPLIT, "OFF # cube\n# made by hand\n\n").replace("\n", " # 7\n", 5),
    "colors of faces": off(SIDES, behind=" 255 0 0"),
    "colors of vertices": off(SIDES, "COFF\n", vertex=" 255 0 0 255"),
    "normals": off(SIDES, "NOFF\n", vertex=" 0 0 1"),
    "edges": off([*SIDES, (0, 1), (3,)]),
    "windows": off(SIDES).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", OFFS)
def test_variants_of_off(name: str, tmp_path: Path) -> None:
    is_cube(OFFS[name].encode(), "off", tmp_path)


def obj(faces: Faces, after: str = "", first: int = 1, vertex: str = "") -> str:
    rows = [f"v {x:g} {y:g} {z:g}{vertex}" for x, y, z in CORNERS]
    return "\n".join([*rows, *("f " + " ".join(f"{i + first}{after}" for i in face) for face in faces)]) + "\n"


OBJS = {
    "triangles": obj(SPLIT),
    "quads": obj(SIDES),
    "mixed": obj(MIXED),
    "textured": "mtllib cube.mtl\n" + obj(SIDES, "/1"),
    "normals": obj(SIDES, "//3"),
    "all three": obj(SIDES, "/2/3"),
    "backwards": obj(SIDES, first=-8),
    "colors": obj(SIDES, vertex=" 1 0 0"),
    "weights": obj(SIDES, vertex=" 1.0"),
    "groups": obj(SPLIT).replace("\nf", "\ng part\nusemtl red\ns off\nf"),
    "indented": obj(SIDES).replace("\n", "\n\t "),
    "continued": obj(SIDES).replace(" 1 ", " 1 \\\n "),
    "comments": "# cube\n" + obj(SIDES).replace("\n", " # 1 2 3\n"),
    "lines and points": obj(SIDES) + "l 1 2\np 3\nvp 1 2\n",
    "windows": obj(SIDES, "/1/1").replace("\n", "\r\n"),
    "no line feed at the end": obj(SIDES).rstrip(),
}


@pytest.mark.parametrize("name", OBJS)
def test_variants_of_obj(name: str, tmp_path: Path) -> None:
    (tmp_path / "cube.mtl").write_text("newmtl red\nmap_Kd /dev/zero\n", encoding="utf-8")
    is_cube(OBJS[name].encode(), "obj", tmp_path)


@pytest.mark.parametrize("name", ["backwards", "mixed", "all three", "groups"])
def test_an_obj_read_in_small_blocks_is_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = points(OBJS[name].encode(), CONFIG).xyz
    monkeypatch.setattr("binder_pointcloud.lines.BLOCK", 40)
    np.testing.assert_array_equal(points(OBJS[name].encode(), CONFIG).xyz, wanted)


def ply(order: str, faces: Faces, corner: str = "uchar int", behind: bool = False) -> bytes:
    head = f"ply\nformat {order} 1.0\ncomment cube\nelement vertex 8\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz") + "property uchar red\nproperty uchar green\n"
    head += f"property uchar blue\nelement face {len(faces)}\nproperty list {corner} vertex_indices\n"
    head += "property uchar flags\n" if behind else ""
    if order == "ascii":
        rows = [f"{x} {y} {z} 255 0 51" for x, y, z in CORNERS]
        rows += [f"{len(f)} {' '.join(map(str, f))}{' 7' if behind else ''}" for f in faces]
        return (head + "end_header\n" + "\n".join(rows) + "\n").encode()
    sign, kinds = (
        "<" if "little" in order else ">",
        {"uchar": "B", "int": "i", "ushort": "H", "uint": "I", "short": "h"},
    )
    count, index = (kinds[kind] for kind in corner.split())
    body = b"".join(struct.pack(f"{sign}3d3B", *xyz, 255, 0, 51) for xyz in CORNERS)
    for f in faces:
        body += struct.pack(f"{sign}{count}{len(f)}{index}", len(f), *f) + (b"\7" if behind else b"")
    return head.encode() + b"end_header\n" + body


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("faces", [SPLIT, SIDES, MIXED], ids=["triangles", "quads", "mixed"])
def test_variants_of_ply(order: str, faces: Faces, tmp_path: Path) -> None:
    for corner, behind in (("uchar int", False), ("uchar int", True), ("int uint", False), ("ushort short", True)):
        found = is_cube(ply(order, faces, corner, behind), "ply", tmp_path, SEEN)
        assert found.colors is not None
        assert found.normals is not None
        np.testing.assert_array_equal(np.unique(found.colors, axis=0), [[255, 0, 51]])
        np.testing.assert_allclose(np.abs(found.normals).max(1), 1)


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("share", [0.1, 0.7, 0.95])
def test_a_truncated_ply_with_uneven_faces(order: str, share: float) -> None:
    data = ply(order, MIXED)
    head = data.index(b"end_header") + 11
    with pytest.raises(ValueError, match=r"truncated: . of (8 vertices|9 faces)"):
        read_ply(data[: head + int((len(data) - head) * share)], CONFIG)


@pytest.mark.parametrize("kind", ["ply", "off", "obj", "stl", "glb"])
def test_trimesh_reads_the_same_surface(kind: str, tmp_path: Path) -> None:
    made = trimesh.creation.torus(2, 0.5)
    made.vertices += np.random.default_rng(0).normal(size=made.vertices.shape) * 0.05
    made.export(tmp_path / f"a.{kind}")
    mesh = trimesh.load_scene(tmp_path / f"a.{kind}", process=False).to_mesh()
    found = points(tmp_path / f"a.{kind}", PointcloudConfig(points=256))
    _, distance, _ = trimesh.proximity.closest_point_naive(mesh, found.xyz[::8])
    np.testing.assert_allclose(distance, 0, atol=1e-5)
    theirs, _ = trimesh.sample.sample_surface(mesh, 1024, seed=0)
    np.testing.assert_allclose(found.xyz.mean(0), theirs.mean(0), atol=0.2)


def test_triangles_equals_a_naive_implementation() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 7, 50)
    corners = rng.integers(0, 99, sizes.sum())
    wanted, of, at = [], [], 0
    for polygon, size in enumerate(sizes):
        own = corners[at : at + size]
        wanted += [(own[0], own[i], own[i + 1]) for i in range(1, size - 1)]
        of += [polygon] * max(size - 2, 0)
        at += size
    made, found = triangles(corners, sizes)
    np.testing.assert_array_equal(made, wanted)
    np.testing.assert_array_equal(found, of)


def test_triangles_that_are_not_finite_are_left_out_or_rejected() -> None:
    corners, faces = np.concatenate([CORNERS, np.full((1, 3), np.nan)]), np.array(SPLIT)
    found = sampled(Mesh(corners, np.concatenate([faces, [[0, 1, 8]] * 12])), CONFIG)
    np.testing.assert_array_equal(found.xyz, sampled(Mesh(CORNERS, faces), CONFIG).xyz)
    with pytest.raises(ValueError, match="13 of 25 triangles have corners that are not finite"):
        sampled(Mesh(corners, np.concatenate([faces, [[0, 1, 8]] * 13])), CONFIG)


def test_a_mesh_far_from_the_origin_keeps_its_shape() -> None:
    faces, far = np.array(SPLIT), np.array([512_345.0, 5_412_345.0, 120.0])
    near, away = (sampled(Mesh(xyz, faces), CONFIG).xyz for xyz in (CORNERS, CORNERS + far))
    np.testing.assert_allclose(away - far, near, atol=1e-8)


def packed(tree: dict[str, object], body: bytes) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts


@pytest.mark.parametrize("turned", [False, True])
def test_the_transforms_of_a_glb_are_applied(turned: bool, tmp_path: Path) -> None:
    scene, box = trimesh.Scene(), trimesh.creation.box((1, 2, 3))
    for i in range(4):
        place = trimesh.transformations.translation_matrix([5 * i, 0, 0])
        if turned:
            place = trimesh.transformations.rotation_matrix(0.3 + i, [1, 2, 3]) @ place
        scene.add_geometry(box, transform=place)
    scene.export(tmp_path / "a.glb")
    found = points(tmp_path / "a.glb", PointcloudConfig(points=2048)).xyz
    wanted = trimesh.load_scene(tmp_path / "a.glb").to_mesh()
    np.testing.assert_allclose(found.min(0), wanted.bounds[0], atol=0.1)
    np.testing.assert_allclose(found.max(0), wanted.bounds[1], atol=0.1)


def test_the_colors_of_a_glb_come_from_texture_and_material(tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 1), (255, 0, 0))
    picture.putpixel((1, 0), (0, 0, 255))
    uv = np.where(CORNERS[:, :1] > 0.5, (0.75, 0.5), (0.25, 0.5))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, baseColorFactor=[255, 255, 128, 255])
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    trimesh.Trimesh(CORNERS, SPLIT, visual=visual, process=False).export(tmp_path / "a.glb")
    found = points(tmp_path / "a.glb", SEEN)
    assert found.colors is not None
    left, right = found.xyz[:, 0] < 1e-6, found.xyz[:, 0] > 1 - 1e-6
    np.testing.assert_allclose(found.colors[left], np.tile((1.0, 0, 0), (left.sum(), 1)), atol=0.01)
    np.testing.assert_allclose(found.colors[right], np.tile((0, 0, 128 / 255), (right.sum(), 1)), atol=0.01)
    with pytest.raises(ItemError, match="has no colors"):
        window(trimesh.Trimesh(CORNERS, SPLIT).export(file_type="stl"), SEEN)


@pytest.mark.parametrize(("mode", "order"), [(4, [0, 1, 2, 2, 1, 3]), (5, [0, 1, 2, 3]), (6, [0, 1, 3, 2])])
def test_strips_and_fans_of_a_gltf_with_inline_data(mode: int, order: list[int]) -> None:
    import base64

    body = CORNERS[:4].astype("<f4").tobytes() + np.array(order, "<u2").tobytes()
    tree: dict[str, object] = {
        "asset": {"version": "2.0"},
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": mode}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": len(order), "type": "SCALAR"},
        ],
        "bufferViews": [{"buffer": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48, "byteLength": 2 * len(order)}],
        "buffers": [{"byteLength": len(body)}],
    }
    inline = {**tree, "buffers": [{"uri": "data:application/octet-stream;base64," + base64.b64encode(body).decode()}]}
    for data in (packed(tree, body), json.dumps(inline).encode()):
        xyz = points(data, CONFIG).xyz
        assert np.ptp(xyz[:, 0]) == 0
        np.testing.assert_allclose(xyz[:, 1:].mean(0), 0.5, atol=0.06)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", [0, 2, 3, 7])
@pytest.mark.parametrize("depth", [255, 65_535])
def test_las_keeps_precision_and_colors(compressed: bool, kind: int, depth: int) -> None:
    xyz = np.random.default_rng(0).random((500, 3)).round(4)
    rgb = np.random.default_rng(1).integers(0, depth + 1, (500, 3))
    head = laspy.LasHeader(point_format=kind, version="1.4" if kind > 5 else "1.2")
    head.scales, head.offsets = np.full(3, 1e-4), np.array([500_000, 5_400_000, 0])
    made = laspy.LasData(head)
    made.x, made.y, made.z = (xyz + [512_345, 5_400_123, 120]).T  # noqa: RUF005
    if kind:
        made.red, made.green, made.blue = rgb.T
    file = io.BytesIO()
    made.write(file, do_compress=compressed)
    found = points(file.getvalue(), PointcloudConfig(points=512, colors=True))
    np.testing.assert_allclose(found.xyz - found.xyz[0], xyz - xyz[0], atol=1e-9)
    if kind:
        assert found.colors is not None
        np.testing.assert_allclose(found.colors / (255 if found.colors.dtype.kind == "u" else 1), rgb / depth)
    else:
        assert found.colors is None


def test_a_number_of_a_million_digits_is_fast() -> None:
    start = time.process_time()
    with pytest.raises(ItemError, match=r"v line 1: expected a number"):
        read(b"v " + b"1" * 1_000_000 + b"x 2 3\n", CONFIG)
    assert time.process_time() - start < 1
