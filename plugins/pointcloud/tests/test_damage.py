"""Truncated, false, hostile and very large files: each is reported in one line and never read in part."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
from pathlib import Path

import laspy  # type: ignore[import-untyped]  # has no annotations
import lzf  # type: ignore[import-not-found]  # a C extension without annotations
import numpy as np
import pytest
import trimesh
from binder_pointcloud import PointcloudConfig
from binder_pointcloud.reading import read

from binder import ItemError, Points

CONFIG = PointcloudConfig(points=64, groups=8, neighbors=8)
XYZ = np.random.default_rng(0).normal(size=(400, 3))
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")


def points(item: object, config: PointcloudConfig) -> Points:
    """The item, read by the plugin."""
    found = read(item, config)
    assert isinstance(found, Points)
    return found


def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=2)  # 162 vertices, 320 faces


def export(kind: str, **options: str) -> bytes:
    made = sphere().export(file_type=kind, **options)
    return made.encode() if isinstance(made, str) else bytes(made)


def pcd(encoding: str, count: int = 400) -> bytes:
    xyz = XYZ.astype("<f4")
    head = (
        f"VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {count}\nHEIGHT 1\nPOINTS {count}\n"
        f"DATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        return head + "\n".join(" ".join(map(str, row)) for row in xyz).encode() + b"\n"
    if encoding == "binary":
        return head + xyz.tobytes()
    packed = lzf.compress(xyz.T.tobytes(), 1 << 20)
    return head + struct.pack("<II", len(packed), xyz.nbytes) + packed


def las(compressed: bool, kind: int = 3, colors: np.ndarray | None = None) -> bytes:
    head = laspy.LasHeader(point_format=kind, version="1.4" if kind > 5 else "1.2")
    head.scales, head.offsets = np.full(3, 1e-6), np.array([512_000, 5_400_000, 100])
    made = laspy.LasData(head)
    made.x, made.y, made.z = (XYZ + np.array([512_345, 5_400_123, 120])).T
    if colors is not None:
        made.red, made.green, made.blue = colors.T
    file = io.BytesIO()
    made.write(file, do_compress=compressed)
    return file.getvalue()


def array(name: str) -> bytes:
    file = io.BytesIO()
    np.save(file, XYZ) if name == "npy" else np.savez_compressed(file, xyz=XYZ)
    return file.getvalue()


def cloud(order: str) -> bytes:
    kind = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[order]
    head = f"ply\nformat {order} 1.0\nelement vertex 400\n" + "".join(f"property float {a}\n" for a in "xyz")
    body = XYZ.astype(f"{kind}f4").tobytes() if kind else "".join(f"{x} {y} {z}\n" for x, y, z in XYZ).encode()
    return head.encode() + b"end_header\n" + body


GOOD = {
    "ply ascii": cloud("ascii"),
    "ply little": cloud("binary_little_endian"),
    "ply big": cloud("binary_big_endian"),
    "ply mesh": export("ply"),
    "ply mesh ascii": export("ply", encoding="ascii"),
    "off": export("off"),
    "obj": export("obj"),
    "stl": export("stl"),
    "stl ascii": export("stl_ascii"),
    "glb": export("glb"),
    "pcd ascii": pcd("ascii"),
    "pcd binary": pcd("binary"),
    "pcd compressed": pcd("binary_compressed"),
    "las": las(False),
    "laz": las(True),
    "laz layered": las(True, 7),
    "xyz": "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in XYZ).encode(),
    "npy": array("npy"),
    "npz": array("npz"),
}
COUNTED = set(GOOD) - {"obj", "xyz"}  # formats that state how much data there are


def outcome(name: str, data: bytes, folder: Path) -> str:
    """'read', or the message of the error. Exceptions other than ItemError are raised."""
    path = folder / f"a.{name.split()[0]}"
    path.write_bytes(data)
    try:
        read(path, CONFIG)
    except ItemError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        return str(error)
    return "read"


@pytest.mark.parametrize("name", GOOD)
def test_intact_files_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name.split()[0]}"
    path.write_bytes(GOOD[name])
    for item in (path, GOOD[name]):
        found = read(item, CONFIG)
        xyz = found.xyz if isinstance(found, Points) else found
        if name.split()[0] in ("off", "obj", "stl", "glb") or "mesh" in name:
            np.testing.assert_allclose(np.linalg.norm(xyz, axis=1), 1, atol=0.03)
        else:
            np.testing.assert_allclose(xyz - xyz[0], XYZ - XYZ[0], atol=2e-6)


@pytest.mark.parametrize("name", GOOD)
def test_truncated_files_are_rejected(name: str, tmp_path: Path) -> None:
    data = GOOD[name]
    for share in (0.0, 0.02, 0.3, 0.5, 0.8, 0.97):
        result = outcome(name, data[: int(len(data) * share)], tmp_path)
        if name in COUNTED or share == 0:
            assert result != "read", share
        if name in COUNTED and share > 0.25 and name not in ("npy", "npz"):
            assert "truncated" in result, share


@pytest.mark.parametrize("name", GOOD)
def test_flipped_bytes_give_at_most_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for turn in range(12 if "laz" in name else 40):
        data = bytearray(GOOD[name])
        for place in rng.integers(len(data) if turn % 2 else 300, size=3):
            data[place] = rng.integers(256)
        outcome(name, bytes(data), tmp_path)


HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex {}\n"
FACE = "element face {}\nproperty list uchar int vertex_indices\n"
AXES = "property float x\nproperty float y\nproperty float z\n"
FALSE = {
    "half.ply": (b"\n".join(cloud("ascii").split(b"\n")[:207]), "truncated: 200 of 400 vertices"),
    "lie.ply": (cloud("ascii").replace(b"vertex 400", b"vertex 300"), "100 more lines follow than its header says"),
    "lie2.ply": (cloud("binary_big_endian").replace(b"400", b"300"), "1200 more bytes follow"),
    "billion.ply": (f"{HEADER.format(10**9)}{AXES}end_header\n".encode() + bytes(120), "truncated: 10 of 1000000000"),
    "text.ply": (cloud("ascii").replace(b"400", b"9" * 30), "truncated: 400 of"),
    "list.ply": (f"{HEADER.format(1)}property list uint float x\nend_header\n".encode() + b"\xff" * 99, "a list of 42"),
    "minus.ply": (f"{HEADER.format(1)}property list int float x\nend_header\n".encode() + b"\xff" * 99, "a list of -1"),
    "word.ply": (cloud("ascii").replace(b"400", b"4e2"), "its header has the line 'element vertex 4e2'"),
    "half.off": (b"OFF\n4 1 0\n0 0 0\n0 0 1\n", "truncated: 2 of 4 vertices"),
    "faces.off": (b"OFF\n3 2 0\n0 0 0\n0 0 1\n0 1 0\n3 0 1 2\n", "truncated: 1 of 2 faces"),
    "face.off": (b"OFF\n3 1 0\n0 0 0\n0 0 1\n0 1 0\n3 0 1", "truncated: 0 of 1 faces"),
    "missing.off": (b"OFF\n3 1 0\n0 0 0\n0 0 1\n0 1 0\n3 0 1 3\n", "a face refers to vertex 3, but there are 3"),
    "minus.off": (b"OFF\n3 1 0\n0 0 0\n0 0 1\n0 1 0\n3 0 1 -1\n", "a face refers to vertex -1, but there are 3"),
    "more.off": (b"OFF\n3 0 0\n0 0 0\n0 0 1\n0 1 0\n5 5 5\n", "says 3 vertices and 0 faces, but 4 lines follow"),
    "huge.off": (b"OFF\n999999999999 9 0\n0 0 0\n", "truncated: 1 of 999999999999 vertices"),
    "missing.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2 4\n", "a face refers to vertex 4, but there are 3"),
    "huge.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2 999999999999\n", "refers to vertex 999999999999, but there are 3"),
    "before.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf -1 -2 -4\n", "refers to vertex -4, but there are 3 before it"),
    "zero.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf 0 1 2\n", "a face refers to vertex 0, but the first is 1"),
    "line.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2", "its last face has 2 corners; is the file truncated?"),
    "number.obj": (b"v 0 0 0\nv 0 0 1\nv 0 1\n", "vertex 3 has 2 of 3 numbers; is the file truncated?"),
    "more.stl": (export("stl") + bytes(50), "its header says 320 triangles, but 50 more bytes follow"),
    "less.stl": (export("stl")[:-500], "truncated: 310 of 320 triangles"),
    "end.stl": (export("stl_ascii")[:5000], "triangles without 'endsolid'"),
    "less.pcd": (pcd("binary", 500), "truncated: 400 of 500 points"),
    "more.pcd": (pcd("binary", 300), "its header says 300 points, but 400 follow"),
    "ascii.pcd": (pcd("ascii", 500), "truncated: 400 of 500 points"),
    "fit.pcd": (pcd("binary_compressed", 500), "compressed ones"),
    "count.pcd": (pcd("ascii").replace(b"COUNT 1 1 1", b"COUNT 1 1 1000000000"), "point 1 has 3 of 1000000002 numbers"),
    "count2.pcd": (pcd("binary").replace(b"COUNT 1 1 1", b"COUNT 1 1 1000000000"), "truncated: 0 of 400 points"),
    "bomb.pcd": (
        pcd("binary_compressed", 40_000_000).split(b"compressed\n")[0]
        + b"compressed\n" + struct.pack("<II", 100, 480_000_000) + bytes(100),
        "compressed ones",
    ),
    "less.las": (las(False)[:-340], "truncated: 390 of 400 points"),
    "records.las": (las(False)[:100] + b"\xff" * 4 + las(False)[104:], "its header says 4294967295 records"),
    "billion.laz": (las(True)[:107] + b"\0\0\0\x7f" + las(True)[111:], "2130706432 points, more than 50 million"),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_the_header_is_checked_against_the_data(name: str, tmp_path: Path) -> None:
    data, reason = FALSE[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ItemError) as caught:
        read(path, CONFIG)
    assert reason in str(caught.value)
    tracemalloc.start()
    with pytest.raises(ItemError):
        read(data, CONFIG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def glb(tree: dict[str, object], body: bytes = TRIANGLE.tobytes()) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    parts = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts


def scene(nodes: list[dict[str, object]], **changed: object) -> dict[str, object]:
    tree: dict[str, object] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36}],
    }
    return {**tree, **changed}


TWICE: list[dict[str, object]] = [{"children": [i + 1, i + 1]} for i in range(40)]
GRAPHS = {
    "cycle": (scene([{"children": [1]}, {"children": [0], "mesh": 0}]), "or a cycle of nodes"),
    "fan": (scene([*TWICE, {"mesh": 0}]), "or a cycle of nodes"),
    "node": (scene([{"children": [7]}]), "node 7 is missing"),
    "mesh": (scene([{"mesh": 7}]), "meshes 7 is missing"),
    "count": (
        scene([{"mesh": 0}], accessors=[{"bufferView": 0, "componentType": 5126, "count": 10**9, "type": "VEC3"}]),
        "truncated: accessor 0 with 1000000000 elements in 36 bytes",
    ),
    "view": (scene([{"mesh": 0}], bufferViews=[{"buffer": 0, "byteLength": 10**12}]), "truncated: 36 of"),
    "file": (scene([{"mesh": 0}], buffers=[{"byteLength": 36, "uri": "beside.bin"}]), "is in another file"),
    "address": (scene([{"mesh": 0}], buffers=[{"uri": "http://127.0.0.1/a.bin"}]), "is in another file"),
    "draco": (scene([{"mesh": 0}], extensionsRequired=["KHR_draco_mesh_compression"]), "it needs KHR_draco"),
    "empty": (scene([{}]), "neither surfaces nor points"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_endless_scenes_and_external_references_are_rejected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binder_pointcloud.gltf.MAX_NODES", 5000)
    tree, reason = GRAPHS[name]
    (tmp_path / "beside.bin").write_bytes(TRIANGLE.tobytes())
    (tmp_path / "a.glb").write_bytes(glb(tree))
    with pytest.raises(ItemError) as caught:
        read(tmp_path / "a.glb", CONFIG)
    assert reason in str(caught.value)


LONG = b"# a line of comment, rather long\n" * 100_000
CHAIN: list[dict[str, object]] = [{"children": [i + 1]} for i in range(20_000)]
SLOW = {
    "groups.obj": b"mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\n"
    + b"".join(b"g g%d\nusemtl m%d\nf 1 2 3\n" % (i, i) for i in range(30_000)),
    "comments.obj": LONG + b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n" + LONG,
    "comments.off": b"OFF\n" + LONG + b"3 1 0\n0 0 0\n1 0 0\n0 1 0\n" + LONG + b"3 0 1 2\n",
    "comments.xyz": LONG + b"1 2 3\n" + LONG + b"2 3 5\n3 4 4\n8 8 9\n",
    "solids.stl": export("stl_ascii").replace(b"solid", b"solid a") * 20,
    "chain.glb": glb(scene([*CHAIN, {"mesh": 0}])),
}


@pytest.mark.parametrize("name", SLOW)
def test_many_comments_groups_and_nodes_take_bounded_time(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(SLOW[name])
    start = time.process_time()
    assert len(points(path, CONFIG).xyz) >= 4
    assert time.process_time() - start < 5
