"""`binder index`, `search`, `similar` and `duplicates` as a person or a script uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser

import click
import numpy as np
import pytest
from support import write_csv

from binder import Binder, Embeddings, Index
from binder.cli.verbs.search import parse
from binder.space import vectors

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def place(tmp_path, anchor):
    """An index of the tiny anchor."""
    Index.create(tmp_path / "media.idx", Binder(anchor))
    return tmp_path / "media.idx"


@pytest.fixture
def filled(place, toys, tmp_path):
    rows = [{"image": str(toys / f"{i}.png"), "text": f"caption {i}", "n": f"{i}"} for i in range(8)]
    Index.open(place).add(write_csv(tmp_path / "pairs.csv", rows))
    return place


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def test_help_imports_neither_torch_nor_the_store():
    for args in (
        ["--help"],
        ["index", "--help"],
        ["search", "--help"],
        ["similar", "--help"],
        ["duplicates", "--help"],
    ):
        code = (
            f"import sys\nsys.argv = ['binder', *{args}]\nfrom binder.cli.main import cli\n"
            "cli.main(standalone_mode=False)\nassert not {'torch', 'lancedb', 'pyarrow', 'rich'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_from_nothing_to_hits(binder, tmp_path, toys, run, anchor_folder):
    place = tmp_path / "media.idx"
    assert binder("index", "create", place, "--encoder", run)[0] == 0
    status, out, err = binder("index", "add", place, toys / "0.npy", toys / "1.npy", "--workers", 0)
    assert (status, out) == (0, f"2 rows added, 0 updated, 0 unchanged; 2 in {place}\n"), err
    status, out, err = binder("index", "add", place, "red", "green", "--as", "text", "--json", "--workers", 0)
    assert lines(out) == [{"inserted": 2, "updated": 0, "unchanged": 0, "failed": [], "rows": 4}]
    status, out, err = binder("search", place, f"toy:{toys / '0.npy'}", "--json", "-k", 2, "--in", "toy")
    assert [hit["path"] for hit in lines(out)] == [str(toys / "0.npy"), str(toys / "1.npy")]
    assert lines(out)[0]["score"] == pytest.approx(1, abs=1e-5)
    again = binder("index", "add", place, toys / "0.npy", "--json", "--workers", 0)
    assert lines(again[1])[0]["unchanged"] == 1


def test_what_cannot_be_read_is_listed_on_stderr_and_in_the_json(binder, place, toys, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"broken")
    args = ("index", "add", place, toys / "0.png", tmp_path / "bad.png", "--workers", 0)
    status, out, err = binder(*args, "--json")
    assert status == 0
    assert "skipped 1 unreadable item" in err
    assert lines(out)[0]["failed"][0]["item"].endswith("bad.png")
    status, out, err = binder(*args, "--strict")
    assert status == 2
    assert "bad.png" in err.splitlines()[-1]


def test_a_search_adds_and_subtracts_with_weights(binder, filled, toys, anchor):
    space = Binder(anchor)
    query = space.text("red") + 0.5 * space.image(toys / "3.png") - 2 * space.text("blue")
    want = [hit.item for hit in Index.open(filled).search(query, k=5)]
    args = (
        "search",
        filled,
        "red",
        "--plus",
        f"0.5*image:{toys / '3.png'}",
        "--minus",
        "2*text:blue",
        "-k",
        5,
        "--json",
    )
    assert [hit["item"] for hit in lines(binder(*args)[1])] == want


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("rain on a roof", (1, "text", "rain on a roof")),
        ("text:image:x", (1, "text", "image:x")),
        ("note: rain", (1, "text", "note: rain")),
        (".5*rain", (0.5, "text", "rain")),
        ("2*text:3*4", (2, "text", "3*4")),
        ("image:a b.png", (1, "image", "a b.png")),
        ("nowhere is a.png", (1, "text", "nowhere is a.png")),
        ("a" * 300 + ".png", (1, "text", "a" * 300 + ".png")),
    ],
)
def test_a_query_is_a_weight_a_modality_and_an_item(text, parts):
    assert parse(text) == parts


def test_what_looks_like_a_file_and_is_none_is_no_text():
    with pytest.raises(click.UsageError, match=r"no such file; a text is text:nowhere\.png"):
        parse("nowhere.png")


def test_a_query_that_is_a_file_is_of_the_modality_of_its_suffix(toys):
    assert parse(str(toys / "0.png")) == (1, "image", str(toys / "0.png"))


def test_conditions_modes_and_modalities_narrow_a_search(binder, filled):
    found = lines(binder("search", filled, "x", "--where", "n < 2", "--in", "image", "--json")[1])
    assert {hit["metadata"]["n"] for hit in found} == {0, 1}
    found = lines(binder("search", filled, "caption 5", "--mode", "text", "--in", "image", "-k", 1, "--json")[1])
    assert found[0]["text"] == "caption 5"
    found = lines(binder("search", filled, "caption 5", "--mode", "hybrid", "--json")[1])
    assert found[0]["score"] < 0.1
    status, _out, err = binder("search", filled, "x", "--where", "n > 99")
    assert (status, err) == (0, "nothing found\n")


def test_the_table_shows_a_hit_a_line(binder, filled, toys):
    status, out, _err = binder("search", filled, "caption 5", "--mode", "text", "--in", "image", "-k", 1)
    assert status == 0
    header, row = out.splitlines()
    assert header.split() == ["score", "modality", "item", "text", "metadata"]
    assert str(toys / "5.png") in row
    assert row.split()[-2:] == ["n:", "5"]


def test_similar_and_duplicates(binder, filled, toys, anchor):
    found = lines(binder("similar", filled, toys / "3.png", "-k", 2, "--in", "image", "--json")[1])
    assert str(toys / "3.png") not in [hit["path"] for hit in found]
    assert len(found) == 2
    z = Binder(anchor).text("red").vectors
    copy = vectors.normalize(z + 0.01)
    Index.open(filled).add(text=Embeddings(np.concatenate([z, copy]), anchor.fingerprint, ("red a", "red b")))
    _status, out, err = binder("duplicates", filled, "--cosine", "0.99", "--in", "text", "--json")
    assert {"red a", "red b"} in [{hit["item"] for hit in group} for group in lines(out)]
    assert "group" in err
    assert binder("duplicates", filled, "--cosine", "1.5")[0] == 2


class Sources(HTMLParser):
    """What a page would fetch."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found += [
            value for name, value in attributes if name in ("src", "poster") or (tag == "link" and name == "href")
        ]


def test_the_page_holds_its_pictures_and_escapes_what_it_shows(binder, place, toys, tmp_path):
    index = Index.open(place)
    index.add(image=toys / "0.png", metadata={"note": "<script>alert(1)</script>"})
    index.add(text=['<b>bold</b> & "quoted"'])
    status, out, _err = binder("search", place, "<i>red</i>", "--html", tmp_path / "hits.html")
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert (status, out) == (0, "")
    assert "<script>" not in page
    assert "<b>bold" not in page
    assert "<i>red" not in page
    sources = Sources(page).found
    assert len(sources) == 1
    assert sources[0].startswith("data:image/")
    assert f'href="./../{toys.name}/0.png"' in page  # from the page on: both may be moved together
    assert str(toys) not in page


def test_a_page_says_so_where_a_file_is_gone_and_both_outputs_can_be_asked_for(binder, place, toys, tmp_path):
    import shutil

    shutil.copy(toys / "0.png", tmp_path / "gone.png")
    Index.open(place).add(image=tmp_path / "gone.png")
    (tmp_path / "gone.png").unlink()
    _status, out, _err = binder("search", place, "red", "--json", "--html", tmp_path / "hits.html")
    assert lines(out)[0]["path"].endswith("gone.png")
    assert "the file is gone" in (tmp_path / "hits.html").read_text(encoding="utf-8")


def test_info_verify_export_optimize_and_delete(binder, filled, toys, tmp_path):
    assert lines(binder("index", "info", filled, "--json")[1])[0]["modalities"]["image"]["rows"] == 8
    assert "n (number)" in binder("index", "info", filled)[1]
    assert binder("index", "verify", filled, "--files")[0] == 0
    assert binder("index", "export", filled, tmp_path / "all.parquet")[0] == 0
    assert binder("index", "optimize", filled)[0] == 0
    status, _, err = binder("index", "delete", filled, toys / "0.png", "caption 0")
    assert (status, err) == (0, f"2 rows deleted, 14 left in {filled}\n")
    assert "4 rows deleted" in binder("index", "delete", filled, "--where", "n > 5", "--in", "image", "--in", "text")[2]
    assert binder("index", "delete", filled)[0] == 2
    assert binder("index", "add", filled, tmp_path / "all.parquet")[1].startswith("6 rows added")


def test_verify_ends_with_status_1_where_something_is_wrong(binder, place, toys, tmp_path):
    path = tmp_path / "new.png"
    path.write_bytes((toys / "0.png").read_bytes())
    Index.open(place).add(image=path)
    path.write_bytes((toys / "1.png").read_bytes())
    status, out, _err = binder("index", "verify", place, "--files")
    assert status == 1
    assert out == f"image: {path}: has changed since it was added\n"
    assert lines(binder("index", "verify", place, "--files", "--json")[1])[0]["problems"] != []


def test_files_of_vectors_are_added_as_they_are(binder, place, toys, tmp_path, anchor_folder):
    out = tmp_path / "vectors.parquet"
    assert (
        binder("embed", toys / "0.png", toys / "1.png", "--anchor", anchor_folder, "--out", out, "--workers", 0)[0] == 0
    )
    assert binder("index", "add", place, out)[1].startswith("2 rows added")
    found = lines(binder("search", place, f"image:{toys / '1.png'}", "--json", "-k", 1)[1])
    assert found[0]["item"] == str(toys / "1.png")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("search", "none.idx", "x"), "no index there"),
        (("search", "{place}", "x", "--where", "n <"), "condition"),
        (("search", "{place}", "x", "--in", "imge"), "holds no imge"),
        (("search", "{place}", "image:none.png"), "no such file"),
        (("search", "{place}", "x", "--mode", "text", "--plus", "y"), "takes no --plus"),
        (("similar", "{place}", "nobody"), "not in the index"),
        (("index", "create", "{place}"), "there is already an index"),
        (("index", "add", "{place}", "x.xyz"), "no installed modality reads"),
        (("index", "export", "{place}", "x.csv"), "expected a name that ends in"),
    ],
)
def test_mistakes_are_one_line(binder, place, anchor_folder, monkeypatch, tmp_path, args, says):
    monkeypatch.chdir(tmp_path)
    Index.open(place).add(text="red")
    more = ("--anchor", anchor_folder) if args[:2] == ("index", "create") else ()
    status, out, err = binder(*(str(place) if arg == "{place}" else arg for arg in args), *more)
    assert (status, out) == (2, "")
    assert says in err.splitlines()[-1]
    assert "Traceback" not in err


def test_earlier_names_of_options_still_work_and_say_so_once(binder, filled, toys):
    now = binder("search", filled, "x", "--in", "image", "--in", "text", "--per-item", "--json")
    before = binder("search", filled, "x", "--to=image", "--to", "text", "--group", "--json")
    assert (before[0], before[1]) == (now[0], now[1])
    assert before[2] == (
        "warning: --to is now --in; the next release drops the old name\n"
        "warning: --group is now --per-item; the next release drops the old name\n"
    )
    status, _out, err = binder("index", "optimize", filled, "--keep", "1min")
    assert (status, err) == (0, "warning: --keep is now --keep-versions; the next release drops the old name\n")
    shown = binder("search", "--help")[1]
    assert "--in MODALITY" in shown and "--to" not in shown and "--group" not in shown


def test_a_value_that_looks_like_an_earlier_name_is_a_value(binder, filled):
    found = lines(binder("search", filled, "x", "--where", "n < 2", "--minus", "--to", "--in", "image", "--json")[1])
    assert {hit["metadata"]["n"] for hit in found} == {0, 1}
    status, _out, err = binder("search", filled, "--json", "--in", "text", "--", "--to")
    assert (status, err) == (0, "")


def test_earlier_names_of_parameters_still_work(filled):
    index = Index.open(filled)
    query = index.encoder_space().text("caption 3")
    now = index.search(query, k=3, modalities="image", per_item=True)
    with pytest.warns(FutureWarning) as warned:
        assert index.search(query, k=3, to="image", group=True) == now
    assert {str(one.message) for one in warned} == {
        "search(to=) is now modalities=; the next release drops the old name",
        "search(group=) is now per_item=; the next release drops the old name",
    }
    assert {one.filename for one in warned} == {__file__}
    with pytest.warns(FutureWarning, match="similar"):
        assert index.similar("caption 3", to="text") == index.similar("caption 3", modalities="text")
    with pytest.raises(TypeError, match="modalities= and also its old name, to="):
        index.search(query, modalities="image", to="text")


def test_many_queries_come_from_a_file_of_texts_or_of_vectors(binder, filled, toys, tmp_path):
    asked = ["caption 3", "<b>caption</b> 5", "red"]
    (tmp_path / "asked.txt").write_text("\ufeff" + "\n\n".join(asked) + "  \n", encoding="utf-8")
    how = ("--in", "image", "-k", 2, "--where", "n != 7", "--json")
    status, out, err = binder("search", filled, "--queries", tmp_path / "asked.txt", *how)
    assert (status, [row["query"] for row in lines(out)]) == (0, asked), err
    for row in lines(out):
        assert [hit["path"] for hit in row["hits"]] == [
            hit["path"] for hit in lines(binder("search", filled, f"text:{row['query']}", *how)[1])
        ]
    words = lines(binder("search", filled, "--queries", tmp_path / "asked.txt", "--mode", "text", "--json")[1])
    assert words[0]["hits"][0]["text"] == "caption 3" and words[2]["hits"] == []
    status, out, _ = binder("search", filled, "--queries", tmp_path / "asked.txt", "--in", "image", "-k", 1)
    assert status == 0 and [line for line in out.splitlines() if line in asked] == asked
    z = Binder.embed(Index.open(filled).encoder_space(), image=[toys / f"{i}.png" for i in range(3)])
    for n, suffix in ((3, ".parquet"), (1, ".npz"), (3, ".csv"), (2, ".jsonl")):
        z[:n].save(tmp_path / f"z{suffix}")
        status, out, err = binder("search", filled, "--queries", tmp_path / f"z{suffix}", "-k", 1, "--json")
        assert status == 0, err
        assert [(row["query"], row["hits"][0]["path"]) for row in lines(out)] == [(i, i) for i in z.items[:n]]


def test_a_file_of_queries_that_does_not_fit_is_one_line(binder, filled, toys, tmp_path):
    (tmp_path / "asked.txt").write_text("red", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    Embeddings(np.eye(2, 8), "elsewhere", ["a", "b"]).save(tmp_path / "z.parquet")
    for args, says in [
        ([], "missing argument 'QUERY'"),
        (["red", "--queries", tmp_path / "asked.txt"], "--queries takes no QUERY"),
        (["--queries", tmp_path / "asked.txt", "--plus", "blue"], "no --plus"),
        (["--queries", tmp_path / "asked.txt", "--html", tmp_path / "x.html"], "no --html"),
        (["--queries", tmp_path / "nothing.txt"], "nothing.txt: no such file"),
        (["--queries", toys / "0.png"], "neither a text in UTF-8 nor a file of vectors"),
        (["--queries", tmp_path / "broken.npz"], "broken.npz: not a"),
        (["--queries", tmp_path / "z.parquet"], "of space elsewher"),
        (["--queries", tmp_path / "z.parquet", "--mode", "text"], "holds vectors"),
    ]:
        status, out, err = binder("search", filled, *args)
        assert (status, out) == (2, "") and says in err.splitlines()[-1], (args, err)
    assert binder("search", filled, "--queries", tmp_path / "empty.txt", "--json")[:2] == (0, "")
