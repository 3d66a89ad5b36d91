"""A run killed at any moment goes on to the very weights of one that was never interrupted."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import tomli_w
import toy_run
from support import installed

import binder
from binder.artifact import run_folder
from binder.config import read_toml

pytestmark = pytest.mark.usefixtures("toy")

# Everything that draws random numbers is on, and the state is written after every step: half the time is writing.
OPTIONS = {
    "to": "both",
    "epochs": 20,
    "sets": [
        "train.batch_size=32",
        "train.checkpoint_seconds=0",
        "encoder.noise=0.1",
        "encoder.dropout=0.2",
        "encoder.width=1000",
        "loss.learn_temperature=true",
    ],
}
TOTAL = 20 * 4  # 108 training rows in batches of 32


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, toys, toy_site, anchor_folder):
    out = tmp_path_factory.mktemp("runs") / "whole"
    with installed(toy_site, only="toy"):
        binder.align("toy", toys / "pairs.csv", anchor=str(anchor_folder), out=out, **OPTIONS)
    return out


def steps_taken(folder):
    """How far the log has come, without opening what may be in the middle of being written."""
    try:
        lines = (folder / "log.jsonl").read_text().splitlines()
        return json.loads(lines[-1]).get("step", 0)
    except FileNotFoundError:
        return -1


def begun(folder):
    return (folder / "config.toml").is_file()


def in_the_middle(folder):
    """Between two lines of the log, which come every 8 steps."""
    state = run_folder.read_state(folder)  # never half-written, so that it can be read at any time
    return state is not None and 10 < state["step"] < TOTAL and 2 < state["step"] % 8 < 6


def writing_its_state(folder):
    return steps_taken(folder) >= TOTAL // 4 and any(folder.glob(".state.pt.*"))


def writing_the_encoder(folder):
    return any(folder.glob(".encoder.safetensors.*")) or (folder / "encoder.safetensors").is_file()


def kill_when(moment, processes, folder, toys, anchor_folder):
    """Start a run in a process of its own, kill it at the moment, and return whether it was still running."""
    environment = {name: os.environ[name] for name in ("BINDER_CACHE", "BINDER_PLUGINS")}
    arguments = (environment, folder, toys / "pairs.csv", str(anchor_folder), OPTIONS)
    process = processes.Process(target=toy_run.align, args=arguments)
    process.start()
    deadline = time.monotonic() + 120
    while process.is_alive() and not moment(folder):
        assert time.monotonic() < deadline, "the run never came to that moment"
        time.sleep(0.0005)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("moment", [begun, in_the_middle, writing_its_state, writing_the_encoder])
def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(
    moment, fast_processes, tmp_path, toys, anchor_folder, uninterrupted
):
    for attempt in range(5):  # on a busy machine the kill may come too late
        folder = tmp_path / f"killed {attempt}"
        if kill_when(moment, fast_processes, folder, toys, anchor_folder) and not (folder / "card.json").is_file():
            break
    else:
        pytest.fail("every run was over before it could be killed")
    state = run_folder.read_state(folder)  # whatever the moment, it is whole or not there
    assert state is None or 0 <= state["step"] <= TOTAL
    if moment is in_the_middle or moment is writing_its_state:
        assert 0 < state["step"] < TOTAL
    binder.align("toy", toys / "pairs.csv", anchor=str(anchor_folder), out=folder, resume=True, **OPTIONS)
    assert (folder / "encoder.safetensors").read_bytes() == (uninterrupted / "encoder.safetensors").read_bytes()
    own, other = (json.loads((f / "card.json").read_text()) for f in (folder, uninterrupted))
    assert {**own, "created": None} == {**other, "created": None}
    assert losses(folder) == losses(uninterrupted)
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".state")]


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if line["event"] == "step"]


def test_a_run_killed_twice_still_ends_in_the_same_weights(
    fast_processes, tmp_path, toys, anchor_folder, uninterrupted
):
    folder = tmp_path / "killed"
    assert kill_when(in_the_middle, fast_processes, folder, toys, anchor_folder)
    first = run_folder.read_state(folder)["step"]

    class Stop(Exception):
        pass

    def stop(stage, done, total):
        if stage == "training" and done == first + 5:
            raise Stop

    options = {"anchor": str(anchor_folder), "out": folder, "resume": True, **OPTIONS}
    with pytest.raises(Stop):
        binder.align("toy", toys / "pairs.csv", progress=stop, **options)
    assert run_folder.read_state(folder)["step"] == first + 4
    binder.align("toy", toys / "pairs.csv", **options)
    assert (folder / "encoder.safetensors").read_bytes() == (uninterrupted / "encoder.safetensors").read_bytes()


def test_a_run_begun_by_binder_0_2_goes_on_to_the_same_weights(tmp_path, toys, anchor_folder, uninterrupted):
    """Its configuration had no kind of loss but a bank, 0 for none; its state had the scale's logarithm by itself."""
    folder = tmp_path / "old"
    options = {"anchor": str(anchor_folder), "out": folder, **OPTIONS}

    def stop(stage, done, total):
        if (stage, done) == ("training", 30):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        binder.align("toy", toys / "pairs.csv", progress=stop, **options)
    settings, state = read_toml(folder / "config.toml"), run_folder.read_state(folder)
    del settings["loss"]["kind"]
    settings["loss"]["bank"] = 0
    (folder / "config.toml").write_text(tomli_w.dumps(settings))
    state["log_scale"] = state.pop("loss")["log_scale"]
    run_folder.write_state(folder, state)
    with pytest.raises(binder.RunError, match=r"cannot be resumed: loss\.temperature was 0\.05 and is now 0\.1"):
        sets = [*OPTIONS["sets"], "loss.temperature=0.1"]
        binder.align("toy", toys / "pairs.csv", resume=True, **{**options, "sets": sets})
    binder.align("toy", toys / "pairs.csv", resume=True, **options)
    assert (folder / "encoder.safetensors").read_bytes() == (uninterrupted / "encoder.safetensors").read_bytes()
