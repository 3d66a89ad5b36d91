"""What goes wrong: crashes, full disks, other writers, hostile input. One clear error or the right answer."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support import posix

from binder import Embeddings, Index, SpaceError, StoreError
from binder.index import lance
from binder.index import table as tables
from binder.scoped import ProcessWide
from binder.space import vectors

DIM = 16
KILLS = int(os.environ.get("BINDER_KILLS", "3"))  # of each kind; more for a thorough run


def some(n=1, seed=0, prefix="n"):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, DIM)))
    return Embeddings(z, "s", tuple(f"{prefix}{i}" for i in range(n)))


@pytest.fixture
def index(tmp_path):
    made = Index.create(tmp_path / "media.idx", some())
    made.add(image=some(50), metadata={"n": range(50), "license": "cc"})
    return made


HOSTILE = [
    "n <",
    "",
    "   ",
    "nothing = 1",
    "n < 5 garbage",
    "n < 5 LIMIT 1",
    "n < 5; DELETE FROM image",
    "1 = 1; DROP TABLE image; --",
    "n < 5) OR (1 = 1",
    "n < 5 /* ",
    "'",
    "license = 'cc",
    'license = "cc"',
    "n IN (SELECT n FROM image)",
    "n = (SELECT 1)",
    "EXISTS (SELECT 1)",
    "load_extension('x')",
    "n",
    "'true'",
    "NULL",
    "n < 'x' AND",
    "(" * 300 + "1 = 1" + ")" * 300,
    "n < 5\0",
]


@pytest.mark.parametrize("where", HOSTILE, ids=lambda text: repr(text[:24]))
def test_a_condition_that_is_wrong_or_hostile_is_one_line_and_changes_nothing(index, where):
    for use in (index.search, index.delete):
        with pytest.raises(StoreError) as caught:
            use(some(), where=where) if use == index.search else use(where=where)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 900
    assert len(index) == 50


@pytest.mark.parametrize(
    ("where", "rows"),
    [("license = 'it''s'", 0), ("license = '); DROP TABLE image; --'", 0), ("n < 5 -- ) comment", 5), ("(n < 5)", 5)],
)
def test_a_condition_may_hold_quotes_brackets_and_comments(index, where, rows):
    assert len(index.search(some(), where=where, k=50)) == rows


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 2.0])
def test_vectors_that_are_no_directions_are_refused_and_none_of_them_is_kept(index, bad):
    z = some(3, 1).vectors.copy()
    z[1] = bad
    with pytest.raises(SpaceError, match="expected"):
        index.add(image=z)
    with pytest.raises(SpaceError, match="expected"):
        index.search(z[1])
    assert len(index) == 50


def test_vectors_of_another_width_are_refused(index):
    with pytest.raises(SpaceError, match="8 dimensions, the index has 16"):
        index.add(image=Embeddings(np.eye(8), "s"))
    with pytest.raises(SpaceError, match="8 dimensions, the index has 16"):
        index.search(Embeddings(np.eye(8)[:1], "s"))


def test_an_index_of_a_newer_format_and_a_damaged_record_are_refused(index):
    record = json.loads(index.store.note("record"))
    for text, says in [
        (json.dumps(record | {"format": 99}), "newer binder"),
        ("{", "damaged"),
        (json.dumps(record | {"no_such_key": 1}), "damaged"),
        ("[]", "damaged"),
    ]:
        index.store.set_note("record", text)
        with pytest.raises(StoreError, match=says):
            Index.open(index.location)


def test_places_that_hold_no_index_or_something_else(index, tmp_path):
    with pytest.raises(StoreError, match="no index there"):
        Index.open(tmp_path / "none.idx")
    assert not (tmp_path / "none.idx").exists()
    with pytest.raises(StoreError, match="there is already an index"):
        Index.create(index.location, some())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not empty"):
        Index.create(tmp_path / "full", some())
    (tmp_path / "file").write_text("x")
    for wrong in (lambda: Index.create(tmp_path / "file", some()), lambda: Index.open(tmp_path / "file")):
        with pytest.raises(StoreError):
            wrong()


def test_a_folder_that_is_deleted_under_a_reader_is_one_line(index):
    reader = Index.open(index.location)
    assert len(reader.search(some())) == 10
    shutil.rmtree(index.location)
    for use in (
        lambda: reader.search(some()),
        lambda: reader.add(image=some(2, 1)),
        lambda: Index.open(index.location),
    ):
        with pytest.raises(StoreError) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [0, 10])
def test_a_commit_that_a_power_cut_tore_is_left_out_and_added_again(index, left, caplog):
    index.add(image=some(7, 1, "late"))
    versions = Path(index.location) / "image.lance" / "_versions"
    newest = min(versions.glob("*.manifest"))  # they count down
    newest.write_bytes(newest.read_bytes()[:left])
    again = Index.open(index.location)
    assert len(again) in (50, 57)  # the optimisation after it, or the commit itself
    assert "cut off" in caplog.text
    again.add(image=some(7, 1, "late"))
    assert len(again) == 57
    assert again.verify() == []


def test_every_file_and_folder_of_a_commit_is_flushed_before_it_is_reported(index, monkeypatch):
    flushed = set()
    fsync = os.fsync

    def noting(handle):
        flushed.add(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    before = set(Path(index.location).rglob("*"))
    monkeypatch.setattr(os, "fsync", noting)
    index.add(image=some(5, 1, "late"))
    new = {str(path) for path in set(Path(index.location).rglob("*")) - before if path.is_file()}
    assert new
    assert new <= flushed
    assert {str(Path(path).parent) for path in new} <= flushed


def limited(location, megabytes):
    """Add more than may be written: as a full disk would, every write beyond the limit fails."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (megabytes * 2**20, megabytes * 2**20))
    try:
        Index.open(location).add(image=some(20_000, 3, "big"))
    except StoreError as error:
        assert "\n" not in str(error)
        os._exit(7)
    os._exit(1)


@posix
def test_a_disk_that_fills_up_is_one_line_and_what_was_there_stays(index):
    process = multiprocessing.get_context("forkserver").Process(target=limited, args=(index.location, 1))
    process.start()
    process.join()
    assert process.exitcode == 7
    again = Index.open(index.location)
    assert len(again) == 50
    assert again.add(image=some(100, 3, "big")).inserted == 100
    assert again.verify() == []


def write_many(location, name, batches):
    index = Index.open(location)
    for i in range(batches):
        index.add(image=some(5, i, f"{name}-{i}-"))
        index.add(image=some(5, 99, "shared"))  # all write these


def test_several_writers_at_once_lose_nothing_and_double_nothing(index):
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    writers = [context.Process(target=write_many, args=(index.location, name, 4)) for name in "abc"]
    for writer in writers:
        writer.start()
    reader, seen = Index.open(index.location), 0
    while any(writer.is_alive() for writer in writers):
        count = len(reader.search(some(), k=1000))
        assert count >= seen
        seen = count
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(Index.open(index.location)) == 50 + 3 * 4 * 5 + 5
    assert Index.open(index.location).verify() == []


def test_the_same_new_items_that_several_add_at_the_same_moment_are_there_once(index):
    there = [Index.open(index.location) for _ in range(3)]
    for one in there:
        len(one)  # all have the table open as it is now
    together, failed = threading.Barrier(len(there)), []

    def add(one):
        together.wait()
        try:
            one.add(image=some(20, 7, "same"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=add, args=(one,)) for one in there]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(Index.open(index.location)) == 50 + 20
    assert index.verify() == []


WORK = f"""
import sys, os, numpy as np
from binder import Index, Embeddings
from binder.space.vectors import normalize
kind, location = sys.argv[1:]
index = Index.open(location)
z = Embeddings(normalize(np.random.default_rng(5).normal(size=(400, {DIM}))), "s", [f"k{{i}}" for i in range(400)])
print("go", flush=True)
if kind == "add":
    for start in range(0, 400, 20):
        index.add(image=z[start:start + 20])
        print(start + 20, flush=True)
elif kind == "delete":
    for start in range(0, 400, 20):
        index.delete(image=list(z.items[start:start + 20]))
        print(start + 20, flush=True)
else:
    while True:
        index.optimize(keep_versions_s=0)
        print(0, flush=True)
"""


@pytest.mark.parametrize("kind", ["add", "delete", "optimize"])
@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment_it_opens_with_what_was_reported_and_goes_on(index, kind, seed):
    z = Embeddings(
        vectors.normalize(np.random.default_rng(5).normal(size=(400, DIM))), "s", [f"k{i}" for i in range(400)]
    )
    if kind != "add":
        index.add(image=z)
    process = subprocess.Popen([sys.executable, "-c", WORK, kind, index.location], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "go\n"
    time.sleep(random.Random(seed).uniform(0, 0.4))
    process.kill()
    reported = [int(line) for line in process.communicate()[0].split("\n")[:-1] if line]
    done = reported[-1] if reported else 0
    again = Index.open(index.location)
    held = {hit.item for hit in again.search(some(), k=1000)} & set(z.items)
    if kind == "add":
        assert len(held) in (done, done + 20)
        assert set(z.items[:done]) <= held
        again.add(image=z)
    elif kind == "delete":
        assert 400 - len(held) in (done, done + 20)
        assert not set(z.items[:done]) & held
        again.add(image=z)
    assert {hit.item for hit in again.search(some(), k=1000)} >= set(z.items)
    assert (len(again), again.verify()) == (450, [])
    again.optimize(keep_versions_s=0)
    assert (len(again), again.verify()) == (450, [])


def test_an_index_whose_creation_was_killed_is_created_again(tmp_path):
    place = tmp_path / "media.idx"
    (place / "_binder.lance" / "data").mkdir(parents=True)  # what a kill leaves before the first commit
    with pytest.raises(StoreError, match="no index there"):
        Index.open(place)
    Index.create(place, some()).add(image=some(3))
    assert len(Index.open(place)) == 3


LOGGED = """
import os, sys
from binder.index import Index, lance
if len(sys.argv) > 2:
    lance._quiet = lance.ProcessWide(lambda: lance._environment("LANCEDB_LOG", sys.argv[2]))
Index.open(sys.argv[1])
print([name for name in os.environ if name.startswith("LANCE")])
"""


@pytest.mark.parametrize("level", [[], ["trace"]])
def test_the_store_is_told_what_to_log_while_it_is_imported_and_the_environment_is_left_alone(index, level):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LANCE")}
    done = subprocess.run(
        [sys.executable, "-c", LOGGED, index.location, *level], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert bool(done.stderr) == bool(level)  # it does listen to that variable


def test_how_far_the_store_reads_ahead_is_bounded_only_while_it_reads_much(index, monkeypatch):
    name, table, seen = "LANCE_DEFAULT_IO_BUFFER_SIZE", index.store.table("image"), []
    monkeypatch.delenv(name, raising=False)
    table.commit(lambda: seen.append(os.environ.get(name)))
    assert seen == [lance.READ_AHEAD] and name not in os.environ
    entered = []

    @contextlib.contextmanager
    def counting(real=tables.bounded):
        with real:
            entered.append(os.environ[name])
            yield

    monkeypatch.setattr(tables, "bounded", ProcessWide(counting))
    for use, does in [
        (index.verify, True),
        (index.near_duplicates, True),
        (index.optimize, True),
        (lambda: index.search(some(), where="n < 9"), False),  # often, and from several threads
        (lambda: index.similar("n3"), False),
    ]:
        entered.clear()
        use()
        assert (bool(entered), name in os.environ) == (does, False), use
    monkeypatch.setenv(name, "1234567")  # the user's own stays
    table.commit(lambda: seen.append(os.environ.get(name)))
    assert (seen[-1], os.environ[name]) == ("1234567", "1234567")
