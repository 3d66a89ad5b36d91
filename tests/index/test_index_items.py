"""The index with items that it encodes: files, folders, manifests, texts, pieces of long items; what has changed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from support import centres, write_csv

import binder
from binder import Binder, ConfigError, Index, ItemError, ManifestError, PluginError, SpaceError, StoreError
from binder.index import add as adding
from binder.testing import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def space(run, anchor):
    return Binder(anchor).load(run)


@pytest.fixture
def index(tmp_path, space):
    return Index.create(tmp_path / "media.idx", space)


@pytest.fixture
def photos(toys, tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep er").mkdir(parents=True)
    for i in range(6):
        shutil.copy(toys / f"{i}.png", folder / ("deep er" if i % 2 else "") / f"{i}.png")
    (folder / "notes.xyz").write_text("of no modality")
    settle(folder)
    return folder


def settle(folder):
    """Make the files look as if they were written a while ago."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - 100, time.time() - 100))


def names(hits):
    return {hit.path.rsplit("/", 1)[-1] for hit in hits}


def test_a_folder_is_added_and_searched_by_text_and_picture(index, photos, space):
    assert index.add(image=photos).inserted == 6
    assert names(index.search(image=photos / "2.png", k=1)) == {"2.png"}
    hit = index.search(text="red", k=1)[0]
    z = space.image(photos / "2.png").cosine(space.text("red"))
    by_hand = {h.path: h.score for h in index.search(text="red")}
    assert by_hand[str(photos / "2.png")] == pytest.approx(float(z[0, 0]), abs=1e-5)
    assert hit.score == max(by_hand.values())
    sum_of_two = space.image(photos / "2.png") + space.image(photos / "4.png") - 0.5 * space.text("blue")
    assert names(index.search(sum_of_two, k=2)) <= {f"{i}.png" for i in range(6)}


def test_unchanged_files_are_neither_read_nor_encoded_again(index, photos, encoded, monkeypatch):
    index.add(image=photos)
    encoded.clear()
    monkeypatch.setattr(adding, "content_key", lambda item: pytest.fail("read"))
    done = index.add(image=photos)
    assert (done.unchanged, done.inserted, done.updated, encoded) == (6, 0, 0, [])


def test_a_touched_file_is_read_but_not_encoded_and_then_left_alone(index, photos, encoded, monkeypatch):
    index.add(image=photos)
    encoded.clear()
    os.utime(photos / "0.png", (time.time() - 50, time.time() - 50))
    assert index.add(image=photos).unchanged == 6
    monkeypatch.setattr(adding, "content_key", lambda item: pytest.fail("read"))
    assert index.add(image=photos).unchanged == 6
    assert encoded == []


def test_a_file_that_was_just_written_is_known_by_its_content_not_its_time(index, toys, tmp_path):
    path = tmp_path / "new.png"
    shutil.copy(toys / "0.png", path)
    index.add(image=path)
    stamp = path.stat()
    data = (toys / "3.png").read_bytes()
    path.write_bytes(data + b"\0" * (stamp.st_size - len(data)))  # as long as before,
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # at the same time
    assert index.add(image=path).updated == 1
    assert index.search(image=toys / "3.png", k=1)[0].score == pytest.approx(1, abs=1e-5)


def test_changed_new_and_vanished_files(index, photos, toys, encoded):
    index.add(image=photos)
    shutil.copy(toys / "7.png", photos / "0.png")
    shutil.copy(toys / "8.png", photos / "8.png")
    (photos / "2.png").unlink()
    encoded.clear()
    done = index.add(image=photos)
    assert (done.inserted, done.updated, done.unchanged) == (1, 1, 4)
    assert {path.name for path in encoded} == {"0.png", "8.png"}
    assert names(index.search(image=toys / "7.png", k=1)) == {"0.png"}
    assert index.verify() == []
    assert [problem.split(": ", 1)[1] for problem in index.verify(files=True)] == [f"{photos / '2.png'}: no such file"]
    assert index.delete(image=photos / "2.png") == 1
    assert index.verify(files=True) == []


def test_a_folder_deletes_all_below_it(index, photos):
    index.add(image=photos)
    assert index.delete(image=photos / "deep er") == 3
    assert names(index.search(text="red")) == {"0.png", "2.png", "4.png"}


def test_relative_paths_name_the_same_files_from_anywhere(index, photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert index.add(image="0.png").inserted == 1
    monkeypatch.chdir(photos.parent)
    assert index.add(image="photos/../photos/0.png").unchanged == 1
    assert index.search(text="red")[0].path == str(photos / "0.png")


@pytest.mark.parametrize(
    "name", ["it's.png", 'a "b".png', "line\nbreak.png", "größe ✓ 日本.png", "a;--`x`.png", "%_.png"]
)
def test_paths_with_any_character_are_added_found_and_deleted(index, toys, tmp_path, name):
    path = tmp_path / name
    shutil.copy(toys / "0.png", path)
    shutil.copy(toys / "1.png", tmp_path / "other.png")
    assert index.add(image=[path, tmp_path / "other.png"]).inserted == 2
    assert index.add(image=path).unchanged == 1
    assert index.search(image=path, k=1)[0].path == str(path)
    assert [hit.path for hit in index.similar(path)] == [str(tmp_path / "other.png")]
    assert index.delete(image=path) == 1
    assert len(index) == 1


def test_texts_are_their_own_names(index):
    texts = ["a red house", 'it\'s "raining"', "ein grünes Auto\nin zwei Zeilen"]
    assert index.add(text=texts).inserted == 3
    assert index.add(text=[*texts, "a new one"]).unchanged == 3
    hit = index.search(text=texts[1], k=1)[0]
    assert (hit.item, hit.path, hit.text) == (texts[1], None, texts[1])
    assert index.search(text="raining", mode="text")[0].item == texts[1]
    assert index.delete(text=texts[1]) == 1


def test_a_manifest_brings_every_modality_its_words_and_its_metadata(index, toys, tmp_path):
    rows = [
        {
            "image": str(toys / f"{i}.png"),
            "text": f"caption number {i}",
            "license": "cc" if i % 2 else "by",
            "n": f"{i}",
        }
        for i in range(6)
    ]
    manifest = write_csv(tmp_path / "pairs.csv", rows)
    assert index.add(manifest).inserted == 12
    assert index.add(str(manifest)).unchanged == 12
    found = index.search(text="number 4", mode="text", modalities="image", k=1)[0]
    assert (found.path, found.text, found.metadata) == (
        str(toys / "4.png"),
        "caption number 4",
        {"license": "by", "n": 4},
    )
    assert names(index.search(text="x", modalities="image", where="license = 'cc' AND n < 4")) == {"1.png", "3.png"}
    assert index.add(image=manifest).unchanged == 6


def test_a_picture_that_a_manifest_lists_with_several_captions_is_one_row(index, toys, tmp_path):
    rows = [{"image": str(toys / "0.png"), "text": text} for text in ("a dog", "a black dog", "a dog")]
    index.add(image=write_csv(tmp_path / "pairs.csv", rows))
    assert len(index) == 1
    assert index.search(text="black", mode="text")[0].text == "a dog\na black dog"


def test_new_metadata_of_unchanged_files_is_taken_without_encoding(index, photos, encoded):
    paths = sorted(photos.glob("*.png"))
    index.add(image=paths, metadata={"n": range(3), "who": "me"})
    encoded.clear()
    assert index.add(image=paths, metadata={"n": [0, 1, 7]}).updated == 1
    assert encoded == []
    hit = index.search(image=paths[2], k=1, where="n = 7")[0]
    assert (hit.path, hit.metadata, hit.score) == (str(paths[2]), {"n": 7, "who": "me"}, pytest.approx(1, abs=1e-5))


def test_cells_that_look_like_numbers_are_numbers_only_where_the_whole_column_is(index, toys, tmp_path):
    rows = [
        {"image": str(toys / f"{i}.png"), "zip": f"0{i}", "n": f"{i}.5", "mixed": "7" if i else "x"} for i in range(3)
    ]
    rows[1]["n"] = ""
    index.add(write_csv(tmp_path / "pairs.csv", rows))
    assert index.info()["modalities"]["image"]["metadata"] == {"zip": "text", "n": "number", "mixed": "text"}
    assert names(index.search(text="x", where="n IS NULL")) == {"1.png"}


def test_unreadable_items_are_listed_and_strict_stops(index, photos):
    (photos / "4.png").write_bytes(b"broken")
    done = index.add(image=[photos, photos / "none.png"])
    assert done.inserted == 5
    assert [item.rsplit("/", 1)[-1] for item, _ in done.failed] == ["none.png", "4.png"]
    assert done.failed[0][1] == "no such file"
    with pytest.raises(ItemError, match=r"4\.png"):
        index.add(image=photos, strict=True)
    assert index.add(image=photos).unchanged == 5


def test_arrays_are_items_too_and_take_names(index):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=8).astype(np.float32) for _ in range(3)]
    assert index.add(toy=arrays).inserted == 3
    assert index.add(toy=arrays).unchanged == 3
    assert index.add(toy=arrays, names=["a", "b", "c"]).inserted == 3
    assert {hit.item for hit in index.search(toy=arrays[1], k=2)} > {"b"}


def write_long(path, seconds, seed=0):
    rng = np.random.default_rng(seed)
    np.save(path, centres()[rng.integers(0, 10, seconds)] + 0.1 * rng.normal(size=(seconds, 8)).astype(np.float32))
    return path


def test_pieces_of_long_items_are_hits_with_their_time(index, tmp_path, space):
    long = write_long(tmp_path / "long.npy", 9)
    assert index.add(toy=long, every_s=2.0).inserted == 5
    piece = np.load(long)[4:6]
    hit = index.search(toy=piece, k=1)[0]
    assert (hit.start_s, hit.end_s, hit.path) == (4, 6, str(long))
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert hit.key.endswith("long.npy#t=4,6")
    assert [h.start_s for h in index.search(toy=piece, where="start_s >= 8")] == [8]


def test_hits_of_one_item_can_be_grouped(index, tmp_path):
    for i in range(4):
        index.add(toy=write_long(tmp_path / f"{i}.npy", 10, i), every_s=1.0)
    query = np.load(tmp_path / "2.npy")[3]
    hits = index.search(toy=query, k=3, per_item=True)
    assert [len(hit.others) < 10 for hit in hits] == [True] * 3
    assert len({hit.path for hit in hits}) == 3
    assert (hits[0].path, hits[0].start_s) == (str(tmp_path / "2.npy"), 3)
    assert all(other.path == hits[0].path and other.score <= hits[0].score for other in hits[0].others)


def test_a_shorter_file_leaves_no_old_pieces_and_another_length_makes_new_ones(index, tmp_path):
    long = write_long(tmp_path / "long.npy", 10)
    other = write_long(tmp_path / "other.npy", 4, 1)
    index.add(toy=[long, other], every_s=2.0)
    assert len(index) == 7
    write_long(long, 4)
    index.add(toy=[long, other], every_s=2.0)
    assert len(index) == 4
    assert index.add(toy=[long, other], every_s=2.0).unchanged == 2
    index.add(toy=[long, other], every_s=1.0)
    assert len(index) == 8
    index.add(toy=[long, other])
    assert sorted(hit.key for hit in index.search(toy=np.load(long))) == [str(long), str(other)]
    assert index.delete(toy=long) == 1


def test_what_has_no_time_axis_is_added_whole_whatever_the_length_of_pieces(index, photos, encoded):
    index.add(image=photos)
    assert index.add(image=photos, every_s=2.0).unchanged == 6


def test_another_encoder_of_the_modality_encodes_its_items_again(index, toys, tmp_path, anchor, anchor_folder):
    index.add(toy=toys / "0.npy", image=toys / "0.png")
    binder.align("toy", toys / "pairs.csv", anchor=str(anchor_folder), to="text", epochs=1, out=tmp_path / "second")
    again = Index.open(index.location, Binder(anchor).load(tmp_path / "second"))
    done = again.add(toy=toys / "0.npy", image=toys / "0.png")
    assert (done.updated, done.unchanged) == (1, 1)
    assert Index.open(index.location).search(toy=toys / "0.npy", k=1)[0].score == pytest.approx(1, abs=1e-5)


def test_an_index_finds_its_anchor_and_its_encoders_itself(index, toys):
    index.add(toy=toys / "0.npy", text=["red"])
    again = Index.open(index.location)
    assert again.search(toy=toys / "0.npy", k=1)[0].path == str(toys / "0.npy")
    assert again.add(toy=toys / "0.npy").unchanged == 1


def test_upsert_encodes_unchanged_files_again(index, photos, encoded):
    index.add(image=photos)
    encoded.clear()
    assert index.upsert(image=photos).updated == 6
    assert len(encoded) == 6


def test_what_was_reported_is_there_when_the_next_item_breaks_the_run(index, toys, monkeypatch):
    monkeypatch.setattr(adding, "FIRST_ITEMS", 4)
    monkeypatch.setattr(adding, "MAX_ITEMS", 4)

    def stop(stage, done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(image=[toys / f"{i}.png" for i in range(20)], progress=stop)
    again = Index.open(index.location)
    assert len(again) == 8
    assert (again.add(image=[toys / f"{i}.png" for i in range(20)]).inserted, len(again)) == (12, 20)


def test_another_space_is_refused_when_it_is_opened_and_when_it_is_asked(index, tmp_path, toys):
    other = Binder(str(write_tiny_checkpoint(tmp_path / "other", seed=1)))
    with pytest.raises(SpaceError, match="cannot be compared"):
        Index.open(index.location, other)
    with pytest.raises(SpaceError, match="do not fit"):
        index.search(other.text("red"))
    with pytest.raises(SpaceError, match="do not fit"):
        index.add(text=other.text("red"))


def test_calls_that_do_not_fit_together_are_refused(index, toys, space, tmp_path):
    index.add(text="red")
    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong, says in [
        (lambda: index.search(), "a vector, or one item"),
        (lambda: index.search(space.text("x"), text="y"), "a vector, or one item"),
        (lambda: index.search(text="x", image=toys / "0.png"), "exactly one modality"),
        (lambda: index.search(text="x", k=0), "k of at least 1"),
        (lambda: index.search(text="x", mode="words"), "mode vector, text or hybrid"),
        (lambda: index.search(image=toys / "0.png", mode="text"), "looks up words"),
        (lambda: index.add(text="a", image=toys / "0.png", metadata={"n": 1}), "exactly one modality"),
        (lambda: index.add(text=["a", "b"], metadata=[{"n": 1}]), "1 rows for 2 items"),
        (lambda: index.add(text=["a", "b"], names=["x"]), "1 names for 2 items"),
        (lambda: index.add(text=space.image(toys / "0.png")), "vectors of image, not of text"),
        (lambda: index.delete(), "needs a condition"),
    ]:
        with pytest.raises(ConfigError, match=says):
            wrong()
    assert [len(hits) for hits in index.search(space.text(["x", "y"]))] == [1, 1]
    with pytest.raises(PluginError, match="did you mean 'image'"):
        index.add(imag=toys / "0.png")
    with pytest.raises(ManifestError, match="nothing in it"):
        index.add(image=empty)
    with pytest.raises(StoreError, match="holds no image"):
        index.search(text="x", modalities="image")
    with pytest.raises(StoreError, match="not in the index"):
        index.similar("nobody")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"a.b": 1}, "rename it"),
        ({"_x": 1}, "rename it"),
        ({"item": 1}, "its own column"),
        ({"vector": 1}, "its own column"),
        ({"a": 1, "A": 2}, "capital letters"),
        ({"a": [[1, 2], [3]]}, "expected text, numbers"),
        ({"a": [1, "x"]}, "several kinds"),
        ({"a": [2**60, 1]}, r"2\^53"),
        ({"a": [1, 2, 3]}, "3 rows for 2 items"),
        (7, "not a table"),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused_before_anything_is_written(index, metadata, says):
    with pytest.raises(ConfigError, match=says):
        index.add(text=["a", "b"], metadata=metadata)
    assert len(index) == 0


def test_a_column_keeps_its_kind(index):
    index.add(text="a", metadata={"n": 1})
    with pytest.raises(StoreError, match="column 'n' of text holds double, not string"):
        index.add(text="b", metadata={"n": "x"})
    with pytest.raises(StoreError, match="only in capital letters"):
        index.add(text="b", metadata={"N": 1})
    assert len(index) == 1


@pytest.mark.skipif(
    "BINDER_DATA" not in os.environ, reason="BINDER_DATA is not set: real recordings, docs/REAL_DATA.md"
)
def test_real_photographs_are_found_again_by_themselves(tmp_path):
    paths = sorted(Path(os.environ["BINDER_DATA"], "flickr8k_1k", "images").glob("*.jpg"))[:40]
    index = Index.create(tmp_path / "photos.idx", Binder("mini"))
    assert index.add(image=paths).inserted == len(paths) == 40
    for path in paths[::8]:
        assert index.search(image=path, k=1)[0].path == str(path)
    assert index.verify(files=True) == []
