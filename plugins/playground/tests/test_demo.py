"""The demo from its data to its report, on a handful of items and a few steps of training."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from binder_playground import binder_register_commands, speech, world
from binder_playground.demo import arithmetic, cells, data
from binder_playground.demo import run as demo
from binder_playground.demo.command import demo_command
from binder_playground.demo.data import Gallery
from click.testing import CliRunner

from binder import Embeddings

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of some hundred items and an epoch."""
    real, concepts = speech.clips, world.concepts
    every = {"scene": 25, "motion": 29, "chart": 3}  # one concept in so many

    moving = {concept.key for concept in concepts("motion")[:: every["motion"]]}

    def few(split: str | None = None, kind: str | None = None) -> list[speech.Clip]:
        some = [clip for clip in real(split, kind) if clip.kind != "motion" or clip.concept in moving]
        return [
            clip
            for i, clip in enumerate(some)
            if clip.kind == "motion" or (clip.kind, clip.split) == ("word", "test") or i % 80 == 0
        ]

    encoder = {"trunk": "none", "width": 32, "layers": 1, "heads": 2}
    settings = {
        "audio": {"train": {"epochs": 1, "batch_size": 24}, "encoder": encoder},
        "video": {"train": {"epochs": 1}},
        "chart": {"train": {"epochs": 1}},
    }
    monkeypatch.setattr(speech, "clips", few)
    monkeypatch.setattr(data, "some", lambda kind: concepts(kind)[:: every[kind]])
    monkeypatch.setattr(data, "VIDEOS_PER_CLASS", 1)
    monkeypatch.setattr(data, "TABLES_PER_CLASS", 2)
    monkeypatch.setattr(demo, "SHORT", settings)
    monkeypatch.setattr(demo, "FULL", settings)


@pytest.mark.slow
def test_metrics_report_and_what_is_printed(small: None, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = CliRunner().invoke(demo_command, ["--out", str(out), "--reference", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    result = json.loads((out / "metrics.json").read_text())
    names = ("text", "audio", "image", "video", "chart")
    cells_of = {(row["query"], row["target"]): row for row in result["retrieval"]}
    assert set(cells_of) == {(q, t) for q in names for t in names if q != t}
    for (query, target), row in cells_of.items():
        pair = {query, target}
        assert row["trained"] == ("image" in pair)
        assert (row["concept"] is None) == (pair == {"video", "chart"})
        assert (row["supervised_r1"] is None) == (row["trained"] or row["concept"] is None), pair
        assert (row["untrained_r1"] is not None) == (bool(pair & {"video", "chart"}) and bool(pair & {"image", "text"}))
    assert cells_of["audio", "text"]["concept"] == "color-shape-count"
    assert cells_of["video", "image"]["concept"] == "color-shape"
    assert cells_of["audio", "chart"]["concept"] == "chart-trend"
    assert cells_of["audio", "text"]["chance_r1"] == pytest.approx(1 / 20)
    assert {row["kind"] for row in result["arithmetic"]} == {
        "image - text + text", "image - audio + audio", "image.project_out(text) + audio", "video - text + text",
    }  # fmt: skip
    assert all(0 <= row["r1"] <= 1 and row["n"] > 0 for row in result["arithmetic"])

    page = (out / "report.html").read_text()
    assert re.search("data:audio/(x-)?wav;base64,", page)
    assert "data:video/mp4;base64," in page and "data:image/png;base64," in page
    assert 'alt=""' not in page
    assert not re.search(r'(src|href)="(?!data:)', page), "the page must be self-contained"

    lines = done.stdout.splitlines()
    (matrix,) = (line.split() for line in lines if re.match(r"video +\d\.\d{3}", line))
    shown = [f"{r['r1']:.3f}{'*' * r['trained']}" if r["r1"] is not None else "-" for r in row_of(cells_of, "video")]
    assert matrix[1:] == shown
    assert sum(line.startswith(("image", "text", "audio", "video", "chart")) for line in lines) >= len(names) + 18
    assert any(line.startswith("video - text + text") for line in lines)

    again = CliRunner().invoke(demo_command, ["--out", str(out)])
    assert "holds a demo already" in str(again.exception)


def row_of(cells_of: dict[tuple[str, str], dict], query: str) -> list[dict]:
    return [row for (own, _), row in cells_of.items() if own == query]


def test_the_readmes_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile(block, str(README), "exec"), {})
    assert [len(list(tmp_path.rglob(f"*{suffix}"))) for suffix in (".png", ".wav", ".mp4", ".csv")] == [1, 5, 5, 5]


def test_without_a_plugin_it_says_how_to_install_it(tmp_path: Path) -> None:
    own = {**os.environ, "BINDER_PLUGINS": "playground"}
    command = [sys.executable, "-m", "binder", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (last,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "binder plugins install audio" in last
    assert not (tmp_path / "demo").exists()


def test_the_command_is_added_and_shown_by_the_help_without_torch() -> None:
    group = click.Group()
    binder_register_commands(group)
    assert list(group.commands) == ["demo"]
    code = (
        "import sys; sys.argv = ['binder', '--help']\nfrom binder.cli.main import main\nmain()\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    own = {**os.environ, "BINDER_PLUGINS": "playground"}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  demo +See it work offline", done.stdout, re.MULTILINE)


def vectors(z: np.ndarray) -> Embeddings:
    return Embeddings(z, "a space")


def items(modality: str, concepts: list[world.Concept], z: np.ndarray) -> Gallery:
    heard = [True] * len(concepts)
    return Gallery(modality, concepts[0].kind, [c.key for c in concepts], concepts, heard, vectors(z))


def test_a_match_is_an_equal_shared_label() -> None:
    red, blue = (world.Concept("scene", color=c, shape="star", count=1) for c in ("red", "blue"))
    moving = [world.Concept("motion", color=c, shape="star", motion=m) for c in ("red", "blue") for m in ("up", "left")]
    scenes = items("image", [red, blue], np.eye(2, dtype=np.float32))
    videos = items("video", moving, np.eye(2, dtype=np.float32)[[0, 0, 1, 1]])
    found = cells.shared([scenes, videos], "image", "video")
    assert found is not None
    asked, searched, facets = found
    assert facets == ("color", "shape")
    cell = cells.cell(asked, searched, facets)
    assert (cell["n"], cell["n_targets"], cell["r1"], cell["chance_r1"]) == (2, 4, 1.0, 0.5)
    assert cells.shared([videos], "video", "image") is None


def test_sums_are_right_where_colors_and_shapes_have_directions_of_their_own() -> None:
    concepts = [world.Concept("scene", color=c, shape=s, count=1) for c in world.COLORS for s in world.SHAPES]
    axes = np.eye(20, dtype=np.float32)
    color = dict(zip(world.COLORS, (vectors(axis[None]) for axis in axes[:10]), strict=True))
    shape = dict(zip(world.SHAPES, (vectors(axis[None]) for axis in axes[10:]), strict=True))
    z = np.concatenate([(color[c.color] + shape[c.shape]).vectors for c in concepts])
    gallery = items("image", concepts, z)
    assert arithmetic.swaps("swap", gallery, gallery, color, color)["r1"] == 1.0
    assert arithmetic.swaps("plus", gallery, gallery, color)["r1"] == 1.0
    rest = arithmetic.take(color, world.COLORS, 0)
    assert arithmetic.swaps("projected", gallery, gallery, color, without=rest)["r1"] == 1.0
    other = dict(zip(world.COLORS, (vectors(axis[None]) for axis in np.roll(axes[:10], 1, 0)), strict=True))
    assert arithmetic.swaps("wrong", gallery, gallery, other, other)["r1"] < 0.5


def test_several_takes_of_a_word_take_turns() -> None:
    axes = np.eye(6, dtype=np.float32)
    words = {"red": vectors(axes[:3]), "blue": vectors(axes[3:4])}
    assert (arithmetic.take(words, ["red", "blue", "red"], turn=1).vectors == axes[[1, 3, 0]]).all()
