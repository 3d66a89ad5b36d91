"""Exported encoders of thermal pictures draw as binder does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from binder_thermal import THERMAL, ThermalConfig

from binder import Binder, export
from binder.testing import tiny_anchor


@pytest.mark.slow
@pytest.mark.parametrize("ends", [{}, {"low_c": 10.0}, {"low_c": 15.0, "high_c": 30.0}], ids=len)
def test_an_exported_encoder_draws_as_binder_does(tmp_path: Path, ends: dict[str, float]) -> None:
    space = Binder(tiny_anchor())
    config = ThermalConfig.model_validate({"kelvin_per_step": 1.0, "kelvin_at_zero": 273.15, **ends})
    space.encoders["thermal"] = THERMAL.build(config, space.anchor).eval().requires_grad_(False)
    celsius = np.random.default_rng(0).normal(22, 6, (120, 160))
    np.save(tmp_path / "scene.npy", celsius)
    embed = export(space, "thermal", tmp_path / "out").load()
    wanted = space.encode("thermal", [tmp_path / "scene.npy"], strict=True).vectors[0]
    np.testing.assert_allclose(embed(str(tmp_path / "scene.npy")), wanted, atol=1e-4)
