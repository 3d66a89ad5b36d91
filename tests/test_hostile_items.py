"""Several hundred hostile and broken items of every modality, made from a seed, through the verbs that read items.

None gives a traceback, an abort or a hang, needs a gigabyte more than good items do, or costs a good item beside it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hostile"))

from bad import write_hostile
from good import GOOD, SETTINGS, write_pairs
from support import posix

ITEM_S = 6.0  # s that an item may take here; the limit is the same code, however long
MORE_MB = 1000
TROUBLE = re.compile(r"Traceback|panicked|Fatal|Segmentation|core dumped|Aborted|Error: |Exception", re.IGNORECASE)

# made of pipes, devices and names that are no Unicode; the peak of memory comes from `resource`
pytestmark = [pytest.mark.slow, posix]


@dataclass
class Done:
    status: int
    out: str
    err: str
    seconds: float
    peak_mb: float  # of the largest process


def binder(*args: object, folder: Path) -> Done:
    """The command in a process of its own, with what its largest process needed."""
    report = folder / "usage.json"
    code = (
        "import json, resource, subprocess, sys, time; began = time.monotonic();"
        "done = subprocess.run([sys.executable, '-m', 'binder', *sys.argv[2:]]);"
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024;"
        "json.dump([time.monotonic() - began, usage], open(sys.argv[1], 'w')); sys.exit(done.returncode % 256)"
    )
    environment = {**os.environ, "BINDER_ITEM_S": str(ITEM_S), "BINDER_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(report), *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=3000,
    )
    seconds, peak = json.loads(report.read_text())
    return Done(done.returncode, done.stdout, done.stderr, seconds, peak)


@pytest.mark.parametrize("modality", list(GOOD))
def test_hostile_items_cost_themselves_and_nothing_else(modality, tmp_path):
    pairs = write_pairs(tmp_path / "good", modality)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    count = write_hostile(hostile, modality)
    assert count > 35
    encoder = []
    if modality != "image":
        sets = [part for line in SETTINGS.get(modality, []) for part in ("--set", line)]
        sets += ["--set", "train.steps=2", "--to", "image", "--out", tmp_path / "run"]
        made = binder("align", modality, pairs, *sets, folder=tmp_path)
        assert made.status == 0, made.err
        encoder = ["--encoder", tmp_path / "run"]
    items = pairs.parent / "items"
    first = binder("embed", items, "--as", modality, *encoder, "--out", tmp_path / "good.jsonl", folder=tmp_path)
    assert first.status == 0, first.err
    both = ["--as", modality, *encoder, "--out", tmp_path / "both.jsonl"]
    done = binder("embed", items, hostile, *both, folder=tmp_path)
    assert_survived(done, first)
    expected, found = vectors(tmp_path / "good.jsonl"), vectors(tmp_path / "both.jsonl")
    assert expected.keys() <= found.keys(), "a good item was lost"
    assert "skipped" in done.err
    more = f"{done.seconds:.0f} s, {done.peak_mb:.0f} MB of {first.peak_mb:.0f} with good ones alone"
    sys.stdout.write(f"{modality}: {count} hostile items, {len(found) - len(expected)} of them read, {more}\n")

    manifest = tmp_path / "mixed.jsonl"
    write_mixed(manifest, pairs.parent, hostile, modality)
    index = tmp_path / "media.idx"
    assert binder("index", "create", index, *encoder, folder=tmp_path).status == 0
    for command in (
        ["index", "add", index, manifest, "--json"],
        ["eval", manifest, *encoder, "--json"],
        ["classify", manifest, "--as", modality, *encoder, "--labels", "red,blue", "--json"],
        ["pairs", "check", manifest, "--modality", modality, *encoder],
    ):
        done = binder(*command, folder=tmp_path)
        assert_survived(done, first)
        assert done.status == 0, (command, done.err)
    if modality != "image":
        done = binder("align", modality, manifest, *sets[:-1], tmp_path / "again", folder=tmp_path)
        assert_survived(done, first)
        assert (tmp_path / "again" / "card.json").is_file()


def assert_survived(done: Done, good: Done) -> None:
    assert done.status == 0, done.err[-3000:]
    said = [line for line in (done.out + done.err).splitlines() if TROUBLE.search(line) and not skipped(line)]
    assert not said, said[:5]
    assert done.peak_mb < good.peak_mb + MORE_MB
    assert done.seconds < 1500


def skipped(line: str) -> bool:
    """Whether it is one that names an item and its reason."""
    return line.startswith("  ") or line.lstrip().startswith("{")


def vectors(path: Path) -> dict[str, list[float]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["item"]: row["vector"] for row in rows}


def write_mixed(path: Path, good: Path, hostile: Path, modality: str) -> None:
    """A manifest of good rows, and of hostile items beside good pictures."""
    lines = []
    for n, item in enumerate(sorted((good / "items").iterdir())):
        lines.append({modality: str(item), "image": str(good / f"{n}.png"), "text": f"a circle {n}"})
    for n, item in enumerate(sorted(hostile.iterdir())):
        row = {modality: str(item), "image": str(good / f"{n % 8}.png"), "text": f"a circle {n % 8}"}
        lines.append(row | ({"image": str(item)} if modality == "image" else {}))
    lines += [{modality: value, "text": "odd"} for value in ("", "x" * 5000, "a\0b", "http://x.org/a.wav", "~", "/")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
