"""Points as lines of numbers: all common dialects give the same points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from binder_pointcloud import POINTCLOUD, PointcloudConfig
from binder_pointcloud.lines import NUMBER, blocks, numbers
from binder_pointcloud.reading import read

from binder import ItemError, Points
from binder.testing import tiny_anchor

ANCHOR = tiny_anchor()
CONFIG = PointcloudConfig(points=64, groups=8, neighbors=8)
XYZ = np.random.default_rng(0).normal(size=(400, 3)).round(6)
UNIT = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
RGB = np.random.default_rng(1).integers(0, 256, (400, 3))


def points(item: object, config: PointcloudConfig) -> Points:
    """The item, read by the plugin."""
    found = read(item, config)
    assert isinstance(found, Points)
    return found


def window(item: object, config: PointcloudConfig) -> np.ndarray:
    """(N, C): the input of the encoder."""
    return POINTCLOUD.build(config, ANCHOR).preprocess(item)[0].numpy()


def lines(*columns: np.ndarray, between: str = " ", ending: str = "\n") -> str:
    rows = np.column_stack(columns)
    return ending.join(between.join(f"{value:.6f}".rstrip("0").rstrip(".") for value in row) for row in rows) + ending


def decimal_commas(between: str) -> str:
    return lines(XYZ, between="!").replace(".", ",").replace("!", between)


PLAIN = lines(XYZ)
DIALECTS = {
    "plain": PLAIN,
    "no line feed at the end": PLAIN.rstrip(),
    "windows": lines(XYZ, ending="\r\n"),
    "old mac": lines(XYZ, ending="\r"),
    "blank lines": "\n\n" + PLAIN.replace("\n", "\n\n", 50) + "\n \n",
    "indented": "  " + PLAIN.replace("\n", "  \n   "),
    "#": "# made by scanner\n" + PLAIN,
    "//": "// x y z\n" + PLAIN,
    "comments between": PLAIN.replace("\n", "\n# station 2: 7 8 9\n", 3),
    "comments behind": PLAIN.replace("\n", " # 17 18\n", 3).replace("\n", " // 4\n", 2),
    "many comments": "# page\n" * 5000 + PLAIN,
    "header": "x y z\n" + PLAIN,
    "header in capitals": "X Y Z\n" + PLAIN,
    "header and count": "400\nX Y Z\n" + PLAIN,
    "count": "400\n" + PLAIN,
    "count and comment": "# pts\n400\n" + PLAIN,
    "mark": "\ufeff" + PLAIN,
    "mark and comment": "\ufeff# made by scanner\n" + PLAIN,
    "commas": lines(XYZ, between=","),
    "commas and blanks": lines(XYZ, between=", "),
    "commas at the end": lines(XYZ, between=",").replace("\n", ",\n"),
    "header with commas": "x,y,z\n" + lines(XYZ, between=","),
    "quoted header": '"X","Y","Z"\n' + lines(XYZ, between=","),
    "header with units": "X [m];Y [m];Z [m]\n" + lines(XYZ, between=";"),
    "semicolons": lines(XYZ, between=";"),
    "semicolons and blanks": lines(XYZ, between="; "),
    "tabs": lines(XYZ, between="\t"),
    "header with tabs": "x\ty\tz\n" + lines(XYZ, between="\t"),
    "decimal commas, semicolons": decimal_commas(";"),
    "decimal commas, header": "x;y;z\n" + decimal_commas(";"),
    "decimal commas, tabs": decimal_commas("\t"),
    "decimal commas, blanks": decimal_commas(" "),
    "exponents": "\n".join(" ".join(f"{v:.6e}" for v in row) for row in XYZ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_dialects_give_the_same_points(dialect: str, tmp_path: Path) -> None:
    for suffix in ("xyz", "txt", "asc", "csv", "pts"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(DIALECTS[dialect].encode())
        np.testing.assert_allclose(points(path, CONFIG).xyz, XYZ, atol=1e-9)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_titles_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(f"# Höhe über NN, 20 °C\nx y z\n{PLAIN}".encode(encoding))
    np.testing.assert_allclose(points(path, CONFIG).xyz, XYZ, atol=1e-9)


LEVEL = np.random.default_rng(2).integers(0, 2000, 400)


@pytest.mark.parametrize(
    ("text", "normals", "colors"),
    [
        (lines(XYZ, RGB), False, True),
        (lines(XYZ, RGB / 255), False, True),
        (lines(XYZ, UNIT), True, False),
        (lines(XYZ, UNIT * 7), False, False),
        (lines(XYZ, LEVEL), False, False),
        (lines(XYZ, LEVEL, RGB), False, True),
        (lines(XYZ, RGB[:, :1], RGB), False, True),
        (lines(XYZ, RGB, UNIT), True, True),
        (lines(XYZ, UNIT, RGB), True, True),
        ("x y z nx ny nz r g b\n" + lines(XYZ, UNIT, RGB), True, True),
        ("x,y,z,Red,Green,Blue\n" + lines(XYZ, RGB, between=","), False, True),
        ("// X Y Z R G B\n" + lines(XYZ, RGB), False, True),
        ("//X Y Z R G B Nx Ny Nz\n400\n" + lines(XYZ, RGB, UNIT), True, True),
        ("x y z intensity r g b\n" + lines(XYZ, LEVEL, RGB), False, True),
        ("x y z red green blue\n" + lines(XYZ, RGB * 257), False, True),
        ("x y z roll pitch yaw\n" + lines(XYZ, RGB), False, False),
        ("r g b x y z\n" + lines(RGB, XYZ), False, True),
        ("point x y z\n" + lines(np.arange(400), XYZ), False, False),
        ("Easting;Northing;Elevation\n" + decimal_commas(";"), False, False),
    ],
)
def test_columns_beyond_three_are_recognized_by_name_or_value(text: str, normals: bool, colors: bool) -> None:
    found = points(text.encode(), CONFIG)
    np.testing.assert_allclose(found.xyz, XYZ, atol=1e-6)
    assert (found.normals is not None, found.colors is not None) == (normals, colors)
    if normals:
        assert found.normals is not None
        np.testing.assert_allclose(found.normals, UNIT, atol=2e-6)
    if colors:
        made = window(text.encode(), PointcloudConfig(points=512, colors=True))
        levels = np.unique((made[:, 3:] * 255).round().astype(int), axis=0)
        np.testing.assert_array_equal(levels, np.unique(RGB, axis=0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PLAIN[: len(PLAIN) // 2].rsplit(" ", 1)[0], "truncated: its last line has 2 of 3 numbers"),
        ("500\n" + PLAIN, "truncated: 400 of 500 points"),
        ("300\n" + PLAIN, "its first lines say 300 points, but 400 follow"),
        ("99999999999999999999999\n" + PLAIN, "truncated: 400 of"),
        ("1 2 3\n1 2\n" + PLAIN, "point 2 has 2 numbers, but those before it have 3"),
        (PLAIN.replace("\n", "\nabc 2 3\n", 8), "line 2: expected a number, got 'abc'"),
        ("# a\n\n1 2 3\n1 2 3-4\n" + PLAIN, "line 4: expected a number, got '3-4'"),
        ("1 2\n" * 9, "lines of 2 numbers: expected x, y, z"),
        ("ncols 4\nnrows 4\nxllcorner 0\nyllcorner 0\ncellsize 1\n" + "1 2 3 4\n" * 4, "line 4: expected numbers"),
        ("# only a comment\n", "it contains no lines of numbers"),
        ("400\n", "truncated: 0 of 400 points"),
        ("1 " * 4_000_000, "it contains no lines of numbers"),
    ],
)
def test_messages(text: str, reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        read(text.encode(), CONFIG)
    assert f"not a readable xyz file: {reason}" in str(caught.value)


@pytest.mark.parametrize("mark", ["nan", "NaN", "inf", "-inf", "1.#QNAN", "-1.#IND"])
def test_points_that_are_not_finite_are_left_out(mark: str) -> None:
    broken = PLAIN.replace("\n", f"\n{mark} 1 {mark}\n", 150)
    np.testing.assert_array_equal(window(broken.encode(), CONFIG), window(PLAIN.encode(), CONFIG))
    with pytest.raises(ItemError, match="401 of 801 points are not finite"):
        window((f"{mark} 1 2\n" + PLAIN.replace("\n", f"\n{mark} 1 2\n")).encode(), CONFIG)


@pytest.mark.parametrize("empty", ["1,,3\n", ",2,3\n", "1,2,\n", "1, ,3\n", ",,\n"])
def test_points_with_empty_fields_are_left_out(empty: str) -> None:
    text = "x,y,z\n" + lines(XYZ, between=",").replace("\n", "\n" + empty, 20)
    wanted = window(PLAIN.encode(), CONFIG)
    np.testing.assert_array_equal(window(text.encode(), CONFIG), wanted)


def test_a_large_text_is_always_subsampled_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binder_pointcloud.subsample.MAX_POINTS", 100)
    monkeypatch.setattr("binder_pointcloud.lines.BLOCK", 2000)
    first, second = (points(PLAIN.encode(), CONFIG).xyz for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert 60 < len(first) < 140
    assert {tuple(row) for row in first} <= {tuple(row) for row in XYZ}


def naive(text: bytes) -> tuple[list[float], list[int]]:
    rows = [line.split() for line in text.split(b"\n") if line.split()]
    assert all(NUMBER.fullmatch(word) for row in rows for word in row)
    return [float(word) for row in rows for word in row], [len(row) for row in rows]


def test_numbers_equals_a_naive_implementation() -> None:
    rng = np.random.default_rng(0)
    words = ["1", "-2.5", "3e4", ".5", "6.", "+7E-3", "nan", "inf", "-0"]
    text = "\n".join("\t ".join(rng.choice(words, rng.integers(0, 6))) for _ in range(500)).encode()
    wanted, counts = naive(text)
    for data in (text, text + b"\n", b"\n" + text + b" \r\n"):
        found = numbers(data)
        np.testing.assert_array_equal(found.values_V, wanted)
        np.testing.assert_array_equal(found.counts_R, counts)


def test_blocks_are_all_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binder_pointcloud.lines.BLOCK", 64)
    found = list(blocks(PLAIN.encode()))
    assert len(found) > 100
    assert b"".join(found) == PLAIN.encode()
    assert all(block.endswith(b"\n") for block in found)
