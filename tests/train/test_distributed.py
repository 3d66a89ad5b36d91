"""Several processes of one run take the very steps of one process with their batches put together."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from binder.train.distributed import ALONE, Group


def test_shares_are_all_of_the_rows_once():
    for n in (2, 3, 7, 48):
        rows = np.arange(n)
        parts = [Group(rank, 3).share(rows) for rank in range(3)]
        assert [len(p) for p in parts] == Group(0, 3).shares(n)
        np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_alone_nothing_is_exchanged():
    z = torch.ones(3, 2, requires_grad=True)
    assert ALONE.gather(z, 3) is z
    assert ALONE.agree(0.1) == 0.1
    with ALONE.main_first():
        pass


TWO = """
import sys, torch
from binder.train.distributed import joined
from binder.train.losses import Context, make
with joined() as group:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    x = torch.arange(5 * 4.0).view(5, 4)
    own = group.share(torch.arange(5).numpy())
    z = group.gather(layer(x[own]), 5)
    (z @ z.T).logsumexp(1).sum().backward()
    group.sum_gradients(list(layer.parameters()))
    whole = torch.nn.Linear(4, 3)
    whole.load_state_dict(layer.state_dict())
    y = whole(x)
    (y @ y.T).logsumexp(1).sum().backward()
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(layer.weight.grad, whole.weight.grad)
    # a loss is called with the whole batch in every process: the gradients of its own parameters are those of the whole
    infonce = make({"kind": "infonce", "learn_temperature": True}, Context(None, 20.0))
    t = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    unit = lambda z: torch.nn.functional.normalize(z, dim=1)
    infonce(unit(group.gather(layer(x[own]), 5)), t).backward()
    shared, infonce.log_scale.grad = infonce.log_scale.grad, None
    infonce(unit(whole(x)), t).backward()
    assert shared != 0
    torch.testing.assert_close(shared, infonce.log_scale.grad)
    assert group.agree(float(group.rank + 7)) == 7.0
    order = []
    with group.main_first():
        order.append(group.rank)
    if len(sys.argv) > 1 and group.rank == 1:
        sys.exit(3)
    group.agree(1.0)
    print("rank", group.rank, "is right")
"""


def start(*command, processes=2, path=""):
    """The processes with the variables that torchrun gives them -> (exit status, what it said) of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **shared, "PYTHONPATH": path, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(processes)
    ]  # fmt: skip
    return [(process.wait(timeout=180), process.stdout.read()) for process in started]


def test_the_gradient_of_shares_is_that_of_the_whole_batch(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    for rank, (status, said) in enumerate(start(tmp_path / "two.py")):
        assert status == 0, said
        assert said.endswith(f"rank {rank} is right\n")


def test_where_a_process_ends_the_others_say_so_in_one_line(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    (status, said), (died, _) = start(tmp_path / "two.py", "die")
    assert (status, died) == (1, 3)
    assert "TrainingError: another process of this run ended or cannot be reached" in said
    assert "continue with --resume" in said


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_the_batch_of_both(tmp_path, toys, toy, toy_site, anchor_folder):
    """108 training rows in batches of 2 x 20: the last of an epoch holds 28, and the shares are uneven."""
    script = tmp_path / "run.py"
    script.write_text("import sys, toy_run; toy_run.torchrun(sys.argv[1:])")
    path = os.pathsep.join([str(Path(__file__).parents[1] / "toy"), str(toy_site)])
    options = [
        "align",
        "toy",
        toys / "pairs.csv",
        "--anchor",
        anchor_folder,
        "--to",
        "both",
        "--epochs",
        5,
        "--workers",
        0,
        "--set",
        "loss.learn_temperature=true",
        "--json",
        "--tensorboard",
    ]
    ended = start(script, *options, "--out", tmp_path / "two", "--set", "train.batch_size=20", path=path)
    assert [status for status, _ in ended] == [0, 0], ended
    one, _ = start(script, *options, "--out", tmp_path / "one", "--set", "train.batch_size=40", path=path, processes=1)[
        0
    ]
    assert one == 0
    curves = [
        [line["loss"] for line in map(json.loads, (tmp_path / run / "log.jsonl").read_text().splitlines()[1:])]
        for run in ("one", "two")
    ]
    assert len(curves[0]) == 5
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    weights = [load_file(tmp_path / run / "encoder.safetensors") for run in ("one", "two")]
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=1e-4)
    assert sum("the encoder is in" in said for _, said in ended) == 1
    objects = [line for _, said in ended for line in said.splitlines() if line.startswith("{")]
    assert [json.loads(line)["out"] for line in objects] == [str(tmp_path / "two")]
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1  # told in the first process only
    scales = [json.loads((tmp_path / run / "card.json").read_text())["logit_scale"] for run in ("one", "two")]
    assert abs(scales[0] - 20) > 0.1, "the temperature was not trained"
    np.testing.assert_allclose(scales[1], scales[0], rtol=1e-4)
