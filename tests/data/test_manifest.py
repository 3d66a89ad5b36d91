"""Manifests: every format says the same, and every error is one line that names file and line."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from support import posix

from binder import Encoder, EncoderConfig, ItemError, ManifestError, Modality
from binder.anchors.modalities import binder_register_modalities
from binder.data import manifest
from binder.data.cache import content_key


def build(config: EncoderConfig, anchor: object) -> Encoder:
    raise AssertionError("reading a manifest builds no encoder")


MODALITIES = [
    *binder_register_modalities(),
    Modality("toy", frozenset({".npy"}), EncoderConfig, build=build),
]
ROWS = [
    {"toy": "a.npy", "text": "two red dogs", "speaker": "7"},
    {"toy": "b c.npy", "text": 'she said "hi", twice', "speaker": "8"},
    {"toy": "naïve/日本.npy", "text": "Ünï — 😀", "speaker": "8"},
]


def read(path):
    return manifest.read(path, MODALITIES)


def plain(rows):
    return [(dict(row.items), dict(row.meta)) for row in rows]


def write_delimited(path, rows, delimiter=",", encoding="utf-8", newline="\n"):
    def cell(text):
        return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\n\t]', text) else text

    lines = [delimiter.join(rows[0])] + [delimiter.join(cell(v) for v in row.values()) for row in rows]
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    return path


def write(path: Path, rows=ROWS) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path
    return write_delimited(path, rows, "\t" if path.suffix == ".tsv" else ",")


def error(path) -> str:
    with pytest.raises(ManifestError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    rows = read(write(tmp_path / f"pairs{suffix}"))
    assert plain(rows) == [
        ({"toy": tmp_path / row["toy"], "text": row["text"]}, {"speaker": row["speaker"]}) for row in ROWS
    ]
    first = 2 if suffix in (".csv", ".tsv") else 1  # the header is a line, too
    assert [row.line for row in rows] == [first, first + 1, first + 2]
    assert rows[0].where == f"{tmp_path / f'pairs{suffix}'}:{first}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_do_not_matter(tmp_path, encoding, newline):
    path = write_delimited(tmp_path / "pairs.csv", ROWS, encoding=encoding, newline=newline)
    if encoding in ("utf-16-le", "utf-16-be"):
        mark = b"\xff\xfe" if encoding == "utf-16-le" else b"\xfe\xff"
        path.write_bytes(mark + path.read_bytes())
    assert plain(read(path)) == plain(read(write(tmp_path / "plain.csv")))


def test_windows_line_ends_in_jsonl_do_not_matter(tmp_path):
    path = write(tmp_path / "pairs.jsonl")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [row.items["text"] for row in read(path)] == [row["text"] for row in ROWS]


def test_a_line_separator_inside_a_json_text_is_text(tmp_path):
    rows = [{"toy": "a.npy", "text": "one\u2028two\x85three"}, {"toy": "b.npy", "text": "four"}]
    got = read(write(tmp_path / "pairs.jsonl", rows))
    assert [(row.items["text"], row.line) for row in got] == [("one\u2028two\x85three", 1), ("four", 2)]


def test_a_foreign_byte_names_its_line(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"toy,text\na.npy,fine\nb.npy,caf\xe9\n")
    assert re.match(r":3: byte 0xe9 is not UTF-8", error(path))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"  \n\n", b"\xff\xfe"])
def test_an_empty_file_is_an_error(tmp_path, suffix, content):
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(content)
    assert error(path)


def test_a_header_alone_has_no_rows(tmp_path):
    (tmp_path / "pairs.csv").write_text("toy,text\n")
    assert error(tmp_path / "pairs.csv") == ": no rows"


def test_a_column_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("\ntoy,text,toy\na.npy,x,b.npy\n")
    assert error(tmp_path / "pairs.csv") == ":2: two columns are named 'toy'"


def test_a_ragged_row_names_its_line(tmp_path):
    (tmp_path / "pairs.csv").write_text("toy,text\na.npy,one\n\nb.npy,red, green\n")
    assert error(tmp_path / "pairs.csv").startswith(":4: 3 cells where the header has 2")


def test_a_quoted_line_break_does_not_shift_the_line_of_a_later_error(tmp_path):
    (tmp_path / "pairs.csv").write_text('toy,text\na.npy,"one\ntwo\nthree"\nb.npy\n')
    assert error(tmp_path / "pairs.csv").startswith(":5: 1 cells")


def test_a_row_with_a_line_break_is_named_by_its_first_line(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('toy,text\na.npy,"one\ntwo"\nb.npy,three\n')
    assert [row.line for row in read(path)] == [2, 4]
    path.write_text('toy,text\na.npy,"never closed\nb.npy,two\nc.npy,three\n')
    assert [row.line for row in read(path)] == [2]


@pytest.mark.parametrize(
    ("line", "what"), [("{oops", "not JSON"), ("[1]", "expected one JSON object a line, got list"), ("3", "got int")]
)
def test_a_bad_json_line_names_its_line(tmp_path, line, what):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f'{{"toy": "a.npy"}}\n\n{line}\n')
    message = error(path)
    assert message.startswith(":3: ")
    assert what in message


def test_what_only_looks_like_parquet_is_refused(tmp_path):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1 but no more")
    assert "not a readable Parquet file" in error(tmp_path / "pairs.parquet")


def test_a_missing_file_and_a_foreign_kind_of_file_are_named(tmp_path):
    assert error(tmp_path / "none.csv") == ": no such file or folder"
    (tmp_path / "pairs.xlsx").write_bytes(b"PK")
    assert "expected .csv, .jsonl, .parquet, .tsv or a folder" in error(tmp_path / "pairs.xlsx")


def test_a_lacking_column_is_told_its_nearest(tmp_path):
    rows = manifest.read([{"toys": "a.npy", "text": "x"}], MODALITIES)
    with pytest.raises(ManifestError, match=r"pairs.csv: no column 'toy' \(did you mean 'toys'\?\)") as caught:
        manifest.require(rows, "pairs.csv", "toy")
    assert "columns: text, toys" in str(caught.value)
    manifest.require(rows, "pairs.csv", "text")


def test_duplicate_rows_are_left_out_and_counted(tmp_path, caplog):
    rows = read(write(tmp_path / "pairs.csv", [ROWS[0], ROWS[1], ROWS[0], ROWS[0]]))
    assert [row.line for row in rows] == [2, 3]
    assert caplog.messages == [f"2 duplicate rows left out, the first at {tmp_path / 'pairs.csv'}:4"]


def test_rows_that_differ_in_one_cell_are_no_duplicates(tmp_path, caplog):
    assert len(read(write(tmp_path / "pairs.csv", [ROWS[0], {**ROWS[0], "speaker": "9"}]))) == 2
    assert not caplog.messages


def test_long_arrays_that_differ_in_the_middle_are_no_duplicates():
    one = np.zeros(5000)
    two = one.copy()
    two[2500] = 1
    assert len(manifest.read([{"toy": one, "text": "x"}, {"toy": two, "text": "x"}], MODALITIES)) == 2
    assert len(manifest.read([{"toy": one, "text": "x"}, {"toy": one, "text": "x"}], MODALITIES)) == 1


def test_absolute_paths_stay_and_relative_ones_start_at_the_manifest(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    absolute = tmp_path / "x.npy"
    rows = read(write(folder / "pairs.csv", [{"toy": str(absolute)}, {"toy": "../y.npy"}]))
    assert rows[0].items["toy"] == absolute
    assert rows[1].items["toy"].resolve() == (tmp_path / "deep" / "y.npy").resolve()


def test_empty_cells_lack_their_modality(tmp_path):
    rows = read(write(tmp_path / "pairs.csv", [{"toy": "a.npy", "text": " "}, {"toy": "", "text": "x"}]))
    assert [sorted(row.items) for row in rows] == [["toy"], ["text"]]
    rows = manifest.read([{"toy": None, "text": "x"}, {"toy": "a.npy", "text": float("nan")}], MODALITIES)
    assert [sorted(row.items) for row in rows] == [["text"], ["toy"]]


def test_mappings_may_hold_arrays_and_bytes():
    array = np.ones(8)
    rows = manifest.read([{"toy": array, "image": b"png", "text": "x", "id": 3}], MODALITIES)
    assert rows[0].items["toy"] is array
    assert rows[0].items["image"] == b"png"
    assert rows[0].meta == {"id": 3}
    assert rows[0].where == "rows:1"


def test_a_folder_of_class_folders_is_rows_with_the_class_as_text(tmp_path):
    for name in ("sea_waves/1.npy", "sea_waves/deep/2.NPY", "dog/3.npy", "top.npy", "dog/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    got = {row.items["toy"].relative_to(tmp_path).as_posix(): row.items.get("text") for row in read(tmp_path)}
    waves = {"sea_waves/1.npy": "sea waves", "sea_waves/deep/2.NPY": "sea waves"}  # the first level is the class
    assert got == {**waves, "dog/3.npy": "dog", "top.npy": None}


def test_hidden_files_are_left_out_and_links_to_folders_followed(tmp_path):
    for name in ("in/dog/1.npy", "in/dog/.ipynb_checkpoints/1.npy", "in/dog/.hidden.npy", "elsewhere/2.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "in" / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "in" / "dog" / "round").symlink_to(tmp_path / "in" / "dog", target_is_directory=True)  # in a circle
    got = [(row.items["toy"].name, row.items["text"]) for row in read(tmp_path / "in")]
    assert sorted(got) == [("1.npy", "dog"), ("2.npy", "cat")]


def test_the_modality_that_is_wanted_decides_about_a_shared_suffix(tmp_path):
    (tmp_path / "dog").mkdir()
    for name in ("a.npy", "b.png"):
        (tmp_path / "dog" / name).write_bytes(b"x")
    rival = Modality("rival", frozenset({".npy"}), EncoderConfig, build=build)
    for wanted in ("toy", "rival"):
        (row,) = manifest.read(tmp_path, [*MODALITIES, rival], wanted)
        assert dict(row.items) == {wanted: tmp_path / "dog" / "a.npy", "text": "dog"}


def test_an_unclear_file_in_a_folder_is_named_and_left_out(tmp_path, caplog):
    for name in ("a.npy", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    rival = Modality("rival", frozenset({".npy"}), EncoderConfig, build=build)
    (row,) = manifest.read(tmp_path, [*MODALITIES, rival])
    assert dict(row.items) == {"image": tmp_path / "b.png"}
    assert "1 files left out" in caplog.text and ".npy may be toy, rival; say which with --as" in caplog.text


def test_a_suffix_that_two_modalities_claim_is_never_guessed(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"x")
    rival = Modality("rival", frozenset({".npy"}), EncoderConfig, build=build)
    with pytest.raises(ManifestError, match=r"\.npy may be toy, rival"):
        manifest.read(tmp_path, [*MODALITIES, rival])


def test_a_folder_without_items_is_an_error(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    assert "no file in it that an installed modality can read" in error(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_columns_are_known_without_reading_the_items(tmp_path, suffix):
    assert manifest.columns(write(tmp_path / f"pairs{suffix}")) == ["toy", "text", "speaker"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_header_without_rows_names_its_columns_but_is_no_manifest(tmp_path, suffix):
    path = write(tmp_path / f"pairs{suffix}")
    path.write_text("\n" + path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert manifest.columns(path) == ["toy", "text", "speaker"]
    assert error(path) == ": no rows"


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
@pytest.mark.parametrize("first", ["", "sep=;\n"])
def test_the_separator_that_is_there_is_found(tmp_path, delimiter, first):
    if first and delimiter != ";":
        return
    (tmp_path / "m.csv").write_text(
        first + delimiter.join(["toy", "text"]) + "\n" + delimiter.join(["a.npy", '"x, y"'])
    )
    assert plain(read(tmp_path / "m.csv")) == [({"toy": tmp_path / "a.npy", "text": "x, y"}, {})]


def test_capital_letters_and_blanks_in_headers_and_cells_do_not_matter(tmp_path):
    (tmp_path / "m.csv").write_text('Text, Toy ,Speaker\na dog, a.npy ,"7"\n')
    assert plain(read(tmp_path / "m.csv")) == [({"text": "a dog", "toy": tmp_path / "a.npy"}, {"Speaker": "7"})]


def test_a_column_in_capitals_beside_its_modality_is_metadata(tmp_path):
    (tmp_path / "m.csv").write_text("Toy,toy\nx,a.npy\n")
    assert plain(read(tmp_path / "m.csv")) == [({"toy": tmp_path / "a.npy"}, {"Toy": "x"})]


@pytest.mark.parametrize("name", ["~a.npy", "~root.npy", "~nobody/a.npy", "~"])
def test_a_tilde_begins_a_name_like_any_other_letter(tmp_path, name):
    (tmp_path / "m.csv").write_text(f"toy,text\n{name},x\n")
    assert read(tmp_path / "m.csv")[0].items["toy"] == tmp_path / name


@pytest.mark.parametrize(
    "address", ["http://localhost:9/a.png", "s3://bucket/0.png", "HTTPS://x.org/a", "file:///a.png"]
)
def test_a_url_is_an_item_that_says_so(tmp_path, address):
    (tmp_path / "m.csv").write_text(f"toy,text\n{address},x\na.npy,y\n")
    rows = read(tmp_path / "m.csv")
    with pytest.raises(ItemError, match=f"^{address}: is a URL; binder reads files: download it first$"):
        content_key(rows[0].items["toy"])
    with pytest.raises(ItemError, match="is a URL"):
        open(rows[0].items["toy"], "rb")  # noqa: PTH123, SIM115 - whoever opens it hears the same
    assert rows[1].items["toy"] == tmp_path / "a.npy"
    assert "is a URL" in error(address)


def test_lists_numbers_and_media_structs(tmp_path):
    rows = [
        {"toy": "a.npy", "text": ["one", "two"], "n": 1},
        {"toy": ["b.npy", "c.npy"], "text": 7},
        {"toy": {"bytes": "raw", "path": "x.npy"}, "text": 7.5},
        {"toy": {"bytes": None, "path": "d.npy"}, "text": ["", None, "last"]},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert plain(read(path)) == [
        ({"toy": tmp_path / "a.npy", "text": "one"}, {"n": 1}),
        ({"toy": tmp_path / "a.npy", "text": "two"}, {"n": 1}),
        ({"toy": tmp_path / "b.npy", "text": "7"}, {}),
        ({"toy": tmp_path / "c.npy", "text": "7"}, {}),
        ({"toy": tmp_path / "raw", "text": "7.5"}, {}),
        ({"toy": tmp_path / "d.npy", "text": "last"}, {}),
    ]
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"toy": [{"bytes": b"data", "path": "x"}], "text": [["one", "two"]]})
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    assert [row.items for row in read(tmp_path / "m.parquet")] == [
        {"toy": b"data", "text": "one"},
        {"toy": b"data", "text": "two"},
    ]


def test_lists_that_stand_for_too_many_rows_are_refused(tmp_path):
    many = [str(i) for i in range(40)]
    (tmp_path / "m.jsonl").write_text(json.dumps({"toy": many, "text": many}))
    assert error(tmp_path / "m.jsonl") == ":1: its lists expand to more than 1000 rows"


def test_a_list_of_numbers_is_one_item():
    (row,) = manifest.read([{"toy": [1.0, 2.0], "text": "x"}], MODALITIES)
    assert row.items["toy"] == [1.0, 2.0]


def test_items_in_python_are_taken_as_what_they_are(tmp_path):
    import torch

    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb") as file, (tmp_path / "a").open() as text:
        rows = [{"toy": v} for v in (bytearray(b"abc"), memoryview(b"abc"), file, text, torch.ones(2, 3))]
        got = [row.items["toy"] for row in manifest.read(rows, MODALITIES)]
    assert got[0] == b"abc"  # and the next two are the same again
    assert len(got) == 3
    with pytest.raises(ItemError, match="opened as text; open it with 'rb'"):
        content_key(got[1])
    np.testing.assert_array_equal(got[2], np.ones((2, 3)))


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_what_is_no_file_is_never_opened(tmp_path, kind):
    path = tmp_path / "m.csv"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert error(path).endswith(f"is a {'pipe' if kind == 'pipe' else 'device'}, not a file")


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 5000 + ".csv", "\ud800.csv"])
def test_a_name_that_cannot_be_is_one_line(name):
    with pytest.raises(ManifestError) as caught:
        read(name)
    assert len(str(caught.value)) < 400


def test_a_million_columns_are_refused_at_once(tmp_path):
    (tmp_path / "m.csv").write_text(",".join(map(str, range(1_000_000))))
    began = time.monotonic()
    assert "1,000,000 columns, more than 10,000" in error(tmp_path / "m.csv")
    assert time.monotonic() - began < 5


def test_more_rows_than_bytes_are_not_believed(tmp_path):
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.DictionaryArray.from_arrays(np.zeros(3_000_000, np.int32), ["a.npy"])
    pyarrow.parquet.write_table(pyarrow.table({"toy": column}), tmp_path / "m.parquet", compression="zstd")
    assert "claims 3,000,000 rows in" in error(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    "line",
    ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000, '{"a": %s}' % ("9" * 5000), "{" * 100],
)
def test_hostile_json_is_one_line(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(line)
    assert re.match(":1: (not JSON|nested too deeply)", error(tmp_path / "m.jsonl"))


def test_a_row_that_is_no_mapping_is_named():
    with pytest.raises(ManifestError, match="rows:2: expected a mapping of columns, got str"):
        manifest.read([{"text": "x"}, "y"], MODALITIES)


@pytest.mark.parametrize(
    ("suffix", "bad"),
    [(".csv", "a.npy,one,too many"), (".jsonl", "{broken"), (".jsonl", '{"n": %s}' % ("9" * 5000)), (".jsonl", "[1]")],
)
def test_a_line_that_is_damaged_by_itself_costs_itself(tmp_path, caplog, suffix, bad):
    good = ["a.npy,x", "b.npy,y"] if suffix == ".csv" else ['{"toy": "a.npy"}', '{"toy": "b.npy"}']
    head = ["toy,text"] if suffix == ".csv" else []
    path = tmp_path / f"m{suffix}"
    path.write_text("\n".join([*head, good[0], bad, good[1]]))
    assert [row.items["toy"].name for row in read(path)] == ["a.npy", "b.npy"]
    line = len(head) + 2
    assert f"1 lines left out, the first: {path}:{line}: " in caplog.text
    with pytest.raises(ManifestError, match=f"m\\{suffix}:{line}: "):
        manifest.read(path, MODALITIES, strict=True)
    path.write_text("\n".join([*head, good[0], bad, bad]))  # as many bad ones: something else is wrong
    assert error(path).startswith(f":{line}: ")


def test_paths_and_arrays_of_somebodys_own_classes_become_plain_ones():
    class Mine(type(Path())):
        pass

    class Array(np.ndarray):
        pass

    array = np.ones((2, 3)).view(Array)
    assert type(manifest.plain(Mine("a.npy"))) is type(Path())
    assert type(manifest.plain(array)) is np.ndarray
    assert type(manifest.plain((array, 50))[0]) is np.ndarray


def test_a_tensor_of_any_type_becomes_an_array():
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.int16):
        made = manifest.plain(torch.arange(4).to(dtype).requires_grad_(dtype.is_floating_point))
        assert isinstance(made, np.ndarray) and made.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_separator_that_the_first_line_declares_is_used(tmp_path, line):
    path = tmp_path / "m.csv"
    path.write_text(f"{line}\na, b;text\n1;x\n", encoding="utf-8")
    assert manifest.columns(path) == ["a, b", "text"]
    assert [cells for _, cells in manifest.cells(path)] == [{"a, b": "1", "text": "x"}]
