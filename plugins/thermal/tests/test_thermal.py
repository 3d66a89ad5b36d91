"""The thermal plugin: the encoder contract, temperatures, false colors, rejected items. Synthesizes its data."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from binder_thermal import THERMAL, ThermalConfig
from binder_thermal.config import PALETTES
from binder_thermal.drawing import tone
from binder_thermal.palettes import palette_colors
from binder_thermal.reading import read as read_warmth
from PIL import Image, ImageDraw
from pydantic import ValidationError

from binder import Item, ItemError
from binder.testing import EncoderContract, huge_png, tiny_anchor


def person(height: int = 48, width: int = 64, at: float = 0.0) -> np.ndarray:
    """(H, W) degC: something of 34 degC in a room of 18 degC at the bottom and 22 at the top."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1.3 : 1.3 : width * 1j]
    body = np.exp(-6 * np.maximum((x - at) ** 2 * 3 + y**2 - 0.1, 0))
    return 20 - 2 * y + (14 + 2 * y) * body


def read(item: Item, config: ThermalConfig) -> np.ndarray:
    """(H, W) float32 in 0..1, more is hotter."""
    warmth = read_warmth(item, config)
    return tone(np.where(np.isfinite(warmth), warmth, np.nan), config, 1, None).astype(np.float32)


def level(degrees: np.ndarray) -> np.ndarray:
    return (degrees - degrees.min()) / np.ptp(degrees)


def colored(palette: str, degrees: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) uint8, as rendered by a camera."""
    steps = (255 * level(person() if degrees is None else degrees)).round().astype(int)
    return palette_colors(palette)[steps].round().astype(np.uint8)


def encoded(values: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    held = io.BytesIO()
    if kind == "npy":
        np.save(held, values)
    else:
        Image.fromarray(values).save(held, kind, **options)
    return held.getvalue()


def centikelvin(degrees: np.ndarray) -> np.ndarray:
    return (100 * (degrees + 273.15)).round().astype(np.uint16)


def photo() -> np.ndarray:
    """(H, W, 3) uint8: sky, a meadow, a red roof and noise."""
    rng = np.random.default_rng(0)
    picture = np.zeros((48, 64, 3))
    picture[:24], picture[24:], picture[16:32, 20:44] = (120, 170, 235), (70, 130, 50), (170, 60, 50)
    return (picture + rng.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)


class TestContract(EncoderContract):
    modality = THERMAL

    def items(self, tmp_path: Path) -> list[Item]:
        # counts, degC, false colors as JPEG, a plain gray picture; two sizes
        (tmp_path / "raw.tiff").write_bytes(encoded(centikelvin(person(at=0.5)), "TIFF"))
        (tmp_path / "false.jpg").write_bytes(encoded(colored("ironbow"), "JPEG", quality=90))
        np.save(tmp_path / "celsius.npy", person(24, 24, at=-0.4))
        gray = (255 * level(person(at=-0.8))).astype(np.uint8)
        return [tmp_path / "raw.tiff", tmp_path / "false.jpg", tmp_path / "celsius.npy", encoded(gray)]

    def broken(self, tmp_path: Path) -> list[Item]:
        good = encoded(centikelvin(np.random.default_rng(0).uniform(10, 30, (48, 64))))
        renamed = tmp_path / "renamed.png"
        renamed.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200))
        return [good[: len(good) // 2], renamed, tmp_path, b"", None, 3.5, photo(), np.full((9, 9), np.nan)]


class TestContractWithTemperatures(TestContract):
    config = {  # noqa: RUF012
        "kelvin_per_step": 0.01,
        "low_c": 0,
        "high_c": 40,
        "tune": "lora",
        "rank": 2,
    }

    def items(self, tmp_path: Path) -> list[Item]:
        return [centikelvin(person()), encoded(centikelvin(person(30, 90, 0.4))), centikelvin(person(at=-0.8))]


@pytest.mark.parametrize(
    ("values", "config"),
    [
        (centikelvin(person()), {"kelvin_per_step": 0.01}),
        ((25 * (person() + 273.15)).round().astype(np.uint16), {"kelvin_per_step": 0.04}),  # FLIR's TLinear
        (person() + 273.15, {"kelvin_per_step": 1}),
        (person(), {"kelvin_per_step": 1, "kelvin_at_zero": 273.15}),
    ],
)
def test_the_same_temperatures_on_every_scale(values: np.ndarray, config: dict[str, float]) -> None:
    found = read(values, ThermalConfig(**config, low_c=0, high_c=50))
    np.testing.assert_allclose(found, person() / 50, atol=0.001)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "npy"])
def test_sixteen_bits_are_not_reduced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(centikelvin(person()), kind))
    for item in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(read(item, ThermalConfig()), read(centikelvin(person()), ThermalConfig()))


def test_a_fixed_range_keeps_differences_between_pictures() -> None:
    warm, cold = centikelvin(person()), centikelvin(person() - 8)
    own, fixed = ThermalConfig(), ThermalConfig(kelvin_per_step=0.01, low_c=0, high_c=40)
    np.testing.assert_allclose(read(warm, own), read(cold, own), atol=1e-6)
    assert read(warm, fixed).mean() - read(cold, fixed).mean() == pytest.approx(8 / 40, abs=0.01)
    beyond = read(centikelvin(np.array([[-90.0, 0, 20, 300]] * 4)), fixed)
    np.testing.assert_allclose(beyond[0], [0, 0, 0.5, 1], atol=1e-3)


def test_single_broken_pixels_do_not_set_the_range() -> None:
    values = centikelvin(person())
    values[0, 0], values[0, 1] = 0, 65535
    np.testing.assert_allclose(read(values, ThermalConfig())[1:], read(centikelvin(person()), ThermalConfig())[1:])


def test_hot_black_reverses_values_but_not_temperatures() -> None:
    values = person()
    white, black = ThermalConfig(), ThermalConfig(hot="black")
    np.testing.assert_allclose(read(values, white), 1 - read(values, black), atol=1e-6)
    scale = {"kelvin_per_step": 1, "kelvin_at_zero": 273.15}
    np.testing.assert_array_equal(read(values, ThermalConfig(**scale, hot="black")), read(values, white))


def test_values_that_are_not_finite_become_black() -> None:
    values = person()
    values[0, :2] = np.nan, -np.inf
    for config in (ThermalConfig(), ThermalConfig(hot="black"), ThermalConfig(kelvin_per_step=1, kelvin_at_zero=273)):
        assert (read(values, config)[0, :2] == 0).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("palette", PALETTES)
def test_false_colors_become_intensity(palette: str, kind: str) -> None:
    data = encoded(colored(palette), kind, **({"quality": 85} if kind == "JPEG" else {}))
    found = read(data, ThermalConfig())
    expected = read(person(), ThermalConfig())
    of_palette = np.isfinite(read_warmth(data, ThermalConfig()))  # JPEG changes edges
    assert of_palette.mean() > 0.92
    found, expected = found[of_palette], expected[of_palette]
    assert np.abs(found - expected).mean() < 0.03
    assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("palette", ["inferno", "magma", "plasma", "viridis", "hot", "jet", "turbo"])
def test_the_palettes_equal_those_of_matplotlib(palette: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    theirs = 255 * matplotlib.colormaps[palette](np.linspace(0, 1, 256))[:, :3]
    assert np.linalg.norm(theirs - palette_colors(palette), axis=1).max() < 20


def test_a_logo_and_a_scale_do_not_hide_the_palette() -> None:
    picture = Image.fromarray(colored("ironbow"))
    ImageDraw.Draw(picture).rectangle((2, 2, 20, 8), fill=(20, 200, 60))
    found = read(np.asarray(picture), ThermalConfig())
    assert (found[3:8, 3:20] == 0).all()  # green is not on the palette: nothing was measured there
    assert np.corrcoef(found[12:].ravel(), read(person(), ThermalConfig())[12:].ravel())[0, 1] > 0.99


def test_a_named_palette_is_used_and_other_palettes_are_rejected() -> None:
    picture = colored("jet")
    np.testing.assert_array_equal(read(picture, ThermalConfig(palette="jet")), read(picture, ThermalConfig()))
    with pytest.raises(ItemError, match="does not follow the palette ironbow"):
        read(picture, ThermalConfig(palette="ironbow"))


def test_a_gray_rgb_picture_becomes_its_brightness() -> None:
    gray = (255 * level(person())).round().astype(np.uint8)
    for data in (encoded(np.stack([gray] * 3, axis=2)), encoded(np.stack([gray] * 3, axis=2), "JPEG", quality=90)):
        np.testing.assert_allclose(read(data, ThermalConfig()), read(gray, ThermalConfig()), atol=0.05)


def test_a_photo_is_rejected_unless_its_brightness_is_asked_for() -> None:
    with pytest.raises(ItemError, match=r"does not follow any known palette.* encoder\.palette = brightness"):
        read(photo(), ThermalConfig())
    assert np.ptp(read(photo(), ThermalConfig(palette="brightness"))) == 1


@pytest.mark.parametrize(
    ("item", "config", "message"),
    [
        (b"", {}, "empty"),
        (Path("no.png"), {}, "no.png: no such file"),
        (b"not a picture at all", {}, "text without a matrix of numbers: expected PNG, TIFF, JPEG, npy"),
        (b"\0no picture either", {}, "not a raster"),
        (person(), {"low_c": 0}, "its temperatures are unknown, but low_c and high_c need them"),
        (encoded(centikelvin(person()))[:120], {}, "cannot be decoded"),
        (np.zeros((1, 1), np.uint16), {}, "expected at least 4 x 4 pixels"),
        (np.zeros((9, 9), np.complex64), {}, "expected numbers of shape (H, W)"),
        (np.full((9, 9), np.nan), {}, "no pixel was measured"),
        (huge_png(60_000, 60_000), {}, "pixels"),
        (person(), {"kelvin_per_step": 0.01}, "the median temperature would be -272.9 degC: check encoder.kelvin"),
        (colored("jet"), {"kelvin_per_step": 0.01}, "a color picture has no temperatures"),
        (None, {}, "expected a path, bytes or an array (H, W), not NoneType"),
    ],
)
def test_messages(item: Item, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ItemError) as caught:
        THERMAL.build(ThermalConfig(**config), tiny_anchor()).preprocess(item)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_pictures_in_one_file_are_rejected() -> None:
    held = io.BytesIO()
    first, second = (Image.fromarray(centikelvin(person(at=at))) for at in (0, 1))
    first.save(held, "TIFF", save_all=True, append_images=[second])
    with pytest.raises(ItemError, match="pictures in one file"):
        read(held.getvalue(), ThermalConfig())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"palettes": [["black", "white"]]}, "palettes"),
        ({"kelvin_per_step": 0.01, "low_c": 30, "high_c": 20}, "low_c: expected less than high_c (20 degC)"),
        ({"kelvin_per_step": 0}, "kelvin_per_step"),
    ],
)
def test_impossible_configurations(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        ThermalConfig(**values)


def test_a_constant_temperature_is_gray() -> None:
    assert (read(np.full((9, 9), 20.0), ThermalConfig()) == 0.5).all()


def test_views_are_the_picture_and_random_variants() -> None:
    encoder = THERMAL.build(ThermalConfig(views=4), tiny_anchor())
    views = encoder.views(person(), np.random.default_rng(0))
    assert len(views) == 4
    np.testing.assert_array_equal(views[0], encoder.preprocess(person())[0])
    assert all(not np.allclose(views[0], view) for view in views[1:])


def test_pictures_of_small_sensors_are_enlarged() -> None:
    assert THERMAL.preview is not None
    shown = THERMAL.preview(person(8, 8))
    assert min(shown.size) >= 32
    assert len(shown.getcolors() or ()) > 8


def test_diagnose_names_the_formats() -> None:
    assert THERMAL.diagnose is not None
    assert "ironbow" in THERMAL.diagnose()["false colors"]
