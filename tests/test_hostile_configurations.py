"""Hostile configurations and settings: one line each."""

from __future__ import annotations

import pytest
import torch
from support import one_line

from binder import ConfigError, config
from binder.testing import write_tiny_checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "seed = 99999999999999999999999",
        "seed = " + "9" * 5000,
        "seed = -1",
        ".".join("a" * 5000) + " = 1",
        "x = " + "[" * 10_000 + "]" * 10_000,
        "x = " + "{a = " * 200 + "1" + "}" * 200,
        "[train]\nlr = inf",
        "[train]\nlr = nan",
        "[train]\nminutes = 1e999",
        "\ud800",
        "\0",
        "x = 1\nx = 2",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_hostile_configuration_is_one_line(tmp_path, text):
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        config.validate(config.AlignConfig, config.read_toml(path), str(path))
    one_line(caught)


@pytest.mark.parametrize(
    "text", ["seed=" + "9" * 5000, "seed=" + "9" * 30, "x=" + "[" * 9999, ".".join("a" * 999) + "=1"]
)
def test_a_hostile_setting_is_one_line(text):
    with pytest.raises(ConfigError) as caught:
        config.validate(config.AlignConfig, config.apply_sets({}, [text]), "configuration")
    one_line(caught)


def test_every_seed_that_is_taken_is_one_that_torch_takes():
    torch.Generator().manual_seed(config.AlignConfig(seed=config.MAX_INT).seed)


def test_paths_of_what_is_there_are_kept_absolute(tmp_path, monkeypatch):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").write_text("{}")
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path)
    made = config.AlignConfig(anchor="tiny", init="tower", encoders=("tiny",), encoder={"trunk": "timm:tower"})
    assert (made.anchor, made.init, made.encoders) == (str(folder), str(tmp_path / "tower"), (str(folder),))
    assert made.encoder["trunk"] == f"timm:{tmp_path / 'tower'}"
    same = config.AlignConfig(anchor="mini", init="hf:me/x", encoder={"trunk": "timm:resnet18"})
    assert (same.anchor, same.init, same.encoder["trunk"]) == ("mini", "hf:me/x", "timm:resnet18")
