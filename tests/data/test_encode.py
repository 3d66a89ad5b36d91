"""Items to unit vectors: whatever the batch, the workers and the cache, the same vectors; bad items are counted."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from binder_toy import ToyConfig
from binder_toy_encoder import ToyEncoder
from support import posix

from binder import ConfigError, EncoderConfig, ItemError, Modality, PluginError
from binder.data import encode
from binder.data.cache import Collection, content_key
from binder.encoder import Encoder, Span
from binder.readers import guard
from binder.readers import windows as reading


@pytest.fixture
def encoder(anchor):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ToyEncoder(ToyConfig(), anchor)


@pytest.fixture
def items():
    """23 items of one to four windows."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1 + i % 4, 8)).astype(np.float32) for i in range(23)]


def twin(encoder, item):
    """One item at a time: the mean of its windows' unit vectors, made a unit vector again."""
    encoder.eval()
    with torch.no_grad():
        windows = [encoder(window[None])[0].numpy() for window in encoder.preprocess(item)]
    mean = np.mean([w / np.linalg.norm(w) for w in windows], axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_every_batch_size_gives_the_windows_averaged_and_renormalised(encoder, items, batch_size):
    got = encode.encode(encoder, items, batch_size=batch_size)
    assert got.good == list(range(23))
    assert got.vectors.dtype == np.float32
    np.testing.assert_allclose(got.vectors, [twin(encoder, item) for item in items], atol=1e-5)
    assert (got.computed, got.bad) == (23, [])


def test_spawned_workers_give_the_same_vectors_and_report_the_same_bad_items(encoder, items, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WORTH_A_WORKER", 4)
    for i, item in enumerate(items):
        np.save(tmp_path / f"{i}.npy", item)
    paths = [tmp_path / f"{i}.npy" for i in range(23)]
    paths[5].write_bytes(b"broken")
    alone = encode.encode(encoder, paths, workers=0)
    many = encode.encode(encoder, paths, workers=2)
    assert many.good == alone.good
    assert [(p, str(e)) for p, e in many.bad] == [(p, str(e)) for p, e in alone.bad]
    np.testing.assert_allclose(many.vectors, alone.vectors, atol=1e-5)


def test_bad_items_are_skipped_with_their_position_and_reason(encoder, items, tmp_path):
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"x")
    mixed = [items[0], tmp_path / "missing.npy", items[1], broken, broken, np.zeros(3)]
    got = encode.encode(encoder, mixed)
    assert got.good == [0, 2]
    np.testing.assert_allclose(got.vectors, [twin(encoder, item) for item in items[:2]], atol=1e-5)
    assert [p for p, _ in got.bad] == [1, 3, 4, 5]
    assert str(got.bad[0][1]) == f"{tmp_path / 'missing.npy'}: no such file"
    assert got.bad[1][1].reason.startswith("not a NumPy file")
    assert got.bad[3][1].reason == "expected 8 numbers, got shape (3,)"


@pytest.mark.parametrize("bad", ["missing", "broken"])
def test_strict_raises_the_first_bad_item(encoder, items, tmp_path, bad):
    path = tmp_path / f"{bad}.npy"
    if bad == "broken":
        path.write_bytes(b"x")
    with pytest.raises(ItemError, match=str(path)):
        encode.encode(encoder, [items[0], path], strict=True)


def test_when_nothing_can_be_read_there_are_no_vectors(encoder, tmp_path):
    got = encode.encode(encoder, [tmp_path / "a.npy"])
    assert (got.good, got.vectors.shape[0], len(got.bad)) == ([], 0, 1)
    assert encode.encode(encoder, []).good == []


class Counting(ToyEncoder):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.rows = 0

    def features(self, batch):
        self.rows += len(batch)
        return super().features(batch)


def test_the_second_time_everything_comes_from_the_cache_and_is_the_same(anchor, items):
    encoder = Counting(ToyConfig(), anchor)
    first = encode.encode(encoder, items[:12], cache="c")
    rows = encoder.rows
    again = encode.encode(encoder, items[:12], cache="c")
    assert (first.computed, again.computed, encoder.rows) == (12, 0, rows)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    more = encode.encode(encoder, items[::-1], cache="c")
    assert more.computed == 11
    np.testing.assert_allclose(more.vectors, [twin(encoder, item) for item in items[::-1]], atol=1e-5)


def test_bad_items_are_not_cached(encoder, tmp_path, items):
    path = tmp_path / "x.npy"
    path.write_bytes(b"broken")
    for _ in range(2):
        assert len(encode.encode(encoder, [items[0], path], cache="c").bad) == 1
    np.save(path, items[1])
    assert encode.encode(encoder, [items[0], path], cache="c").good == [0, 1]


def test_without_a_cache_nothing_is_written(encoder, items, cache_folder):
    encode.encode(encoder, items)
    assert not list(cache_folder.iterdir())


def test_duplicates_are_encoded_once_and_given_twice(anchor, items, tmp_path):
    encoder = Counting(ToyConfig(), anchor)
    np.save(tmp_path / "a.npy", items[3])
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes())
    got = encode.encode(encoder, [tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "a.npy"])
    assert (got.computed, encoder.rows, got.good) == (1, len(items[3]), [0, 1, 2])
    assert len(np.unique(got.vectors, axis=0)) == 1


def test_encoding_is_in_eval_mode_and_leaves_no_gradients(anchor, items):
    encoder = ToyEncoder(ToyConfig(dropout=0.5), anchor).train()
    first, second = (encode.encode(encoder, items).vectors for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(p.grad is None for p in encoder.parameters())


def test_progress_counts_up_to_the_whole(encoder, items, tmp_path):
    seen = []
    encode.encode(encoder, [tmp_path / "no.npy", np.zeros(3), *items], stage="toys", progress=lambda *a: seen.append(a))
    assert seen[-1] == ("toys", 24, 24)  # the missing file is known to be missing before
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def keyed(items):
    return {content_key(item): item for item in items}


def test_training_reads_what_preprocess_made_and_is_told_the_reasons_of_the_rest(encoder, items, tmp_path):
    broken = tmp_path / "x.npy"
    broken.write_bytes(b"x")
    train, val = keyed([*items[:10], broken]), keyed(items[10:])
    collection, failed = encode.for_training(encoder, train, val, "toy")
    for item in items:
        np.testing.assert_array_equal(collection.get(content_key(item)), encoder.preprocess(item).numpy())
    assert list(failed) == [content_key(broken)]
    encoder.preprocess = None  # the second time it is not called
    assert encode.for_training(encoder, keyed(items), {}, "toy")[1] == {}
    assert len(Collection("items-toy").get(content_key(items[3]))) == 4


class Noisy(ToyEncoder):
    def views(self, item, rng):
        whole = self.preprocess(item)[:1]
        return torch.cat([whole, whole + torch.from_numpy(rng.normal(size=(2, 1)).astype(np.float32))])


def test_views_are_for_training_only_and_the_same_in_every_run(anchor, items, tmp_path, monkeypatch):
    encoder = Noisy(ToyConfig(), anchor)
    train, val = keyed(items[:5]), keyed(items[5:8])
    collection, _ = encode.for_training(encoder, train, val, "toy")
    seen = [collection.get(encode.view_key(encoder, key)) for key in train]
    assert [len(x) for x in seen] == [3] * 5
    assert not np.array_equal(seen[0][1], seen[0][2])
    for key, item in val.items():
        np.testing.assert_array_equal(collection.get(key), encoder.preprocess(item).numpy())
    assert not any(key in collection for key in train)
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path / "another"))
    again, _ = encode.for_training(encoder, train, val, "toy")
    np.testing.assert_array_equal(seen, [again.get(encode.view_key(encoder, key)) for key in train])


def test_of_a_frozen_trunk_its_features_are_kept(encoder, items):
    encoder.frozen_trunk = True
    collection, _ = encode.for_training(encoder, keyed(items), {}, "toy")
    for item in items:
        with torch.inference_mode():
            expected = encoder.eval().features(encoder.preprocess(item))
        np.testing.assert_allclose(collection.get(content_key(item)), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_item_with_numbers_that_are_not_finite_is_skipped_and_spoils_no_other(encoder, items, tmp_path, number):
    np.save(tmp_path / "bad.npy", np.full(8, number))
    got = encode.encode(encoder, [items[0], tmp_path / "bad.npy", items[1]])
    assert got.good == [0, 2]
    assert str(got.bad[0][1]) == f"{tmp_path / 'bad.npy'}: holds numbers that are not finite"
    np.testing.assert_allclose(got.vectors, [twin(encoder, item) for item in items[:2]], atol=1e-5)


def test_keys_that_are_known_name_the_items_and_one_without_is_left_out(encoder, items):
    got = encode.encode(encoder, items[:3], keys=[b"a" * 16, None, b"b" * 16], cache="c")
    assert (got.good, got.bad, got.computed) == ([0, 2], [], 2)
    assert b"b" * 16 in Collection("c")


class Panic(BaseException):
    """As libraries in other languages raise it."""


class Clumsy(Encoder):
    """An item is a number, or the name of a mistake that a plugin's author may make."""

    def __init__(self):
        super().__init__()
        self.out = torch.nn.Linear(2, 4)
        self.side = torch.nn.Dropout(0.5).eval()  # as somebody may have a part of a model

    def preprocess(self, item):
        made = {
            "none": None,
            "text": "windows",
            "flat": torch.ones(2),
            "no window": torch.ones(0, 2),
            "other shape": torch.ones(1, 3),
            "other type": torch.ones(1, 2, dtype=torch.float64),
            "nan": torch.tensor([[1.0, float("nan")]]),
            "huge": torch.full((1, 2), 1e30),
        }
        if item == "error":
            raise KeyError("width")
        if item == "panic":
            raise Panic("index out of bounds")
        if item == "memory":
            raise MemoryError
        return made[item] if isinstance(item, str) else torch.full((1, 2), float(item))

    def features(self, batch):
        if (batch == 13).any():
            raise IndexError("thirteen")
        return torch.where(batch == 7, torch.nan, batch)

    def head(self, features):
        return self.side(self.out(features))


MISTAKES = {
    "none": "preprocess returned NoneType, expected a tensor (W, ...); please report it to its author",
    "text": "preprocess returned str, expected a tensor (W, ...)",
    "flat": "preprocess returned shape (2,), expected (W, ...) with at least one window",
    "no window": "preprocess returned shape (0, 2), expected (W, ...) with at least one window",
    "other shape": "preprocess returned windows of shape (2,) of torch.float32 and (3,) of torch.float32; every item's",
    "other type": "(2,) of torch.float32 and (2,) of torch.float64; every item's must be the same",
    "nan": "holds numbers that are not finite",
    "huge": "holds numbers beyond 1e+15",
    "error": "KeyError: 'width'",
    "panic": "Panic: index out of bounds",
    "memory": "needs more memory than there is to be read",
}


@pytest.mark.parametrize("cache", [None, "kept"])
def test_a_plugins_mistake_costs_its_item_and_is_named(cache):
    items = [x for i, what in enumerate(MISTAKES, start=20) for x in (i, what)]
    got = encode.encode(Clumsy(), items, cache=cache)
    assert got.good == list(range(0, len(items), 2))
    for (position, error), (what, said) in zip(got.bad, MISTAKES.items(), strict=True):
        assert items[position] == what
        assert said in str(error)
    again = encode.encode(Clumsy(), items, cache=cache)
    assert again.good == got.good  # nothing of it was kept
    with pytest.raises(ItemError, match="KeyError"):
        encode.encode(Clumsy(), [1, "error"], strict=True)


def test_a_plugins_mistake_says_where_in_its_own_code():
    (bad,) = encode.encode(Clumsy(), ["error"]).bad
    assert re.search(r"KeyError: 'width' \(in data/test_encode\.py:\d+\); please report it", str(bad[1]))


@pytest.mark.parametrize(("bad", "said"), [(7, "not finite"), (13, "IndexError: thirteen")])
def test_an_item_that_the_encoder_cannot_encode_costs_no_other_of_its_batch(bad, said):
    encoder = guard.guarded(Modality("toy", frozenset(), EncoderConfig, build=lambda *_: Clumsy()), "toy 1")
    encoder = encoder.build(EncoderConfig(), SimpleNamespace(embed_dim=4))
    got = encode.encode(encoder, [1, 2, bad, 3, 4], batch_size=4)
    assert got.good == [0, 1, 3, 4]
    assert [(position, said in str(error)) for position, error in got.bad] == [(2, True)]
    alone = [encode.encode(encoder, [x]).vectors[0] for x in (1, 2, 3, 4)]
    np.testing.assert_allclose(got.vectors, alone, atol=1e-6)


def test_an_item_without_a_window_that_an_older_version_kept_is_computed_again():
    from binder.data import shards

    key = content_key(np.ones(3))
    folder = Collection("kept").folder
    shards.write(folder, np.frombuffer(key, np.uint8)[None], np.array([0]), np.empty((0, 4), np.float32))
    assert key not in Collection("kept")
    with pytest.raises(ValueError, match="at least one window"):
        Collection("kept").add(key, np.empty((0, 4)))


def test_vectors_are_the_same_to_the_last_bit_whatever_the_cache_held(encoder, items):
    """A product of matrices rounds by the size of the batch: what is kept is computed in batches of one size."""
    whole = encode.encode(encoder, items, cache="cold").vectors
    for first in (1, 7, 20):
        name = f"warm{first}"
        encode.encode(encoder, items[5 : 5 + first], cache=name)
        assert encode.encode(encoder, items[::-1], cache=name).vectors[::-1].tobytes() == whole.tobytes()


def test_somebodys_autocast_moves_no_vector(encoder, items):
    expected = encode.encode(encoder, items).vectors
    with torch.autocast("cpu", torch.bfloat16):
        assert encode.encode(encoder, items).vectors.tobytes() == expected.tobytes()


def test_modules_are_left_in_the_mode_they_were_in():
    encoder = Clumsy().train()
    encoder.side.eval()
    encode.encode(encoder, [1, 2, "error"])
    with pytest.raises(ItemError):
        encode.encode(encoder, [1, "error"], strict=True)
    assert (encoder.training, encoder.out.training, encoder.side.training) == (True, True, False)


@pytest.mark.parametrize("every_s", [1e-9, 1e300, 0.0, -1.0, float("nan"), float("inf")])
def test_segments_out_of_all_proportion_are_refused(every_s):
    with pytest.raises(ConfigError, match="segments of"):
        encode.encode_segments(Clumsy(), [1], every_s)


def test_the_old_name_of_segments_works_for_one_release_with_a_warning():
    with pytest.warns(FutureWarning, match=r"Old\.moments is now Old\.segments"):

        class Old(Clumsy):
            def moments(self, item, every_s):
                yield Span(0.0, every_s), torch.ones(1, 2)
                yield Span(every_s, 2 * every_s), torch.ones(1, 2)

    assert encode.encode_segments(Old(), [1], 0.5).spans == [Span(0.0, 0.5), Span(0.5, 1.0)]
    with pytest.warns(FutureWarning, match=r"Encoder\.moments is now Encoder\.segments"):
        ((span, windows),) = Clumsy().moments(1, 0.5)
    assert span is None and windows.shape == (1, 2)


@posix
def test_what_is_no_file_is_never_opened(encoder, tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    got = encode.encode(encoder, [tmp_path / "pipe.npy", tmp_path / "zero.npy", tmp_path, tmp_path / "a\0b.npy"])
    said = [str(error).rpartition(": ")[2] for _, error in got.bad]
    assert said == ["is a pipe, not a file", "is a device, not a file", "is a folder, not a file", "embedded null byte"]


def test_a_sample_is_adapted_to_without_the_items_that_a_plugin_trips_over():
    def adapt(config, items):
        if any(item == "bad" for item in items):
            raise PluginError("plugin toy: adapt failed: OverflowError")
        return [*config, *items]

    assert reading.adapted(adapt, ["config"], [1, "bad", 2, "bad"]) == ["config", 1, 2]
    with pytest.raises(PluginError, match="OverflowError"):
        reading.adapted(adapt, [], ["bad"])
