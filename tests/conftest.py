"""What every test stands on: a cache of its own, no network, a tiny random anchor, and an installed toy plugin."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; also the same sums in every process

sys.path.insert(0, str(Path(__file__).parent / "toy"))  # the toy plugin's modules and `support`
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))  # `reference`

import pytest
from support import FAST, distribution, installed, write_csv, write_toys


@pytest.fixture(autouse=True, scope="session")
def _session_cache(tmp_path_factory) -> Iterator[None]:
    """Session fixtures, too, keep away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BINDER_CACHE", str(tmp_path_factory.mktemp("session-cache")))
        yield


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch) -> Path:
    """An empty cache for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BINDER_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _fresh_commands(monkeypatch) -> None:
    """The command line asks in every test anew which commands plugins add: others may be installed than before."""
    from binder.cli.main import cli

    monkeypatch.setattr(cli, "_asked", False, raising=False)
    monkeypatch.setattr(cli, "commands", {})


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("site")
    distribution(site, "binder-toy", "binder_toy", key="toy")
    return site


@pytest.fixture
def toy(toy_site) -> Iterator[None]:
    """The toy plugin is installed, and no other."""
    with installed(toy_site, only="toy"):
        yield


@pytest.fixture(scope="session")
def anchor_folder(tmp_path_factory) -> Path:
    from binder.testing import write_tiny_checkpoint

    return write_tiny_checkpoint(tmp_path_factory.mktemp("anchors") / "tiny")


@pytest.fixture(scope="session")
def anchor(anchor_folder):
    from binder.anchors import openclip as anchors

    return anchors.load(str(anchor_folder))


@pytest.fixture(scope="session")
def toys(tmp_path_factory) -> Path:
    """pairs.csv with 120 rows of toy, text and image, and the files beside it."""
    folder = tmp_path_factory.mktemp("toys")
    write_csv(folder / "pairs.csv", write_toys(folder))
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory, toy_site, toys, anchor_folder) -> Path:
    """A finished run of the toy, aligned to text."""
    import binder

    out = tmp_path_factory.mktemp("runs") / "toy"
    with installed(toy_site, only="toy"):
        binder.align("toy", toys / "pairs.csv", anchor=str(anchor_folder), to="text", out=out, **FAST)
    return out


@pytest.fixture
def encoded(monkeypatch) -> list[Any]:
    """The items that went through an encoder of a Binder."""
    from binder import Binder

    seen: list[Any] = []
    encode = Binder.encode

    def counting(self, modality, items, **more):
        seen.extend(items)
        return encode(self, modality, items, **more)

    monkeypatch.setattr(Binder, "encode", counting)
    return seen


@pytest.fixture(scope="session")
def fast_processes():
    """Processes that start fast: their server has imported what is slow, and nothing else."""
    if os.name == "nt":
        pytest.skip("Windows forks no processes")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["binder.train.align", "open_clip"])
    return context


@pytest.fixture
def binder(capfd, monkeypatch):
    """Run `binder ARGS` in this process -> (exit status, stdout, stderr)."""

    from binder.cli import main as cli_main

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["binder", *map(str, args)])
        try:
            cli_main.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            logging.getLogger("binder").handlers.clear()
            logging.getLogger("binder").propagate = True
        out, err = capfd.readouterr()
        return status, out, err

    return run
