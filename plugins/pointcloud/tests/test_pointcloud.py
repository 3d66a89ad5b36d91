"""The point cloud plugin: the encoder contract, formats, rejected items. Synthesizes its data."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import lzf  # type: ignore[import-not-found]  # a C extension without annotations
import numpy as np
import pytest
import trimesh
from binder_pointcloud import POINTCLOUD, PointcloudConfig
from binder_pointcloud.reading import read

from binder import ItemError, Points
from binder.testing import EncoderContract, tiny_anchor

ANCHOR = tiny_anchor()
SMALL = {"points": 128, "groups": 16, "neighbors": 8, "width": 32, "layers": 1, "heads": 2}


def points(item: object, config: PointcloudConfig) -> Points:
    """The item, read by the plugin."""
    found = read(item, config)
    assert isinstance(found, Points)
    return found


def window(item: object, config: PointcloudConfig) -> np.ndarray:
    """(N, C): the input of the encoder."""
    return POINTCLOUD.build(config, ANCHOR).preprocess(item)[0].numpy()


def ball(count: int = 300, seed: int = 0) -> np.ndarray:
    """(P, 3) on the unit sphere."""
    xyz = np.random.default_rng(seed).normal(size=(count, 3))
    return (xyz / np.linalg.norm(xyz, axis=1, keepdims=True)).astype(np.float32)


def ply(xyz: np.ndarray, extra: dict[str, np.ndarray] | None = None, binary: bool = False) -> bytes:
    """A PLY with points, and with normals and colors in `extra`."""
    extra = extra or {}
    kinds = {name: ("uchar", "u1") if values.dtype == np.uint8 else ("float", "<f4") for name, values in extra.items()}
    header = [
        f"ply\nformat {'binary_little_endian' if binary else 'ascii'} 1.0\nelement vertex {len(xyz)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property {kinds[name][0]} {name}" for name in extra),
        "end_header\n",
    ]
    layout = [(axis, "<f4") for axis in "xyz"] + [(name, kinds[name][1]) for name in extra]
    rows = np.zeros(len(xyz), layout)
    for i, axis in enumerate("xyz"):
        rows[axis] = xyz[:, i]
    for name, values in extra.items():
        rows[name] = values
    body = rows.tobytes() if binary else "\n".join(" ".join(f"{v:g}" for v in row) for row in rows).encode() + b"\n"
    return "\n".join(header).encode() + body


def pcd(xyz: np.ndarray, data: str = "ascii", rgb: np.ndarray | None = None, count: int | None = None) -> bytes:
    """A PCD; colors (P, 3) uint8 are packed into the bits of a float."""
    fields = "x y z" + (" rgb" if rgb is not None else "")
    n = 4 if rgb is not None else 3
    columns = xyz.astype("<f4")
    if rgb is not None:
        packed = (rgb.astype(np.uint32) << [16, 8, 0]).sum(1).astype(np.uint32).view(np.float32)
        columns = np.column_stack([columns, packed]).astype("<f4")
    header = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {fields}\nSIZE {'4 ' * n}\nTYPE {'F ' * n}\n"
        f"COUNT {'1 ' * n}\nWIDTH {len(xyz)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count or len(xyz)}\n"
        f"DATA {data}\n"
    )
    lines = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in columns)
    if data == "binary_compressed":  # field by field
        body = columns.T.tobytes()
        packed = lzf.compress(body, 2 * len(body))
        return header.encode() + struct.pack("<II", len(packed), len(body)) + packed
    return header.encode() + (columns.tobytes() if data == "binary" else lines.encode())


class TestContract(EncoderContract):
    modality = POINTCLOUD
    config = SMALL

    def items(self, tmp_path: Path) -> list[object]:
        # a mesh, an ascii and a binary scan, an array; different sizes and densities
        trimesh.creation.box((1, 2, 3)).export(tmp_path / "box.off")
        (tmp_path / "scan.ply").write_bytes(ply(ball(700), binary=True))
        return [tmp_path / "box.off", tmp_path / "scan.ply", ply(ball(80) * [1, 1, 3]), ball(2000) * 900]

    def broken(self, tmp_path: Path) -> list[object]:
        picture = tmp_path / "picture.ply"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
        return [picture, tmp_path, b"", b" \n", None, 3.5, ball(3), np.zeros((50, 2)), np.full((50, 3), np.nan)]


class TestContractWithNormalsAndColors(TestContract):
    config = {**SMALL, "normals": True, "colors": True}  # noqa: RUF012

    def items(self, tmp_path: Path) -> list[object]:
        scan = ply(ball(), {**normals(ball()), **colors(300)}, binary=True)
        return [scan, np.concatenate([ball(), ball(), np.full((300, 3), 0.5)], axis=1)]


def normals(xyz: np.ndarray) -> dict[str, np.ndarray]:
    return {f"n{axis}": xyz[:, i] for i, axis in enumerate("xyz")}


def colors(count: int) -> dict[str, np.ndarray]:
    return {name: np.full(count, level, np.uint8) for name, level in (("red", 10), ("green", 20), ("blue", 250))}


@pytest.mark.parametrize("kind", ["ply", "ply binary", "xyz", "obj", "pcd", "pcd binary", "pcd compressed", "npy"])
def test_a_scan_is_the_same_in_every_format(kind: str, tmp_path: Path) -> None:
    xyz = ball()
    held = io.BytesIO()
    np.save(held, xyz)
    data = {
        "ply": ply(xyz),
        "ply binary": ply(xyz, binary=True),
        "xyz": "\n".join(f"{x:.7f} {y:.7f} {z:.7f}" for x, y, z in xyz).encode(),
        "obj": "\n".join(f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in xyz).encode(),
        "pcd": pcd(xyz),
        "pcd binary": pcd(xyz, "binary"),
        "pcd compressed": pcd(xyz, "binary_compressed"),
        "npy": held.getvalue(),
    }[kind]
    path = tmp_path / f"a.{kind.split()[0]}"
    path.write_bytes(data)
    for item in (path, str(path), data):
        found = read(item, PointcloudConfig())
        np.testing.assert_allclose(found.xyz if isinstance(found, Points) else found, xyz, atol=1e-5)


@pytest.mark.parametrize("kind", ["ply", "off", "obj", "stl"])
def test_a_mesh_is_sampled_evenly_and_always_in_the_same_way(kind: str, tmp_path: Path) -> None:
    made = trimesh.creation.box((2, 2, 2))
    made.export(tmp_path / f"box.{kind}")
    config = PointcloudConfig(normals=True)
    first, second = (points(tmp_path / f"box.{kind}", config) for _ in range(2))
    np.testing.assert_array_equal(first.xyz, second.xyz)
    np.testing.assert_allclose(np.abs(first.xyz).max(1), 1, atol=1e-6)
    shares = [np.isclose(first.xyz[:, axis], side).mean() for axis in range(3) for side in (-1, 1)]
    np.testing.assert_allclose(shares, 1 / 6, atol=0.03)
    assert first.normals is not None
    np.testing.assert_allclose((first.normals * first.xyz).sum(1), 1, atol=1e-6)


def test_the_density_of_vertices_does_not_matter() -> None:
    made = trimesh.creation.icosphere(subdivisions=2)
    upper = made.triangles_center[:, 2] > 0
    low, high = (made.submesh([np.flatnonzero(side)], append=True) for side in (~upper, upper))
    dense = trimesh.util.concatenate([low, high.subdivide().subdivide()])
    assert isinstance(dense, trimesh.Trimesh)
    assert (dense.vertices[:, 2] > 0).mean() > 0.8
    data = dense.export(file_type="ply")
    assert abs((points(data, PointcloudConfig()).xyz[:, 2] > 0).mean() - 0.5) < 0.03


@pytest.mark.parametrize("binary", [False, True])
def test_normals_and_colors_of_a_scan_are_found(binary: bool) -> None:
    xyz = ball()
    config = PointcloudConfig(normals=True, colors=True)
    found = points(ply(xyz, {**normals(xyz), **colors(300)}, binary), config)
    assert found.normals is not None
    np.testing.assert_allclose(found.normals, xyz, atol=1e-5)
    assert found.colors is not None
    np.testing.assert_array_equal(found.colors[0], (10, 20, 250))


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_packed_colors_and_missing_points_of_a_depth_camera(data: str) -> None:
    xyz, rgb = ball(), np.tile(np.array([[10, 20, 250]], np.uint8), (300, 1))
    xyz[::3] = np.nan
    config = PointcloudConfig(points=256, colors=True)
    found = window(pcd(xyz, data, rgb), config)
    assert len(np.unique(found[:, :3], axis=0)) == 200
    np.testing.assert_allclose(found[:, 3:], np.tile(rgb[:1] / 255, (256, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"ply\nformat ascii 1.0\nelement vertex 5\n", "not a readable ply file"),
        (ply(ball(), binary=True)[:-600], "not a readable ply file"),
        (b"OFF\n3 1 0\n0 0 0\n", "not a readable off file"),
        (b"OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n", "a mesh without a surface"),
        (b"v 1 2 three\nv 1 2 3\n", "not a readable obj file"),
        (b"solid nothing\nendsolid\n", "not a readable stl file"),
        (b"1 2\n3 4\n", "not a readable xyz file"),
        (b"1 2 3\none two three\n", "not a readable xyz file: line 2: expected a number, got 'one'"),
        (b"VERSION 0.7\nFIELDS x y\n", "its header has no line DATA"),
        (pcd(ball(), "binary")[:-60], "not a readable pcd file"),
        (pcd(ball(), count=999), "truncated: 300 of 999 points"),
        (pcd(ball(), "binary_compressed")[:-60], "not a readable pcd file"),
        (pcd(ball()).replace(b"FIELDS x y z", b"FIELDS a b c"), "it has no x, y and z; found: a, b, c"),
        (b"\x93NUMPY and no more", "not a readable NumPy file"),
        (np.zeros((50, 2)), "expected an array of shape (P, 3), got (50, 2)"),
        (np.zeros(50), "expected an array of shape (P, 3), got (50,)"),
        (None, "expected a path, bytes or an array, not NoneType"),
        (Path("no.ply"), "no such file"),
    ],
)
def test_messages(item: object, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        POINTCLOUD.build(PointcloudConfig(), tiny_anchor()).preprocess(item)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_message_for_an_unknown_suffix_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "a.dae").write_bytes(b"<?xml")
    with pytest.raises(ItemError, match=r"unknown format '\.dae': expected ply, off, obj, stl, glb, gltf, xyz, .*npz"):
        read(tmp_path / "a.dae", PointcloudConfig())


def test_a_preview_of_a_million_points(tmp_path: Path) -> None:
    np.save(tmp_path / "huge.npy", np.tile(ball(1000), (1000, 1)))
    assert POINTCLOUD.preview is not None
    assert min(POINTCLOUD.preview(tmp_path / "huge.npy").size) >= 16


def test_diagnose_names_the_libraries() -> None:
    assert POINTCLOUD.diagnose is not None
    assert "laspy" in POINTCLOUD.diagnose()["las, laz"]
