"""The command line as a person or a script uses it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import one_line_error, write_csv

from binder.cli import main as cli_main
from binder.cli.verbs import plugins as cli_plugins


def test_help_names_every_verb_and_imports_no_torch():
    code = (
        "import sys\nsys.argv = ['binder', '--help']\nfrom binder.cli.main import cli\n"
        "cli.main(standalone_mode=False)\nassert not {'torch', 'rich', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in cli_main.VERBS)


def test_plugins_list_imports_no_torch():
    code = (
        "import sys\nsys.argv = ['binder', 'plugins', 'list']\nfrom binder.cli.main import cli\n"
        "cli.main(standalone_mode=False)\nassert not {'torch', 'numpy', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "image, text" in done.stdout


def test_align_then_classify_eval_and_embed(binder, toy, toys, anchor_folder, tmp_path):
    out = tmp_path / "run"
    status, text, err = binder(
        "align", "toy", toys / "pairs.csv", "--anchor", anchor_folder, "--to", "text", "--out", out,
        "--epochs", 40, "--set", "train.lr=0.01", "--workers", 0,
    )  # fmt: skip
    assert status == 0, err
    assert "R@1" in text
    assert str(out) in text.replace("\n", "")

    item = next(p for p in sorted(toys.rglob("*.npy")))
    labels = sorted({r["text"] for r in read_rows(toys / "pairs.csv")})
    status, text, err = binder(
        "classify", "--encoder", out, "--labels", ",".join(labels), "--json", item, "--workers", 0
    )
    assert status == 0, err
    (line,) = text.strip().splitlines()
    found = json.loads(line)
    assert set(found) == {"item", "label", "score", "scores"}
    assert found["label"] in labels
    assert sum(found["scores"].values()) == pytest.approx(1, abs=1e-4)
    truth = {str(toys / r["toy"]): r["text"] for r in read_rows(toys / "pairs.csv")}
    assert found["label"] == truth[str(item)]

    status, text, err = binder("eval", "--encoder", out, toys / "pairs.csv", "--json", "--workers", 0)
    assert status == 0, err
    rows = json.loads(text)["retrieval"]
    cell = next(r for r in rows if (r["query"], r["target"]) == ("toy", "text"))
    assert cell["trained"]
    assert cell["r1"] > 0.8 > cell["chance_r1"]
    emergent = next(r for r in rows if (r["query"], r["target"]) == ("toy", "image"))
    assert not emergent["trained"]
    assert {"n", "n_targets", "r5", "r10", "median_rank", "map"} <= set(cell)

    vectors = tmp_path / "v.parquet"
    status, _, err = binder("embed", "--encoder", out, "--out", vectors, item, "--workers", 0)
    assert status == 0, err
    table = pq.read_table(vectors)
    assert table.column_names == ["item", "modality", "vector"]
    z = np.array(table["vector"].to_pylist())
    assert z.shape == (1, 32)
    assert np.linalg.norm(z) == pytest.approx(1, abs=1e-5)
    first = vectors.read_bytes()
    assert binder("embed", "--encoder", out, "--out", vectors, item, "--workers", 0)[0] == 0
    assert vectors.read_bytes() == first, "the same command twice gave other bytes"


def read_rows(path):
    import csv

    with path.open() as file:
        return list(csv.DictReader(file))


def test_unreadable_items_are_skipped_with_a_count(binder, run, toys, tmp_path, toy):
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"")
    good = next(iter(sorted(toys.rglob("*.npy"))))
    status, _, err = binder("embed", "--encoder", run, "--out", tmp_path / "v.parquet", good, bad, "--workers", 0)
    assert status == 0
    assert "skipped 1 unreadable item" in err
    assert "bad.npy" in err
    assert pq.read_table(tmp_path / "v.parquet").num_rows == 1
    strict = binder("embed", "--encoder", run, "--out", tmp_path / "w.parquet", good, bad, "--strict", "--workers", 0)
    assert "bad.npy" in one_line_error(strict)
    assert not (tmp_path / "w.parquet").exists()


@pytest.mark.parametrize("n", [1, 2])
def test_where_no_item_can_be_read_it_is_an_error_of_one_line_and_nothing_is_written(binder, run, tmp_path, toy, n):
    bad = [tmp_path / f"bad {i}.npy" for i in range(n)]
    for path in bad:
        path.write_bytes(b"")
    line = one_line_error(binder("embed", "--encoder", run, "--out", tmp_path / "v.parquet", *bad, "--workers", 0))
    assert f"{bad[0]}: not a NumPy file" in line
    assert ("none of the 2 items can be read" in line) == (n == 2)
    assert not (tmp_path / "v.parquet").exists()


def test_a_suffix_nobody_claims_or_several_is_never_guessed(binder, toy, run, tmp_path, monkeypatch):
    (tmp_path / "x.xyz").write_text("")
    assert "'.xyz'" in one_line_error(
        binder("embed", "--encoder", run, "--out", tmp_path / "v.parquet", tmp_path / "x.xyz")
    )

    from binder.registry import Registry

    two = [Registry.get(cli_plugins.registry(), name) for name in ("toy", "image")]
    monkeypatch.setattr(Registry, "by_suffix", lambda self, suffix: two)
    line = one_line_error(binder("embed", "--encoder", run, "--out", tmp_path / "v.parquet", tmp_path / "x.xyz"))
    assert "toy or image" in line
    assert "--as" in line


def test_a_shared_suffix_is_that_of_the_only_modality_that_can_be_encoded(
    binder, toy, run, toys, tmp_path, monkeypatch
):
    from dataclasses import replace

    from binder.registry import Registry

    known = cli_plugins.registry().get("toy")
    two = [replace(known, name="gnat"), known]
    monkeypatch.setattr(Registry, "by_suffix", lambda self, suffix: two)
    item = next(toys.rglob("*.npy"))
    status, _, err = binder("embed", "--encoder", run, "--out", tmp_path / "v.parquet", item, "--workers", 0)
    assert status == 0, err
    line = one_line_error(binder("embed", "--out", tmp_path / "w.parquet", "--anchor", "mini", item))
    assert "gnat or toy" in line


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["align", "tyo", "pairs.csv"], "toy"),
        (["align", "image", "pairs.csv"], "nothing to align"),
        (["align", "toy", "nowhere.csv"], "no such file"),
        (["align", "toy", "pairs.csv", "--set", "train.lrr=1"], "lr"),
        (["align", "toy", "pairs.csv", "--set", "encoder.widht=1"], "width"),
        (["align", "toy", "pairs.csv", "--set", "train.lr"], "KEY=VALUE"),
        (["align", "toy", "pairs.csv", "--config", "nowhere.toml"], "nowhere.toml"),
        (["align", "toy", "pairs.csv", "--anchor", "minni"], "mini"),
        (["align", "toy", "pairs.csv", "--anchor", "ViT-B-32/laion"], "laion"),
        (["align", "toy", "pairs.csv", "--device", "cuda:99"], "cuda:99"),
        (["classify", "--encoder", "nowhere", "--labels", "a,b", "x.npy"], "nowhere"),
        (["embed", "--out", "v.parquet", "empty"], "empty"),
        (["plugins", "install", "somebody-elses-package"], "unknown plugin"),
        (["plugins", "install", "adio"], "audio"),
    ],
)
def test_a_mistake_is_one_line(binder, toy, toys, args, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_csv(
        tmp_path / "pairs.csv",
        [{"toy": toys / r["toy"], "text": r["text"]} for r in read_rows(toys / "pairs.csv")],
    )
    if args[0] == "align" and "nowhere.csv" not in args:
        args = [*args, "--to", "text"]
    assert expected in one_line_error(binder(*args))


def test_a_run_folder_that_exists_is_refused(binder, toy, toys, run, tmp_path):
    line = one_line_error(binder("align", "toy", toys / "pairs.csv", "--to", "text", "--out", run))
    assert "finished run" in line
    (tmp_path / "notes.txt").write_text("mine")
    line = one_line_error(binder("align", "toy", toys / "pairs.csv", "--to", "text", "--out", tmp_path))
    assert "not a run" in line
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_text_is_embedded_as_given(binder, toy, run, tmp_path):
    out = tmp_path / "v.parquet"
    status, _, err = binder("embed", "--encoder", run, "--as", "text", "--out", out, "a dog, barking", "--workers", 0)
    assert status == 0, err
    assert pq.read_table(out).to_pylist()[0]["item"] == "a dog, barking"


def test_doctor_and_anchors_answer_in_json(binder, toy):
    status, out, _ = binder("doctor", "--json")
    assert status == 0
    report = json.loads(out)
    assert {"system", "packages", "devices", "cache", "plugins"} <= set(report)
    status, out, _ = binder("anchors", "list", "--json")
    assert status == 0
    names = [entry["name"] for entry in json.loads(out)]
    assert "ViT-B-32/laion2b_s34b_b79k" in names


def test_plugins_are_not_installed_outside_a_virtual_environment(binder, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr("binder.devkit.installing.run", lambda command, say: calls.append(command))
    monkeypatch.setattr(cli_plugins.sys, "base_prefix", cli_plugins.sys.prefix)
    assert "virtual environment" in one_line_error(binder("plugins", "install", tmp_path))
    assert not calls


def test_a_short_name_is_installed_from_the_projects_own_folder(binder, monkeypatch):
    calls = []

    def record(command, say):
        calls.append(command)
        return []

    monkeypatch.setattr("binder.devkit.installing.run", record)
    monkeypatch.setattr(cli_plugins.sys, "base_prefix", "/elsewhere")
    assert binder("plugins", "install", "audio")[0] == 0
    assert calls[0][-1].replace("\\", "/").endswith("plugins/audio")


def test_embed_every_gives_a_vector_for_each_piece_with_its_span(binder, toy, run, tmp_path):
    long, short, out = tmp_path / "long.npy", tmp_path / "short.npy", tmp_path / "v.parquet"
    np.save(long, np.random.default_rng(0).normal(size=(5, 8)))
    np.save(short, np.zeros(8))
    command = ("embed", "--encoder", run, "--out", out, long, short, "--every")
    status, _, err = binder(*command, "2s")
    assert status == 0, err
    rows = pq.read_table(out).to_pylist()
    assert [(row["item"], row["start_s"], row["end_s"]) for row in rows] == [
        (str(long), 0, 2), (str(long), 2, 4), (str(long), 4, 5), (str(short), None, None),
    ]  # fmt: skip
    np.save(tmp_path / "piece.npy", np.load(long)[2:4])
    assert binder("embed", "--encoder", run, "--out", out, tmp_path / "piece.npy", "--workers", 0)[0] == 0
    alone = pq.read_table(out)["vector"].to_pylist()[0]
    np.testing.assert_allclose(alone, rows[1]["vector"], atol=1e-6)
    for wrong in ("0s", "-1s", "soon", "nans"):
        status, _, err = binder(*command, wrong)
        assert status == 2
        assert "2s, 500ms or 1min" in err or "more than 0 seconds" in err


def test_pieces_are_named_by_media_fragments(toy, run):
    import binder

    z = binder.Binder.of(run).embed(every_s=2, toy=np.ones((5, 8)))
    assert z.items == ("<ndarray>#t=0,2", "<ndarray>#t=2,4", "<ndarray>#t=4,5")


def test_align_shows_its_baselines_beside_the_trained_result(binder, toy, toys, anchor_folder, tmp_path):
    status, text, err = binder(
        "align", "toy", toys / "pairs.csv", "--anchor", anchor_folder, "--to", "text", "--out", tmp_path / "run",
        "--epochs", 1, "--set", "encoder.frozen=true", "--workers", 0,
    )  # fmt: skip
    assert status == 0, err
    assert "untrained R@1" in text
    assert "untrained: a random projection" in text
    assert "ridge R@1" in text
    assert "ridge: ridge regression on the initial features of the trunk" in text
