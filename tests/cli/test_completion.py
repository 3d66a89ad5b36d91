"""What shells are offered, asked as they ask: through click's environment variables."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import distribution, installed, one_line_error, posix

from binder.cli import complete

Ask = Callable[..., list[str]]
LIMIT_S = 0.4  # of a processor's time


@pytest.fixture
def ask(binder, monkeypatch) -> Ask:
    """Words, the last of them unfinished -> what is offered, as 'plain,VALUE' or only 'file,' and 'dir,'."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_BINDER_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", " ".join(["binder", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        _, out, err = binder()
        assert err == "", "it would be printed into the line that is being typed"
        kinds = [line.partition(",") for line in out.splitlines() if line]
        return [value if kind == "plain" else f"({kind})" for kind, _, value in kinds]

    return ask


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with runs, one of them unfinished, and indexes."""
    for run in ("runs/gestures", "runs/deep/er", "other/mine"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "card.json").write_text("{}")
    (tmp_path / "runs/unfinished").mkdir()
    for index in ("media.idx", "other/old.idx"):
        (tmp_path / index / "notes.lance").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_and_options(ask):
    assert {"align", "search", "completion"} <= set(ask(""))
    assert ask("al") == ["align"]
    assert ask("index", "rees") == []
    assert {"create", "add", "reembed"} <= set(ask("index", ""))
    assert "--anchor" in ask("align", "--a")
    assert ask("completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.usefixtures("toy")
def test_modalities(ask):
    assert ask("align", "") == ["toy"], "image and text have no encoder that could be aligned"
    assert ask("embed", "--as", "") == ["image", "text", "toy"]
    assert ask("embed", "x", "--as", "te") == ["text"]
    assert ask("search", "x.idx", "red", "--in", "t") == ["text", "toy"]
    assert ask("align", "toy", "p.csv", "--to", "") == ["both", "image", "text", "toy"]
    assert ask("align", "toy", "p.csv", "--to", "image,t") == ["image,text", "image,toy"]


def test_anchors(ask, toy_site, tmp_path):
    distribution(tmp_path / "site", "binder-words", "binder_toy_anchor", key="words")
    with installed(toy_site, tmp_path / "site"):
        assert ask("embed", "--anchor", "mi") == ["mini"]
        assert "ViT-B-32/laion2b_s34b_b79k" in ask("align", "toy", "p.csv", "--anchor", "ViT-B-32/")
        assert ask("index", "create", "x.idx", "--anchor", "wo") == ["words:"]
        assert ask("embed", "--anchor", "words:") == ["words:", "words:0"]
        assert ask("embed", "--anchor", "/") == ["(dir)"]
        assert {"mini", "words:", "omni:"} <= set(ask("embed", "--anchor", ""))


def test_the_tags_read_from_the_source_are_open_clips():
    import open_clip

    known = {f"{model}/{tag}" for model, tag in open_clip.list_pretrained()}
    read = set(complete._pretrained())
    assert read <= known
    assert all("-quickgelu/" in name for name in known - read)
    assert len(read) > 100


def test_runs(ask, here):
    assert ask("embed", "--encoder", "") == ["runs/deep/er", "runs/gestures"]
    assert ask("align", "toy", "p.csv", "--init", "runs/g") == ["runs/gestures"]
    assert ask("embed", "--encoder", "runs/u") == ["(dir)"], "a run without a card is not finished"
    assert ask("embed", "--encoder", "other/") == ["other/mine"]
    assert ask("embed", "--encoder", f"{here}/other/m") == [f"{here}/other/mine"]
    assert ask("push", "runs/ge") == ["runs/gestures"]
    assert ask("embed", "--encoder", "no/where/") == ["(dir)"]


def test_indexes_and_paths(ask, here):
    for verb in (["search"], ["similar"], ["duplicates"], ["index", "add"], ["index", "info"]):
        assert ask(*verb, "") == ["media.idx"]
    assert ask("index", "info", "other/") == ["other/old.idx"]
    assert ask("index", "info", "pho") == ["(dir)"]
    for words in (
        ["embed", ""],
        ["index", "add", "x.idx", "ph"],
        ["align", "toy", "pa"],
        ["eval", ""],
        ["pairs", "check", ""],
    ):
        assert ask(*words) == ["(file)"]


@pytest.mark.usefixtures("toy")
def test_plugins(ask):
    assert "imu" in ask("plugins", "install", "")
    assert ask("plugins", "install", "./binder-") == ["(file)"]
    assert ask("plugins", "uninstall", "") == ["toy"]
    assert ask("plugins", "check", "to") == ["toy"]
    assert ask("plugins", "check", "./") == ["(dir)"]
    assert "series" in ask("plugins", "new", "x", "--kind", "")


def test_devices(ask):
    assert ask("embed", "--device", "c") == ["cpu", "cuda"]


def test_a_mistake_or_a_broken_plugin_offers_nothing_and_says_nothing(ask, tmp_path):
    assert ask("no-such-command", "") == []
    (tmp_path / "fake_broken.py").write_text(
        "import logging\nlogging.getLogger('binder').warning('loud')\n"
        "def binder_register_commands(cli): raise SystemExit(3)\nraise RuntimeError('broken')\n"
    )
    distribution(tmp_path, "binder-broken", "fake_broken", key="broken")
    with installed(tmp_path, only="broken"):
        assert "align" in ask("")
        assert ask("plugins", "uninstall", "") == ["broken"]
        assert ask("embed", "--as", "") == ["image", "text"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed(binder, shell):
    status, out, _ = binder("completion", shell)
    assert status == 0
    assert f"_BINDER_COMPLETE={shell}_complete" in out


def test_another_shell_is_one_line(binder):
    assert "tcsh" in one_line_error(binder("completion", "tcsh"))


@posix
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_with_the_script(here):
    command = Path(sys.executable).with_name("binder")
    script = (
        'eval "$(binder completion bash)"; '
        "COMP_WORDS=(binder emb); COMP_CWORD=1; _binder_completion binder emb binder; echo ${COMPREPLY[@]}; "
        'COMP_WORDS=(binder embed --encoder ""); COMP_CWORD=3; COMPREPLY=(); '
        '_binder_completion binder "" --encoder; echo ${COMPREPLY[@]}'
    )
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=here, check=False
    )
    assert done.stdout.splitlines() == ["embed", "runs/deep/er runs/gestures"], done.stderr


@posix
@pytest.mark.parametrize(
    "words", ["", "align ", "embed --anchor ", "plugins uninstall ", "embed --encoder ", "search "]
)
def test_completing_is_fast_and_imports_no_torch(words, tmp_path):
    """With whatever plugins are installed."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('slow:', *sorted({'torch', 'open_clip', 'lancedb'} & set(sys.modules))))\n"
        "sys.argv = ['binder']; from binder.cli.main import main; main()"
    )
    asked = {
        "_BINDER_COMPLETE": "bash_complete",
        "COMP_WORDS": f"binder {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    spent = []
    for _ in range(3):  # the first may have to compile
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, **asked},
            cwd=tmp_path,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stdout.splitlines()[-1] == "slow:", done.stdout[-300:] + done.stderr
        assert len(done.stdout.splitlines()) > 1
    assert min(spent) < LIMIT_S
