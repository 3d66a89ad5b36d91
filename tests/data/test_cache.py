"""The cache: computed once, shared by many, never half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from binder import ConfigError, ItemError, RunError
from binder.data import cache
from binder.data.cache import Collection, content_key


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
        "import sys, numpy as np; from binder.data.cache import Collection, content_key\n"
        "c = Collection('c'); s = int(sys.argv[1])\n"
        "for i in range(s, s + 20):\n"
        "    c.add(content_key(f'item {i}'), np.full((1 + i % 3, 3), i, np.float32)); c.flush()\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(start)]) for start in (0, 10, 20)]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    collection = Collection("c")
    assert all(holds(collection, i) for i in range(40))
    assert not [p for p in (cache_folder / "c").iterdir() if p.name.startswith(".")]


def test_items_are_loaded_in_the_order_asked_for_also_from_several_shards(monkeypatch, cache_folder):
    monkeypatch.setattr(cache, "TOGETHER", 2)
    filled("c", 1, 2)
    filled("c", 3)
    collection = Collection("c")
    np.testing.assert_array_equal(
        collection.load([key(i) for i in (3, 1, 2, 3, 1)]), np.concatenate([rows(i) for i in (3, 1, 2, 3, 1)])
    )
    assert all(holds(collection, i) for i in (1, 2, 3))  # what was let go of is read again


def test_shards_grow_with_their_collection(monkeypatch, cache_folder):
    """So that little waits in memory, and a large collection does not become thousands of files."""
    monkeypatch.setattr(cache, "SHARD_BYTES", 8 * rows(0).nbytes)
    collection = Collection("c")
    for i in range(200):
        collection.add(key(i), rows(i))
    sizes = sorted(len(np.load(shard / "counts.npy")) for shard in (cache_folder / "c").iterdir())
    assert sizes[0] == 1
    assert sizes[-1] == 8


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


def shard_of(name: str) -> Path:
    (shard,) = (p for p in (cache.root() / name).iterdir() if not p.name.startswith("."))
    return shard


def flip(path: Path, at: int = -3) -> None:
    """Change one bit, as a failing disk does: the file keeps its size and its shape."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["keys.npy", "counts.npy", "rows.npy"])
def test_one_flipped_bit_is_noticed_on_opening_and_computed_again(name, caplog):
    filled("c", 1, 2)
    flip(shard_of("c") / name)
    filled("c", 3)
    collection = Collection("c")
    assert key(1) not in collection
    assert holds(collection, 3)
    assert any("damaged" in m and f"{name} is not what was written" in m for m in caplog.messages)


def test_shards_beyond_the_bound_are_opened_unread_and_left_to_verify(monkeypatch):
    filled("c", 1, 2)
    flip(shard_of("c") / "rows.npy")
    monkeypatch.setattr(cache, "VERIFY_BYTES", 0)
    assert key(1) in Collection("c")
    assert len(cache.verify().removed) == 1


def test_old_shards_without_checksums_stay_readable(caplog):
    filled("c", 1, 2)
    (shard_of("c") / "sums.json").unlink()
    assert holds(Collection("c"), 1)
    assert not caplog.messages
    verified = cache.verify()
    assert (verified.good, verified.unsummed, verified.removed) == (1, 1, [])


@pytest.mark.parametrize("damage", ["flip", "gone", "short", "sums", "empty sums"])
def test_verify_removes_what_is_damaged_and_nothing_else(damage):
    filled("a", 1, 2)
    filled("b", 1)
    filled("b", 2)
    shard = shard_of("a")
    if damage == "flip":
        flip(shard / "rows.npy")
    elif damage == "gone":
        (shard / "counts.npy").unlink()
    elif damage == "short":
        (shard / "rows.npy").write_bytes((shard / "rows.npy").read_bytes()[:-1])
    else:
        (shard / "sums.json").write_text("{}" if damage == "sums" else "")
    verified = cache.verify()
    assert [path for path, _ in verified.removed] == [shard]
    assert "\n" not in verified.removed[0][1]
    assert verified.good == 2
    assert not shard.exists()
    assert not (cache.root() / "a").exists()
    assert holds(Collection("b"), 1) and holds(Collection("b"), 2)
    assert cache.verify() == cache.Verified(good=2)


def test_verify_clears_what_killed_processes_left_but_not_what_is_being_written(cache_folder):
    filled("c", 1)
    old, new = cache_folder / "c" / f".{'a' * 32}", cache_folder / "c" / f".{'b' * 32}"
    for folder in (old, new, cache_folder / "mine" / "notes", cache_folder / ".mine"):
        folder.mkdir(parents=True)
    for folder in (old, cache_folder / "mine" / "notes", cache_folder / ".mine"):
        os.utime(folder, (1000, 1000))
    assert cache.verify().leftovers == 1
    assert not old.exists()
    assert new.exists() and (cache_folder / "mine" / "notes").exists() and (cache_folder / ".mine").exists()


def test_the_cache_lists_its_collections_the_latest_used_first(cache_folder):
    filled("old", 1, 2)
    filled("new", 1)
    filled("new", 2, 5, 6)
    os.utime(cache_folder / "old", (1000, 1000))
    new, old = cache.collections()
    assert (new.name, new.items, new.shards) == ("new", 4, 2)
    assert (old.name, old.items, old.shards, old.used) == ("old", 2, 1, 1000)
    assert new.bytes == sum(f.stat().st_size for f in (cache_folder / "new").rglob("*") if f.is_file())


def test_what_is_pruned_while_it_is_open_stays_readable_and_can_be_written_again(cache_folder):
    collection = filled("c", 1, 2)
    assert [p.name for p in cache.prune(cap=0)] == ["c"]
    assert not list(cache_folder.iterdir())
    assert holds(collection, 1)
    collection.add(key(3), rows(3))
    collection.flush()
    assert holds(collection, 3) and holds(collection, 2)
    assert holds(Collection("c"), 3)


def test_a_collection_that_vanishes_while_it_is_written_comes_back(monkeypatch, cache_folder):
    collection, save = filled("c", 1), np.save
    monkeypatch.setattr(np, "save", lambda path, array: (cache.prune(cap=0), save(path, array)))
    collection.add(key(2), rows(2, 3))
    collection.flush()
    assert holds(Collection("c"), 2)


@pytest.mark.parametrize("times", [1, 99, 100])
def test_a_collection_that_vanishes_in_the_moment_a_shard_is_moved_to_it(monkeypatch, cache_folder, times):
    collection, rename, moves = filled("c", 1), Path.rename, []

    def pruned_meanwhile(path, target):
        if target.parent.name == "c" and len(moves) < times:
            moves.append(target)
            shutil.rmtree(target.parent)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", pruned_meanwhile)
    collection.add(key(2), rows(2, 3))
    if times < 100:
        collection.flush()
        assert holds(Collection("c"), 2)
    else:
        with pytest.raises(RunError, match="another program removes it while it is written"):
            collection.flush()
        assert not list(cache_folder.iterdir())


WRITER = """
import sys, numpy as np
from binder.data.cache import Collection, content_key
for i in range(150):
    collection = Collection("c")
    key, rows = content_key(f"item {i}"), np.full((1 + i % 3, 3), i, np.float32)
    collection.add(key, rows)
    collection.flush()
    assert np.array_equal(collection.get(key), rows)
"""
PRUNER = """
import sys, threading
from binder.data import cache
pruned, end = 0, threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set())).start()
while not end.is_set():
    pruned += len(cache.prune(cap=0))
    assert not cache.verify().removed
    cache.collections()
print(pruned)
"""


def test_one_process_prunes_and_verifies_while_another_writes_and_both_are_well():
    pruner = subprocess.Popen([sys.executable, "-c", PRUNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writer = subprocess.run([sys.executable, "-c", WRITER], capture_output=True, text=True, check=False)
    pruned, _ = pruner.communicate()
    assert writer.returncode == 0, writer.stderr
    assert pruner.returncode == 0
    assert int(pruned) > 3
    assert "damaged" not in writer.stderr


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
    with pytest.raises(ItemError, match="is a folder, not a file"):
        content_key(tmp_path)
    with pytest.raises(ItemError, match="cannot be hashed"):
        content_key(lambda: None)


@pytest.fixture
def command(binder):
    """`binder cache ARGS` in this process -> what it prints."""

    def run(*arguments) -> str:
        status, out, err = binder("cache", *arguments)
        assert status == 0, err
        return out

    return run


def test_the_command_line_shows_verifies_and_prunes(command, cache_folder):
    filled("items-toy-a", 1, 2)
    filled("vectors-text-b", 1)
    os.utime(cache_folder / "items-toy-a", (time.time() - 7300,) * 2)
    shown = command("info")
    assert "items-toy-a" in shown and "2 h ago" in shown and "just now" in shown
    assert "MiB of at most 20 GiB" in shown
    info = json.loads(command("info", "--json"))
    assert [c["name"] for c in info["collections"]] == ["vectors-text-b", "items-toy-a"]
    assert info["bytes"] == sum(c["bytes"] for c in info["collections"])
    flip(shard_of("items-toy-a") / "rows.npy")
    found = json.loads(command("verify", "--json"))
    assert (found["good"], len(found["removed"]), found["stuck"]) == (1, 1, [])
    assert "1 good shards; 0 damaged ones removed" in command("verify")
    assert json.loads(command("prune", "--json"))["removed"] == []
    assert "1 collections removed, 0.0 MiB left" in command("prune", "--gb", "0")
    assert not list(cache_folder.iterdir())
    assert "0.0 MiB" in command("info")
