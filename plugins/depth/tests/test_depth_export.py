"""Exported encoders of depth draw as binder does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from binder_depth import DEPTH, DepthConfig

from binder import Binder, export
from binder.testing import tiny_anchor

DRAWINGS: list[dict[str, object]] = [
    {"drawing": "shaded"},
    {"drawing": "shaded", "focal_px": 100.0},
    {"drawing": "near"},
    {"drawing": "imagebind", "baseline_m": 0.075, "focal_px": 520.0},
    {"drawing": "languagebind"},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", DRAWINGS, ids=lambda s: f"{s['drawing']} {len(s)}")
def test_an_exported_encoder_draws_as_binder_does(tmp_path: Path, settings: dict[str, object]) -> None:
    space = Binder(tiny_anchor())
    config = DepthConfig.model_validate({"units": "m", **settings})
    space.encoders["depth"] = DEPTH.build(config, space.anchor).eval().requires_grad_(False)
    rows, columns = np.indices((150, 200))
    meters = (2 + np.hypot(rows - 70, columns - 90) / 50).astype(np.float32)
    meters[10:30, 20:50] = np.nan
    np.save(tmp_path / "room.npy", meters)
    embed = export(space, "depth", tmp_path / "out").load()
    wanted = space.encode("depth", [tmp_path / "room.npy"], strict=True).vectors[0]
    np.testing.assert_allclose(embed(str(tmp_path / "room.npy")), wanted, atol=1e-4)
