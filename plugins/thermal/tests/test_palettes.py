"""Unknown palettes and burnt-in marks, both found from a sample of pictures."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from binder_thermal import THERMAL, ThermalConfig
from binder_thermal.adapting import adapt
from binder_thermal.palettes import between
from binder_thermal.reading import read
from PIL import Image, ImageDraw, ImageFilter

from binder import ItemError
from binder.testing import tiny_anchor

SHAPE = (120, 160)
SPECTRUM = between(("#000000", "#0000ff", "#00ff00", "#ffff00", "#ff0000", "#ffffff"))
ODD = between(("#203010", "#107050", "#b02060", "#c0a0ff", "#d0ffe0"))  # of no camera
OTHER = between(("#400000", "#a04020", "#30a0a0", "#90f060", "#ffffd0"))


@pytest.fixture(autouse=True)
def _log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send binder's log to the root logger, also where an earlier test has run the command line."""
    monkeypatch.setattr(logging.getLogger("binder"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("binder"), "level", logging.INFO)


def scene(rng: np.random.Generator) -> np.ndarray:
    """(H, W) in 0..1 from its coldest to its hottest: warm and cold spots on a gradient, one with a sharp edge."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    warmth = rng.normal() * y / 60 + rng.normal() * x / 60
    for _ in range(6):
        across, down, size = rng.uniform(0, 160), rng.uniform(0, 120), rng.uniform(8, 50)
        warmth = warmth + rng.normal(0, 3) * np.exp(-((x - across) ** 2 + (y - down) ** 2) / 2 / size**2)
    plate = Image.new("L", SHAPE[::-1])
    left, top = int(rng.integers(0, 100)), int(rng.integers(0, 80))
    ImageDraw.Draw(plate).rectangle((left, top, left + 30, top + 25), fill=255)
    warmth = warmth + np.asarray(plate.filter(ImageFilter.GaussianBlur(1.5))) / 128
    low, high = np.percentile(warmth, (1, 99))
    return np.clip((warmth - low) / (high - low), 0, 1)


def shot(
    rng: np.random.Generator, palette_K3: np.ndarray, quality: int = 85, marks: bool = True
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """JPEG, warmth (H, W), mask of the marks (H, W): a bar, changing numbers, a logo."""
    warmth = scene(rng)
    picture = Image.fromarray(palette_K3[(255 * warmth).round().astype(int)].round().astype(np.uint8))
    covered = Image.new("L", picture.size)
    if marks:
        pen, cover = ImageDraw.Draw(picture), ImageDraw.Draw(covered)
        for y in range(20, 101):
            pen.line((148, y, 154, y), fill=tuple(palette_K3[int(255 * (100 - y) / 80)].round().astype(int).tolist()))
        pen.rectangle((147, 19, 155, 101), outline="white")
        cover.rectangle((147, 19, 155, 101), fill=255)
        for place, text in (((130, 5), f"{rng.uniform(30, 60):.1f}"), ((4, 106), "THERMO")):
            pen.text(place, text, fill="white")
            cover.text(place, text, fill=255)
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality)
    return held.getvalue(), warmth, np.asarray(covered.filter(ImageFilter.MaxFilter(5))) > 0


def shots(
    count: int, palette_K3: np.ndarray, seed: int = 0, quality: int = 85, marks: bool = True
) -> list[tuple[bytes, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [shot(rng, palette_K3, quality, marks) for _ in range(count)]


def agreement(found_HW: np.ndarray, warmth_HW: np.ndarray, covered_HW: np.ndarray) -> float:
    """Rank correlation outside of the marks, of which at least 95 % must have been measured."""
    seen = np.isfinite(found_HW) & ~covered_HW
    assert seen.sum() > 0.95 * (~covered_HW).sum()
    ranks = (values[seen].argsort().argsort() for values in (found_HW, warmth_HW))
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("quality", [75, 90])
@pytest.mark.parametrize("palette", ["SPECTRUM", "ODD", "OTHER"])
def test_any_palette_becomes_warmth_and_marks_are_masked(palette: str, quality: int) -> None:
    sample = shots(10, globals()[palette], quality=quality)
    config = adapt(ThermalConfig(), [data for data, _, _ in sample])
    assert len(config.palettes) == (palette != "SPECTRUM")
    for data, warmth, covered in sample[:4]:
        found = read(data, config)
        assert agreement(found, warmth, covered) > 0.98
        assert np.isfinite(found[covered]).mean() < 0.1
        assert np.isnan(found[30:90, 149:154]).all()  # the bar


def test_fitted_palettes_are_stored_and_apply_to_new_pictures() -> None:
    config = adapt(ThermalConfig(), [data for data, _, _ in shots(10, ODD)])
    kept = ThermalConfig.model_validate_json(config.model_dump_json())
    assert kept == config
    data, warmth, covered = shots(1, ODD, seed=9)[0]
    assert agreement(read(data, kept), warmth, covered) > 0.98
    with pytest.raises(ItemError, match=r"follow any known palette, nor one found in training.*encoder\.palettes"):
        read(data, ThermalConfig())


def test_assumptions_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        adapt(ThermalConfig(), [data for data, _, _ in shots(10, ODD)])
        adapt(ThermalConfig(), [data for data, _, _ in shots(4, ODD, marks=False)])
    marks, with_bar, without = (record.getMessage() for record in caplog.records)
    assert "masked as burnt in (encoder.overlays)" in marks
    assert "10 of 10 pictures follow an unknown palette" in with_bar
    assert "in the direction of the scale bar" in with_bar
    assert "taking the lighter end for the hot one" in without


def test_the_scale_bar_decides_the_direction() -> None:
    sample = shots(10, ODD[::-1])
    config = adapt(ThermalConfig(), [data for data, _, _ in sample])
    assert agreement(read(sample[0][0], config), *sample[0][1:]) > 0.98
    bare = shots(10, ODD[::-1], marks=False)
    config = adapt(ThermalConfig(hot="black"), [data for data, _, _ in bare])  # without a bar it has to be set
    assert agreement(read(bare[0][0], config), *bare[0][1:]) > 0.98


def test_several_palettes_in_one_dataset_are_told_apart() -> None:
    sample = [
        one for pair in zip(shots(4, ODD, 1), shots(4, OTHER, 2), shots(4, SPECTRUM, 3), strict=True) for one in pair
    ]
    config = adapt(ThermalConfig(), [data for data, _, _ in sample])
    assert len(config.palettes) == 2
    for data, warmth, covered in sample[:3]:
        assert agreement(read(data, config), warmth, covered) > 0.98


def test_only_the_marks_are_masked_if_the_scene_never_changes() -> None:
    sample = [shots(1, SPECTRUM, seed=4)[0] for _ in range(8)]
    config = adapt(ThermalConfig(), [data for data, _, _ in sample])
    data, warmth, covered = sample[0]
    found = read(data, config)
    assert agreement(found, warmth, covered) > 0.98
    assert np.isnan(found[30:90, 149:154]).all()  # the bar


def test_a_palette_can_be_given() -> None:
    given = ThermalConfig(palettes=(("#203010", "#107050", "#b02060", "#c0a0ff", "#d0ffe0"),))
    data, warmth, covered = shots(1, ODD, marks=False)[0]
    assert agreement(read(data, given), warmth, covered) > 0.98
    assert adapt(given, [data] * 3) == given


def test_no_palette_is_fitted_to_photos(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(6):
        colors, places = rng.uniform(0, 255, (9, 3)), rng.uniform(0, 60, (9, 2))
        y, x = np.mgrid[:60, :60]
        nearest = ((x[..., None] - places[:, 0]) ** 2 + (y[..., None] - places[:, 1]) ** 2).argmin(2)
        light = 0.5 + 0.5 * (x + y) / 120
        photos.append(
            (colors[nearest] * light[..., None] + rng.normal(0, 8, (60, 60, 3))).clip(0, 255).astype(np.uint8)
        )
    with caplog.at_level(logging.WARNING):
        assert adapt(ThermalConfig(), photos).palettes == ()
    assert "6 of 6 color pictures follow neither a known nor a fitted palette" in caplog.text
    with pytest.raises(ItemError):
        read(photos[0], ThermalConfig(palette="fit"))


def test_a_gray_picture_with_vivid_marks_is_gray() -> None:
    gray = (255 * scene(np.random.default_rng(0))).astype(np.uint8)
    picture = np.stack([gray] * 3, axis=2)
    picture[10:20, 10:40] = (255, 90, 0)
    found = read(picture, ThermalConfig())
    assert np.isnan(found[10:20, 10:40]).all()
    np.testing.assert_allclose(found[30:], gray[30:] / 255, atol=1e-6)


def test_the_preview_does_not_need_a_known_palette() -> None:
    data, warmth, _ = shots(1, ODD, marks=False)[0]
    assert THERMAL.preview is not None
    shown = np.asarray(THERMAL.preview(data).convert("L").resize(SHAPE[::-1]), float)
    assert np.corrcoef(shown.ravel(), warmth.ravel())[0, 1] > 0.95


def test_nothing_is_adapted_to_brightness_or_unreadable_items() -> None:
    config = ThermalConfig(palette="brightness")
    assert adapt(config, [shots(1, ODD)[0][0]]) is config
    assert adapt(ThermalConfig(), [b"", None, "no.png", np.zeros((9, 9))]) == ThermalConfig()
    assert adapt(ThermalConfig(), []) == ThermalConfig()


def test_a_huge_picture_is_subsampled() -> None:
    picture = np.asarray(Image.open(io.BytesIO(shots(1, SPECTRUM, marks=False)[0][0])).resize((3200, 2400)))
    window = THERMAL.build(ThermalConfig(), tiny_anchor()).preprocess(picture)
    assert window.isfinite().all()
