"""The configuration of a run: resolved from its sources, kept in the run folder, compared when the run is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from binder import config, files
from binder.artifact import run_folder
from binder.config import AlignConfig
from binder.errors import ConfigError, RunError
from binder.modality import EncoderConfig, Modality
from binder.train import losses


def resolve(source: str | Path | Mapping[str, Any] | None, sets: Sequence[str], **given: Any) -> AlignConfig:
    """The run's configuration: the file, then `sets`, then the options given one by one."""
    values = config.read_toml(Path(source)) if isinstance(source, str | Path) else dict(source or {})
    values = config.apply_sets(values, sets)
    for key, value in given.items():
        if value is not None:
            place = values.setdefault("train", {}) if key in ("epochs", "minutes") else values
            if isinstance(place, dict):  # otherwise `validate` says what is wrong with it
                place[key] = value
    where = str(source) if isinstance(source, str | Path) else "configuration"
    return losses.resolved(config.validate(AlignConfig, values, where), where)


def encoder_config(kind: Modality, settings: AlignConfig, started: Path | None) -> EncoderConfig:
    """The encoder's configuration; what is not set is as in the run that it starts from."""
    before: Mapping[str, Any] = {}
    if started is not None:
        card = run_folder.read_card(started)
        if (card.kind or card.modality) != kind.name:
            raise ConfigError(f"init: {settings.init}: an encoder of {card.modality}, expected one of {kind.name}")
        before = card.config
    return config.validate(kind.config, {**before, **settings.encoder}, "configuration: encoder")


def write_or_compare(folder: Path, settings: AlignConfig, data: str, resume: bool) -> None:
    """Keep the resolved configuration; on resume, refuse one that differs or other data."""
    values = {**settings.model_dump(mode="json", exclude_none=True), "data": data}
    if not (resume and (folder / run_folder.CONFIG).is_file()):
        files.write_text(folder / run_folder.CONFIG, tomli_w.dumps(_without_none(values)))
        return
    before = _begun_with(folder / run_folder.CONFIG)
    changed = _differences(before, _without_none(values))
    if changed:
        key, old, new = changed[0]
        what = "the pairs are not those it began with" if key == "data" else f"{key} was {old!r} and is now {new!r}"
        raise RunError(f"{folder}: cannot be resumed: {what}")


def _begun_with(path: Path) -> dict[str, Any]:
    """The resolved configuration of an unfinished run; one of an older binder as the present one writes it."""
    values = config.read_toml(path)
    data = values.pop("data", None)
    settings = losses.resolved(config.validate(AlignConfig, values, str(path)), str(path))
    return _without_none({**settings.model_dump(mode="json", exclude_none=True), "data": data})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: a key that is not set is left out."""
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in [*old, *(k for k in new if k not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((prefix + key, a, b))
    return found
