"""Checking pairs: what is found in a manifest with every kind of fault, and what is left of it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import NAMES, distribution, installed, write_csv, write_toys

import binder
from binder import ConfigError, ManifestError, PluginError
from binder.data import manifest
from binder.pairs import contents
from binder.pairs.agreement import agreement, cross_fit, wrong_share
from binder.pairs.cleaned import write_rows
from binder.registry import registry
from binder.report.pairs import as_dict, write_page

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def check(anchor_folder):
    def call(pairs, **options):
        return binder.check_pairs(pairs, **{"anchor": str(anchor_folder), **options})

    return call


def exchanged(rows, share, column="text", seed=0) -> set[int]:
    """Exchange a column between a share of the rows; returns the positions that now differ."""
    chosen = np.random.default_rng(seed).choice(len(rows), round(share * len(rows)), replace=False)
    before = [row[column] for row in rows]
    for i, j in zip(chosen, np.roll(chosen, 1), strict=True):
        rows[i][column] = before[j]
    return {i for i in range(len(rows)) if rows[i][column] != before[i]}


def numbered(report, where):
    """file:row -> position."""
    return int(where.rpartition(":")[2]) - 2


def test_clean_pairs_are_found_clean(check, toys):
    report = check(toys / "pairs.csv")
    assert report.modality == "toy"
    assert report.columns == {"image": 120, "text": 120, "toy": 120}
    assert report.distinct == {"image": 120, "text": 10, "toy": 120}
    assert report.most_repeated["text"][0][1] == 12 and report.most_repeated["toy"] == []
    assert not (report.unreadable or report.repeated_rows or report.copies or report.leaks or report.dropped)
    assert report.wrong_share == 0
    assert len(report.kept) == 120
    assert min(report.agreement.values()) > 0.3


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_wrong_pairs_agree_least_and_their_share_is_estimated(check, tmp_path, share):
    rows = write_toys(tmp_path, 200, images=False)
    wrong = exchanged(rows, share)
    report = check(write_csv(tmp_path / "pairs.csv", rows))
    order = sorted(report.agreement, key=report.agreement.get)
    assert len(wrong & set(order[: len(wrong)])) > 0.85 * len(wrong)
    assert report.wrong_share == pytest.approx(len(wrong) / 200, abs=0.12)
    assert "cross-fitting" in report.judged_by
    assert not report.dropped


def test_keep_drops_the_least_agreeing_share_and_auto_as_many_as_are_wrong(check, tmp_path):
    rows = write_toys(tmp_path, 200, images=False)
    wrong = exchanged(rows, 0.3)
    pairs = write_csv(tmp_path / "pairs.csv", rows)
    assert len(check(pairs, keep=0.7).kept) == 140
    assert len(check(pairs, keep=1.0).kept) == 200
    auto = check(pairs, keep="auto")
    assert len(wrong - set(auto.dropped)) <= 0.15 * len(wrong)
    assert all(re.fullmatch(r"agrees least: -?\d\.\d\d", why) for why in auto.dropped.values())


def test_an_aligned_encoder_judges_as_well_and_sees_all_wrong_pairs(check, run, tmp_path):
    rows = write_toys(tmp_path, 120, images=False)
    wrong = exchanged(rows, 0.3)
    report = check(write_csv(tmp_path / "pairs.csv", rows), encoder=run, anchor=None)
    assert report.judged_by == "the aligned encoder"
    order = sorted(report.agreement, key=report.agreement.get)
    assert set(order[: len(wrong)]) == wrong


def test_pictures_and_texts_are_judged_by_the_anchor_itself(check, tmp_path):
    rows = [{"image": row["image"], "text": row["text"]} for row in write_toys(tmp_path, 60)]
    report = check(write_csv(tmp_path / "pairs.csv", rows))
    assert (report.modality, report.judged_by) == ("image", "the anchor")
    assert len(report.agreement) == 60


def test_every_fault_is_found_where_it_is(check, tmp_path):
    rows = write_toys(tmp_path, 60)
    for i, row in enumerate(rows):
        row["split"] = "val" if i >= 50 else "train"
    (tmp_path / "3.npy").unlink()
    (tmp_path / "5.npy").write_bytes(b"broken")
    (tmp_path / "7.png").write_bytes(b"broken")
    shutil.copy(tmp_path / "8.npy", tmp_path / "copy of 8.npy")
    rows[52]["toy"] = "copy of 8.npy"  # held out, and in training
    rows[12] = {**rows[11], "note": "the same again"}  # other cells, the same content
    rows[20]["toy"] = ""
    rows[21]["text"] = ""
    rows[22]["text"] = "a text that goes on and on and on, longer than the sixteen tokens that the anchor can read"
    report = check(write_csv(tmp_path / "pairs.csv", rows))
    pairs = tmp_path / "pairs.csv"
    assert sorted((numbered(report, w), why) for w, why in report.unreadable) == [
        (3, f"{tmp_path / '3.npy'}: no such file"),
        (5, next(why for w, why in report.unreadable if w == f"{pairs}:7")),
        (7, next(why for w, why in report.unreadable if w == f"{pairs}:9")),
    ]
    assert report.repeated_rows == [(12, 11)]
    assert report.copies == {"toy": [[str(tmp_path / "8.npy"), str(tmp_path / "copy of 8.npy")]]}
    assert (report.split, report.leaks) == ("split", [("toy", 52, 8)])
    assert report.columns == {"image": 60, "text": 59, "toy": 59}
    assert report.cut == [rows[22]["text"]]
    assert report.dropped == {
        3: "toy cannot be read",
        5: "toy cannot be read",
        7: "image cannot be read",
        12: f"repeats {pairs}:13",
        52: f"its toy is also in training: {pairs}:10",
    }
    assert len(report.kept) == 55


def test_nearly_the_same_pictures_are_found_with_their_rows(check, tmp_path):
    rows = write_toys(tmp_path, 40)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "4.png")
    noise[0, 0] = 255 - noise[0, 0]
    Image.fromarray(noise).save(tmp_path / "31.png")
    report = check(write_csv(tmp_path / "pairs.csv", rows), cosine=0.9999)
    pairs = tmp_path / "pairs.csv"
    assert (f"{pairs}:6", f"{pairs}:33") in [(a, b) for a, b, _ in report.near]
    assert report.n_near == len(report.near)
    assert not check(pairs, cosine=1.0).near
    with pytest.warns(FutureWarning, match=r"check_pairs\(near=\) is now cosine="):
        assert check(pairs, near=0.9999).near == report.near


def test_unknown_words_are_listed(tmp_path, check):
    from binder.testing import write_tiny_checkpoint

    folder = write_tiny_checkpoint(tmp_path / "small")
    (folder / "card.json").write_text(json.dumps({"words": ["red", "green"]}))
    rows = write_toys(tmp_path, 30, images=False)
    assert check(write_csv(tmp_path / "p.csv", rows), anchor=str(folder)).unknown_words == sorted(NAMES[2:])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_cleaned_manifest_is_right_from_its_new_place(check, tmp_path, suffix):
    rows = write_toys(tmp_path / "data", 40)
    rows[2]["text"] = 'a "quoted", text\nof two lines'
    for i, row in enumerate(rows):
        row["speaker"] = f"s{i}"
    (tmp_path / "data" / "3.npy").unlink()
    report = check(write_csv(tmp_path / "data" / "pairs.csv", rows))
    out = tmp_path / "elsewhere" / "deep" / f"clean{suffix}"
    write_rows(out, report.kept)
    again = manifest.read(out, registry().modalities())
    assert len(again) == 39
    for old, new in zip(report.kept, again, strict=True):
        assert old.items.keys() == new.items.keys() and dict(old.meta) == dict(new.meta)
        assert new.items["text"] == old.items["text"]
        assert new.items["toy"].resolve() == old.items["toy"].resolve()
        assert not Path(str(new.items["toy"])).is_absolute() or new.items["toy"].is_file()
    assert str(tmp_path).encode() not in out.read_bytes()
    assert check(out).dropped == {}


def test_a_cleaned_manifest_needs_a_suffix_it_knows_and_items_in_files(check, tmp_path):
    rows = write_toys(tmp_path, 30, images=False)
    arrays = [{"toy": np.load(tmp_path / row["toy"]), "text": row["text"]} for row in rows]
    report = check(arrays)
    assert len(report.kept) == 30
    with pytest.raises(ManifestError, match="an item held in memory cannot be written to a manifest"):
        write_rows(tmp_path / "out.csv", report.kept)
    with pytest.raises(ManifestError, match=r"ends in one of \.csv, \.jsonl"):
        write_rows(tmp_path / "out.txt", report.kept)
    assert not list(tmp_path.glob("*out*"))


def test_what_keep_and_columns_may_be(check, tmp_path, toys, toy_site):
    for keep in (0, 1.5, -1, "some"):
        with pytest.raises(ConfigError, match=r"expected a share above 0 and up to 1 such as 0\.7, or auto"):
            check(toys / "pairs.csv", keep=keep)
    with pytest.raises(ManifestError, match=r"no column 'spilt'"):
        check(toys / "pairs.csv", split="spilt")
    with pytest.raises(PluginError, match="unknown modality 'tyo'"):
        check(toys / "pairs.csv", modality="tyo")
    few = write_csv(tmp_path / "few.csv", write_toys(tmp_path, 10, images=False))
    assert "at least 20 pairs with different targets" in check(few).judged_by
    with pytest.raises(ManifestError, match="nothing can be kept by agreement"):
        check(few, keep=0.5)
    same = [{**row, "text": "dog"} for row in write_toys(tmp_path, 30, images=False)]
    assert check(write_csv(tmp_path / "same.csv", same)).wrong_share is None
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match="no column"):
        check(tmp_path / "none.csv")


def test_where_two_modalities_could_be_meant_one_must_be_named(check, tmp_path, toy_site):
    distribution(tmp_path / "site", "binder-gesture", "binder_gesture", key="gesture")
    with installed(toy_site, tmp_path / "site", only="toy,gesture"):
        rows = [{**row, "gesture": row["toy"]} for row in write_toys(tmp_path, 40, images=False)]
        pairs = write_csv(tmp_path / "pairs.csv", rows)
        with pytest.raises(ManifestError, match="say with --modality which one to align"):
            check(pairs)
        report = check(pairs, modality="toy")
        assert report.columns == {"text": 40, "toy": 40, "gesture": 40}
        assert report.wrong_share is not None


def test_the_page_and_the_json_say_what_was_found(check, tmp_path):
    rows = write_toys(tmp_path, 60)
    exchanged(rows, 0.3, "image")
    rows[4]["text"] = "<script>alert(1)</script>"
    (tmp_path / "5.npy").write_bytes(b"broken")
    report = check(write_csv(tmp_path / "pairs.csv", rows), keep=0.7)
    write_page(tmp_path / "page.html", report, registry())
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "pairs.csv:7: 5.npy: not a NumPy file" in page
    assert str(tmp_path) not in page
    assert 0 < page.count("<img") <= 16
    assert page.count("<rect") == 40
    found = json.loads(json.dumps(as_dict(report)))
    assert found["kept"] == len(report.kept)
    assert found["unreadable"][0]["where"] == f"{tmp_path / 'pairs.csv'}:7"
    assert len(found["dropped"]) == 60 - found["kept"]
    assert len(found["agreement"]) == 59


def test_the_command_line_checks_cleans_and_draws(tmp_path, anchor_folder, binder):
    rows = write_toys(tmp_path, 60, images=False)
    exchanged(rows, 0.3)
    (tmp_path / "5.npy").write_bytes(b"broken")
    pairs = write_csv(tmp_path / "pairs.csv", rows)
    common = ["pairs", "check", pairs, "--anchor", anchor_folder, "--workers", "0"]
    pages = ["--out", tmp_path / "clean.csv", "--html", tmp_path / "page.html"]
    status, out, err = binder(*common, "--keep", "0.5", *pages)
    assert status == 0, err
    assert "1 unreadable items:" in out and f"{pairs}:7" in out
    assert "of the pairs are wrong, judged by cross-fitting" in out
    assert "30 of 60 rows are kept, 30 dropped" in out
    assert f"wrote {tmp_path / 'clean.csv'}" in err and (tmp_path / "page.html").is_file()
    with (tmp_path / "clean.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 30
    status, out, err = binder(*common, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["rows"], found["kept"]) == (60, 59)
    for wrong in ("lots", "0"):
        status, _, err = binder(*common, "--keep", wrong)
        assert status == 2
        assert "0.7, or auto" in err


def test_predictions_are_of_what_was_held_out():
    """A target that only its own row could predict is not predicted, unless a copy of that row is in another group."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 40)), rng.normal(size=(100, 8))
    assert abs(agreement(cross_fit(x, y), y).mean()) < 0.2
    twice = cross_fit(np.repeat(x, 2, 0), np.repeat(y, 2, 0))
    assert agreement(twice, np.repeat(y, 2, 0)).mean() > 0.25
    together = cross_fit(np.repeat(x, 2, 0), np.repeat(y, 2, 0), groups=np.repeat(np.arange(100), 2).tolist())
    assert abs(agreement(together, np.repeat(y, 2, 0)).mean()) < 0.2


def test_agreement_is_a_cosine_about_the_means_and_right_pairs_have_no_wrong_share():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(300, 16)) + 5
    assert agreement(y, y).min() > 0.999
    assert abs(agreement(y, y[rng.permutation(300)]).mean()) < 0.1
    assert wrong_share(y, y) == 0
    assert wrong_share(y, y[rng.permutation(300)]) == pytest.approx(1, abs=0.15)
    assert np.isfinite(agreement(np.ones((5, 3)), y[:5, :3])).all()


def test_near_duplicates_equal_their_twin_across_blocks(monkeypatch):
    monkeypatch.setattr(contents, "CHUNK", 7)
    z = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    z[30] = z[3] + 0.01
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    count, found = contents.near_duplicates(z, 0.8)
    expected = [(i, j) for i in range(40) for j in range(i + 1, 40) if z[i] @ z[j] > 0.8]
    assert count == len(expected)
    assert sorted((i, j) for i, j, _ in found) == expected
    assert found[0][:2] == (3, 30)
    monkeypatch.setattr(contents, "MAX_NEAR", 2)
    count, found = contents.near_duplicates(z, 0.5)
    assert count > len(found) == 2


@pytest.mark.skipif("BINDER_DATA" not in os.environ, reason="BINDER_DATA names no folder of real data")
def test_on_real_recordings_wrong_pairs_are_found():
    pytest.importorskip("binder_audio")
    folder = Path(os.environ["BINDER_DATA"]) / "fsdd"
    with installed(only="audio"), (folder / "labels.csv").open(encoding="utf-8") as file:
        chosen = [row for row in csv.DictReader(file) if row["take"] in "0123"]
        rows = [{"audio": str(folder / r["audio"]), "text": f"the digit {r['label']}"} for r in chosen]
        wrong = exchanged(rows, 0.3)
        report = binder.check_pairs(rows, anchor="mini", keep="auto")
    assert report.wrong_share == pytest.approx(len(wrong) / len(rows), abs=0.08)
    assert len(wrong - set(report.dropped)) < 0.2 * len(wrong)
