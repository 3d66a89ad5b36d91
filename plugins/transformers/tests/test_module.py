"""Encoders exported as modules of sentence-transformers: loaded by the library, they give binder's vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

import binder
from binder import Binder, RunError, export
from binder.testing import write_tiny_checkpoint

pytest.importorskip("binder_imu", reason="needs a modality that can be aligned")

RATE = 50  # Hz


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Motion of several lengths: the last one takes three windows."""
    folder, rng, found = tmp_path_factory.mktemp("motion"), np.random.default_rng(0), []
    for number, seconds in enumerate((2, 2, 2, 2, 2, 2, 1.3, 6)):
        count = round(seconds * RATE)
        values = rng.normal(size=(count, 6)).cumsum(0) / 10 + (0, 9.8, 0, 0, 0, 0)
        found.append(folder / f"{number}.csv")
        rows = np.column_stack([np.arange(count) / RATE, values])
        head = "time_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"
        np.savetxt(found[-1], rows, delimiter=",", header=head, comments="", fmt="%.6g")
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, recordings: list[Path]) -> Path:
    """An encoder of motion, aligned to texts for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    anchor = write_tiny_checkpoint(folder / "tiny")
    rows = [{"imu": str(path), "text": f"word {number}"} for number, path in enumerate(recordings)]
    small = [f"encoder.{name}" for name in ("width=16", "layers=1", "heads=2", "window_s=2")]
    sets = [*small, "train.steps=3", "train.batch_size=4"]
    binder.align("imu", rows, anchor=str(anchor), to="text", out=folder / "imu", sets=sets)
    return folder / "imu"


@pytest.fixture(scope="module")
def exported(run: Path, recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    made = export(Binder.of(run), "imu", out, format="sentence-transformers", items=recordings)
    assert made.difference < 1e-6
    assert made.compared == len(recordings)
    assert made.takes.startswith(f"SentenceTransformer('{out}', trust_remote_code=True)")
    return out


def loaded(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")


def test_vectors_of_every_kind_of_item_are_binders(exported: Path, run: Path, recordings: list[Path]) -> None:
    model, space = loaded(exported), Binder.of(run)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    given: list[Any] = [str(recordings[7]), recordings[6], {"imu": recordings[0]}, "a red circle", picture]
    found = model.encode(given)
    of_motion = space.imu([recordings[7], recordings[6], recordings[0]]).vectors
    wanted = np.concatenate([of_motion, space.text("a red circle").vectors, space.image(picture).vectors])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert model.get_embedding_dimension() == space.anchor.embed_dim
    scores = model.similarity(model.encode(recordings), model.encode(["word 0", "word 1"]))
    assert scores.shape == (8, 2)


def test_saved_again_it_has_the_weights_that_it_had(exported: Path, recordings: list[Path], tmp_path: Path) -> None:
    model = loaded(exported)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    model.save(str(tmp_path / "again"))
    again = loaded(tmp_path / "again").encode(recordings[:2])
    np.testing.assert_allclose(again, model.encode(recordings[:2]), atol=1e-6)
    assert np.abs(again - loaded(exported).encode(recordings[:2])).max() > 1e-3


def test_the_encoder_alone_is_trained_through_it(exported: Path, recordings: list[Path]) -> None:
    model = loaded(exported)
    names = [name for name, _ in model.named_parameters()]
    assert names
    assert all(".imu." in name for name in names)
    for weight in model.parameters():
        weight.requires_grad_()
    model(model.preprocess(recordings[:2]))["sentence_embedding"].sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_an_anchors_own_tower(tmp_path: Path) -> None:
    space = Binder("mini")
    export(space, "text", tmp_path / "text", format="sentence-transformers", items=["a circle"])
    found = loaded(tmp_path / "text").encode(["a red circle", "seven"])
    np.testing.assert_allclose(found, space.text(["a red circle", "seven"]).vectors, atol=1e-6)


def test_a_space_that_is_another_one_now_is_refused(exported: Path, tmp_path: Path) -> None:
    place = exported / "0_BinderModule"
    config = json.loads((place / "config.json").read_text())
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    (place / "config.json").write_text(json.dumps({**config, "anchor": str(other)}))
    with pytest.raises(binder.SpaceError, match="vectors of two spaces cannot be compared"):
        loaded(exported)
    (place / "config.json").write_text(json.dumps(config))


def test_a_folder_without_its_description_is_refused(exported: Path) -> None:
    config = exported / "0_BinderModule" / "config.json"
    text = config.read_text()
    config.unlink()
    with pytest.raises(RunError, match="has no module of binder"):
        loaded(exported)
    config.write_text(text)
