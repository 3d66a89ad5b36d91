"""Vector arithmetic against its obvious twins, and the cases that have no direction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from binder import SpaceError
from binder.space import vectors


def twin_normalize(x):
    return [v / math.sqrt(sum(v * v for v in x)) for v in x]


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(5, 7))


def test_normalize_equals_its_twin_and_leaves_its_input_alone(x):
    before = x.copy()
    z = vectors.normalize(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, [twin_normalize(row) for row in x], atol=1e-6)
    np.testing.assert_array_equal(x, before)


def test_normalize_takes_any_number_of_axes(x):
    assert vectors.normalize(x[0]).shape == (7,)
    np.testing.assert_array_equal(vectors.normalize(x[None]), vectors.normalize(x)[None])


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_vector_without_direction_is_refused_even_among_good_ones(x, bad):
    x[2] = bad
    with pytest.raises(SpaceError, match="no direction"):
        vectors.normalize(x)


def test_compose_weighs_directions_not_lengths(x):
    a, b, c = x[:3]
    got = vectors.compose([(1.0, 20 * a), (0.5, b), (-0.25, 0.01 * c)])
    parts = zip(twin_normalize(a), twin_normalize(b), twin_normalize(c), strict=True)
    want = twin_normalize([p + 0.5 * q - 0.25 * r for p, q, r in parts])
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_compose_spreads_one_vector_over_many(x):
    got = vectors.compose([(1.0, x), (1.0, x[0])])
    np.testing.assert_allclose(got[3], vectors.compose([(1.0, x[3]), (1.0, x[0])]), atol=1e-6)


def test_compose_of_nothing_or_of_opposites_is_refused(x):
    with pytest.raises(SpaceError, match="nothing to compose"):
        vectors.compose([])
    with pytest.raises(SpaceError, match="no direction"):
        vectors.compose([(1.0, x[0]), (-1.0, x[0])])


def test_slerp_moves_at_constant_speed_from_end_to_end(x):
    a, b = vectors.normalize(x[0]), vectors.normalize(x[1])
    angle = math.acos(float(a @ b))
    for t in (0.0, 0.1, 0.5, 0.9, 1.0):
        z = vectors.slerp(a, b, t)
        assert math.acos(min(1.0, float(a @ z))) == pytest.approx(t * angle, abs=1e-3)
        assert math.acos(min(1.0, float(b @ z))) == pytest.approx((1 - t) * angle, abs=1e-3)


def test_slerp_between_equal_vectors_stays_there_and_between_opposite_ones_has_no_middle(x):
    np.testing.assert_allclose(vectors.slerp(x, 3 * x, 0.3), vectors.normalize(x), atol=1e-6)
    with pytest.raises(SpaceError, match="no direction"):
        vectors.slerp(x, -x, 0.5)


def test_slerp_of_a_batch_is_slerp_of_each(x):
    batch = vectors.slerp(x, x[::-1].copy() + 1, 0.3)
    for got, a, b in zip(batch, x, x[::-1] + 1, strict=True):
        np.testing.assert_allclose(got, vectors.slerp(a, b, 0.3), atol=1e-6)


def test_center_takes_the_mean_of_the_directions_away(x):
    unit = np.array([twin_normalize(row) for row in x])
    want = [twin_normalize(row - unit.mean(0)) for row in unit]
    np.testing.assert_allclose(vectors.center(10 * x), want, atol=1e-5)
    given = np.full(7, 0.1)
    np.testing.assert_allclose(vectors.center(x, given), [twin_normalize(r - given) for r in unit], atol=1e-5)


def test_centering_a_single_vector_leaves_nothing(x):
    with pytest.raises(SpaceError, match="no direction"):
        vectors.center(x[:1])
