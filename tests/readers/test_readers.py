"""Reader processes: what a file does to whoever reads it costs that item, whatever it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from reader_tasks import count, double, misbehave
from support import posix

import binder
from binder import BinderError, ConfigError, ItemError, readers
from binder.data import encode
from binder.readers import worker

forks = pytest.mark.skipif(not worker.FORKS, reason="memory is limited, and a crash is cheap, on Linux only")
SHORT = {"BINDER_ITEM_S": "1", "BINDER_ITEM_MB": "200"}
TROUBLE = {  # what happens -> what is said
    "crash": "crashes its reader process (SIGSEGV), perhaps out of memory: the limit is 200 MiB (BINDER_ITEM_MB)",
    "abort": "crashes its reader process (SIGABRT), perhaps out of memory: the limit is 200 MiB (BINDER_ITEM_MB)",
    "hard exit": "crashes its reader process (exit status 7)",
    "exit": "SystemExit: 4",
    "sleep": "takes longer than 1 s to be read (BINDER_ITEM_S allows more)",
    "spin": "takes longer than 1 s to be read (BINDER_ITEM_S allows more)",
    "memory": "needs more than 200 MiB of memory to be read (BINDER_ITEM_MB allows more)",
    "bytes": "needs more than 200 MiB of memory to be read (BINDER_ITEM_MB allows more)",
    "error": "ValueError: one two",
}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for name, value in SHORT.items():
        monkeypatch.setenv(name, value)


def outcomes(items, workers=2, task=misbehave):
    return [str(o) if isinstance(o, ItemError) else o for o in readers.run(task, items, workers, str)]


def test_answers_come_in_order_whoever_gives_them():
    assert outcomes(range(500), workers=3) == [2 * i for i in range(500)]


@posix
def test_each_trouble_costs_its_item_and_no_other():
    trouble = {what: said for what, said in TROUBLE.items() if worker.FORKS or "MiB of memory" not in said}
    items = [x for i, what in enumerate(trouble) for x in (i, what)]
    expected = [x for i, (what, said) in enumerate(trouble.items()) for x in (2 * i, f"{what}: {said}")]
    assert outcomes([*items, 100]) == [*expected, 200]


@pytest.mark.parametrize(
    "what", [pytest.param("crash", marks=posix), pytest.param("memory", marks=forks), "error", "sleep"]
)
def test_an_isolated_call_says_what_went_wrong_and_the_next_one_works(what):
    with pytest.raises(ItemError) as caught:
        readers.isolated(misbehave, what, item="a.json")
    assert str(caught.value) == f"a.json: {TROUBLE[what]}"
    assert readers.isolated(misbehave, 4, item="a.json") == 8


def test_errors_of_ours_come_back_as_they_are():
    with pytest.raises(ItemError, match="its own name: is bad"):
        readers.isolated(misbehave, "item", item="x")
    with pytest.raises(ConfigError, match="a setting is bad"):
        readers.isolated(misbehave, "config", item="x")


@pytest.mark.parametrize("status", [0, 3, 4, 7])
def test_whatever_ends_the_process_is_the_answer_to_that_item_and_to_no_other(status):
    found = outcomes([1, ("exit with", status), 2, 3], workers=1)
    assert [found[0], *found[2:]] == [2, 4, 6]
    assert f"crashes its reader process (exit status {status})" in found[1]


@posix
def test_a_process_that_is_killed_while_it_waits_costs_no_item():
    pid = readers.isolated(misbehave, "pid", item="x")
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert readers.isolated(misbehave, 5, item="x") == 10
    assert outcomes([1, 2, 3], workers=1) == [2, 4, 6]
    killed = next(readers.run(misbehave, ["pid"], 1, str))
    os.kill(killed, signal.SIGKILL)
    time.sleep(0.2)
    assert outcomes([1, 2, 3], workers=1) == [2, 4, 6]


@posix
def test_where_a_system_cannot_fork_another_process_takes_over(tmp_path):
    code = """
        from reader_tasks import misbehave
        from binder import readers
        print([str(o) for o in readers.run(misbehave, [1, "crash", 2, "hard exit", 3, "sleep", 4], 1, str)])
    """
    done = run_script(tmp_path, code, BINDER_READER_NO_FORK="1", BINDER_ITEM_S="1")
    assert done.stdout.startswith("['2', 'crash: crashes its reader process (SIGSEGV)"), done.stderr
    said = "'4', 'hard exit: crashes its reader process (exit status 7)', '6', 'sleep: takes longer than 1 s"
    assert said in done.stdout
    assert done.stdout.endswith("'8']\n")


@posix
def test_where_a_system_cannot_fork_a_process_that_is_killed_while_it_waits_costs_no_item_either(tmp_path):
    code = """
        import os, signal, time
        from reader_tasks import misbehave
        from binder import readers
        os.kill(readers.isolated(misbehave, "pid", item="x"), signal.SIGKILL)
        time.sleep(0.2)
        print(readers.isolated(misbehave, 4, item="x"))
    """
    done = run_script(tmp_path, code, BINDER_READER_NO_FORK="1")
    assert done.stdout == "8\n", done.stderr


@posix
def test_a_process_that_is_gone_with_all_it_forked_costs_its_item():
    found = outcomes([1, "all of it", 2, 3], workers=1)
    assert [found[0], *found[2:]] == [2, 4, 6]
    assert "crashes its reader process (SIGKILL)" in found[1]


@posix
def test_where_no_other_process_can_be_started_the_run_says_so_and_does_not_wait(monkeypatch):
    started = []

    def take(task, **how):
        if started:
            raise readers.Refused("no process can be started: out of memory")
        started.append(type(readers.process.pool).take(readers.process.pool, task, **how))
        return started[0]

    monkeypatch.setattr(readers.process.pool, "take", take)
    with pytest.raises(BinderError, match="items cannot be read any more: no process can be started: out of memory"):
        outcomes([1, "all of it", 2, 3], workers=1)


def test_no_less_than_no_process():
    with pytest.raises(ConfigError, match="workers: -1, expected 0"):
        binder.Binder("mini", workers=-1)


def test_what_was_assumed_there_is_heard_here_and_chatter_is_not(caplog):
    caplog.set_level("INFO")
    assert outcomes(["info"]) == ["said"]
    assert caplog.text.count("what was assumed") == 1 and "chatter" not in caplog.text


@forks
def test_a_thousand_crashes_are_paid_for_in_milliseconds():
    outcomes([1])  # started
    began = time.monotonic()
    assert sum("crashes" in o for o in outcomes(["crash"] * 100, workers=1)) == 100
    assert time.monotonic() - began < 10


@posix
def test_a_stream_gives_what_came_before_the_trouble():
    assert list(readers.stream(count, 5, "x")) == [0, 1, 2, 3, 4]
    found = []
    with pytest.raises(ItemError, match=r"^x: crashes its reader process \(SIGSEGV\)"):
        for piece in readers.stream(count, "crash", "x"):
            found.append(piece)
    assert found == [0]


def test_whoever_stops_listening_leaves_nothing_behind():
    for outcome in readers.run(misbehave, [1, *["sleep"] * 10], 2, str):
        assert outcome == 2
        break
    for piece in readers.stream(count, 10**9, "x"):
        assert piece == 0
        break
    assert readers.process.pool.busy == []
    assert outcomes([3]) == [6]


def test_a_pipe_stays_open_while_a_thread_may_read_from_it(monkeypatch):
    """Closed by another thread, its number may be the next process's pipe, and that one's answers are taken away."""
    read, gate, answers = readers.worker.read, threading.Event(), []

    def waiting(file):
        if answers and threading.current_thread() is not threading.main_thread():
            gate.wait(10)  # it is on its way to the second answer
        answers.append(read(file))
        return answers[-1]

    outcomes([1])  # no other process is taken than one that waits
    monkeypatch.setattr(readers.worker, "read", waiting)
    run = readers.run(misbehave, [1, *["sleep"] * 10], 1, str)
    answers.clear()  # that the task was taken in
    assert next(run) == 2
    (reader,) = readers.process.pool.busy
    run.close()
    assert reader.process.wait(10) and reader not in readers.process.pool.busy
    assert not reader.process.stdout.closed
    gate.set()
    for _ in range(100):
        if reader.process.stdout.closed:
            break
        time.sleep(0.05)
    assert reader.process.stdout.closed


def test_large_items_and_answers_pass_each_other():
    """Both sides write more than a pipe holds: neither may wait for the other to read first."""
    arrays = [np.full((300, 1000), i) for i in range(30)]
    for i, doubled in enumerate(readers.run(double, arrays, 2, lambda a: "array")):
        assert (doubled == 2 * i).all()


def test_what_is_logged_there_is_heard_here_once_and_what_is_printed_is_no_answer(caplog, capfd):
    assert outcomes(["log", "log", "print"]) == ["logged", "logged", "printed"]
    assert caplog.text.count("a warning from afar") <= 1
    assert capfd.readouterr() == ("", "")


def test_relative_paths_start_where_the_caller_is_now(tmp_path, monkeypatch):
    assert readers.isolated(misbehave, "where", item="x") == Path.cwd()
    monkeypatch.chdir(tmp_path)
    assert readers.isolated(misbehave, "where", item="x") == tmp_path


def test_tensors_travel_as_they_are_and_large_weights_only_as_shapes():
    def sent(value):
        return readers.isolated(misbehave, value, item="x")

    for tensor in (torch.randn(3, 4), torch.arange(5), torch.randn(2, 2).bfloat16(), torch.zeros(0, 3)):
        assert torch.equal(sent(tensor), tensor)
        assert sent(tensor).dtype == tensor.dtype
    weights = sent(torch.nn.Parameter(torch.ones(600, 600)))
    assert (weights.device.type, tuple(weights.shape)) == ("meta", (600, 600))
    small = sent(torch.nn.Parameter(torch.ones(2, 3)))  # a mean, say, that reading may look at
    assert isinstance(small, torch.nn.Parameter) and torch.equal(small, torch.ones(2, 3))


def test_what_cannot_be_sent_is_refused_or_costs_the_item():
    with pytest.raises(readers.Refused):
        list(readers.run(lambda item: item, [1], 1, str))
    found = list(readers.run(misbehave, [1, lambda: None, 2], 1, lambda item: "item"))
    assert found[0] == 2 and found[2] == 4
    assert "cannot be sent to the process that reads it" in str(found[1])


def test_inside_a_reader_process_a_call_is_just_made(monkeypatch):
    monkeypatch.setattr(worker, "inside", True)
    assert readers.isolated(lambda x: x + 1, 2, item="x") == 3


@pytest.mark.parametrize("value", ["", "none", "-3", "0"])
def test_limits_that_are_no_numbers_are_the_usual_ones(monkeypatch, value):
    monkeypatch.setenv("BINDER_ITEM_S", value)
    assert worker.limit_s() == worker.SECONDS


SCRIPT = """
    import pathlib
    import binder

    print("the script runs")
    space = binder.Binder("mini", workers=2)
    found = space.encode("image", sorted(pathlib.Path({folder!r}).glob("*")))
    print(len(found.good), len(found.bad))
    print(found.bad, file=__import__("sys").stderr)
"""


def run_script(tmp_path, code, **more):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SHORT},
        "BINDER_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(Path(binder.__file__).parents[1]), str(Path(__file__).parents[1] / "toy")]),
        **more,
    }
    return subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "b.png").write_bytes(b"broken")
    done = run_script(tmp_path, SCRIPT.format(folder=str(tmp_path / "pictures")))
    assert (done.stdout, done.returncode) == ("the script runs\n1 1\n", 0), done.stderr
    assert "Traceback" not in done.stderr


def test_an_encoder_of_the_running_script_is_read_for_in_it_with_a_warning(anchor, caplog, tmp_path):
    class Local(encode.Encoder):
        def preprocess(self, item):
            return torch.ones(1, 4)

        def features(self, batch):
            return batch

        def head(self, features):
            return features

    (tmp_path / "a").write_text("a")
    got = encode.encode(Local(), [tmp_path / "a"], workers=2)
    assert got.good == [0]
    assert "items are read in this process, without limits on memory and time" in caplog.text
