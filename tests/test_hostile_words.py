"""What people and programs may write on the command line and into manifests: one line each, never a traceback.

Each command runs in a process of its own, so that whatever it does it costs only itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support import installed, posix

pytestmark = pytest.mark.slow

SECONDS = 60  # that a command may take, on a busy machine

ODD = [
    "",
    " ",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "[bold]x[/bold]",
    "[/x]",
    "\x1b[31mred",
    "a\nb",
    "-",
    "~nobody/x",
    "\u202egnp.exe",
]
BAD_NUMBERS = ["nan", "inf", "-1", "1e400", "9" * 5000, "0x10", "", "١٢", "1,5"]


def run_here(environment: dict[str, str], folder: Path, args: tuple[str, ...]) -> None:
    """`binder ARGS` in this process, which ends with it; what it says lies in the files out and err."""
    signal.alarm(SECONDS)
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["binder", *args]
    from binder.cli import main

    main.main()


@pytest.fixture(scope="module")
def command(fast_processes):
    """command(folder, ARGS...) -> exit status (below 0: killed by that signal), stdout and stderr of `binder ARGS`."""

    def run(folder: Path, *args: str) -> tuple[int, str, str]:
        environment = {name: value for name, value in os.environ.items() if name.startswith("BINDER_")}
        process = fast_processes.Process(target=run_here, args=(environment, folder, args))
        process.start()
        process.join()
        out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
        return process.exitcode, out, err

    return run


def survived(result: tuple[int, str, str], statuses: tuple[int, ...] = (0, 2)) -> str:
    status, out, err = result
    assert "Traceback" not in err and "panicked" not in err, err[-2000:]
    assert status in statuses, (status, out[-500:], err[-2000:])
    assert len(err) < 4000, len(err)  # nothing is repeated at length
    assert "\x1b[31m" not in out + err, "a control character of somebody's text reaches the terminal"
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory, toy_site, command) -> Path:
    """A folder with pictures, a manifest and an index of them."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("words")
    rng, rows = np.random.default_rng(0), []
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "text": f"a red circle {i}", "year": 2000 + i, "label": f"class {i % 3}"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with installed(toy_site, only="toy"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINDER_CACHE", str(folder / "cache"))
        assert command(folder, "index", "create", "media.idx")[0] == 0
        assert command(folder, "index", "add", "media.idx", "rows.jsonl", "--workers", "0")[0] == 0
    return folder


@pytest.fixture
def run(place, toy, command):
    return lambda *args: command(place, *args)


@pytest.mark.parametrize("word", ODD)
@pytest.mark.parametrize("verb", ["labels", "text", "file", "query", "similar", "encoder", "anchor", "as"])
def test_odd_words_anywhere(run, word, verb):
    if "\0" in word and verb in ("file", "encoder"):
        word = word.replace("\0", "\x01")  # no command line can hold a NUL; Python callers are tested elsewhere
    common = ["--workers", "0"]
    args = {
        "labels": ["classify", "0.png", "--labels", f"{word},blue", *common],
        "text": ["embed", "--as", "text", "--out", "v.jsonl", *common, "--", word],
        "file": ["embed", "--out", "v.jsonl", *common, "--", f"{word}.png", "0.png"],
        "query": ["search", "media.idx", "--json", "--", word],
        "similar": ["similar", "media.idx", "--json", "--", word],
        "encoder": ["embed", "0.png", "--out", "v.jsonl", "--encoder", word, *common],
        "anchor": ["embed", "0.png", "--out", "v.jsonl", "--anchor", word, *common],
        "as": ["embed", "0.png", "--out", "v.jsonl", "--as", word, *common],
    }
    survived(run(*args[verb]))


@pytest.mark.parametrize(
    "condition",
    [
        "year = $1", "year = ?", "generate_series(1, 1000000000) = 1", "repeat('x', 2000000000) = 'y'",
        "year IN (SELECT 1)", "1 = 1; DROP TABLE x", "year = 1 --", "(" * 2000 + "1" + ")" * 2000, "year = '", "",
        "year = 9" + "9" * 5000, "text LIKE '%" + "a%" * 3000 + "'", "_key = 'x'", "nothing = 1", "year",
        "rpad('x', 2000000000, 'y') = 'z'", "array_resize([1], 2000000000) IS NULL", "\0", "year = 1e999", "now() > 1",
    ],
)  # fmt: skip
def test_conditions(run, condition):
    began = time.monotonic()
    survived(run("search", "media.idx", "a circle", "--json", "--where", condition))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("where", ["_binder", "../rows", "image/../x", "", "sonar"])
def test_what_no_index_holds(run, where):
    survived(run("search", "media.idx", "a circle", "--in", where), (2,))


@pytest.mark.parametrize("number", BAD_NUMBERS)
@pytest.mark.parametrize("option", ["--seed", "--epochs", "--minutes", "train.lr", "train.steps", "train.batch_size"])
def test_numbers_that_are_none(run, option, number):
    setting = [option, number] if option.startswith("-") else ["--set", f"{option}={number}"]
    survived(run("align", "toy", "rows.jsonl", "--out", "never", *setting), (2,))


@pytest.mark.parametrize("every", ["1e300s", "0.000000001s", "-1s", "nan", "1 year", "0"])
def test_pieces_out_of_proportion(run, every):
    survived(run("embed", "0.png", "--every", every, "--out", "v.jsonl", "--workers", "0"), (2,))


@posix
@pytest.mark.parametrize(
    "out", ["/dev/null", "pipe.jsonl", "x" * 300 + ".jsonl", "media.idx", "0.png/v.jsonl", "v.xyz", "link.jsonl"]
)
def test_outputs_over_what_is_no_file_of_ours(run, place, out):
    for name, make in (("pipe.jsonl", os.mkfifo), ("link.jsonl", lambda path: path.symlink_to("/dev/null"))):
        if not os.path.lexists(place / name):
            make(place / name)
    before = Path("/dev/null").stat()
    survived(run("embed", "0.png", "--out", out, "--workers", "0"), (2,))
    assert Path("/dev/null").stat().st_rdev == before.st_rdev


@pytest.mark.parametrize(
    "line",
    [
        '{"image": "0.png", "text": "a", "n": 9223372036854775808}', '{"image": "0.png", "n": "\\ud800"}',
        '{"image": "0.png", "text": "a \\ud800"}', '{"image": "0\\u0000.png"}', '{"image": "0.png", "n": 1e400}',
        '{"image": "0.png", "n": [1, [2, [3]]]}', '{"image": "0.png", "text": {"a": 1}}', '{"image": ["0.png", 3]}',
        '{"image": "0.png", "text": "' + "x" * 100_000 + '"}', '{"image": "0.png", "_key": "x"}', '{"image": 3}',
        '{"image": "0.png", "Year": 1, "year": 2}', '{"image": "/dev/zero"}', '{"image": "s3://bucket/0.png"}',
    ],
)  # fmt: skip
def test_rows_of_all_kinds_beside_good_ones(run, place, line, tmp_path):
    index = str(tmp_path / "own.idx")
    good = '{"image": "%s", "text": "good"}\n' % (place / "1.png")
    (place / "odd.jsonl").write_text(good + line + "\n")
    assert run("index", "create", index)[0] == 0
    out = survived(run("index", "add", index, "odd.jsonl", "--json", "--workers", "0"), (0,))
    assert json.loads(out)["rows"] >= 1
    survived(run("embed", "odd.jsonl", "--out", "v.jsonl", "--workers", "0"))


@pytest.mark.parametrize(
    "card", ["[" * 50_000, '{"format": Infinity}', '{"format": "x"}', "{}", "null", '{"a": 1' + "0" * 9000 + "}"]
)
def test_cards(run, place, card):
    (place / "run").mkdir(exist_ok=True)
    (place / "run" / "card.json").write_text(card)
    survived(run("embed", "0.png", "--encoder", "run", "--out", "v.jsonl", "--workers", "0"), (2,))


def test_words_the_anchor_does_not_know_are_said_once_also_with_json(run):
    for args in (
        ["classify", "0.png", "--labels", "zebra,wombat", "--json", "--workers", "0"],
        ["search", "media.idx", "xyzzy plugh", "--json"],
        ["embed", "--as", "text", "xyzzy", "--out", "v.jsonl"],
        ["eval", "rows.jsonl", "--json", "--workers", "0"],
    ):
        status, out, err = run(*args)
        assert status == 0, err
        assert err.count("anchor mini never learned") == (args[0] != "eval")  # its words are known
        assert "never learned" not in out


def test_labels_that_nothing_tells_apart_are_said(run):
    _, _, err = run("classify", "0.png", "--labels", "Zebra,zebra,a circle", "--workers", "0")
    assert "cannot tell these labels apart: 'Zebra' and 'zebra'" in err
