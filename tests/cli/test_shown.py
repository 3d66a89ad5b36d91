"""Text from outside on a terminal, in a log and in JSON: shown as it is, never obeyed, never a reason to stop."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import write_csv

from binder import Binder, Index
from binder.cli import output, progress
from binder.report.text import visible

ODD = [
    "[bold]x[/bold]",
    "[/x]",
    ":smile:",
    "\x1b[31mred",
    "a\nb",
    "a\tb",
    "\u202egnp.exe",
    "\udc80",
    "\ud800",
    "\x9b2J",
]
PLAIN = [
    "[bold]x[/bold]",
    "[/x]",
    ":smile:",
    "\\x1b[31mred",
    "a\\nb",
    "a\\tb",
    "\\u202egnp.exe",
    "\\udc80",
    "\\ud800",
    "\\x9b2J",
]


@pytest.mark.parametrize(("text", "expected"), list(zip(ODD, PLAIN, strict=True)))
def test_what_nobody_would_see_is_shown_and_nothing_is_markup(text, expected, capsys):
    assert visible(text) == expected
    output.print_table([text, "n"], [[text, 1]])
    output.skipped([(text, "why")])
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [expected, expected]
    assert err == f"skipped 1 unreadable item:\n  {expected}: why\n"


@pytest.mark.parametrize("text", ["Zürich", "日本語", "👩\u200d🔬", "שלום", "e\u0301", "C:\\new\\table", ""])
def test_letters_of_every_script_stay_as_they_are(text):
    assert visible(text) == text


@pytest.mark.parametrize("text", [*ODD, "Zürich"])
def test_json_gives_the_text_back_and_holds_nothing_that_a_terminal_obeys(text, capsys):
    output.print_json({"item": text, "numbers": [1.5, float("nan")], "more": (float("inf"), {"deep": float("-inf")})})
    line = capsys.readouterr().out
    assert json.loads(line) == {"item": text, "numbers": [1.5, None], "more": [None, {"deep": None}]}
    assert line == visible(line, keep="\n")


PRINTS = """
from binder.cli import output
output.any_text_can_be_written()
output.print_table(["item"], [["\\u00e9\\udc80\\u65e5"]])
output.print_json({"item": "\\u00e9\\udc80\\u65e5"})
output.say("\\u00e9\\udc80", err=True)
"""


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {}])
def test_an_output_that_is_no_utf8_takes_everything(settings):
    done = subprocess.run(
        [sys.executable, "-c", PRINTS], env={**os.environ, "PYTHONCOERCECLOCALE": "0", **settings}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    _head, row, line = done.stdout.decode().splitlines()
    assert "\\udc80" in row
    assert json.loads(line) == {"item": "\u00e9\udc80\u65e5"}


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of another kind")
def test_a_reader_that_has_seen_enough_ends_it_quietly():
    command = f"{sys.executable} -m binder plugins list | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_errors_and_log_lines_are_visible(binder, tmp_path, monkeypatch):
    status, _out, err = binder("index", "info", tmp_path / "a\x1b[31m\u202e[b].idx")
    assert status == 2
    assert "a\\x1b[31m\\u202e[b].idx: " in err
    assert "\x1b" not in err
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    handler = output.LogHandler()
    handler.emit(logging.LogRecord("binder", logging.WARNING, "f", 1, "%s: odd\nline", ("\x1b[2J",), None))
    assert sys.stderr.getvalue().endswith(": \\x1b[2J: odd\\nline\n")


def seconds(monkeypatch, *times):
    ticks = iter(times)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def test_a_log_says_pace_and_time_left_soon_and_then_now_and_again(monkeypatch, capsys):
    seconds(monkeypatch, 0, 2, 4, 8, 13, 15, 30)
    bar = progress.ProgressBar()
    for done in (0, 10, 20, 40, 65, 75, 150):
        bar("reading", done, 150)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 20/150 (4 s, 5 a second, about 26 s left)",
        "reading: 75/150 (15 s, 5 a second, about 15 s left)",
        "reading: 150/150 (30 s, 5 a second)",
    ]


def test_the_same_work_on_something_else_is_timed_anew(monkeypatch, capsys):
    seconds(monkeypatch, 0, 1, 200, 201, 204, 205)
    bar = progress.ProgressBar()
    for done in (4, 7, 1, 2, 5, 7):
        bar("encoding", done, 7)
    assert capsys.readouterr().err.splitlines() == ["encoding: 5/7 (4 s, 1.25 a second, about 2 s left)"]


def test_a_log_has_at_most_ten_lines_a_minute_however_many_stages_there_are(monkeypatch, capsys):
    seconds(monkeypatch, *range(600))
    bar = progress.ProgressBar()
    for second in range(600):
        bar(f"stage {second % 7}", second, 600)
    assert 50 <= len(capsys.readouterr().err.splitlines()) <= 100


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_pace_and_time_left_and_no_markup(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    seconds(monkeypatch, *(2.0 * n for n in range(6)))
    with progress.ProgressBar() as bar:
        for done in range(6):
            bar("reading [bold]x\x1b[2J", done, 10)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "reading [bold]x\\x1b[2J" in last
    assert re.search(r"5/10 10 s, 0\.5 a second, about 10 s left", last)


ROW = {"query": "toy", "trained": True, "n": 5, "median_rank": 1.0, "map": 0.9, "chance_r1": 0.2}


@pytest.mark.parametrize(
    ("n_targets", "shown"),
    [(1, ["–", "–", "–"]), (5, ["0.500", "–", "–"]), (10, ["0.500", "0.750", "–"]), (11, ["0.500", "0.750", "1.000"])],
)
def test_a_rate_that_no_search_can_miss_is_no_result(n_targets, shown, capsys):
    rates = {"r1": 0.5, "r5": 0.75, "r10": 1.0}
    output.retrieval_table([{**ROW, **rates, "target": "text", "n_targets": n_targets}])
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[5:8] == shown
    assert ("–: no result: among so few targets no search can miss" in out) == ("–" in shown)


def test_eval_keeps_the_numbers_in_its_json_and_marks_them(binder, toys, anchor_folder, tmp_path):
    rows = [{"image": str(toys / f"{i}.png"), "text": f"caption {i}"} for i in range(5)]
    pairs = write_csv(tmp_path / "pairs.csv", rows)
    said = json.loads(binder("eval", pairs, "--anchor", anchor_folder, "--json", "--workers", 0)[1])
    assert [row["no_result"] for row in said["retrieval"]] == [["r5", "r10"], ["r5", "r10"]]
    assert said["retrieval"][0]["r10"] == 1.0


def test_hits_have_no_empty_column_and_short_metadata(binder, toys, anchor, tmp_path):
    place = tmp_path / "media.idx"
    index = Index.create(place, Binder(anchor))
    index.add(image=toys / "0.png")
    assert binder("search", place, "red")[1].split()[:3] == ["score", "modality", "item"]
    index.add(image=toys / "1.png", metadata={"note": "[b]" + "long " * 100, "share": 1 / 3})
    head, *rows = binder("search", place, "red")[1].splitlines()
    assert head.split() == ["score", "modality", "item", "metadata"]
    noted = next(row for row in rows if "note" in row)
    assert "note: [b]long" in noted and "…" in noted and "share: 0.333333" in noted
    assert len(noted.strip()) < 80 + len(str(toys)) + 80


def test_nothing_is_folded_or_cut_where_the_output_is_no_terminal(capsys):
    output.print_table(["item", "score"], [["/long" * 100, 0.5]])
    assert capsys.readouterr().out.splitlines()[1].split() == ["/long" * 100, "0.500"]
