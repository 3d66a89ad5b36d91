"""An index that moves to another space: what comes along, what is left behind, and what a crash must not take."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from support import FAST, centres, installed, one_line_error, write_csv

import binder
from binder import Binder, Embeddings, Index, ItemError, SpaceError, StoreError
from binder.index import add as adding
from binder.index import reembed
from binder.index.recipes import every_of, recipe_of
from binder.space import vectors
from binder.testing import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("toy")

KILLS = int(os.environ.get("BINDER_KILLS", "1"))  # rounds of several kills; more for a thorough run


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory):
    """An anchor of another space."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("anchors") / "other", seed=1)


@pytest.fixture(scope="session")
def other_run(tmp_path_factory, toy_site, toys, other_folder):
    """The toy, aligned to that anchor."""
    out = tmp_path_factory.mktemp("runs") / "other-toy"
    with installed(toy_site, only="toy"):
        binder.align("toy", toys / "pairs.csv", anchor=str(other_folder), to="text", out=out, **FAST)
    return out


@pytest.fixture
def old_space(run, anchor):
    return Binder(anchor).load(run)


@pytest.fixture
def new_space(other_run, other_folder):
    return Binder(str(other_folder)).load(other_run)


@pytest.fixture
def files(toys, tmp_path):
    """Pictures, toys, and long toys (a row a second), none of them just written."""
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(12):
        shutil.copy(toys / f"{i}.png", folder)
        shutil.copy(toys / f"{i}.npy", folder)
    for i, seconds in enumerate((9, 4, 7)):
        rng = np.random.default_rng(i)
        long = centres()[rng.integers(0, 10, seconds)] + 0.1 * rng.normal(size=(seconds, 8)).astype(np.float32)
        np.save(folder / f"long{i}.npy", long)
    for path in folder.iterdir():
        os.utime(path, (time.time() - 100, time.time() - 100))
    return folder


def fill(index, files):
    """Every kind of item that can be made again, with every kind of metadata."""
    images = [files / f"{i}.png" for i in range(12)]
    metadata = {
        "license": ["cc", "by", None] * 4,
        "seconds": [i / 2 if i % 3 else None for i in range(12)],
        "ok": [None, True, False] * 4,
        "day": [datetime(2020, 1, 1 + i) for i in range(12)],
        "at": [datetime(2020, 1, 1 + i, 12, tzinfo=UTC) for i in range(12)],
        "text": [f"words {i}" if i % 2 else None for i in range(12)],
        "Größe 2": [float(i) for i in range(12)],
    }
    index.add(image=images, metadata=metadata)
    index.add(text=[*(f"a {color} house" for color in ("red", "green", "blue")), "zwei\nZeilen"])
    index.add(text=["under a name", "another"], names=["t1", "t2"], metadata={"n": [1, 2]})
    index.add(toy=[files / f"{i}.npy" for i in range(12)], metadata={"n": range(12)})
    index.add(toy=[files / "long0.npy", files / "long1.npy"], every_s=2.0, metadata={"who": ["me", "you"]})
    index.add(toy=files / "long2.npy", every_s=3.0)
    return index


@pytest.fixture
def old(tmp_path, old_space, files):
    return fill(Index.create(tmp_path / "old.idx", old_space), files)


@pytest.fixture
def wanted(tmp_path, new_space, files):
    """The same added to an index of the other space: what a move must come to."""
    return fill(Index.create(tmp_path / "wanted.idx", new_space), files)


def held(index):
    """{modality: {key: (row without its vector, vector)}}; the time of a file that was just written is left out."""
    found = {}
    for table in index.store.tables(None):
        columns = [name for name in table.state().schema.names if name != "_mtime_ns"]
        rows = [row for batch in table.scan(columns) for row in batch.to_pylist()]
        found[table.name] = {row["_key"]: (row, np.array(row.pop("vector"))) for row in rows}
        assert len(found[table.name]) == len(rows)
    return found


def assert_same(index, wanted):
    got, want = held(index), held(wanted)
    assert got.keys() == want.keys()
    for modality, rows in want.items():
        assert index.store.table(modality).state().metadata == wanted.store.table(modality).state().metadata
        assert {key: row for key, (row, _) in got[modality].items()} == {key: row for key, (row, _) in rows.items()}
        for key, (_, vector) in rows.items():
            np.testing.assert_allclose(got[modality][key][1], vector, atol=1e-6)
    assert index.verify(files=True) == []


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path(folder).rglob("*") if path.is_file()}


def test_all_items_come_along_with_all_that_is_theirs(old, wanted, new_space, tmp_path):
    before = snapshot(old.location)
    moved = old.reembed(tmp_path / "new.idx", new_space)
    assert (moved.inserted, moved.updated, moved.unchanged) == (len(old), 0, 0)
    assert (moved.failed, moved.left) == ([], 0)
    new = Index.open(tmp_path / "new.idx")
    assert_same(new, wanted)
    assert (new.space, new.record.anchor) == (new_space.space, new_space.anchor.name)
    assert new.record.encoders == new_space.runs
    assert snapshot(old.location) == before


def test_the_new_index_loads_its_space_and_is_searched_in_it(old, new_space, files, tmp_path):
    old.reembed(tmp_path / "new.idx", new_space)
    new = Index.open(tmp_path / "new.idx")
    assert new.search(image=files / "3.png", k=1)[0].path == str(files / "3.png")
    assert new.search(toy=files / "5.npy", k=1)[0].path == str(files / "5.npy")
    with pytest.raises(SpaceError):
        new.search(old.encoder_space().text("red"))


def test_again_it_encodes_nothing_and_takes_what_is_new_or_has_changed(old, new_space, files, toys, tmp_path, encoded):
    old.reembed(tmp_path / "new.idx", new_space)
    encoded.clear()
    again = old.reembed(tmp_path / "new.idx", new_space)
    items = 12 + 6 + 12 + 3
    assert (again.inserted, again.updated, again.unchanged, encoded) == (0, 0, items, [])
    shutil.copy(toys / "40.png", files / "2.png")
    shutil.copy(toys / "41.png", files / "new.png")
    old.add(image=files / "new.png")
    encoded.clear()
    again = old.reembed(tmp_path / "new.idx", new_space)
    assert (again.inserted, again.updated, again.unchanged) == (1, 1, items - 1)
    assert {path.name for path in encoded} == {"2.png", "new.png"}


def test_only_the_modalities_that_are_asked_for_are_moved(old, new_space, tmp_path):
    old.reembed(tmp_path / "new.idx", new_space, modalities="text")
    assert Index.open(tmp_path / "new.idx").modalities() == ["text"]
    old.reembed(tmp_path / "new.idx", new_space, modalities=["image", "text"])
    assert Index.open(tmp_path / "new.idx").modalities() == ["image", "text"]
    with pytest.raises(StoreError, match="holds no imge"):
        old.reembed(tmp_path / "other.idx", new_space, modalities=["imge"])
    assert not (tmp_path / "other.idx").exists()


def test_an_item_with_many_segments_is_encoded_once_however_its_rows_are_read(
    old, wanted, new_space, tmp_path, monkeypatch, encoded
):
    """Also where a batch ends within it, and chunks are small."""
    monkeypatch.setattr(adding, "FIRST_ITEMS", 2)
    monkeypatch.setattr(adding, "MAX_ITEMS", 2)
    scan = type(old.store.table("toy")).scan
    monkeypatch.setattr(
        type(old.store.table("toy")),
        "scan",
        lambda self, columns, where=None, rows=2: scan(self, columns, where, rows=2),
    )
    seen = []
    old.reembed(tmp_path / "new.idx", new_space, progress=lambda *step: seen.append(step))
    assert sorted(map(str, encoded)) == sorted(set(map(str, encoded)))
    assert_same(Index.open(tmp_path / "new.idx"), wanted)
    for modality in old.modalities():
        steps = [(done, total) for stage, done, total in seen if stage == f"moving {modality}"]
        rows = old.store.table(modality).count()
        assert [done for done, _ in steps] == sorted({done for done, _ in steps})
        assert steps[-1] == (rows, rows)
    assert {stage for stage, _, _ in seen} == {f"moving {modality}" for modality in old.modalities()}


def some(space, n, prefix, modality=None, seed=0):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 32)))
    return Embeddings(z, space, tuple(f"{prefix}{i}" for i in range(n)), modality)


def test_what_cannot_be_made_again_is_listed_with_its_reason_and_counted(old, new_space, files, toys, tmp_path):
    (files / "0.png").unlink()
    (files / "1.png").write_bytes(b"broken")
    (files / "long0.npy").unlink()
    rng = np.random.default_rng(0)
    array = rng.normal(size=8).astype(np.float32)
    old.add(toy=[array], names=["from memory"])
    old.add(image=files / "3.png", names=["its own name"])
    old.add(image=some(old.space, 2, "name"), toy=Embeddings(some(old.space, 1, "").vectors, old.space))
    moved = old.reembed(tmp_path / "new.idx", new_space)
    reasons = {item.rsplit("/", 1)[-1]: reason for item, reason in moved.failed}
    unnamed = next(item for item in reasons if len(item) == 32)
    assert reasons.pop(unnamed).startswith("was added as a vector without a name")
    assert reasons.pop("1.png")
    assert reasons == {
        "0.png": "no such file",
        "long0.npy": "no such file",
        "from memory": "was added from memory; there is nothing to encode",
        "its own name": "was added under a name of its own; where its file is, the index does not say",
        "name0": "was added as a vector under a name; there is nothing to encode",
        "name1": "was added as a vector under a name; there is nothing to encode",
    }
    assert moved.left == len(moved.failed) == 8
    new = Index.open(tmp_path / "new.idx")
    assert len(new) == moved.inserted == len(old) - 7 - 5  # long0 has five segments


def test_vectors_whose_names_are_files_or_texts_are_made_again(old_space, new_space, files, tmp_path):
    old = Index.create(tmp_path / "old.idx", old_space)
    paths = [str(files / f"{i}.png") for i in range(3)]
    z = old_space.image(paths)
    old.add(image=Embeddings(z.vectors, old.space, paths), text=old_space.text(["red", "blue"]))
    moved = old.reembed(tmp_path / "new.idx", new_space)
    assert (moved.inserted, moved.left) == (5, 0)
    found = Index.open(tmp_path / "new.idx")
    assert found.search(image=paths[1], k=1)[0].score == pytest.approx(1, abs=1e-5)
    assert found.search(text="blue", k=1, modalities="text")[0].item == "blue"


def test_vectors_of_segments_whose_length_is_not_known_are_left(old_space, new_space, files, tmp_path, binder, run):
    out = tmp_path / "vectors.parquet"
    args = ("--encoder", run, "--as", "toy", "--every", "2s", "--out", out, "--workers", 0)
    assert binder("embed", files / "long1.npy", *args)[0] == 0
    old = Index.create(tmp_path / "old.idx", old_space)
    old.add(out)
    assert len(old) == 2
    moved = old.reembed(tmp_path / "new.idx", new_space)
    assert (moved.inserted, moved.left) == (0, 1)
    assert moved.failed[0][1] == "was added as vectors of segments; their length is not known"


def test_a_modality_without_an_encoder_is_left_and_the_others_are_moved(old, other_folder, tmp_path):
    moved = old.reembed(tmp_path / "new.idx", Binder(str(other_folder)))
    assert moved.left == len(moved.failed) == 12 + 3
    assert {reason for _, reason in moved.failed} == {"no encoder of toy for the new space; give it as --encoder"}
    assert Index.open(tmp_path / "new.idx").modalities() == ["image", "text"]


def test_the_list_of_what_is_left_is_bounded_and_its_count_is_not(old, other_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reembed, "MAX_LISTED", 4)
    moved = old.reembed(tmp_path / "new.idx", Binder(str(other_folder)))
    assert (moved.left, len(moved.failed)) == (15, 4)


def test_strict_stops_at_the_first_and_the_next_run_goes_on(old, new_space, files, toys, tmp_path, encoded):
    (files / "4.png").write_bytes(b"broken")
    with pytest.raises(ItemError, match=r"4\.png"):
        old.reembed(tmp_path / "new.idx", new_space, strict=True)
    old.add(image=some(old.space, 1, "name"))
    shutil.copy(toys / "4.png", files / "4.png")
    with pytest.raises(ItemError, match="name0: was added as a vector"):
        old.reembed(tmp_path / "new.idx", new_space, strict=True)
    old.delete(image="name0")
    old.reembed(tmp_path / "new.idx", new_space, strict=True)
    assert len(Index.open(tmp_path / "new.idx")) == len(old)


def test_the_new_index_is_calibrated_if_the_old_one_is(old_space, new_space, toys, tmp_path):
    old = Index.create(tmp_path / "old.idx", old_space)
    old.add(image=[toys / f"{i}.png" for i in range(40)], text=[f"text {i}" for i in range(30)])
    old.reembed(tmp_path / "plain.idx", new_space)
    assert Index.open(tmp_path / "plain.idx").search(text="x")[0].probability is None
    old.calibrate()
    old.reembed(tmp_path / "new.idx", new_space)
    new = Index.open(tmp_path / "new.idx")
    assert all(kept["calibrated"] for kept in new.info()["modalities"].values())
    twin = Index.create(tmp_path / "twin.idx", new_space)
    twin.add(image=[toys / f"{i}.png" for i in range(40)], text=[f"text {i}" for i in range(30)])
    twin.calibrate()
    ours, theirs = ([(hit.key, hit.probability) for hit in index.search(text="x", k=70)] for index in (new, twin))
    assert [key for key, _ in ours] == [key for key, _ in theirs]
    np.testing.assert_allclose([p for _, p in ours], [p for _, p in theirs], atol=1e-4)


def test_a_move_within_its_own_space_makes_the_vectors_anew(old, old_space, tmp_path):
    table = old.store.table("image")
    table.amend(__import__("pyarrow").table({"_key": [next(iter(held(old)["image"]))], "_recipe": ["damaged"]}))
    moved = old.reembed(tmp_path / "new.idx", old_space)
    assert (moved.inserted, moved.left) == (len(old), 0)
    assert Index.open(tmp_path / "new.idx").space == old.space


def test_the_length_of_segments_is_kept_exactly(old_space):
    for every_s in (2.0, 0.5, 1 / 3, 0.001, 1e7, 123456.789, 0.0012345678901234567):
        assert every_of(recipe_of(old_space, "toy", every_s)) == every_s
    assert every_of("5c0fa7d2e1b3a694/2s") == 2
    for wrong in (None, "", "anchor", "anchor/", "anchor/s", "x/nans", "x/infs", "x/-2s", "x/0s", "x/1e+99s", "/2s/3"):
        assert every_of(wrong) is None


def test_a_prompt_of_the_anchor_is_part_of_how_texts_are_made(old_space, monkeypatch):
    monkeypatch.setattr(old_space.anchor, "prompts", {"query": "q: ", "document": "d: "})
    without = {name: recipe_of(old_space, name, None) for name in ("text", "image")}
    found = {"anchor": without}
    for prompt in ("query", "document"):
        monkeypatch.setattr(old_space, "anchor", old_space.anchor.with_prompt(prompt))
        found[prompt] = {name: recipe_of(old_space, name, None) for name in ("text", "image")}
    assert {names["image"] for names in found.values()} == {"anchor"}
    assert len({names["text"] for names in found.values()}) == 3
    assert every_of(found["query"]["text"]) is None


def test_places_that_are_taken_are_refused_and_nothing_is_changed(old, old_space, new_space, other_folder, tmp_path):
    before = snapshot(old.location)
    (tmp_path / "link.idx").symlink_to(old.location)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    Index.create(tmp_path / "same-space.idx", new_space).add(text="red")
    Index.create(tmp_path / "old-space.idx", old_space).add(text="red")
    for out, says in [
        (old.location, "is the index to move itself"),
        (tmp_path / "link.idx", "is the index to move itself"),
        (tmp_path / "x" / ".." / "old.idx", "is the index to move itself"),
        (Path(old.location) / "new.idx", "lies inside the index"),
        (tmp_path / "full", "not empty, and not an index"),
        (tmp_path / "file", "is a file, not a folder"),
        (tmp_path / "same-space.idx", "was not made from"),
        (tmp_path / "old-space.idx", "an index of another space"),
        (tmp_path / "a\0b", "not a valid location"),
    ]:
        with pytest.raises(StoreError, match=says) as caught:
            old.reembed(out, new_space)
        assert "\n" not in str(caught.value)
    assert snapshot(old.location) == before
    assert sorted(p.name for p in Path(old.location).iterdir()) == sorted(
        {p.relative_to(old.location).parts[0] for p in before}
    )
    assert len(Index.open(tmp_path / "same-space.idx")) == len(Index.open(tmp_path / "old-space.idx")) == 1


def test_a_new_index_that_was_begun_in_another_space_is_refused(old, old_space, new_space, tmp_path):
    old.reembed(tmp_path / "new.idx", new_space, modalities="text")
    with pytest.raises(StoreError, match="an index of another space"):
        old.reembed(tmp_path / "new.idx", old_space)


def test_another_space_is_refused_with_the_command_that_moves_the_index(old, new_space, other_folder, other_run):
    with pytest.raises(SpaceError) as caught:
        Index.open(old.location, new_space)
    move = f"to move the index: binder index reembed {old.location} --anchor {other_folder} --out NEW.idx"
    assert str(caught.value).endswith(move)
    for more in ({"anchor": str(other_folder)}, {"encoders": [str(other_run)]}):
        late = Index.open(old.location, load=lambda record, more=more: binder.index.load_space(record, **more))
        with pytest.raises(SpaceError) as caught:
            late.search(text="red")
        assert f"to move the index: binder index reembed {old.location} --anchor" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_advice_can_be_pasted():
    words = shlex.split(reembed.advice("/tmp/it's here.idx", "my anchor").partition(": ")[2])
    assert words == ["binder", "index", "reembed", "/tmp/it's here.idx", "--anchor", "my anchor", "--out", "NEW.idx"]


def test_names_are_met_once():
    seen, rng, met = reembed.Seen(), np.random.default_rng(0), set()
    for _ in range(50):
        names = [f"n{i}" for i in rng.integers(0, 400, rng.integers(0, 60))]
        want = []
        for name in names:
            want.append(name not in met)
            met.add(name)
        assert seen.new(names) == want


@pytest.fixture
def s3():
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    import boto3

    standin = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    standin.start()
    host, port = standin.get_host_and_port()
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="media")
    yield {"endpoint": url, "region": "us-east-1", "allow_http": "true", **keys}
    standin.stop()


def test_an_index_on_an_object_store_is_moved_within_it(s3, old_space, new_space, wanted, files):
    old = fill(Index.create("s3://media/old.idx", old_space, storage_options=s3), files)
    assert old.reembed("s3://media/new.idx", new_space, storage_options=s3).inserted == len(old)
    again = Index.open("s3://media/old.idx", storage_options=s3)
    assert again.reembed("s3://media/new.idx/", new_space, storage_options=s3).unchanged == 33
    assert_same(Index.open("s3://media/new.idx", storage_options=s3), wanted)
    with pytest.raises(StoreError, match="is the index to move itself"):
        again.reembed("s3://media/old.idx/", new_space, storage_options=s3)


# --- killed -----------------------------------------------------------------------------------------------------------

WORK = """
import sys, time
from binder.cli import progress
from binder.index import add
add.FIRST_ITEMS = add.MAX_ITEMS = 3
progress.ProgressBar.__call__ = lambda self, stage, done, total: print(f"{stage} {done}", flush=True)
from binder.cli.main import main
print("go", flush=True)
sys.exit(main())
"""


def command(toy_site, *arguments):
    """`binder ARGUMENTS` in a process of its own, with small commits, each of which it reports on stdout."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(toy_site), *sys.path]), BINDER_PLUGINS="toy")
    args = [sys.executable, "-c", WORK, *map(str, arguments)]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment_the_same_command_goes_on(old, wanted, toy_site, other_folder, other_run, tmp_path, seed):
    rng = np.random.default_rng(seed)
    before, new = snapshot(old.location), tmp_path / "new.idx"
    args = ("index", "reembed", old.location, "--anchor", other_folder, "--encoder", other_run, "--out", new)
    killed, rows = 0, 0
    for _ in range(2):
        process = command(toy_site, *args, "--workers", 0)
        for line in process.stdout:
            if line.startswith("moving") and rng.random() < 0.3:
                time.sleep(rng.uniform(0, 0.05))
                break
        process.kill()
        process.communicate()
        killed += process.returncode == -9
        if (new / "_binder.lance").is_dir():
            there = len(Index.open(new))
            assert there >= rows
            rows = there
    assert killed > 0
    assert rows > 0
    process = command(toy_site, *args, "--workers", 0)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[-1].endswith(f"; {len(old)} in {new}")
    assert_same(Index.open(new), wanted)
    assert snapshot(old.location) == before


def test_killed_while_the_new_index_is_created_it_is_created_again(old, new_space, tmp_path):
    (tmp_path / "new.idx" / "_binder.lance" / "data").mkdir(parents=True)  # before the first commit
    old.reembed(tmp_path / "new.idx", new_space, modalities="text")
    half = tmp_path / "half.idx"
    from binder.index.store import Store

    Store(half, None, create=True).set_note(reembed.ORIGIN, json.dumps({"location": old.location}))  # before the record
    old.reembed(half, new_space, modalities="text")
    assert len(Index.open(half)) == len(Index.open(tmp_path / "new.idx")) == 6


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_moves_an_index(binder, old, wanted, other_folder, other_run, tmp_path):
    new = tmp_path / "new.idx"
    args = ("index", "reembed", old.location, "--encoder", other_run, "--out", new, "--workers", 0)
    status, out, err = binder(*args)
    assert (status, out) == (0, f"{len(old)} rows added, 0 updated, 0 unchanged; {len(old)} in {new}\n"), err
    assert_same(Index.open(new), wanted)
    status, out, err = binder(*args, "--json")
    assert json.loads(out) == {"inserted": 0, "updated": 0, "unchanged": 33, "left": 0, "failed": [], "rows": len(old)}
    assert err == f"0 rows added, 0 updated, 33 unchanged; {len(old)} in {new}\n"


def test_the_command_lists_what_it_cannot_move(binder, old, other_folder, files, tmp_path):
    (files / "0.png").unlink()
    args = ("index", "reembed", old.location, "--anchor", other_folder, "--workers", 0)
    status, out, err = binder(*args, "--out", tmp_path / "new.idx", "--json")
    assert status == 0
    lines = err.splitlines()
    assert lines[0] == "cannot move 16 items:"
    assert lines[1] == f"  {files / '0.png'}: no such file"
    assert lines[11] == "  ... and 6 more"
    found = json.loads(out)
    assert (found["left"], len(found["failed"])) == (16, 16)
    assert found["failed"][0] == {"item": str(files / "0.png"), "reason": "no such file"}
    status, out, err = binder(*args, "--out", tmp_path / "only-toy.idx", "--in", "toy")
    assert (status, out) == (2, f"0 rows added, 0 updated, 0 unchanged; 0 in {tmp_path / 'only-toy.idx'}\n")
    error = one_line_error(binder(*args, "--out", tmp_path / "strict.idx", "--strict"))
    assert error.endswith("0.png: no such file")


def test_a_move_to_the_shipped_anchor(binder, toys, anchor_folder, tmp_path):
    rows = [{"image": str(toys / f"{i}.png"), "text": f"red {i}", "n": f"{i}"} for i in range(5)]
    old, new = tmp_path / "old.idx", tmp_path / "new.idx"
    assert binder("index", "create", old, "--anchor", anchor_folder)[0] == 0
    assert binder("index", "add", old, write_csv(tmp_path / "pairs.csv", rows), "--workers", 0)[0] == 0
    assert binder("index", "reembed", old, "--anchor", "mini", "--out", new, "--workers", 0)[0] == 0
    found = Index.open(new)
    assert (found.record.anchor, found.record.embed_dim, len(found)) == ("mini", 256, 10)
    status, out, _ = binder("search", new, f"image:{toys / '3.png'}", "-k", 1, "--in", "image", "--json")
    assert (status, json.loads(out)["metadata"], json.loads(out)["text"]) == (0, {"n": 3}, "red 3")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("{old}", "--out", "new.idx"), "give the anchor of the new space (--anchor)"),
        (("{old}", "--anchor", "{other}"), "missing option '--out'"),
        (("none.idx", "--anchor", "{other}", "--out", "new.idx"), "no index there"),
        (("{old}", "--anchor", "{other}", "--out", "{old}"), "is the index to move itself"),
        (("{old}", "--anchor", "{other}", "--out", "full"), "not empty, and not an index"),
        (("{old}", "--anchor", "{other}", "--out", "new.idx", "--in", "imge"), "holds no imge (did you mean 'image'?)"),
        (("{old}", "--anchor", "nowhere", "--out", "new.idx"), "nowhere"),
        (("{old}", "--encoder", "{run}", "--in", "text", "--out", "new.idx"), "toy, which is not among those to move"),
        (("{texts}", "--encoder", "{run}", "--out", "new.idx"), "toy, which {texts} does not hold; leave it out"),
        (("{old}", "--anchor", "{other}", "--encoder", "{old_run}", "--out", "new.idx"), "cannot be compared"),
    ],
)
def test_mistakes_are_one_line(binder, old, old_space, other_folder, other_run, run, tmp_path, monkeypatch, args, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    Index.create(tmp_path / "texts.idx", old_space).add(text="red")
    known = {"old": old.location, "other": other_folder, "run": other_run, "old_run": run, "texts": "texts.idx"}
    assert says.format(**known) in one_line_error(binder("index", "reembed", *(arg.format(**known) for arg in args)))
    assert not (tmp_path / "new.idx").exists()


def test_a_search_with_another_anchor_says_how_to_move_the_index(binder, old, other_folder):
    error = one_line_error(binder("search", old.location, "red", "--anchor", other_folder))
    assert f"to move the index: binder index reembed {old.location} --anchor" in error
