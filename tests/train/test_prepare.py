"""What a run is drawn to."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from binder.data.columns import Side
from binder.train.prepare import samples_of, targets_of

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((6, 4)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 5)), min_size=1, max_size=20)


@given(rows)
def test_each_item_is_drawn_to_the_mean_of_all_that_its_item_is_paired_with(rows):
    names = {name: n for n, name in enumerate(dict.fromkeys(item for item, _ in rows))}
    item_N = np.array([names[item] for item, _ in rows])
    side = Side(VECTORS, np.array([target for _, target in rows]))
    found = targets_of(side, item_N, np.arange(len(names)), torch.device("cpu"))
    for item, place in zip(names, found.of_row.tolist(), strict=True):
        own = sorted({target for other, target in rows if other == item and target >= 0})
        if not own:
            assert place == -1
            continue
        mean = VECTORS[own].mean(0)
        np.testing.assert_allclose(found.vectors[place], mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)


def test_items_with_one_target_share_its_vector_and_cost_none():
    found = targets_of(
        Side(VECTORS, np.array([3, 3, 1])), np.array([0, 1, 2]), np.array([0, 1, 2]), torch.device("cpu")
    )
    assert found.of_row.tolist() == [3, 3, 1]
    assert len(found.vectors) == len(VECTORS)


def test_an_item_of_many_rows_comes_more_often_than_others_but_not_as_often_as_its_rows():
    counts = [1, 2, 4, 5, 36]
    samples = samples_of(np.repeat(np.arange(5), counts))
    assert np.bincount(samples).tolist() == [1, 2, 2, 3, 6]
