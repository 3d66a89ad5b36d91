"""`align`: train a modality's encoder into the space of a frozen anchor, from pairs."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch

from binder import anchor as anchors
from binder import cache, checkpoint, config, evaluate, manifest, training, vectors
from binder.config import AlignConfig
from binder.encode import Progress, device_of, silent
from binder.encoder import Encoder
from binder.errors import ConfigError, PluginError, RunError
from binder.manifest import Row
from binder.plugins import registry
from binder.prepare import Prepared, Task, prepare

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run of `align` left."""

    out: Path
    card: checkpoint.Card
    retrieval: list[dict[str, Any]]  # on the held-out rows, as `binder eval` prints it
    skipped: list[tuple[str, str]]  # file:row and reason of what was left out
    counts: dict[str, int]  # rows, train, val, skipped, items, anchor_encoded
    seconds: float


def align(
    modality: str,
    pairs: str | Path | Iterable[Mapping[str, Any]],
    *,
    anchor: str | anchors.Anchor | None = None,
    to: str | None = None,
    out: str | Path | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    seed: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    split: str | None = None,
    group: str | None = None,
    resume: bool = False,
    strict: bool = False,
    device: str = "auto",
    workers: int = 0,
    progress: Progress = silent,
) -> Result:
    """Train the encoder of `modality` on `pairs` and leave the aligned encoder in the folder `out`.

    `pairs` is a manifest, a folder with a folder per class, or rows as mappings. What is given here overrides
    `config` (a TOML file or a mapping). With workers > 0 a script needs the usual `if __name__ == "__main__":`.
    Raises BinderError: a bad option, a damaged manifest, a run folder that exists.
    """
    began = time.monotonic()
    kind = registry().get(modality)
    if kind.frozen:
        raise PluginError(f"modality {modality!r} is the anchor's own: there is nothing to align")
    anchor_name = anchor.name if isinstance(anchor, anchors.Anchor) else anchor
    settings = _settings(config, sets, anchor=anchor_name, to=to, seed=seed, epochs=epochs, minutes=minutes)
    encoder_config = _encoder_config(kind.config, settings)
    folder = Path(out) if out is not None else Path("runs") / modality
    _claim(folder, resume)
    rows, wanted = _read(modality, pairs, settings)
    where = pick_device(device)
    frozen = anchor.to(where) if isinstance(anchor, anchors.Anchor) else anchors.load(settings.anchor, where)
    task = Task(kind, encoder_config, frozen, wanted, settings, split, group, strict, workers, progress)
    warn_unknown_words(frozen, rows)
    ready = prepare(task, rows)
    settings = settings.model_copy(update={"encoder": ready.config.model_dump(mode="json")})
    _write_or_compare(folder, settings, ready.fingerprint, resume)
    metrics: dict[str, Any] = {}
    if ready.encoder.untrained:
        metrics["untrained"] = {"what": ready.encoder.untrained, "retrieval": _held_out(ready.encoder, ready, task)}
    run = _train(folder, settings, ready, task, resume)
    metrics["retrieval"] = _held_out(run.averaged, ready, task)
    card = _card(task, settings, ready, metrics, run)
    checkpoint.write_aligned(folder, card, run.averaged.state_dict())
    cache.prune(keep=[ready.data.items.folder])
    return Result(folder, card, metrics["retrieval"], task.skipped, ready.counts, time.monotonic() - began)


def pick_device(name: str) -> torch.device:
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps' -> a device that is there. Raises ConfigError otherwise."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r}: not available here: {str(error).splitlines()[0]}") from None
    return device


def warn_unknown_words(anchor: anchors.Anchor, rows: Sequence[Row]) -> None:
    """Say once which words of the rows' texts are outside what the anchor's card says it knows."""
    unknown = anchor.unknown_words([row.items["text"] for row in rows if isinstance(row.items.get("text"), str)])
    if unknown:
        some = ", ".join(unknown[:8]) + (" ..." if len(unknown) > 8 else "")
        log.warning(
            "anchor %s never learned %d of the words (%s): texts are told apart, but their meaning is unknown to it. "
            "For real words use a pretrained anchor, such as ViT-B-32/laion2b_s34b_b79k",
            anchor.name,
            len(unknown),
            some,
        )


def _settings(source: str | Path | Mapping[str, Any] | None, sets: Sequence[str], **given: Any) -> AlignConfig:
    """The run's configuration: the file, then `sets`, then the options given one by one."""
    values = config.read_toml(Path(source)) if isinstance(source, str | Path) else dict(source or {})
    values = config.apply_sets(values, sets)
    for key, value in given.items():
        if value is not None:
            place = values.setdefault("train", {}) if key in ("epochs", "minutes") else values
            if isinstance(place, dict):  # otherwise `validate` says what is wrong with it
                place[key] = value
    return config.validate(AlignConfig, values, str(source) if isinstance(source, str | Path) else "configuration")


def _encoder_config(model: type[config.C], settings: AlignConfig) -> config.C:
    return config.validate(model, settings.encoder, "configuration: encoder")


def _read(modality: str, pairs: Any, settings: AlignConfig) -> tuple[list[Row], list[str]]:
    """The manifest's rows and the anchor modalities to train against. Raises ManifestError for a lacking column."""
    rows = manifest.read(pairs, registry().modalities())
    name = str(pairs) if isinstance(pairs, str | Path) else "rows"
    wanted: list[str] = ["image", "text"] if settings.to == "both" else [settings.to]
    for column in [modality, *wanted]:
        manifest.require(rows, name, column)
    return rows, wanted


def _claim(folder: Path, resume: bool) -> None:
    """Refuse to write over a run, and to resume what is not there or is finished."""
    if (folder / checkpoint.CARD).is_file():
        raise RunError(f"{folder}: holds a finished run; choose another folder with --out, or delete it")
    started = (folder / checkpoint.CONFIG).is_file()
    if resume and not started:
        raise RunError(f"{folder}: nothing to resume there")
    if not resume and folder.exists() and (not folder.is_dir() or any(p for p in folder.iterdir() if p.name[0] != ".")):
        hint = "go on with it by --resume" if started else "it is not a run of binder"
        raise RunError(f"{folder}: exists already ({hint}); or choose another folder with --out")


def _write_or_compare(folder: Path, settings: AlignConfig, data: str, resume: bool) -> None:
    """Keep the resolved configuration; on resume, refuse one that differs or other data."""
    values = {**settings.model_dump(mode="json", exclude_none=True), "data": data}
    if not resume:
        checkpoint.write_text(folder / checkpoint.CONFIG, tomli_w.dumps(_without_none(values)))
        return
    before = config.read_toml(folder / checkpoint.CONFIG)
    changed = _differences(before, _without_none(values))
    if changed:
        key, old, new = changed[0]
        what = "the pairs are not those it began with" if key == "data" else f"{key} was {old!r} and is now {new!r}"
        raise RunError(f"{folder}: cannot be resumed: {what}")


def _train(folder: Path, settings: AlignConfig, ready: Prepared, task: Task, resume: bool) -> training.Run:
    """The training itself, its state kept in `folder`; the anchor is shown to be unchanged by it."""
    before = task.anchor.checksum()
    run = training.start(ready.encoder, settings)
    state = checkpoint.read_state(folder) if resume else None
    if state is not None:
        run.load(state)
        log.info("resumed at step %d", run.step)

    def save(state: dict[str, Any]) -> None:
        checkpoint.write_state(folder, state)
        lines = [{"event": "data", **ready.counts}, *({"event": "step", **line} for line in state["history"])]
        checkpoint.write_text(folder / checkpoint.LOG, "".join(json.dumps(line) + "\n" for line in lines))

    save(run.state())
    training.train(
        run,
        ready.data,
        settings,
        validate=lambda e: _scores(e, ready, task),
        save=save,
        progress=task.progress,
    )
    if task.anchor.checksum() != before:
        raise AssertionError("the frozen anchor's weights changed during training")
    return run


def _held_out(encoder: Encoder, ready: Prepared, task: Task) -> list[dict[str, Any]]:
    """Retrieval on the held-out rows between the modality and every anchor modality they have."""
    if not ready.val_items:
        return []
    own = _own_side(encoder, ready)
    result = []
    for name, side in ready.val_sides.items():
        pair = {task.kind.name: own, name: side}
        result += evaluate.retrieval_rows(pair, lambda q, t: bool({q, t} & set(task.to)))
    return result


def _scores(encoder: Encoder, ready: Prepared, task: Task) -> dict[str, float]:
    """R@1 and R@10 from the modality to each anchor modality, for the log."""
    rows = [row for row in _held_out(encoder, ready, task) if row["query"] == task.kind.name]
    return {f"{row['target']}_r{k}": round(row[f"r{k}"], 4) for row in rows for k in (1, 10)}


@torch.inference_mode()
def _own_side(encoder: Encoder, ready: Prepared) -> evaluate.Side:
    """The held-out items encoded from their cached windows, all windows of an item averaged."""
    keys = list(dict.fromkeys(ready.val_items))
    items, device = ready.data.items, device_of(encoder)
    forward = encoder.eval().head if ready.data.features else encoder.eval()
    rows = []
    for start in range(0, len(keys), 64):
        windows = [torch.from_numpy(items.get(key)) for key in keys[start : start + 64]]
        z = vectors.normalize(torch.cat([forward(w.to(device)).float().cpu() for w in torch.cat(windows).split(64)]))
        ends = np.cumsum([len(w) for w in windows])[:-1]
        rows += [part.mean(0) for part in np.split(z, ends)]
    place = {key: i for i, key in enumerate(keys)}
    return evaluate.Side(vectors.normalize(np.stack(rows)), np.array([place[key] for key in ready.val_items]))


def _card(
    task: Task, settings: AlignConfig, ready: Prepared, metrics: dict[str, Any], run: training.Run
) -> checkpoint.Card:
    owner = registry().owner(task.kind.name)
    return checkpoint.Card(
        modality=task.kind.name,
        plugin=owner.name,
        plugin_version=owner.version,
        config=settings.encoder,
        anchor=task.anchor.name,
        space=task.anchor.fingerprint,
        embed_dim=task.anchor.embed_dim,
        trained_against=task.to,
        logit_scale=run.log_scale.exp().item(),
        data=ready.fingerprint,
        n_train=ready.counts["train"],
        n_val=ready.counts["val"],
        metrics=metrics,
        binder_version=importlib.metadata.version("modality-binder"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


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
