"""Configurations: a typo is an error that names the nearest key, and says where."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from binder import ConfigError
from binder.config import AlignConfig, apply_sets, read_toml, validate


def refused(values, match):
    with pytest.raises(ConfigError, match=match) as caught:
        validate(AlignConfig, values, "here.toml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("here.toml: ")
    return str(caught.value)


def test_the_defaults_are_valid_and_frozen():
    config = validate(AlignConfig, {}, "nowhere")
    assert config == AlignConfig()
    with pytest.raises(ValidationError):
        config.seed = 3


@pytest.mark.parametrize(
    ("values", "near"),
    [
        ({"ancor": "mini"}, "'anchor'"),
        ({"train": {"epoch": 3}}, "'epochs'"),
        ({"train": {"warm_up": 1}}, "'warmup'"),
    ],
)
def test_a_misspelt_key_is_told_its_nearest(values, near):
    assert f"did you mean {near}" in refused(values, "unknown key")


def test_a_key_like_no_other_is_shown_those_of_its_own_table():
    message = refused({"train": {"zzz": 1}}, r"unknown key 'train\.zzz'")
    assert "known keys: batch_size, checkpoint_seconds, clip_grad, ema, epochs, lr, minutes, precision, st" in message


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"train": {"lr": 0}}, "train.lr"),
        ({"train": {"lr": "fast"}}, "train.lr"),
        ({"train": 3}, "train"),
        ({"loss": 3}, "loss"),
        ({"to": 3}, "to"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_value_out_of_range_names_its_key_and_what_it_got(values, key):
    assert "got " in refused(values, f"here.toml: {key}: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.lr=1e-3", 0.001),
        ("train.lr = 3", 3),
        ("train.lr=true", True),
        ("train.lr=[1, 2]", [1, 2]),
        ("train.lr=ViT-B-32/openai", "ViT-B-32/openai"),
        ("train.lr='3'", "3"),
        ("train.lr=a=b", "a=b"),
        ("train.lr=", ""),
    ],
)
def test_set_reads_its_value_as_toml_and_else_as_text(text, value):
    got = apply_sets({}, [text])["train"]["lr"]
    assert got == value
    assert type(got) is type(value)


def test_sets_nest_override_in_order_and_leave_their_input_alone():
    values = {"train": {"lr": 1, "epochs": 2}}
    assert apply_sets(values, ["train.lr=5", "encoder.a.b=1", "train.lr=6"]) == {
        "train": {"lr": 6, "epochs": 2},
        "encoder": {"a": {"b": 1}},
    }
    assert values == {"train": {"lr": 1, "epochs": 2}}


@pytest.mark.parametrize("text", ["train.lr", "=3", "train..lr=3", ".lr=3", "seed.deep=3"])
def test_a_bad_set_is_one_clear_line(text):
    with pytest.raises(ConfigError, match="--set"):
        apply_sets({"seed": 1}, [text])


def test_a_broken_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text('anchor = "mini"\n[train\nlr = 1\n')
    with pytest.raises(ConfigError, match=r"broken\.toml.*line 2") as caught:
        read_toml(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_a_foreign_encoding_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such configuration file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes('anchor = "é"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml"):
        read_toml(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_no_error(tmp_path):
    (tmp_path / "bom.toml").write_text("seed = 3", encoding="utf-8-sig")
    assert read_toml(tmp_path / "bom.toml") == {"seed": 3}
