"""A run can be followed: by a callback, in TensorBoard, and by a program that reads JSON."""

from __future__ import annotations

import json
import struct

import pytest
from support import one_line_error

import binder
from binder import RunError, tensorboard_writer
from binder.cli.output import ProgressBar
from binder.config import AlignConfig
from binder.train.schedule import rate_at

pytestmark = pytest.mark.usefixtures("toy")

SHORT = {"epochs": 3, "sets": ["train.batch_size=32", "encoder.noise=0.1", "encoder.dropout=0.2"]}
CHECKS = [4, 8, 12]  # steps after which a run of 3 epochs of 108 rows is logged


@pytest.fixture
def align(tmp_path, toys, anchor_folder):
    """align(**what differs): three epochs on the shared pairs, to text."""

    def call(**options):
        defaults = {"anchor": str(anchor_folder), "to": "text", "out": tmp_path / "run", **SHORT}
        return binder.align("toy", toys / "pairs.csv", **{**defaults, **options})

    return call


def log_lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder):
    return (folder / "encoder.safetensors").read_bytes()


def told_steps(events):
    return [event["step"] for event in events if event["event"] == "step"]


class Stop(Exception):
    pass


def stopping(events, at, error=Stop):
    """A callback that keeps what it is told, and raises when it is told the step (or the event) `at`."""

    def callback(event):
        events.append(event)
        if at in (event.get("step"), event["event"]):
            raise error

    return callback


def test_a_callback_is_told_what_the_log_holds_and_then_the_result(align, tmp_path):
    events = []
    result = align(callback=events.append)
    assert events[:-1] == log_lines(tmp_path / "run")
    assert [event["event"] for event in events] == ["data", *["step"] * len(CHECKS), "done"]
    assert told_steps(events) == CHECKS
    assert events[-1] == {
        "event": "done", "step": 12, "out": str(tmp_path / "run"),
        "retrieval": result.retrieval, "baselines": result.card.metrics["baselines"],
    }  # fmt: skip


def test_a_line_of_the_log_has_the_rate_that_was_used_and_how_fast_it_went(align, tmp_path):
    align(sets=[*SHORT["sets"], "train.lr=0.004"])
    _, *lines = log_lines(tmp_path / "run")
    warmup = AlignConfig().train.warmup
    for line in lines:
        assert line["lr"] == pytest.approx(0.004 * rate_at((line["step"] - 1) / 12, warmup))
        assert line["epoch"] == line["step"] / 4
        assert 0 <= line["text_r1"] <= 1
    seconds = [line["seconds"] for line in lines]
    assert 0 < seconds[0] <= seconds[1] <= seconds[2]
    first = 108 / lines[0]["rows_per_second"]  # how long the first epoch took, without its check
    assert seconds[0] - 0.02 < first < seconds[0] + 1


def test_what_a_callback_does_with_an_event_changes_nothing(align, tmp_path):
    import torch

    def meddling(event):
        event.clear()
        torch.manual_seed(3)

    align(callback=meddling)
    align(out=tmp_path / "other")
    assert weights(tmp_path / "run") == weights(tmp_path / "other")
    assert told_steps(log_lines(tmp_path / "run")) == CHECKS


@pytest.mark.parametrize("at", ["data", *CHECKS])
@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_an_exception_of_a_callback_ends_the_run_and_resume_goes_on_without_telling_twice(align, tmp_path, at, error):
    events = []
    with pytest.raises(error):
        align(callback=stopping(events, at, error))
    assert not (tmp_path / "run" / "card.json").exists()
    align(callback=events.append, resume=True)
    assert told_steps(events) == CHECKS
    assert events[-1]["event"] == "done"
    align(out=tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_an_exception_at_the_end_leaves_a_finished_run(align, tmp_path):
    with pytest.raises(Stop):
        align(callback=stopping([], "done"))
    align(out=tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert (tmp_path / "run" / "card.json").exists()


def read_events(folder):
    """What TensorBoard reads there: {name: [(step, value)]}."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected_events(run):
    """The same from the log: every number of its steps, as 32 bits hold it."""
    _, *lines = log_lines(run)
    names = [key for key in lines[0] if key not in ("event", "step")]
    return {name: [(line["step"], as_float32(line[name])) for line in lines] for name in names}


def as_float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def test_tensorboard_reads_back_what_is_logged(align, tmp_path):
    align(callback=tensorboard_writer(tmp_path / "run"))
    found = read_events(tmp_path / "run" / "tensorboard")
    assert {"loss", "lr", "rows_per_second", "text_r1"} <= set(found)
    assert found == expected_events(tmp_path / "run")


@pytest.mark.parametrize("begun_with_it", [True, False])
def test_a_resumed_run_has_every_step_in_tensorboard_once(align, tmp_path, begun_with_it):
    write = tensorboard_writer(tmp_path / "run")

    def first(event):
        if begun_with_it:
            write(event)
        if event.get("step") == 8:
            raise Stop

    with pytest.raises(Stop):
        align(callback=first)
    align(callback=tensorboard_writer(tmp_path / "run"), resume=True)
    assert [step for step, _ in read_events(tmp_path / "run" / "tensorboard")["loss"]] == CHECKS
    assert read_events(tmp_path / "run" / "tensorboard") == expected_events(tmp_path / "run")


def test_large_steps_and_odd_numbers_and_names_are_written_as_they_are(tmp_path):
    steps = [0, 127, 128, 300, 10**9, 2**40]
    write = tensorboard_writer(tmp_path)
    for step in steps:
        write({"event": "step", "step": step, "größe": -step / 7, "n" * 300: step})
    found = read_events(tmp_path / "tensorboard")
    assert found["größe"] == [(step, as_float32(-step / 7)) for step in steps]
    assert found["n" * 300] == [(step, as_float32(step)) for step in steps]


def test_where_tensorboards_folder_cannot_be_written_one_line_says_so(align, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match=r"file.*cannot be written") as caught:
        align(callback=tensorboard_writer(tmp_path / "file"))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def command(toys, anchor_folder, tmp_path):
    sets = [word for value in SHORT["sets"] for word in ("--set", value)]
    return [
        "align", "toy", toys / "pairs.csv", "--anchor", anchor_folder, "--to", "text", "--out", tmp_path / "run",
        "--epochs", SHORT["epochs"], *sets, "--workers", 0, "--json", "--tensorboard",
    ]  # fmt: skip


KEYS = ["out", "card", "counts", "retrieval", "baselines", "skipped", "seconds"]


def test_json_is_one_object_on_stdout_and_the_rest_is_said_on_stderr(binder, command, tmp_path, toys):
    rows = (toys / "pairs.csv").read_text().splitlines()
    copy = [
        rows[0],
        *(",".join([str(toys / cell) if "." in cell else cell for cell in r.split(",")]) for r in rows[1:]),
    ]
    (tmp_path / "pairs.csv").write_text("\n".join([*copy, copy[-1].replace("119.npy", "gone.npy")]) + "\n")
    command[2] = tmp_path / "pairs.csv"
    status, out, err = binder(*command)
    assert status == 0, err
    (line,) = out.splitlines()
    found = json.loads(line)
    assert list(found) == KEYS
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    metrics = card.pop("metrics")
    assert (found["out"], found["card"], found["baselines"]) == (str(tmp_path / "run"), card, metrics["baselines"])
    marked = found["retrieval"]
    assert [{**row, "no_result": None} for row in metrics["retrieval"]] == [
        {**row, "no_result": None} for row in marked
    ]
    assert all(isinstance(row["no_result"], list) for row in marked)
    assert found["counts"]["rows"] == 121
    assert found["counts"]["skipped"] == 1 == len(found["skipped"])
    assert "pairs.csv:122" in found["skipped"][0]["where"]
    assert "no such file" in found["skipped"][0]["reason"]
    assert found["seconds"] > 0
    for said in ("skipped 1 unreadable item", "aligned toy on", f"the encoder is in {tmp_path / 'run'}"):
        assert said in err
    assert read_events(tmp_path / "run" / "tensorboard") == expected_events(tmp_path / "run")


def test_with_json_an_error_is_one_line_on_stderr_and_stdout_is_empty(binder, command):
    said = binder(*command, "--group", "nobody")
    assert "no column 'nobody'" in one_line_error(said)
    assert said[1] == ""


def test_an_interrupted_run_with_json_and_tensorboard_goes_on_where_it_was(
    binder, command, align, tmp_path, monkeypatch
):
    def interrupt(self, stage, done, total):
        if (stage, done) == ("training", 7):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "__call__", interrupt)
        status, out, err = binder(*command)
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == f"interrupted; run the same command with --resume to continue {tmp_path / 'run'}"
    status, out, err = binder(*command, "--resume")
    assert status == 0, err
    assert list(json.loads(out)) == KEYS
    assert [step for step, _ in read_events(tmp_path / "run" / "tensorboard")["loss"]] == CHECKS
    align(out=tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
