"""The cache: computed once, shared by many, never half-written."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from binder import ConfigError, ItemError, RunError, cache
from binder.cache import Collection, content_key


def key(i: int) -> bytes:
    return content_key(f"item {i}")


def rows(i: int, n: int = 1) -> np.ndarray:
    return np.full((n, 3), i, np.float32)


def filled(name: str, *numbers: int) -> Collection:
    collection = Collection(name)
    for i in numbers:
        collection.add(key(i), rows(i, 1 + i % 3))
    collection.flush()
    return collection


def holds(collection: Collection, i: int) -> bool:
    return key(i) in collection and bool(np.array_equal(collection.get(key(i)), rows(i, 1 + i % 3)))


def test_what_was_added_is_there_for_the_next_process():
    filled("c", 1, 2, 5)
    again = Collection("c")
    assert all(holds(again, i) for i in (1, 2, 5))
    assert key(3) not in again
    assert [again.count(key(i)) for i in (1, 2, 5)] == [2, 3, 3]


def test_take_gathers_windows_across_shards_in_any_order():
    filled("c", 1, 2)
    collection = filled("c", 5, 7)
    places = collection.first([key(7), key(1), key(5), key(2)])
    places[0, 1] += 1  # the second window of 7
    np.testing.assert_array_equal(collection.take(places)[:, 0], [7, 1, 5, 2])
    np.testing.assert_array_equal(collection.take(places[1:2]), rows(1))


def test_two_writers_of_one_collection_lose_nothing():
    one, two = Collection("c"), Collection("c")
    for i in range(10):
        one.add(key(i), rows(i, 1 + i % 3))
        two.add(key(i + 5), rows(i + 5, 1 + (i + 5) % 3))
    one.flush()
    two.flush()
    one.refresh()
    for collection in (one, two, Collection("c")):
        assert all(holds(collection, i) for i in range(15))


def test_processes_that_write_at_once_lose_nothing(cache_folder):
    code = (
        "import sys, numpy as np; from binder.cache import Collection, content_key\n"
        "c = Collection('c'); s = int(sys.argv[1])\n"
        "for i in range(s, s + 20):\n"
        "    c.add(content_key(f'item {i}'), np.full((1 + i % 3, 3), i, np.float32)); c.flush()\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(start)]) for start in (0, 10, 20)]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    collection = Collection("c")
    assert all(holds(collection, i) for i in range(40))
    assert not [p for p in (cache_folder / "c").iterdir() if p.name.startswith(".")]


def test_a_large_collection_is_flushed_on_the_way(monkeypatch, cache_folder):
    monkeypatch.setattr(cache, "SHARD_BYTES", 100)
    collection = Collection("c")
    for i in range(20):
        collection.add(key(i), rows(i, 1 + i % 3))
    assert len(list((cache_folder / "c").iterdir())) > 2
    collection.flush()
    assert all(holds(Collection("c"), i) for i in range(20))


@pytest.mark.parametrize("name", ["keys.npy", "counts.npy", "rows.npy"])
@pytest.mark.parametrize("damage", ["gone", "empty", "short", "noise"])
def test_a_torn_shard_is_as_if_it_were_not_there(cache_folder, name, damage):
    filled("c", 1, 2)
    (torn,) = (cache_folder / "c").iterdir()
    filled("c", 3)
    whole = (torn / name).read_bytes()
    if damage == "gone":
        (torn / name).unlink()
    else:
        (torn / name).write_bytes({"empty": b"", "short": whole[:-5], "noise": bytes(200)}[damage])
    collection = Collection("c")
    assert holds(collection, 3)
    assert key(1) not in collection
    collection.add(key(1), rows(1, 2))
    collection.flush()
    assert holds(Collection("c"), 1)


def test_a_shard_whose_parts_do_not_fit_is_as_if_it_were_not_there(cache_folder):
    filled("c", 1, 2)
    (torn,) = (cache_folder / "c").iterdir()
    np.save(torn / "keys.npy", np.load(torn / "keys.npy")[:1])
    assert key(1) not in Collection("c")


def test_what_a_killed_writer_left_is_not_read(cache_folder):
    filled("c", 1)
    (shard,) = (cache_folder / "c").iterdir()
    shard.rename(shard.with_name("." + shard.name))
    assert key(1) not in Collection("c")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError("12 requested and 4 written")]
)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing_half_written(cache_folder, monkeypatch, error, after):
    collection = filled("c", 1)
    calls, save = [], np.save

    def full(path, array):
        calls.append(path)
        if len(calls) > after:
            Path(path).write_bytes(b"half")
            raise error
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    collection.add(key(2), rows(2, 3))
    with pytest.raises(RunError, match="the disk is full; make room, or set BINDER_CACHE") as caught:
        collection.flush()
    assert "\n" not in str(caught.value)
    assert len(list((cache_folder / "c").iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setenv("BINDER_CACHE", str(cache_folder))
    collection.flush()  # nothing was lost
    assert holds(collection, 1)
    assert holds(collection, 2)


def test_a_cache_that_cannot_be_written_says_why(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunError, match="Not a directory"):
        filled("c", 1)


def test_prune_deletes_the_longest_unused_until_the_cap_and_never_what_is_kept(cache_folder, monkeypatch):
    for age, name in enumerate(["new", "middle", "old", "oldest"]):
        filled(name, *range(50))
        os.utime(cache_folder / name, (time.time() - 100 * age,) * 2)
    size = sum(f.stat().st_size for f in (cache_folder / "old").rglob("*") if f.is_file())
    monkeypatch.setenv("BINDER_CACHE_GB", str(2.5 * size / 2**30))
    gone = cache.prune(keep=[cache_folder / "oldest"])
    assert {p.name for p in gone} == {"old", "middle"}
    assert {p.name for p in cache_folder.iterdir()} == {"new", "oldest"}
    assert cache.prune() == []


def test_using_a_collection_makes_it_the_last_to_be_pruned(cache_folder, monkeypatch):
    for name in ("first", "second"):
        filled(name, 1)
        os.utime(cache_folder / name, (1000, 1000 if name == "first" else 2000))
    Collection("first")
    monkeypatch.setenv("BINDER_CACHE_GB", "0")
    assert [p.name for p in cache.prune()] == ["second", "first"]


def test_a_cap_that_is_no_number_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("BINDER_CACHE_GB", "lots")
    with pytest.raises(ConfigError, match="BINDER_CACHE_GB is 'lots'"):
        cache.cap_bytes()


def test_a_file_and_its_bytes_have_one_name_whatever_the_path(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(b"content")
    assert content_key(tmp_path / "a") == content_key(tmp_path / "b") == content_key(b"content")
    assert content_key(tmp_path / "a") != content_key(b"other")


def test_items_that_differ_have_different_names():
    from PIL import Image

    grey = Image.new("P", (2, 2), 1)
    grey.putpalette([0, 0, 0, 9, 9, 9])
    red = grey.copy()
    red.putpalette([0, 0, 0, 255, 0, 0])
    x = np.arange(4)
    items = [
        "a", "b", b"a", x, x.astype(np.int32), x.reshape(2, 2), x[::-1], (x, "a"), (x, "b"),
        {"x": [1, 2]}, {"x": [1, 3]}, [1, 2], grey, red, np.array(["a", None], object), np.array(["b", None], object),
    ]  # fmt: skip
    keys = [content_key(item) for item in items]
    assert len(set(keys)) == len(items)
    assert all(len(k) == 16 for k in keys)


@pytest.mark.parametrize("item", [{"x": [1, "two"]}, np.array(["a", None], object), [{"a": 1}, {"b": 2}]])
def test_equal_values_have_equal_names_wherever_they_lie_in_memory(item):
    assert content_key(pickle.loads(pickle.dumps(item))) == content_key(pickle.loads(pickle.dumps(item)))


def test_a_view_is_named_like_its_copy():
    x = np.arange(12).reshape(3, 4)
    assert content_key(x[:, ::2]) == content_key(x[:, ::2].copy())


def test_what_cannot_be_read_or_named_is_an_item_error(tmp_path):
    with pytest.raises(ItemError, match="no such file"):
        content_key(tmp_path / "none")
    with pytest.raises(ItemError, match="cannot be read: Is a directory"):
        content_key(tmp_path)
    with pytest.raises(ItemError, match="cannot be named by its content"):
        content_key(lambda: None)
