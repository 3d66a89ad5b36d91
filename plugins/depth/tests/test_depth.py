"""The depth plugin: the encoder contract, formats, units, drawings, rejected items. Synthesizes its data."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from binder_depth import DEPTH, DepthConfig
from binder_depth.adapting import adapt
from binder_depth.reading import read
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from binder import ConfigError, Item, ItemError, PictureEncoder
from binder.testing import EncoderContract, huge_png, tiny_anchor

MM = DepthConfig(units="mm")
DISPARITY = {"units": "disparity", "baseline_m": 0.075, "focal_px": 520}


def scene(height: int = 24, width: int = 32, radius_m: float = 0.4, away_m: float = 2.0) -> np.ndarray:
    """(H, W) float64 m: a ball in front of a wall, with a hole where nothing was measured."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1.3 : 1.3 : width * 1j]
    inside = x**2 + y**2 < 0.49
    ball = away_m - radius_m * np.sqrt(np.maximum(0.49 - x**2 - y**2, 0)) / 0.7
    meters = np.where(inside, ball, away_m + 0.6 + 0.1 * x)
    meters[2:5, 2:5] = 0
    return meters


def millimeters(meters: np.ndarray) -> np.ndarray:
    return (1000 * meters).round().astype(np.uint16)


def encoded(values: np.ndarray, kind: str = "png", **options: Any) -> bytes:
    held = io.BytesIO()
    if kind == "npy":
        np.save(held, values)
    else:
        Image.fromarray(values).save(held, "TIFF" if kind == "tiff" else kind, **options)
    return held.getvalue()


def units_text(text: str) -> PngInfo:
    info = PngInfo()
    info.add_text("units", text)
    return info


class TestContract(EncoderContract):
    modality = DEPTH

    def items(self, tmp_path: Path) -> list[Item]:
        # every file states its unit, so that the default configuration reads them; two sizes
        (tmp_path / "ball.png").write_bytes(encoded(millimeters(scene()), pnginfo=units_text("mm")))
        wide = scene(30, 90, 0.9).astype(np.float32)
        (tmp_path / "wide.tiff").write_bytes(encoded(wide, "tiff", tiffinfo={270: "depth, units: m"}))
        return [
            tmp_path / "ball.png",
            tmp_path / "wide.tiff",
            encoded(millimeters(scene(away_m=1)), pnginfo=units_text("mm")),
        ]

    def broken(self, tmp_path: Path) -> list[Item]:
        return broken(tmp_path)


class TestContractInMillimeters(TestContract):
    config = {"units": "mm", "tune": "lora", "rank": 2, "drawing": "near"}  # noqa: RUF012

    def items(self, tmp_path: Path) -> list[Item]:
        np.save(tmp_path / "far.npy", millimeters(scene(away_m=4.0)))
        return [millimeters(scene()), tmp_path / "far.npy", 1000 * scene(radius_m=0.1)]


def broken(tmp_path: Path) -> list[Item]:
    good = encoded(millimeters(np.random.default_rng(0).uniform(1, 3, (48, 64))))
    renamed = tmp_path / "renamed.png"
    renamed.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200))
    return [
        good[: len(good) // 2],
        encoded(scene(), "npy")[:-700],
        renamed,
        tmp_path,
        b"",
        None,
        3.5,
        np.zeros((24, 32), np.uint16),
        np.full((24, 32), np.nan),
        np.full((1, 1), 1000, np.uint16),
        np.array([["a"] * 8] * 8),
        np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8),
    ]


@pytest.mark.parametrize("kind", ["png", "tiff", "npy"])
def test_sixteen_bits_are_not_reduced(kind: str, tmp_path: Path) -> None:
    values = millimeters(scene())
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(values, kind))
    expected = np.where(values == 0, np.nan, values / 1000)
    for item in (path, str(path), path.read_bytes(), values):
        np.testing.assert_allclose(read(item, MM), expected, rtol=1e-6)


def test_pgm_pfm_and_npz() -> None:
    values = millimeters(scene())
    expected = np.where(values == 0, np.nan, values / 1000)
    held = io.BytesIO()
    np.savez(held, depth=values, confidence=np.ones_like(values), intrinsics=np.eye(3))
    pgm = b"P5 32 24 10000\n" + values.astype(">u2").tobytes()  # 10000 is white in such a picture, and 10 m here
    for item in (pgm, pgm.replace(b"P5 ", b"P5\n# units: mm\n"), held.getvalue()):
        np.testing.assert_allclose(read(item, MM), expected, rtol=1e-6)
    np.testing.assert_allclose(read(pgm.replace(b"P5 ", b"P5\n# units: mm\n"), DepthConfig()), expected, rtol=1e-6)
    pfm = b"Pf\n32 24\n-1\n" + scene()[::-1].astype("<f4").tobytes()
    np.testing.assert_allclose(read(pfm, DepthConfig(units="m")), expected, atol=6e-4)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_orientation_tag_rotates_the_map(orientation: int) -> None:
    turns = {3: 2, 6: 1, 8: -1}  # quarter turns counterclockwise by which the stored map is rotated
    stored = np.ascontiguousarray(np.rot90(millimeters(scene()), turns[orientation]))
    exif = Image.Exif()
    exif[274] = orientation
    for kind in ("png", "tiff"):
        np.testing.assert_array_equal(read(encoded(stored, kind, exif=exif), MM), read(millimeters(scene()), MM))


def test_importing_it_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, binder_depth; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_float_tiff_is_read_unchanged(compression: str | None) -> None:
    meters = scene().astype(np.float32)
    found = read(encoded(meters, "tiff", compression=compression), DepthConfig(units="m"))
    np.testing.assert_array_equal(found, np.where(meters == 0, np.nan, meters))


@pytest.mark.parametrize(
    ("config", "values"),
    [
        ({"units": "mm"}, 1000 * scene()),
        ({"units": "cm"}, 100 * scene()),
        ({"units": "m"}, scene()),
        ({"units": "m", "divisor": 5000}, 5000 * scene()),  # TUM RGB-D
        ({"units": "m", "divisor": 256}, 256 * scene()),  # KITTI
        (DISPARITY, 39 / np.maximum(scene(), 1e-9)),
        ({**DISPARITY, "divisor": 16}, 16 * 39 / np.maximum(scene(), 1e-9)),
    ],
)
def test_the_same_scene_in_every_unit(config: dict[str, Any], values: np.ndarray) -> None:
    found = read(values, DepthConfig(**config))
    np.testing.assert_allclose(found, np.where(scene() == 0, np.nan, scene()), rtol=1e-5)


def test_the_rotated_bits_of_sun_rgbd_are_undone() -> None:
    values = millimeters(scene())
    rotated = (values << 3) | (values >> 13)
    found = read(encoded(rotated), DepthConfig(units="mm", sun_bits=True))
    np.testing.assert_array_equal(found, read(values, MM))
    assert np.nanmedian(read(rotated, MM)) > 7 * np.nanmedian(found), "otherwise everything is eight times farther"


def test_values_that_were_not_measured_become_nan() -> None:
    values = np.array([[0, np.nan, np.inf, -np.inf], [-1, 0.001, 65.535, 1e10]] * 2 + [[1, 2, 3, 4]] * 2)
    found = read(values, DepthConfig(units="m"))
    assert np.isnan(found[:4]).all()
    np.testing.assert_array_equal(found[4:], values[4:])


@pytest.mark.parametrize(
    ("text", "factor"),
    [("mm", 0.001), ("Millimeters", 0.001), ("cm", 0.01), ("m", 1.0), ("meters", 1.0), ("metres", 1.0)],
)
def test_the_unit_stated_in_a_file_wins(text: str, factor: float) -> None:
    values = np.full((8, 8), 40, np.uint16)
    data = encoded(values, pnginfo=units_text(text))
    for config in (DepthConfig(), DepthConfig(units="cm")):
        np.testing.assert_allclose(read(data, config), 40 * factor, rtol=1e-6)


def test_without_units_the_error_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(millimeters(scene())))
    with pytest.raises(ItemError, match=r"a\.png: the file does not state its unit: .* --set encoder\.units=mm"):
        read(path, DepthConfig())
    with pytest.raises(ConfigError, match=r"a\.png does not state its unit: .* --set encoder\.units=mm"):
        adapt(DepthConfig(), [b"unreadable", path])
    assert adapt(MM, [path]) == MM
    stated = encoded(millimeters(scene()), pnginfo=units_text("mm"))
    assert adapt(DepthConfig(), [path, stated]) == DepthConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"units": "disparity"}, "needs baseline_m and focal_px, for instance --set encoder.baseline_m=0.075"),
        ({"units": "disparity", "baseline_m": 0.1}, "needs focal_px, for instance --set encoder.focal_px=520"),
        ({"units": "mm", "drawing": "imagebind"}, 'drawing = "imagebind" needs baseline_m and focal_px'),
        ({"units": "feet"}, "units"),
        ({"units": "mm", "min_m": 3, "max_m": 2}, "min_m: expected less than max_m"),
    ],
)
def test_an_impossible_configuration_says_what_is_missing(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        DepthConfig(**values)


def huge_npy() -> bytes:
    """An npy file whose header states a terabyte."""
    data = encoded(np.zeros((24, 32)), "npy")
    return data.replace(b"(24, 32), ", b"(500000, 250000), ").replace(b"          \n", b"\n", 1)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"", "empty"),
        (Path("no.png"), "no.png: no such file"),
        (b"not a picture at all", "expected PNG, TIFF or npy"),
        (b"\x93NUMPY and no more", "not a readable NumPy file"),
        (encoded(np.array([[{}]] * 8, dtype=object), "npy"), "not a readable NumPy file"),
        (encoded(millimeters(scene()))[:120], "cannot be decoded"),
        (encoded(scene().astype(np.float32), "tiff")[:300], "<300 bytes>: "),
        (encoded(np.dstack([np.full((24, 32), v, np.uint8) for v in (0, 90, 200)])), "a color picture, not depth"),
        (encoded(np.full((24, 32, 3), 200, np.uint8)), "8-bit values cannot be depth in mm"),
        (b"P5 32 24 65535\n" + bytes(99), "truncated: 1,536 bytes are promised, 99 are there"),
        (np.zeros((4, 16_000_000), np.uint16), "16000000 x 4 pixels, more than"),
        (encoded(np.full((24, 32), 200, np.uint8)), "8-bit values cannot be depth in mm"),
        (np.zeros((24, 32), np.uint16), "no pixel was measured"),
        (np.full((24, 32), np.nan), "no pixel was measured"),
        (np.full((24, 32), 1e9), "values of 1e+09 to 1e+09 in mm are not between 0.01 and 60 m: check encoder.units"),
        (np.full((24, 32), 64000, np.uint16), "are multiples of 8: files of SUN RGB-D need encoder.sun_bits = true"),
        (np.full((1, 1), 1000, np.uint16), "expected at least 4 x 4 pixels, got (1, 1) of uint16"),
        (np.zeros((2, 24, 32)), "expected numbers of shape (H, W)"),
        (np.zeros((24, 32), np.complex64), "expected numbers of shape (H, W)"),
        (huge_png(100_000, 100_000), "pixels"),
        (huge_png(12_000, 12_000), "pixels"),
        (huge_npy(), "not a readable NumPy file"),
        (None, "expected a path, bytes or an array (H, W), not NoneType"),
    ],
)
def test_messages(item: Item, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        read(item, MM)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_eight_bits_are_enough_for_a_disparity() -> None:
    config = DepthConfig(units="disparity", baseline_m=0.16, focal_px=1000)
    for shape in ((8, 8), (8, 8, 3)):  # many tools store gray as three channels
        np.testing.assert_allclose(read(np.full(shape, 80, np.uint8), config), 2.0)


def test_exr_is_read_or_the_message_says_what_to_install(tmp_path: Path) -> None:
    data = b"\x76\x2f\x31\x01" + bytes(200)
    try:
        import OpenEXR
    except ImportError:
        with pytest.raises(ItemError, match=r'pip install "OpenEXR>=3\.5"'):
            read(data, MM)
        return
    meters = scene().astype(np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "units": "m"}
    path = tmp_path / "a.exr"
    OpenEXR.File(header, {"Z": meters, "R": meters.astype(np.float16)}).write(str(path))
    expected = np.where(meters == 0, np.nan, meters)
    for item in (path, path.read_bytes()):
        np.testing.assert_array_equal(read(item, DepthConfig()), expected)
    OpenEXR.File(header, {"R": meters, "G": meters, "B": meters}).write(str(path))
    for item, message in ((path, "named Z or depth; found: B, G, R"), (data, "not a readable EXR file")):
        with pytest.raises(ItemError, match=message):
            read(item, MM)


def shown(meters: np.ndarray, config: DepthConfig) -> np.ndarray:
    """(H, W) 0..255: the input of the anchor's image tower."""
    encoder = DEPTH.build(config, tiny_anchor())
    assert isinstance(encoder, PictureEncoder)
    return np.asarray(encoder.picture(meters).convert("L")).astype(float)


@pytest.mark.parametrize("drawing", ["shaded", "near"])
def test_the_drawing_does_not_depend_on_scale(drawing: Any) -> None:
    config = DepthConfig(units="m", drawing=drawing)
    small, large = (shown(scene(48, 64) * factor, config) for factor in (0.1, 10))
    np.testing.assert_allclose(small, large, atol=1)
    assert small[24, 32] > small[24, 2] + 20, "the ball is brighter than the wall behind it"


def test_surfaces_facing_the_light_are_brighter() -> None:
    drawn = shown(scene(48, 64, radius_m=0.7), DepthConfig(units="m"))
    assert drawn[18, 26] > drawn[30, 38] + 20, "lit from above left"


def test_small_holes_are_filled() -> None:
    config = DepthConfig(units="m")
    meters = np.where(scene(48, 64) == 0, 2.5, scene(48, 64))
    holes = np.random.default_rng(0).random(meters.shape) < 0.03
    whole, pierced = (shown(m, config) for m in (meters, np.where(holes, 0, meters)))
    assert np.abs(whole - pierced).mean() < 1.5
    assert (pierced == 0).sum() == 0


def test_languagebind_draws_a_tenth_of_the_distance() -> None:
    config = DepthConfig(units="m", drawing="languagebind")
    drawn = shown(np.array([[1.0, 5.0, 10.0, 20.0]] * 4), config)
    np.testing.assert_allclose(drawn[0], [26, 128, 255, 255], atol=1)


def test_imagebind_draws_normalized_disparity() -> None:
    config = DepthConfig(units="m", drawing="imagebind", baseline_m=0.075, focal_px=520)
    mean_m = 0.075 * 520 / (0.0418 * 75)  # where the disparity is the mean of its training data
    above_m = 0.075 * 520 / ((0.0418 + 0.0295) * 75)
    drawn = shown(np.array([[mean_m, above_m, 0.05, 50.0]] * 4), config)
    np.testing.assert_allclose(drawn[0], [128, 170, 255, 82], atol=2)


def test_views_are_the_drawing_and_random_variants() -> None:
    encoder = DEPTH.build(DepthConfig(units="m", views=4), tiny_anchor())
    meters = np.random.default_rng(0).normal(2, 0.3, (40, 60))
    views = encoder.views(meters, np.random.default_rng(0))
    assert len(views) == 4
    np.testing.assert_array_equal(views[0], encoder.preprocess(meters)[0])
    assert all(not np.allclose(views[0], view) for view in views[1:])


def test_a_preview_needs_no_unit(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(millimeters(scene())))
    assert DEPTH.preview is not None
    for item in (tmp_path / "a.png", scene(), encoded(np.full((8, 8), 80, np.uint8))):
        assert min(DEPTH.preview(item).size) >= 8
    with pytest.raises(ItemError, match="no pixel was measured"):
        DEPTH.preview(np.zeros((24, 32)))


def test_diagnose_names_the_formats() -> None:
    assert DEPTH.diagnose is not None
    assert {"png, tiff", "npy", "exr"} == set(DEPTH.diagnose())
