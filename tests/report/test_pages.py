"""Pages that can be shared: nothing in them is executed or fetched, they reveal no folders and stay bounded in size."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from binder_toy import TOY
from PIL import Image

from binder import Modality
from binder.index.hits import Hit
from binder.registry import Registry, registry
from binder.report import hits as hits_page
from binder.report import page

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def pictures(tmp_path):
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    return [Hit("image", str(tmp_path / f"{i}.png"), 0.5) for i in range(6)]


def written(folder: Path, hits, query=(), title="t") -> str:
    hits_page.write(folder / "hits.html", title, [hits], registry(), query)
    return (folder / "hits.html").read_text(encoding="utf-8")


def drawing(item) -> Image.Image:
    return Image.linear_gradient("L")


def with_toy(monkeypatch, **changes) -> None:
    changed = Modality(**{**TOY.__dict__, **changes})
    get = Registry.get
    monkeypatch.setattr(Registry, "get", lambda self, name: changed if name == "toy" else get(self, name))


def render(tmp_path, template, **values):
    (tmp_path / "t.html").write_text(template)
    return page.render_page(tmp_path / "t.html", **values)


def test_whatever_a_page_prints_is_visible_and_escaped(tmp_path):
    text = "<b>\x1b\u202e\udc80\n</script>'\""
    assert render(tmp_path, "<p title='{{ t }}'>{{ t|truncate(99) }}", t=text) == (
        "<p title='&lt;b&gt;\\x1b\\u202e\\udc80\n&lt;/script&gt;&#39;&#34;'>"
        "&lt;b&gt;\\x1b\\u202e\\udc80\n&lt;/script&gt;&#39;&#34;"
    )


def test_files_are_named_from_where_the_reader_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("USERPROFILE", "/home/someone")
    said = "/home/someone/data/a.png, /home/someone/b, /other/home/someone/c, /data/d, ~/e, /home/someone else/f"
    expected = "a.png, ~/b, /other/home/someone/c, /data/d, ~/e, /home/someone else/f"
    assert render(tmp_path, "{{ t }}", t=said, below=[Path("/home/someone/data"), Path("/")]) == expected


def test_a_link_is_a_way_from_the_page_and_never_another_scheme(tmp_path):
    assert page.link(tmp_path / "a b#?[x].png", tmp_path / "p.html") == "./a%20b%23%3F%5Bx%5D.png"
    assert page.link(tmp_path / "x" / "a.png", tmp_path / "y" / "p.html") == "./../x/a.png"
    assert page.link(tmp_path / "javascript:alert(1)", tmp_path / "p.html") == "./javascript%3Aalert%281%29"


def test_the_query_is_shown_with_its_weights(tmp_path, pictures):
    query = [(1.0, "image", str(tmp_path / "0.png")), (0.5, "text", "</script>blue"), (-1.0, "text", "red")]
    made = written(tmp_path, pictures, query)
    assert made.count("<img") == 7
    assert "0.5 × text" in made and "minus text" in made
    assert "&lt;/script&gt;blue" in made and "</script>" not in made
    assert str(tmp_path) not in made


def test_every_picture_and_player_says_what_it_is(tmp_path, pictures, monkeypatch):
    with_toy(monkeypatch, preview=drawing, media="sound/x-toy")
    (tmp_path / 'a"><b>.npy').write_bytes(b"x")
    made = written(tmp_path, [*pictures, Hit("toy", str(tmp_path / 'a"><b>.npy'), 0.5, start_s=1.0, end_s=2.5)])
    assert re.findall(r'<img[^>]* alt="([^"]*)"', made)[0] == "image: 0.png"
    assert 'aria-label="toy: a&#34;&gt;&lt;b&gt;.npy"' in made
    assert re.search(r'<sound [^>]*src="data:sound/x-toy;base64,eA==#t=1,2.5"', made)


def test_what_cannot_be_drawn_is_not_put_into_the_page(tmp_path, monkeypatch, pictures):
    """An index may name any file."""

    def broken(item):
        raise ValueError("not today")

    with_toy(monkeypatch, preview=broken, media="sound/x-toy")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "0.png").write_bytes(b"broken")
    made = written(tmp_path, [Hit("toy", str(tmp_path / "secret"), 0.5), pictures[0], Hit("no", "javascript:x", 0.1)])
    assert "<sound" not in made and "c2VjcmV0" not in made
    assert "not today" in made and "0.png: not a picture" in made
    assert made.count("href=") == 2  # the two files; what is none has no address


def test_a_page_stays_bounded(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(hits_page, "MAX_HITS", 5)
    made = written(tmp_path, pictures)
    assert made.count("<figure>") == 5 and "... and 1 more" in made
    monkeypatch.setattr(hits_page, "MAX_BYTES", 5000)
    assert 1 <= written(tmp_path, pictures).count("<img") < 5
    monkeypatch.setattr(hits_page, "MAX_SECONDS", 0.0)
    made = written(tmp_path, pictures)
    assert "<img" not in made and made.count("no preview: there are too many") == 5


def test_a_large_file_is_linked_to_its_player(tmp_path, monkeypatch):
    with_toy(monkeypatch, preview=drawing, media="sound/x-toy")
    monkeypatch.setattr(hits_page, "MAX_PLAYED_BYTES", 10)
    (tmp_path / "long 1.npy").write_bytes(bytes(11))
    made = written(tmp_path, [Hit("toy", str(tmp_path / "long 1.npy"), 0.5)])
    assert 'src="./long%201.npy"' in made


def test_pages_forbid_scripts_and_addresses(tmp_path, pictures):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', written(tmp_path, pictures))
    assert policy and "default-src 'none'" in policy[1] and "script" not in policy[1] and "http" not in policy[1]
