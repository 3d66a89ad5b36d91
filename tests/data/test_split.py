"""Held-out rows share nothing with training rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binder import ManifestError
from binder.data.manifest import Row
from binder.data.split import components, split_rows


def make_rows(n, **meta):
    return [Row("pairs.csv", i + 2, {"toy": f"{i}.npy"}, {k: v[i] for k, v in meta.items()}) for i in range(n)]


def split(rows, links, column=None, group=None, fraction=0.25, seed=0):
    return split_rows(rows, links, column=column, group=group, fraction=fraction, seed=seed)


def twin_components(links):
    """Merge sets that touch until none do."""
    groups = [({i}, set(names)) for i, names in enumerate(links)]
    merged = True
    while merged:
        merged = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if groups[a][1] & groups[b][1]:
                    groups[a] = (groups[a][0] | groups[b][0], groups[a][1] | groups[b][1])
                    del groups[b]
                    merged = True
                    break
            if merged:
                break
    return sorted(sorted(rows) for rows, _ in groups)


links_of_rows = st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=15)


@given(links_of_rows)
def test_components_equal_their_twin(links):
    assert sorted(sorted(group) for group in components(links)) == twin_components(links)


@settings(deadline=None)
@given(links_of_rows.filter(len), st.integers(0, 5), st.sampled_from([0.1, 0.3, 0.9]))
def test_every_row_is_on_one_side_and_no_name_on_both(links, seed, fraction):
    train, val = split(make_rows(len(links)), links, fraction=fraction, seed=seed)
    assert sorted(train + val) == list(range(len(links)))
    assert not {n for i in train for n in links[i]} & {n for i in val for n in links[i]}
    assert len(val) <= 2 * max(1, round(fraction * len(links)))


def test_unlinked_rows_are_held_out_in_the_share_asked_for_and_by_seed():
    rows, links = make_rows(200), [[("toy", i)] for i in range(200)]
    train, val = split(rows, links, fraction=0.1)
    assert len(val) == 20
    assert (train, val) == split(rows, links, fraction=0.1)
    assert val != split(rows, links, fraction=0.1, seed=1)[1]
    assert split(rows, links, fraction=0) == (list(range(200)), [])


def test_groups_stay_together_even_through_shared_pictures():
    speakers = [str(i // 5) for i in range(40)]
    links = [[("image", i % 39)] for i in range(40)]  # rows 0 and 39 share a picture: speakers 0 and 7 are one
    for seed in range(10):
        _, val = split(make_rows(40, speaker=speakers), links, group="speaker", seed=seed)
        held = {speakers[i] for i in val}
        assert len(val) == sum(s in held for s in speakers)
        assert ("0" in held) == ("7" in held)
        assert val


def test_a_giant_component_trains_and_the_rest_is_held_out():
    links = [[("image", 0)] for _ in range(90)] + [[("image", i)] for i in range(1, 11)]
    for seed in range(5):
        _, val = split(make_rows(100), links, fraction=0.1, seed=seed)
        assert val == list(range(90, 100))


def test_when_all_rows_hang_together_nothing_is_held_out_and_that_is_said(caplog):
    links = [[a, b] for a, b in pairwise(range(11))]
    train, val = split(make_rows(10), links)
    assert (len(train), val) == (10, [])
    assert "no rows could be held out" in caplog.text


def test_a_column_says_which_rows_train():
    marks = ["train", "val", " Dev ", "TRAINING", "test", "valid", ""]
    rows = make_rows(7, split=marks)
    assert split(rows, [[i] for i in range(7)], column="split") == ([0, 3], [1, 2, 5])


def test_held_out_rows_that_leak_are_left_out_with_a_warning(caplog):
    rows = make_rows(4, split=["train", "val", "val", "train"])
    train, val = split(rows, [["a"], ["a", "b"], ["c"], ["d"]], column="split")
    assert (train, val) == ([0, 3], [2])
    assert caplog.messages[0].startswith(
        "1 held-out rows share a recording or picture with training, the first at pairs.csv:3"
    )


@pytest.mark.parametrize("option", ["column", "group"])
def test_a_column_that_a_row_lacks_names_the_row(option):
    rows = [*make_rows(2, part=["train", "val"]), Row("pairs.csv", 9, {}, {"other": 1})]
    with pytest.raises(ManifestError, match=r"pairs.csv:9: no column 'part'; columns: other"):
        split(rows, [[0], [1], [2]], **{option: "part"})


def test_a_column_without_training_rows_says_what_it_holds():
    with pytest.raises(ManifestError, match=r"marks no row as train \(it holds: a, b\)"):
        split(make_rows(2, part=["b", "a"]), [[0], [1]], column="part")


def test_a_split_does_not_depend_on_the_order_of_names():
    rng = np.random.default_rng(0)
    links = [[int(x) for x in rng.integers(0, 30, 2)] for _ in range(40)]
    rows = make_rows(40)
    assert split(rows, links) == split(rows, [names[::-1] for names in links])


@pytest.mark.parametrize(
    "times",
    [
        [3, 1, 2, 0, 7, 6, 5, 4],
        ["3", "1", "2", "0", "7.5", "6", "5", "4"],
        [f"2026-03-0{i} 12:00" for i in (4, 2, 3, 1, 8, 7, 6, 5)],
        [f"2026-03-01T1{i}:00+02:00" for i in (3, 1, 2, 0, 7, 6, 5, 4)],
    ],
)
def test_the_latest_recordings_are_held_out(times):
    rows = make_rows(8, when=times)
    assert split(rows, [[i] for i in range(8)], column="time:when") == ([0, 1, 2, 3, 6, 7], [4, 5])


def test_the_last_rows_are_held_out_by_their_order():
    assert split(make_rows(8), [[i] for i in range(8)], column="order") == ([0, 1, 2, 3, 4, 5], [6, 7])
    marked = make_rows(3, order=["train", "val", "train"])
    assert split(marked, [[i] for i in range(3)], column="order") == ([0, 2], [1]), "a column of that name is a column"


def test_what_is_of_one_time_stays_together():
    rows = make_rows(8, when=[0, 0, 0, 0, 0, 1, 1, 1])
    assert split(rows, [[i] for i in range(8)], column="time:when", fraction=0.5) == ([0, 1, 2, 3, 4], [5, 6, 7])
    with pytest.raises(ManifestError, match="the last rows all have the same time"):
        split(make_rows(4, when=[1, 1, 1, 1]), [[i] for i in range(4)], column="time:when")


def test_a_recording_that_returns_later_is_not_held_out_but_its_picture_may_return(caplog):
    rows = make_rows(8, when=list(range(8)))
    links = [["r0", "p"], ["r1", "p"], ["r2"], ["r3"], ["r4"], ["r5"], ["r0"], ["r7", "p"]]
    assert split(rows, links, column="time:when") == ([0, 1, 2, 3, 4, 5], [7])
    assert "1 of the later rows have a recording that trains, the first at pairs.csv:8" in caplog.text


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([1, "soon", 2], r"pairs\.csv:3: when is 'soon', expected a number or a time such as 2026-03-01 14:30"),
        ([1, float("nan"), 2], r"pairs\.csv:3: when is 'nan'"),
        ([1, None, 2], r"pairs\.csv:3: no column 'when'"),
        ([1, "2026-03-01", 2], r"cannot be ordered: pairs\.csv:2 is a number, pairs\.csv:3 is a time without a zone"),
        (["2026-03-01 10:00", "2026-03-01T10:00Z"], "is a time without a zone, .* is a time with a zone"),
    ],
)
def test_times_that_cannot_be_ordered_are_one_line(times, says):
    with pytest.raises(ManifestError, match=says):
        split(make_rows(len(times), when=times), [[i] for i in range(len(times))], column="time:when")
