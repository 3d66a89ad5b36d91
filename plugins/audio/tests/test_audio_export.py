"""Exported encoders of sound: the program, run without torch, binder and this plugin, gives binder's vectors."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from binder_audio import AUDIO, AudioConfig

from binder import Binder, export
from binder.testing import tiny_anchor

GONE = ("torch", "torchaudio", "binder", "binder_audio", "librosa", "av")
ONLY = """import runpy, sys
sys.modules.update(dict.fromkeys({gone!r}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")"""
SMALL = {"width": 32, "layers": 1, "heads": 2, "mels": 32, "window_s": 1.0}


def alone(folder: Path, items: Sequence[object]) -> tuple[int, list[dict[str, Any]], str]:
    """Run the program of an exported folder -> status, the lines that it prints, stderr."""
    command = [sys.executable, "-I", "-c", ONLY.format(gone=GONE), str(folder / "run.py"), *map(str, items)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def space_with(**config: object) -> Binder:
    space = Binder(tiny_anchor())
    torch.manual_seed(0)
    made = AUDIO.build(AudioConfig.model_validate(config), space.anchor)
    space.encoders["audio"] = made.eval().requires_grad_(False)
    return space


def recordings(folder: Path) -> list[Path]:
    """Short, long, stereo whose channels cancel out, other rates and formats."""
    rng, found = np.random.default_rng(0), []
    for name, seconds, rate, channels in (
        ("short.wav", 0.3, 16_000, 1),
        ("long.flac", 3.7, 44_100, 1),
        ("stereo.wav", 1.0, 8_000, 2),
        ("against.wav", 1.0, 16_000, 2),
    ):
        time = np.arange(round(seconds * rate)) / rate
        tone = np.sin(2 * np.pi * 300 * (1 + time) * time) * np.hanning(time.size)
        both = 0.3 * tone[:, None] + 0.01 * rng.normal(size=(time.size, channels))
        if name == "against.wav":
            both[:, 1] = -both[:, 0]
        found.append(folder / name)
        soundfile.write(found[-1], both, rate)
    return found


def same_vectors(space: Binder, items: Sequence[Path], folder: Path) -> None:
    status, lines, err = alone(folder, items)
    assert (status, err) == (0, "")
    wanted = space.encode("audio", items, strict=True).vectors
    np.testing.assert_allclose([line["vector"] for line in lines], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("preset", ["small", pytest.param("vit-b", marks=pytest.mark.slow)])
def test_sounds_of_many_kinds(tmp_path: Path, preset: str) -> None:
    space, items = space_with(preset=preset, **SMALL), recordings(tmp_path)
    made = export(space, "audio", tmp_path / "out", items=items)
    assert made.compared == len(items)
    assert made.needs == ("numpy", "onnxruntime", "soundfile", "soxr")
    same_vectors(space, items, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    expected = {"sample_rate": 16_000, "window": 16_000, "mels": 32, "n_fft": 512, "frame": 400, "hop": 160}
    assert expected.items() <= settings.items()


def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path) -> None:
    export(space_with(**SMALL), "audio", tmp_path / "out")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    status, lines, err = alone(tmp_path / "out", [tmp_path / name for name in ("silent.wav", "text.wav", "none.wav")])
    assert (status, lines) == (1, [])
    said = err.splitlines()
    assert len(said) == 3
    assert said[0].endswith("silent.wav: silent: every sample is the same")
    assert all(line.startswith(f"error: {tmp_path}") for line in said)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "window_s"), [("fsdd", 1.0), ("esc10", 5.0)])
def test_real_recordings(tmp_path: Path, name: str, window_s: float) -> None:
    root = os.environ.get("BINDER_DATA")
    if not root:
        pytest.skip("needs real recordings: BINDER_DATA is not set")
    with (Path(root) / name / "labels.csv").open() as file:
        items = [Path(root) / name / row["audio"] for row in list(csv.DictReader(file))[::60]]
    space = space_with(window_s=window_s)
    export(space, "audio", tmp_path / "out")
    same_vectors(space, items, tmp_path / "out")
