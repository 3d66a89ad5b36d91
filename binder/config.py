"""Configurations: frozen pydantic models that refuse unknown keys, read from TOML and `--set a.b=c`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from binder.errors import ConfigError, nearest


class Config(BaseModel):
    """Base of every configuration: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainConfig(Config):
    """How long and how fast to train. The defaults need no tuning on small data (hundreds to thousands of pairs)."""

    epochs: int | None = Field(None, ge=1)  # passes over the pairs; None: as many as make `steps` steps
    steps: int = Field(1000, ge=1)  # optimiser steps when `epochs` is not given (at least 10 epochs)
    minutes: float | None = Field(None, gt=0)  # stop (and cool down the learning rate) by then
    batch_size: int = Field(
        48, ge=2
    )  # pairs; small ones learn more from each pair, large ones use an accelerator better
    lr: float = Field(1e-3, gt=0)  # peak learning rate of AdamW
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the run in which the learning rate rises
    clip_grad: float = Field(1.0, gt=0)  # largest gradient norm
    ema: float = Field(0.99, ge=0, lt=1)  # decay of the averaged weights that are kept; 0 keeps the last ones
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the encoder's forward pass; auto: bf16 where it is native
    val_fraction: float = Field(0.1, ge=0, lt=1)  # share held out (at most 10,000 rows)
    checkpoint_seconds: float = Field(30.0, ge=0)  # at most this much work is lost to a killed process


class LossConfig(Config):
    """The contrastive loss against the frozen targets (see `binder.losses`)."""

    temperature: float = Field(0.05, gt=0, le=1)  # of the logits
    soft: float = Field(0.02, ge=0)  # temperature of the anchor's own similarities as soft targets; 0: hard
    learn_temperature: bool = False
    bank: int = Field(0, ge=0)  # rows whose targets an item is told from as well, drawn anew in each step;
    # as many as there are, or more: all of them


class AlignConfig(Config):
    """Everything `binder align` can be told in a file."""

    anchor: str = "mini"
    to: str = "image"  # image, text, both, or the modality of one of `encoders`
    encoders: tuple[str, ...] = ()  # run folders of aligned encoders that may be trained against; they stay frozen
    init: str | None = None  # run folder, or hf:ORG/NAME, of an encoder of the same modality to start from
    seed: int = Field(0, ge=0)
    train: TrainConfig = TrainConfig()
    loss: LossConfig = LossConfig()
    encoder: dict[str, Any] = {}  # checked against the modality's own configuration


C = TypeVar("C", bound=Config)


def read_toml(path: Path) -> dict[str, Any]:
    """Contents of a TOML file. Raises ConfigError naming the file and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from None


def apply_sets(values: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """`values` with every `a.b=c` of `sets` put in; c is read as TOML, and as a string where it is none."""
    result = _copy(values)
    for text in sets:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError(f"--set {text!r}: expected KEY=VALUE, for instance train.lr=0.001")
        place = result
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text!r}: {part!r} is a value, not a table")
        place[parts[-1]] = _toml_value(raw.strip())
    return result


def validate(model: type[C], values: Mapping[str, Any], where: str) -> C:
    """`values` as a `model`. Raises ConfigError: one line with the key, what was expected, the nearest valid key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(model, error)}") from None


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _toml_value(raw: str) -> Any:
    try:
        return tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        return raw


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        fields = _fields_at(model, path[:-1])
        hint = nearest(path[-1], fields) or f"; known keys: {', '.join(sorted(fields))}"
        return f"unknown key {key!r}{hint}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{key}: {message} (got {first['input']!r})" if key else message


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return list(model.model_fields)
