"""The page of a run: everything in it, nothing fetched, nothing unescaped, and never a reason to lose the run."""

from __future__ import annotations

import itertools
import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from binder_toy import TOY
from PIL import Image
from support import FAST, write_csv, write_toys

import binder
from binder import Modality
from binder.artifact import run_folder
from binder.data.columns import Side
from binder.evaluation.confusions import confusions, weakest
from binder.registry import Registry
from binder.report import page
from binder.report import run as report

pytestmark = pytest.mark.usefixtures("toy")
VOID = {"meta", "img"}


class Checker(HTMLParser):
    """Every element closed, every address inside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "poster"):
                assert value.startswith("data:"), f"{tag} fetches {value}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data.replace("\N{THIN SPACE}", " ")


def checked(path: Path) -> Checker:
    checker = Checker()
    source = path.read_text(encoding="utf-8")
    checker.feed(source)
    assert not checker.open
    assert "url(" not in source and "@import" not in source and "<script" not in source
    return checker


@pytest.fixture
def align(tmp_path, toys, anchor_folder):
    def call(pairs=toys / "pairs.csv", **options):
        defaults = {"anchor": str(anchor_folder), "to": "text", "out": tmp_path / "run", **FAST}
        return binder.align("toy", pairs, **{**defaults, **options})

    return call


def with_hooks(monkeypatch, **changes) -> None:
    """The toy with another preview or another media type."""
    changed = Modality(**{**TOY.__dict__, **changes})
    get = Registry.get
    monkeypatch.setattr(Registry, "get", lambda self, name: changed if name == "toy" else get(self, name))


def picture(item) -> Image.Image:
    x = np.load(item)
    return Image.fromarray(np.uint8(np.kron(np.clip(x * 40 + 128, 0, 255).reshape(2, 4), np.ones((100, 200)))))


def test_a_run_leaves_a_page_with_its_result_curves_and_configuration(align, tmp_path):
    result = align()
    found = checked(tmp_path / "run" / "report.html")
    assert "Toy aligned to text" in found.text
    assert found.text.count("100.0 %") > 3
    assert "finds its own text first" in found.text
    assert found.seen.count("polyline") == 2  # loss and R@1: R@10 among so few targets is no result
    assert (tmp_path / "run" / "config.toml").read_text() in found.text
    ridge = next(b for b in result.card.metrics["baselines"] if b["name"] == "ridge")
    assert f"{100 * ridge['retrieval'][0]['r1']:.1f} %" in found.text
    assert "0 skipped" not in found.text and "none skipped" in found.text


def test_mistakes_and_weak_pairs_are_shown_with_previews_and_players_within_bounds(align, tmp_path, monkeypatch):
    with_hooks(monkeypatch, preview=picture, media="sound/x-toy")
    rows = write_toys(tmp_path / "t", 200)
    align(write_csv(tmp_path / "t" / "pairs.csv", rows), to="image", epochs=1, sets=["train.val_fraction=0.5"])
    found = checked(tmp_path / "run" / "report.html")
    n_previews = found.seen.count("img")
    assert 12 < n_previews <= 20
    assert found.seen.count("sound") == report.MISTAKES + report.WEAK  # the player is named as the MIME type says
    assert "found instead: 0." in found.text
    assert len(re.findall(r"\d+\.npy\s+pairs\.csv:\d+", found.text)) == report.MISTAKES + report.WEAK
    assert (tmp_path / "run" / "report.html").stat().st_size < 2_000_000


def test_every_value_is_escaped(align, tmp_path):
    rows = write_toys(tmp_path / "<b>t", 60, images=False)
    for i, row in enumerate(rows):
        row["text"] = f"<script>alert({i % 7})</script> & \"quotes\" 'too' {row['text']}"
    (tmp_path / "<b>t" / "3.npy").write_bytes(b"broken")
    pairs = write_csv(tmp_path / "<b>t" / "<i>.csv", rows)
    align(pairs, epochs=1, sets=["train.val_fraction=0.5"])
    found = checked(tmp_path / "run" / "report.html")  # says that there is no script
    assert "<script>alert(" in found.text
    assert "<i>.csv:5" in found.text
    assert str(tmp_path) not in found.text  # nobody learns where the author keeps it
    assert found.seen.count("i") == len(run_folder.read_card(tmp_path / "run").metrics["retrieval"])  # the bars


def broken(item):
    raise ValueError("no picture today")


def test_an_item_that_cannot_be_shown_is_left_out(align, tmp_path, monkeypatch):
    with_hooks(monkeypatch, preview=broken)
    align(to="image", epochs=1)
    found = checked(tmp_path / "run" / "report.html")
    assert 0 < found.seen.count("img") <= 12  # the pictures only


def test_a_page_that_cannot_be_drawn_loses_no_run(align, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(report, "write", broken)
    with caplog.at_level(logging.WARNING):
        result = align()
    assert (tmp_path / "run" / "card.json").is_file()
    assert result.card.metrics["retrieval"]
    assert any("report.html: could not be drawn: " in message for message in caplog.messages)
    assert not (tmp_path / "run" / "report.html").exists()


def test_without_held_out_rows_the_page_says_so(align, tmp_path):
    align(sets=["train.val_fraction=0"], epochs=2)
    assert "No row was held out" in checked(tmp_path / "run" / "report.html").text


def test_what_was_skipped_is_counted_by_reason_and_what_was_assumed_is_named(align, tmp_path):
    rows = write_toys(tmp_path / "t", 80, images=False)
    for i in range(40):
        (tmp_path / "t" / f"{i}.npy").write_bytes(b"broken %d" % i)
    align(write_csv(tmp_path / "t" / "pairs.csv", rows), epochs=1, sets=["encoder.width=8"])
    text = checked(tmp_path / "run" / "report.html").text
    assert re.search(r"40 × .*not a NumPy file", text)
    assert text.count("pairs.csv:") >= report.SKIPPED and "... and 10 more" in text
    assert str(tmp_path) not in text
    assert re.search(r"What was assumed.*width 8", text, re.DOTALL)


def test_the_same_run_twice_gives_the_same_page_but_for_the_time_of_day(align, tmp_path):
    pages = []
    for name in ("a", "b"):
        align(out=tmp_path / name)
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", (tmp_path / name / "report.html").read_text()))
    assert pages[0] == pages[1]


def unit(x) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_confusions_count_the_same_mistake_and_come_most_frequent_first():
    target = Side(unit([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([0, 0, 1, 1, 2, 0]))
    own = unit([[1, 0.1, 0], [0.1, 1, 0], [0.9, 0.5, 0], [1, 0.2, 0], [0, 0.9, 0.5], [0.2, 1, 0]])
    mistakes = confusions(Side(own, np.arange(6)), target)
    assert [(m.times, m.query, m.right, m.found) for m in mistakes] == [(2, 1, 0, 2), (2, 3, 2, 0), (1, 4, 4, 2)]
    first = mistakes[0]
    assert first.found_cosine > first.right_cosine
    assert confusions(Side(target.vectors, np.arange(3)), Side(target.vectors, np.arange(3))) == []


def test_a_query_with_several_right_targets_is_mistaken_only_where_all_come_later():
    target = Side(unit(np.eye(3)), np.array([0, 1, 2]))
    own = Side(unit([[0.1, 1, 0], [0, 0.2, 1]]), np.array([0, 0, 1]))  # the first stands with targets 0 and 1
    assert confusions(own, target) == []


def test_the_weakest_pairs_come_first_each_once_and_rows_without_both_are_left_out():
    own = Side(unit([[1, 0], [0, 1]]), np.array([0, 1, 0, -1, 1]))
    target = Side(unit([[1, 0], [1, 1]]), np.array([0, 0, 0, 1, 1]))
    found = weakest(own, target)
    assert [pair.row for pair in found] == [1, 4, 0]
    assert [pair.cosine for pair in found] == pytest.approx([0, 0.5**0.5, 1])


@pytest.mark.parametrize(
    "heights", [[], [50.0], [50.0, 50.0], [0.0, 0.0, 0.0], [190.0, 189.0, 100.0, 0.0], [3.0, 90.0]]
)
def test_labels_are_moved_apart_and_stay_in_their_box(heights):
    placed = report._spread(heights)
    assert all(0 <= y <= report.HEIGHT for y in placed)
    ordered = sorted(placed)
    assert all(b - a >= 14 for a, b in itertools.pairwise(ordered))
    assert np.argsort(placed, kind="stable").tolist() == np.argsort(heights, kind="stable").tolist() or len(
        set(heights)
    ) < len(heights)


def test_a_thumbnail_is_bounded_and_the_smaller_of_its_formats():
    flat, noise = Image.new("RGB", (900, 300), "white"), np.random.default_rng(0).integers(0, 255, (300, 900, 3))
    assert page.thumbnail(flat).startswith("data:image/png")
    assert page.thumbnail(Image.fromarray(noise.astype(np.uint8))).startswith("data:image/jpeg")
    assert page.thumbnail(Image.new("L", (3000, 10))).startswith("data:image/")
    assert len(page.thumbnail(Image.fromarray(noise.astype(np.uint8)))) < 60_000


@pytest.mark.parametrize(
    ("media", "name", "size", "plays"),
    [
        ("audio/wav", "a.wav", 100, "data:audio/"),
        ("audio/wav", "a.mp3", 100, "data:audio/mpeg"),
        ("audio/wav", "a.xyz", 100, "data:audio/wav"),
        ("video/mp4", "a.mp4", 100, "data:video/mp4"),
        ("audio/wav", "a.wav", page.MAX_PLAYED_BYTES + 1, None),
        ("image/png", "a.png", 100, None),
        ("text/csv", "a.csv", 100, None),
        ("<b>/x", "a.b", 100, None),
        (None, "a.b", 100, None),
    ],
)
def test_what_a_page_can_play(tmp_path, media, name, size, plays):
    (tmp_path / name).write_bytes(bytes(size))
    kind = Modality("thing", frozenset(), TOY.config, TOY.build, media=media)
    shown = page.shown_item(kind, tmp_path / name)
    assert (shown["url"] or "").startswith(plays or "")
    assert (shown["url"] is None) == (plays is None) == (shown["tag"] is None)
    assert page.shown_item(kind, np.zeros(3))["url"] is None


def test_text_is_shown_as_it_is():
    kind = Modality("words", frozenset(), TOY.config, TOY.build, inline=True)
    assert page.shown_item(kind, "<b>")["text"] == "<b>"
