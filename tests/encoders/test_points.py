"""The base of points: what is read, how it is evened out and altered, the encoder's contract."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import binder_three
import numpy as np
import pytest
import torch
from binder_three import DOTS, DotsConfig, read_dots

from binder import ConfigError, ItemError, Points
from binder.config import validate
from binder.encoders.points.cloud import read_points
from binder.encoders.points.encoder import PointEncoder, turns
from binder.portable import points as arrange
from binder.portable.points import spread, thinned
from binder.testing import EncoderContract

SMALL: dict[str, Any] = {"points": 128, "groups": 16, "neighbors": 8, "width": 32, "layers": 1, "heads": 2}


def ball(count=500, seed=0, stretch=(1.0, 1.0, 1.0)):
    """(P, 3) on a sphere, or an ellipsoid."""
    xyz = np.random.default_rng(seed).normal(size=(count, 3))
    return xyz / np.linalg.norm(xyz, axis=1, keepdims=True) * stretch


@pytest.fixture(autouse=True)
def _toys_are_found_by_other_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(binder_three.__file__).parent))


class TestContract(EncoderContract):
    modality = DOTS
    config = SMALL

    def items(self, tmp_path):
        np.savetxt(tmp_path / "a.xyz", ball())
        return [tmp_path / "a.xyz", Points(ball(60) * 900), Points(ball(9000, stretch=(1, 1, 3)))]

    def broken(self, tmp_path):
        return [None, tmp_path, Points(ball(3)), Points(np.ones((50, 3))), Points(ball() * np.inf)]


class TestContractWithNormalsAndColors(TestContract):
    config = {**SMALL, "normals": True, "colors": True, "turn": "all"}  # noqa: RUF012

    def items(self, tmp_path):
        np.savetxt(tmp_path / "a.xyz", np.concatenate([ball(), ball(), np.abs(ball())], axis=1))
        return [tmp_path / "a.xyz", Points(ball(90), ball(90), np.full((90, 3), 200))]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Points(ball()[:, :2]), "expected points of shape (P, 3), got (500, 2)"),
        (Points(ball(3)), "3 points, at least 4 are needed"),
        (Points(np.ones((50, 3))), "all points are in one place"),
        (Points(ball()[:90] * np.where(np.arange(90) < 46, np.inf, 1)[:, None]), "46 of 90 points are not finite"),
        (Points(ball()), "has no normals; set encoder.normals = false"),
        (Points(ball(), ball(9), ball()), "500 points but 9 normals"),
        (Points(ball(), ball()), "has no colors; set encoder.colors = false"),
        (Points(ball(), ball(), ball() * 300), "expected 0 to 1, or integers from 0 to 255"),
        (Points(ball(), ball(), np.full((500, 3), 1.5)), "colors from 1.5 to 1.5: expected 0 to 1"),
        (Points(np.array([["a"] * 3] * 9)), "expected points of shape (P, 3)"),
    ],
)
def test_what_cannot_be_used_says_why_in_one_line(item, message):
    with pytest.raises(ItemError) as caught:
        read_points(read_dots, item, DotsConfig(normals=len(item.xyz) == 500, colors=len(item.xyz) == 500))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neither_size_nor_place_nor_order_counts():
    config = DotsConfig(points=256)
    xyz = ball(3000, stretch=(1, 1, 2))
    wanted = read_points(read_dots, Points(xyz), config)
    assert wanted.shape == (256, 3)
    assert 0.95 < np.linalg.norm(wanted, axis=1).max() <= 1
    other = read_points(read_dots, Points(np.random.default_rng(1).permutation(xyz) * 512 + 2048), config)
    np.testing.assert_allclose(np.sort(wanted, axis=0), np.sort(other, axis=0), atol=1e-6)


def test_the_axis_that_is_up_is_turned_to_z():
    corner = np.concatenate([np.zeros((1, 3)), np.eye(3) * [1, 2, 4]])  # the length of an axis names it
    for up, turned in (("x", [2, 4, 1]), ("y", [4, 1, 2]), ("z", [1, 2, 4])):
        config = DotsConfig(points=64, groups=8, neighbors=8, up=up, normals=True)
        made = read_points(read_dots, Points(corner, corner), config)
        size = np.ptp(made[:, :3], axis=0)
        np.testing.assert_allclose(size / size.max(), np.array(turned) / 4, atol=1e-6)
        assert {tuple(row) for row in made[:, 3:].round(6)} == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)}
        np.testing.assert_array_equal(made[:, :3].argmax(0), made[:, 3:].argmax(0), "normals are turned alike")


@pytest.mark.parametrize(("normals", "colors", "width"), [(0, 0, 3), (1, 0, 6), (0, 1, 6), (1, 1, 9)])
def test_an_array_has_what_the_configuration_asks_for_in_its_columns(normals, colors, width):
    rows = np.concatenate([ball(90), ball(90, seed=1), np.full((90, 3), 0.5)], axis=1)
    config = DotsConfig(points=128, normals=bool(normals), colors=bool(colors))
    wanted = Points(ball(90), ball(90, seed=1), np.full((90, 3), 0.5))
    array = rows if normals else np.delete(rows, [3, 4, 5], axis=1)
    found = read_points(lambda item, _: item, array, config)
    np.testing.assert_array_equal(found, read_points(read_dots, wanted, config))
    with pytest.raises(ItemError, match=f"expected an array of shape \\(P, {width}\\), got"):
        read_points(lambda item, _: item, array[:, : width - 1], config)


@pytest.mark.parametrize("mark", [np.nan, np.inf, -np.inf, 3.4e38])
def test_what_was_not_measured_is_left_out_with_all_that_belongs_to_it(mark, caplog):
    config = DotsConfig(points=128, normals=True, colors=True)
    parts = [ball(200), ball(200, seed=1), np.random.default_rng(2).random((200, 3))]
    broken = [part.copy() for part in parts]
    for column, part in enumerate(broken):  # a third of the points, each in another of its parts
        part[column::9, 1] = mark
    kept = np.arange(200) % 9 > 2
    with caplog.at_level("INFO"):
        found = read_points(read_dots, Points(*broken), config)
    wanted = read_points(read_dots, Points(*(part[kept] for part in parts)), config)
    np.testing.assert_array_equal(found, wanted)
    assert f"{200 - kept.sum()} of 200 points are not finite; left out" in caplog.text
    array = np.concatenate(broken, axis=1)
    np.testing.assert_array_equal(read_points(lambda item, _: item, array, config), wanted)


def test_normals_that_nobody_asked_for_leave_no_point_out():
    xyz = ball(90)
    found = read_points(read_dots, Points(xyz, np.full((90, 3), np.nan)), DotsConfig(points=128))
    np.testing.assert_array_equal(found, read_points(read_dots, Points(xyz), DotsConfig(points=128)))


@pytest.mark.parametrize("rows", [3, 4, 6, 9])
@pytest.mark.parametrize("count", [10, 400])
def test_an_array_that_lies_on_its_side_is_turned_round(rows, count):
    array = np.random.default_rng(0).normal(size=(count, rows))
    config = DotsConfig(points=128)
    found = read_points(lambda item, _: item, array.T, config)
    np.testing.assert_array_equal(found, read_points(lambda item, _: item, array, config))


@pytest.mark.parametrize("shape", [(2, 400), (400, 2), (10, 2), (400,), (4, 20, 3), (3, 400, 1), (0, 3), (3, 0)])
def test_an_array_of_another_shape_says_which(shape):
    with pytest.raises(ItemError, match=r"expected an array of shape \(P, 3\), got|0 points"):
        read_points(lambda item, _: item, np.ones(shape), DotsConfig())


def test_an_array_on_its_side_with_too_few_rows_says_what_is_wanted():
    with pytest.raises(ItemError, match=r"expected an array of shape \(P, 6\), got \(3, 400\)"):
        read_points(lambda item, _: item, np.ones((3, 400)), DotsConfig(normals=True))


def test_few_points_of_many_columns_are_not_turned():
    array = np.random.default_rng(0).normal(size=(6, 9))
    found = read_points(lambda item, _: item, array, DotsConfig(points=64))
    assert len(np.unique(found, axis=0)) == 6


def test_large_coordinates_keep_their_precision():
    config, far = DotsConfig(points=128), np.array([512_345.25, 5_412_345.5, 120.0])
    xyz = ball(128) * 0.125  # a quarter of a metre in a national grid
    found, wanted = (read_points(read_dots, Points(points), config) for points in (xyz + far, xyz))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_whole_colors_count_as_such_in_an_array_of_floats():
    config = DotsConfig(points=64, groups=8, neighbors=8, colors=True)
    array = np.concatenate([ball(100), np.full((100, 3), 51.0)], axis=1)
    np.testing.assert_allclose(read_points(lambda item, _: item, array, config)[:, 3:], 0.2, atol=1e-6)


def every_cell(xyz, count):
    """The naive twin of `thinned`: all keys at once, one by one, sorted."""
    low, size = xyz.min(0), (xyz.max(0) - xyz.min(0)).max()
    keys = []
    for point in xyz:
        a, b, c = (round(x) for x in (point - low) * ((arrange.CELLS - 1) / size))
        key = a | b << 21 | c << 42
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
        keys.append(key ^ key >> 31)
    return np.sort(np.argsort(keys)[:count])


def test_thinning_block_by_block_is_what_the_naive_way_gives(monkeypatch):
    monkeypatch.setattr(arrange, "BLOCK", 700)
    xyz = np.random.default_rng(0).normal(size=(5000, 3))
    good = np.random.default_rng(1).random(5000) < 0.8
    wanted = np.flatnonzero(good)[every_cell(xyz[good], 900)]
    np.testing.assert_array_equal(thinned(xyz, good, 900), wanted)


def test_a_large_cloud_is_thinned_whatever_its_order_unit_and_place(monkeypatch):
    monkeypatch.setattr(arrange, "MANY", 2000)
    config, xyz = DotsConfig(points=256), ball(9000, stretch=(1, 1, 2))
    wanted = read_points(read_dots, Points(xyz), config)
    other = read_points(read_dots, Points(np.random.default_rng(1).permutation(xyz) * 512 + 2048), config)
    np.testing.assert_allclose(np.sort(wanted, axis=0), np.sort(other, axis=0), atol=1e-6)


def test_sixteen_million_points_cost_little_memory_beyond_their_own():
    rows = np.broadcast_to(np.linspace(0, 1, 16_000_000, dtype=np.float32), (4, 16_000_000)).copy()
    rows[1] *= rows[1]
    tracemalloc.start()
    made = read_points(lambda item, _: item, rows, DotsConfig(points=256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.shape == (256, 3)
    assert peak < 100e6


def test_points_are_spread_evenly_whatever_the_scan_looked_at_most():
    dense, rest = ball(5000), ball(500, seed=1)
    uneven = np.concatenate([dense[dense[:, 0] > 0.9], rest])
    chosen = spread(uneven, 64)
    share = (chosen[:, 0] > 0.9).mean()
    assert (uneven[:, 0] > 0.9).mean() > 0.3
    assert share < 0.12, "a cap of a twentieth of the sphere"


def test_the_first_points_are_a_coarse_picture_and_the_naive_way_gives_the_same():
    xyz = ball(150)
    order = spread(xyz, 40)
    chosen = [int(np.square(xyz - xyz.mean(0)).sum(1).argmax())]
    while len(chosen) < 40:
        distance = np.linalg.norm(xyz[:, None] - xyz[chosen], axis=2).min(1)
        chosen.append(int(distance.argmax()))
    np.testing.assert_array_equal(order, xyz[chosen])


def test_few_points_are_repeated():
    made = spread(ball(10), 64)
    assert len(np.unique(made, axis=0)) == 10


def test_normals_are_made_unit_and_whole_colors_a_share():
    config = DotsConfig(points=64, groups=8, neighbors=8, normals=True, colors=True)
    for colors in (np.full((100, 3), 51), np.full((100, 3), 0.2)):
        made = read_points(read_dots, Points(ball(100), ball(100) * 7, colors), config)
        np.testing.assert_allclose(np.linalg.norm(made[:, 3:6], axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(made[:, 6:], 0.2, atol=1e-6)


@pytest.mark.parametrize("about", ["x", "y", "z", "all", "none"])
def test_turns_are_rotations_about_their_axis(about):
    made = turns(200, about, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made @ made.mT, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(made), torch.ones(200), atol=1e-4, rtol=0)
    if about in "xyz":
        axis = torch.eye(3)["xyz".index(about)]
        torch.testing.assert_close(made @ axis, axis.expand(200, 3))
    spread_of_turns = made.std(0).amax()
    assert spread_of_turns == 0 if about == "none" else spread_of_turns > 0.4
    if about == "all":
        assert made.mean(0).abs().max() < 0.15, "no direction is preferred"


def test_augmented_points_stay_in_the_sphere_turn_with_their_normals_and_thin_out():
    torch.manual_seed(0)
    model = PointEncoder(DotsConfig(**{**SMALL, "normals": True, "colors": True}), 8, read_dots)
    xyz = ball(400)
    batch = model.preprocess(Points(xyz, xyz, np.abs(xyz))).repeat(32, 1, 1)
    made = model.augment(batch, torch.Generator().manual_seed(0))
    assert made.shape == batch.shape
    assert made[:, :, :3].norm(dim=2).max() <= 1 + 1e-5
    outward = torch.cosine_similarity(made[:, :, :3], made[:, :, 3:6], dim=2)
    assert outward.min() > 0.8, "on a sphere a normal is the place itself"
    assert (made[:, :, 6:] >= 0).all()
    assert (made[:, :, 6:] <= 1).all()
    left = torch.tensor([len(torch.unique(x, dim=0)) for x in made]) / batch.shape[1]
    assert left.min() < 0.7 < left.max()
    still = PointEncoder(DotsConfig(**{**SMALL, "strength": 0.0}), 8, read_dots)
    assert torch.equal(still.augment(batch[:, :, :3], torch.Generator()), batch[:, :, :3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"points": 64, "groups": 128}, "points: expected at least groups (128)"),
        ({"width": 33}, "width: expected a multiple of heads (4), got 33"),
        ({"turn": "up"}, "turn"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(values, message):
    with pytest.raises(ConfigError) as caught:
        validate(DotsConfig, values, "dots")
    assert message in str(caught.value)


def test_the_preview_shows_the_shape_upright():
    def ink(stretch):
        picture = np.asarray(DOTS.preview(Points(ball(2000, stretch=stretch))).convert("L"))
        rows, columns = np.nonzero(picture < 250)
        return np.ptp(rows) / np.ptp(columns)

    assert ink((0.3, 0.3, 1)) > 1.5
    assert ink((1, 1, 0.2)) < 0.8


def test_the_old_names_of_settings_and_fields_work_for_one_release_with_a_warning():
    with pytest.warns(FutureWarning, match=r"encoder\.colours is now encoder\.colors"):
        config = DotsConfig.model_validate({"colours": True, "points": 128})
    assert (config.colors, config.points) == (True, 128)
    assert "colours" not in config.model_dump()
    with pytest.warns(FutureWarning, match=r"encoder\.neighbours is now encoder\.neighbors"):
        assert DotsConfig.model_validate({"neighbours": 8}).neighbors == 8
    with pytest.warns(FutureWarning):
        assert DotsConfig.model_validate({"colours": False, "colors": True}).colors, "a setting over a saved one"
    with pytest.warns(FutureWarning, match=r"^Points\(colours=\) is now colors="):
        points = Points(ball(), colours=ball())
    assert points.colors is not None
    with pytest.warns(FutureWarning, match=r"Points\.colours is now Points\.colors"):
        assert points.colours is points.colors
