"""Configurations: frozen pydantic models that reject unknown keys, read from TOML and from `--set a.b=c`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from binder.errors import ConfigError, nearest, one_line
from binder.files import DEEPEST, check_depth, read_text

MAX_BYTES = 4 * 2**20  # of a TOML file
MAX_INT = 2**63 - 1  # largest integer in TOML, and largest seed in torch
ANCHORS = Path(__file__).parent / "anchors"  # the shipped ones, by name


class Config(BaseModel):
    """Base class of all configurations: immutable, without unknown keys, every number finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainConfig(Config):
    """How long and how fast to train. The defaults need no tuning on small data (hundreds to thousands of pairs)."""

    # a run ends at whichever of these comes first; by default after 1,000 steps or 10 epochs, whichever is longer
    epochs: int | None = Field(None, ge=1)  # passes over the pairs
    steps: int | None = Field(None, ge=1)  # of the optimizer
    minutes: float | None = Field(None, gt=0)  # the learning rate is annealed to end by then
    batch_size: int = Field(48, ge=2)  # pairs; small batches learn more per pair, large ones use accelerators better
    lr: float = Field(1e-3, gt=0)  # peak learning rate of AdamW
    weight_decay: float = Field(0.05, ge=0)  # of AdamW; not on biases and gains
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the run during which the learning rate rises
    clip_grad: float = Field(1.0, gt=0)  # maximum norm of the gradient
    ema: float = Field(0.99, ge=0, lt=1)  # decay of the averaged weights, which are the result; 0: no averaging
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the forward pass; auto: bf16 if the device supports it
    val_fraction: float = Field(0.1, ge=0, lt=1)  # share of the rows that is held out (at most 10,000 rows)
    checkpoint_seconds: float = Field(30.0, ge=0)  # the most work that is lost when the process is killed


class AlignConfig(Config):
    """All settings of `binder align`."""

    anchor: str = "mini"  # whose space to align to: mini, MODEL/TAG, PREFIX:MODEL or a folder
    to: str | None = None  # what to train against: modalities that the anchor encodes, with commas between them; both
    # for image and text; or that of one of `encoders`; by default image, where the anchor encodes it, else its first
    as_new: str | None = None  # the name of the aligned modality, where the anchor encodes the plugin's itself
    prompt: str | None = None  # the anchor's instruction for texts, where it has several
    encoders: tuple[str, ...] = ()  # run folders of aligned encoders that can be trained against; they stay frozen
    init: str | None = None  # run folder, or hf:ORG/NAME, of an encoder of the same modality to start from
    seed: int = Field(0, ge=0, le=MAX_INT)  # of weights, split, order and augmentation
    train: TrainConfig = TrainConfig()  # how long and how fast to train
    loss: dict[str, Any] = {}  # `kind`, and the settings of that loss; validated in `binder.train.losses`
    encoder: dict[str, Any] = {}  # validated against the modality's own configuration

    @field_validator("anchor")
    @classmethod
    def _anchor_from_anywhere(cls, name: str) -> str:
        return name if (ANCHORS / name).is_dir() else from_anywhere(name)

    @field_validator("init")
    @classmethod
    def _init_from_anywhere(cls, run: str | None) -> str | None:
        return run and from_anywhere(run)

    @field_validator("encoders")
    @classmethod
    def _encoders_from_anywhere(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(from_anywhere(run) for run in runs)

    @field_validator("encoder")
    @classmethod
    def _trunk_from_anywhere(cls, settings: dict[str, Any]) -> dict[str, Any]:
        trunk = settings.get("trunk")
        return {**settings, "trunk": from_anywhere(trunk)} if isinstance(trunk, str) and ":" in trunk else settings


C = TypeVar("C", bound=Config)


def read_toml(path: Path) -> dict[str, Any]:
    """The contents of a TOML file. Raises ConfigError that names the file and the line."""
    try:
        return _parsed(read_text(path, MAX_BYTES))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (ValueError, OSError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{str(path)[:200]}: not a readable TOML file: {one_line(error)}") from None


def apply_sets(values: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=c` of `sets` applied; c is read as TOML, or else as a string."""
    result = _copy(values)
    for text in sets:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > DEEPEST:
            raise ConfigError(f"--set {text[:80]!r}: expected KEY=VALUE, for instance train.lr=0.001")
        place = result
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text[:80]!r}: {part!r} is a value, not a table")
        place[parts[-1]] = _toml_value(raw.strip(), text)
    return result


def validate(model: type[C], values: Mapping[str, Any], where: str) -> C:
    """`values` as a `model`. Raises ConfigError: one line with the key, what was expected, and the nearest key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(model, error)}") from None


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def from_anywhere(name: str) -> str:
    """Make the path in a name (runs/one, timm:FOLDER, MODEL/FILE) absolute if it exists.

    The name then means the same in any working directory. Every other name is returned unchanged.
    """
    library = re.match("(timm:local-dir:|timm:|transformers:)(.+)", name)
    architecture, slash, file = name.partition("/")
    try:
        if library:
            folder = Path(library[2]).expanduser()
            return f"{library[1]}{folder.absolute()}" if (folder / "config.json").is_file() else name
        if name and Path(name).expanduser().exists():
            return str(Path(name).expanduser().absolute())
        return f"{architecture}/{Path(file).absolute()}" if slash and Path(file).is_file() else name
    except (OSError, ValueError, RuntimeError):  # too long for a path, a NUL, ~nobody
        return name


def _toml_value(raw: str, text: str) -> Any:
    try:
        return _parsed(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        return raw
    except ValueError as error:
        raise ConfigError(f"--set {text[:80]!r}: {one_line(error)}") from None


def _parsed(text: str) -> dict[str, Any]:
    """Parse TOML, with a limit on its depth and integers of at most 64 bits. Raises ValueError."""
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    check_depth(found)
    _check_numbers(found)
    return found


def _check_numbers(value: Any) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check_numbers(one)
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise ValueError("a whole number of more than 64 bits")


def _shown(value: Any) -> str:
    """A value as an error message shows it, in at most one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # 4,300 digits; lists within lists
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}..."


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part)[:80] for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        fields = _fields_at(model, path[:-1])
        hint = nearest(path[-1], fields) or f"; known keys: {', '.join(sorted(fields))}"
        return f"unknown key {key!r}{hint}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{key}: {message} (got {_shown(first['input'])})" if key else message


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return list(model.model_fields)
