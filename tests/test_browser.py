"""Pages in a real browser, a telephone's width too: nothing is cut off, all has words, nothing is complained of."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from binder_toy import TOY
from PIL import Image
from support import FAST, write_csv, write_toys

import binder
from binder import Binder, Index, Modality
from binder.pairs import check_pairs
from binder.registry import Registry, registry
from binder.report import hits as page
from binder.report.pairs import write_page

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("toy")]
WIDTHS = (390, 820, 1280)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """Open a page at a width -> its width as laid out, pictures and players without words, complaints."""

    def call(path, width, scheme="light"):
        shown = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        said = []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto(path.as_uri())
        laid_out = shown.evaluate("document.documentElement.scrollWidth")
        wordless = shown.evaluate(
            "[...document.querySelectorAll('img, svg, [controls]')]"
            ".filter(e => !(e.alt || e.getAttribute('aria-label'))).map(e => e.outerHTML.slice(0, 80))"
        )
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        cut = shown.evaluate(
            "[...document.querySelectorAll('svg')].flatMap(s => [...s.querySelectorAll('text')].filter(t => {"
            " const a = s.getBoundingClientRect(), b = t.getBoundingClientRect();"
            " return b.left < a.left - 1 || b.right > a.right + 1 || b.top < a.top - 1 || b.bottom > a.bottom + 1 })"
            ".map(t => t.textContent))"
        )
        shown.close()
        return laid_out, wordless, said, paper, cut

    return call


def picture(item) -> Image.Image:
    return Image.fromarray(np.uint8(np.clip(np.load(item).reshape(2, 4) * 40 + 128, 0, 255))).resize((320, 160))


@pytest.fixture
def pages(tmp_path, anchor, anchor_folder, monkeypatch):
    """A run's report, a page of pairs and a page of hits, of items with names and words that are long and odd."""
    changed = Modality(**{**TOY.__dict__, "preview": picture, "media": "audio/x-toy"})
    get = Registry.get
    monkeypatch.setattr(Registry, "get", lambda self, name: changed if name == "toy" else get(self, name))
    rows = write_toys(tmp_path, 80)
    long = tmp_path / ("a_very_long_name_without_a_blank_" * 5 + "[b]<i>.png")
    shutil.copy(tmp_path / "3.png", long)
    rows[3]["image"] = long.name
    for i, row in enumerate(rows):
        row["text"] += f" <script>{i % 9}</script> \u202e" + "word" * (60 if i % 5 == 0 else 1)
    (tmp_path / "7.npy").write_bytes(b"broken")
    pairs = write_csv(tmp_path / "pairs.csv", rows)
    out = tmp_path / "run"
    how = {**FAST, "epochs": 2, "sets": [*FAST.get("sets", []), "train.val_fraction=0.4"]}
    binder.align("toy", pairs, anchor=str(anchor_folder), to="both", out=out, **how)
    write_page(tmp_path / "pairs.html", check_pairs(pairs, encoder=str(out), workers=0), registry())
    index = Index.create(tmp_path / "media.idx", Binder(anchor).load(out))
    index.add(pairs)
    space = Binder(anchor).load(out)
    found = index.search(space.toy(tmp_path / "1.npy"), k=40)
    query = [(1.0, "toy", str(tmp_path / "1.npy")), (-0.5, "text", "word" * 90)]
    page.write(tmp_path / "hits.html", "long" * 80, [found], registry(), query)
    return [out / "report.html", tmp_path / "pairs.html", tmp_path / "hits.html"]


def test_pages_fit_every_width_with_words_for_all_and_no_complaint(pages, look):
    for path in pages:
        papers = set()
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                laid_out, wordless, said, paper, cut = look(path, width, scheme)
                where = f"{path.name}, {width} pixels, {scheme}"
                assert laid_out <= width, where
                assert (wordless, said, cut) == ([], [], []), where
                papers.add(paper)
        assert len(papers) == 2, f"{path.name}: light and dark look the same"


def test_the_check_itself_sees_what_is_wrong(tmp_path, look):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><img>"
        "<div style='width:600px'>x</div><p style='display:block;min-width:600px'>wide</p><script>1</script>"
        "<svg width=600 height=20 aria-label=x><text x=590>cut off</text></svg>"
    )
    laid_out, wordless, said, _paper, cut = look(bad, 390)
    assert laid_out > 390
    assert len(wordless) == 1 and said and cut == ["cut off"]
