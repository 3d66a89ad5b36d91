"""Arithmetic on embeddings: one normalisation of the whole, weights that stay, names, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binder import Embeddings, SpaceError
from binder.space import vectors
from binder.space.segments import fragment


def some(n=1, seed=0, space="s", **more):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 6)))
    more.setdefault("items", tuple(f"{'abcdefgh'[seed]}{i}" for i in range(n)))
    return Embeddings(z, space, **more)


@given(st.lists(st.tuples(st.integers(0, 7), st.floats(-2, 2).filter(lambda w: abs(w) > 0.05)), min_size=1, max_size=5))
def test_any_weighted_sum_is_one_composition_whatever_its_brackets(terms):
    parts = dict(terms)  # different terms, so that nothing cancels out
    want = vectors.compose([(weight, some(seed=seed).vectors) for seed, weight in parts.items()])
    left = right = None
    for seed, weight in parts.items():
        left = weight * some(seed=seed) if left is None else left + weight * some(seed=seed)
    for seed, weight in reversed(parts.items()):
        right = some(seed=seed) * weight if right is None else some(seed=seed) * weight + right
    np.testing.assert_allclose(left.vectors, want, atol=1e-6)
    np.testing.assert_allclose(right.vectors, want, atol=1e-6)


def test_a_difference_of_sums_is_not_a_partly_normalised_one():
    a, b, c = some(seed=0), some(seed=1), some(seed=2)
    want = vectors.compose([(1, a.vectors), (1, b.vectors), (-1, c.vectors)])
    np.testing.assert_allclose(((a + b) - c).vectors, want, atol=1e-6)
    np.testing.assert_allclose((a + (b - c)).vectors, want, atol=1e-6)
    np.testing.assert_allclose((a - (c - b)).vectors, want, atol=1e-6)
    partly = vectors.compose([(1, (a + b).vectors), (-1, c.vectors)])
    assert not np.allclose(want, partly, atol=1e-2)


def test_a_weight_stays_until_the_sum_and_scales_nothing_by_itself():
    a, b = some(seed=0), some(seed=1)
    np.testing.assert_allclose((0.5 * b).vectors, b.vectors, atol=1e-6)
    np.testing.assert_allclose((b * -3).vectors, -b.vectors, atol=1e-6)
    np.testing.assert_allclose((-b).vectors, -b.vectors, atol=1e-6)
    half = vectors.compose([(1, a.vectors), (-0.5, b.vectors)])
    for expression in (a - 0.5 * b, a - b * 0.5, a - b / 2, a + -0.5 * b, a - np.float32(0.5) * b, 2 * a - b):
        np.testing.assert_allclose(expression.vectors, half, atol=1e-6)
    np.testing.assert_allclose(
        (0.5 * (a - 2 * b)).vectors, vectors.compose([(0.5, a.vectors), (-1, b.vectors)]), atol=1e-6
    )


def test_a_weight_of_zero_leaves_the_others_and_has_no_direction_alone():
    a, b = some(seed=0), some(seed=1)
    np.testing.assert_allclose((a + 0 * b).vectors, a.vectors, atol=1e-6)
    with pytest.raises(SpaceError, match="no direction"):
        _ = (0 * b).vectors
    for weight in (float("nan"), float("inf")):
        with pytest.raises(SpaceError, match="no direction"):
            weight * a
    with pytest.raises(SpaceError, match="divide"):
        a / 0


def test_it_says_what_it_is_made_of():
    image, audio, text = some(items=("beach.jpg",)), some(seed=1, items=("waves.wav",)), some(seed=2, items=("people",))
    made = image + audio - 0.5 * text
    assert made.items == ("beach.jpg + waves.wav - 0.5 * people",)
    assert "beach.jpg + waves.wav - 0.5 * people" in repr(made)
    assert [(p.weight, p.items) for p in made.parts] == [(1, ("beach.jpg",)), (1, ("waves.wav",)), (-0.5, ("people",))]
    assert (-text + image).items == ("-people + beach.jpg",)
    assert (image + some(seed=3, items=())).items == ()
    assert (some(3) + text).items == ("a0 + people", "a1 + people", "a2 + people")


def test_one_row_combines_with_many_and_the_rows_keep_their_parts():
    many, one = some(3), some(seed=1)
    total = many - 0.5 * one
    assert len(total) == 3
    np.testing.assert_allclose(total[1].vectors, (many[1] - 0.5 * one).vectors, atol=1e-6)
    assert total[1].items == ("a1 - 0.5 * b0",)
    np.testing.assert_allclose((total[1:] + one).vectors, (many[1:] + 0.5 * one).vectors, atol=1e-6)
    with pytest.raises(SpaceError, match="cannot combine 3 with 2"):
        many + some(2)


def test_sum_adds_them_up():
    rows = list(some(4))
    np.testing.assert_allclose(sum(rows).vectors, vectors.compose([(1, r.vectors) for r in rows]), atol=1e-6)


def test_mean_is_the_direction_of_the_mean():
    z = some(5)
    np.testing.assert_allclose(z.mean().vectors, vectors.normalize(z.vectors.mean(0))[None], atol=1e-6)
    assert z.mean().items == ("mean(5 items)",)
    with pytest.raises(SpaceError, match="no direction"):
        Embeddings(np.array([[1.0, 0], [-1, 0]]), "s").mean()
    with pytest.raises(SpaceError, match="no vectors"):
        z[:0].mean()


def test_slerp_goes_along_the_circle_and_names_its_ends():
    a, b = some(seed=0), some(seed=1)
    np.testing.assert_allclose(a.slerp(b, 0.0).vectors, a.vectors, atol=1e-6)
    np.testing.assert_allclose(a.slerp(b, 1.0).vectors, b.vectors, atol=1e-6)
    np.testing.assert_allclose(a.slerp(b, 0.5).vectors, (a + b).vectors, atol=1e-6)
    assert a.slerp(b, 0.25).items == ("slerp(a0, b0, 0.25)",)
    assert len(some(3).slerp(b, 0.5)) == 3


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_slerp_between_opposite_vectors_is_refused_anywhere_between_the_ends(t):
    a = some()
    with pytest.raises(SpaceError, match="opposite vectors"):
        a.slerp(-a, t)
    np.testing.assert_allclose(a.slerp(-a, 0).vectors, a.vectors, atol=1e-6)
    np.testing.assert_allclose(a.slerp(-a, 1).vectors, -a.vectors, atol=1e-6)


@pytest.mark.parametrize("angle", [1e-3, 1e-2, np.pi - 1e-2, np.pi - 1e-3])
def test_slerp_keeps_its_speed_close_to_both_ends_of_the_scale(angle):
    a = Embeddings(np.array([[1.0, 0]]), "s")
    b = Embeddings(np.array([[np.cos(angle), np.sin(angle)]]), "s")
    z = a.slerp(b, 0.25).vectors[0]
    assert np.arctan2(z[1], z[0]) == pytest.approx(angle / 4, rel=1e-2)


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_slerp_beyond_its_ends_is_refused(t):
    with pytest.raises(SpaceError, match="expected 0 to 1"):
        some().slerp(some(seed=1), t)


def test_project_out_leaves_nothing_of_the_concepts():
    z, concepts = some(5), some(2, seed=1)
    left = z.project_out(concepts)
    np.testing.assert_allclose(left.vectors @ concepts.vectors.T, 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(left.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(left.project_out(concepts).vectors, left.vectors, atol=1e-5)
    twin = z.vectors[0] - (z.vectors[0] @ concepts.vectors[0]) * concepts.vectors[0]
    np.testing.assert_allclose(z[0].project_out(concepts[0]).vectors[0], twin / np.linalg.norm(twin), atol=1e-5)
    assert z[0].project_out(concepts[0]).items == ("a0 without b0",)


def test_project_out_takes_a_concept_given_twice_once_and_refuses_when_nothing_is_left():
    z, concept = some(5), some(seed=1)
    twice = Embeddings(np.concatenate([concept.vectors, concept.vectors]), "s")
    np.testing.assert_allclose(z.project_out(twice).vectors, z.project_out(concept).vectors, atol=1e-5)
    with pytest.raises(SpaceError, match="nothing is left"):
        concept.project_out(-concept)


def test_another_space_is_refused_in_every_operation():
    a, b = some(2), some(2, seed=1, space="other")
    for combine in (
        lambda: a + b,
        lambda: a - b,
        lambda: a.cosine(b),
        lambda: a.slerp(b, 0.5),
        lambda: a.project_out(b),
    ):
        with pytest.raises(SpaceError, match="space s and space other cannot be compared"):
            combine()


def test_arrays_know_no_space_and_are_refused_on_either_side():
    a = some()
    for combine in (lambda z: a + z, lambda z: z + a, lambda z: a - z, lambda z: z - a, lambda z: z * a):
        with pytest.raises(SpaceError, match=r"Embeddings\(array, space\)"):
            combine(a.vectors)
    assert isinstance(a + Embeddings(a.vectors, "s"), Embeddings)


@pytest.mark.parametrize("other", ["x", None, [1.0]])
def test_other_types_do_not_combine(other):
    for combine in (lambda: some() + other, lambda: other - some(), lambda: some() * other):
        with pytest.raises(TypeError):
            combine()


def test_names_must_be_as_many_as_the_vectors():
    with pytest.raises(SpaceError, match="2 names for 3 vectors"):
        some(3, items=("a", "b"))


def test_pickled_it_keeps_its_parts():
    z = some(3) - 0.5 * some(seed=1)
    copy = pickle.loads(pickle.dumps(z))
    np.testing.assert_array_equal(copy.vectors, z.vectors)
    assert (copy.items, copy.space) == (z.items, z.space)


def test_it_imports_no_torch():
    code = "import sys; from binder import Embeddings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_segment_is_named_in_plain_decimals_to_the_millisecond():
    """A media fragment has no exponents; an item as a whole has no fragment."""
    spans = [(0, 2.0), (8 / 3, 16 / 3), (0.00001, 1_234_567.25), (None, None)]
    assert [fragment(*span) for span in spans] == ["#t=0,2", "#t=2.667,5.333", "#t=0,1234567.25", ""]
