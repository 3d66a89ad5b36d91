"""A run folder belongs to one process at a time, and an interrupted one says how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import toy_run

import binder
from binder import RunError
from binder.train import lock

HOLD = """
import sys, time
from pathlib import Path
from binder.train import lock
with lock.held(Path(sys.argv[1])):
    """


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder `run` until it is killed."""
    command = [sys.executable, "-c", HOLD + "print('held', flush=True); time.sleep(60)", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_that_another_process_holds_is_refused_by_its_number(holder, tmp_path):
    with pytest.raises(RunError, match=f"process {holder.pid} on .* is at work") as caught, lock.held(tmp_path / "run"):
        pass
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / lock.NAME).is_file()


def test_the_lock_of_a_killed_process_holds_nobody_up(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / lock.NAME).read_text().startswith(str(holder.pid))
    with lock.held(tmp_path / "run"):
        assert (tmp_path / "run" / lock.NAME).read_text().startswith(str(os.getpid()))
    assert not (tmp_path / "run" / lock.NAME).exists()


def test_two_in_one_process_exclude_each_other_and_the_second_can_come_after(tmp_path):
    with lock.held(tmp_path / "run"):
        with pytest.raises(RunError, match=f"process {os.getpid()} "), lock.held(tmp_path / "run"):
            pass
        (tmp_path / "run" / "mine").write_text("x")
    with lock.held(tmp_path / "run"):
        pass
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine"]


def test_a_folder_made_for_the_lock_goes_with_it_unless_something_was_left_in_it(tmp_path):
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path / "new"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    with lock.held(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()


def test_where_no_folder_can_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(RunError, match=r"run: cannot be written: Not a directory"),
        lock.held(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.usefixtures("toy")
def test_a_run_at_work_is_neither_resumed_nor_begun_by_another_process(
    fast_processes, tmp_path, toys, anchor_folder, cache_folder
):
    out, pairs = tmp_path / "run", toys / "pairs.csv"
    options = {"to": "text", "epochs": 100_000, "sets": ["train.checkpoint_seconds=0"]}
    environment = {name: os.environ[name] for name in ("BINDER_CACHE", "BINDER_PLUGINS")}
    process = fast_processes.Process(target=toy_run.align, args=(environment, out, pairs, str(anchor_folder), options))
    process.start()
    try:
        wait_until(lambda: (out / "state.pt").is_file(), process)
        before = (out / "config.toml").read_bytes()
        with pytest.raises(RunError, match=f"process {process.pid} on .* is at work on this run"):
            binder.align("toy", pairs, anchor=str(anchor_folder), out=out, resume=True, **options)
        with pytest.raises(RunError, match="exists already"):
            binder.align("toy", pairs, anchor=str(anchor_folder), out=out, **options)
        assert process.is_alive()
        assert (out / "config.toml").read_bytes() == before
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.usefixtures("toy")
def test_ctrl_c_ends_an_align_with_one_line_that_says_how_to_go_on(
    begun, fast_processes, tmp_path, toys, anchor_folder, cache_folder
):
    out = tmp_path / "run"
    command = ["align", "toy", toys / "pairs.csv", "--anchor", anchor_folder, "--to", "text", "--out", out]
    options = ["--epochs", "100000", "--workers", "0", "--set", "train.checkpoint_seconds=0"]
    environment = {name: os.environ[name] for name in ("BINDER_CACHE", "BINDER_PLUGINS")}
    said = tmp_path / "stderr"
    process = fast_processes.Process(target=toy_run.command_line, args=(environment, said, [*command, *options]))
    process.start()
    wait_until((out / "state.pt").is_file if begun else (out / lock.NAME).is_file, process)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    *before, line = said.read_text().splitlines()
    assert all(earlier.startswith("info: ") for earlier in before)  # how long it would have taken
    if begun:
        assert line == f"interrupted; run the same command with --resume to continue {out}"
    elif not out.exists():  # where it was not too late
        assert line == "interrupted; no run had started"
    assert not (out / lock.NAME).exists()


def wait_until(moment, process) -> None:
    deadline = time.monotonic() + 60
    while not moment():
        assert process.is_alive()
        assert time.monotonic() < deadline, "it never came to that moment"
        time.sleep(0.002)
