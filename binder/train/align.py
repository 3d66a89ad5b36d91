"""`align`: train a modality's encoder into the space of a frozen anchor, from pairs."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from binder import config, files, readers
from binder.anchors import openclip as anchors
from binder.artifact import hub, run_folder
from binder.config import AlignConfig
from binder.data import cache, manifest
from binder.data.encode import Progress, silent
from binder.data.manifest import Row
from binder.devices import pick_device
from binder.errors import ConfigError, PluginError, RunError
from binder.modality import EncoderConfig, Modality
from binder.registry import registry
from binder.report import run as report
from binder.train import distributed, lock, loop, losses, schedule, validation
from binder.train.distributed import Group
from binder.train.prepare import Prepared, Task, prepare

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run of `align` left."""

    out: Path
    card: run_folder.Card
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
    encoders: str | Path | Sequence[str | Path] = (),
    init: str | Path | None = None,
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
    `config` (a TOML file or a mapping). `to` is image, text, both, or the modality of one of `encoders`: run folders
    of aligned encoders of the same space, which stay frozen. `init` is one of the same modality whose weights and
    settings it starts from: more data, or another part trained next. With `workers` items are read in so many
    processes, with limits on time and memory. Started by torchrun, its processes share the work.
    Raises BinderError: a bad option, a damaged manifest, a run folder that exists.
    """
    began = time.monotonic()
    readers.check_workers(workers)
    kind = registry().get(modality)
    if kind.frozen:
        raise PluginError(f"modality {modality!r} is the anchor's own: there is nothing to align")
    anchor_name = anchor.name if isinstance(anchor, anchors.Anchor) else anchor
    through = [str(p) for p in ([encoders] if isinstance(encoders, str | Path) else encoders)] or None
    start = str(init) if init is not None else None
    given = {"anchor": anchor_name, "to": to, "encoders": through, "init": start, "seed": seed}
    settings = _settings(config, sets, **given, epochs=epochs, minutes=minutes)
    started = hub.local(settings.init) if settings.init else None
    encoder_config = _encoder_config(kind, settings, started)
    folder = Path(out) if out is not None else Path("runs") / modality
    with distributed.joined() as processes, _claimed(folder, resume, processes):
        runs = [hub.local(run) for run in settings.encoders]
        others = {run_folder.read_card(run).modality: run for run in runs}
        rows, wanted = _read(modality, pairs, settings, others, strict)
        where = pick_device(distributed.local_device() if processes.size > 1 and device == "auto" else device)
        frozen = anchor.to(where) if isinstance(anchor, anchors.Anchor) else anchors.load(settings.anchor, where)
        towers = {name: run_folder.load(run, frozen).encoder for name, run in others.items() if name in wanted}
        weights = run_folder.load(started, frozen).encoder.state_dict() if started else {}
        task = Task(
            kind, encoder_config, frozen, wanted, settings, towers, weights, split, group, strict, workers, progress
        )
        frozen.warn_unknown([row.items["text"] for row in rows if isinstance(row.items.get("text"), str)])
        return _run(folder, task, rows, resume, began, processes)


def _run(folder: Path, task: Task, rows: Sequence[Row], resume: bool, began: float, processes: Group) -> Result:
    """Prepare, train, evaluate, and write what a finished run leaves."""
    settings = task.settings
    with processes.main_first():
        ready = prepare(task, rows)
    settings = settings.model_copy(update={"encoder": ready.config.model_dump(mode="json")})
    if processes.is_main:
        _write_or_compare(folder, settings, ready.fingerprint, resume)
    metrics: dict[str, Any] = {"baselines": validation.baselines(ready, task)}  # of the encoder before it is trained
    run = _train(folder, settings, ready, task, resume, processes)
    metrics["retrieval"] = validation.retrieval(run.averaged, ready, task)
    card = _card(task, settings, ready, metrics, run)
    if processes.is_main:
        _report(folder, card, run, ready, task)
        run_folder.write_aligned(folder, card, run.averaged.state_dict())  # last: from now on the run is finished
        cache.prune(keep=[ready.data.items.folder])
    return Result(folder, card, metrics["retrieval"], task.skipped, ready.counts, time.monotonic() - began)


def _settings(source: str | Path | Mapping[str, Any] | None, sets: Sequence[str], **given: Any) -> AlignConfig:
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


def _encoder_config(kind: Modality, settings: AlignConfig, started: Path | None) -> EncoderConfig:
    """The encoder's configuration; what is not set is as in the run that it starts from."""
    before: Mapping[str, Any] = {}
    if started is not None:
        card = run_folder.read_card(started)
        if card.modality != kind.name:
            raise ConfigError(f"init: {settings.init}: an encoder of {card.modality}, expected one of {kind.name}")
        before = card.config
    return config.validate(kind.config, {**before, **settings.encoder}, "configuration: encoder")


def _read(
    modality: str, pairs: Any, settings: AlignConfig, others: Mapping[str, Path], strict: bool
) -> tuple[list[Row], list[str]]:
    """The manifest's rows and the modalities to train against. Raises ManifestError for a lacking column."""
    if settings.to not in ("image", "text", "both", *others) or settings.to == modality:
        known = ", ".join(["image", "text", "both", *(f"{name} (by its encoder)" for name in others)])
        raise ConfigError(f"to: {settings.to!r} is unknown: expected {known}; for another give its aligned encoder")
    rows = manifest.read(pairs, registry().modalities(), modality, strict)
    name = str(pairs) if isinstance(pairs, str | Path) else "rows"
    wanted: list[str] = ["image", "text"] if settings.to == "both" else [settings.to]
    manifest.require(rows, name, modality)
    there = next((column for row in rows for column in ("image", "text") if column in row.items), None)
    for column in wanted:
        manifest.require(rows, name, column, f"; what is there is used with --to {there}" if there else "")
    return rows, wanted


@contextmanager
def _claimed(folder: Path, resume: bool, processes: Group) -> Iterator[None]:
    """The run folder, held by the first of this run's processes and by no other run."""
    if not processes.is_main:
        yield
        return
    _claim(folder, resume)
    with lock.held(folder):
        _claim(folder, resume)  # again: whoever held it may have finished
        yield


def _claim(folder: Path, resume: bool) -> None:
    """Refuse to write over a run, and to resume what is not there or is finished."""
    files.check_target(folder, folder=True)
    if (folder / run_folder.CARD).is_file():
        raise RunError(f"{folder}: holds a finished run; choose another folder with --out, or delete it")
    begun = (folder / run_folder.CONFIG).is_file()
    # a run that was killed before its first step has left a hidden file at most, and is resumed from the start
    free = not folder.exists() or (folder.is_dir() and all(path.name[0] == "." for path in folder.iterdir()))
    if resume and not folder.exists():
        raise RunError(f"{folder}: nothing to resume there")
    if not (free or (begun and resume)):
        hint = "go on with it by --resume" if begun else "it is not a run of binder"
        raise RunError(f"{folder}: exists already ({hint}); or choose another folder with --out")


def _write_or_compare(folder: Path, settings: AlignConfig, data: str, resume: bool) -> None:
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


def _train(
    folder: Path, settings: AlignConfig, ready: Prepared, task: Task, resume: bool, processes: Group
) -> loop.Run:
    """The training itself, its state kept in `folder`; the anchor is shown to be unchanged by it."""
    readers.rest()  # everything is read
    before = task.anchor.checksum()
    context = losses.Context(ready.data, task.anchor.logit_scale, settings.seed)
    run = loop.start(ready.encoder, settings, losses.make(settings.loss, context))
    state = run_folder.read_state(folder) if resume else None
    if processes.is_main:
        log.info("%s", schedule.plan(len(ready.data), settings, processes))
    if state is not None:
        run.load(state)
        log.info("resumed at step %d", run.step)

    def save(state: dict[str, Any]) -> None:
        if not processes.is_main:
            return
        run_folder.write_state(folder, state)
        lines = [{"event": "data", **ready.counts}, *({"event": "step", **line} for line in state["history"])]
        files.write_text(folder / run_folder.LOG, "".join(json.dumps(line) + "\n" for line in lines))

    save(run.state())
    loop.train(
        run,
        ready.data,
        settings,
        validate=lambda e: validation.scores(e, ready, task),
        save=save,
        progress=task.progress,
        group=processes,
    )
    if task.anchor.checksum() != before:
        raise AssertionError("the frozen anchor's weights changed during training")
    return run


def _card(
    task: Task, settings: AlignConfig, ready: Prepared, metrics: dict[str, Any], run: loop.Run
) -> run_folder.Card:
    owner = registry().owner(task.kind.name)
    return run_folder.Card(
        modality=task.kind.name,
        plugin=owner.name,
        plugin_version=owner.version,
        config=settings.encoder,
        anchor=task.anchor.name,
        space=task.anchor.fingerprint,
        embed_dim=task.anchor.embed_dim,
        trained_against=task.to,
        logit_scale=run.loss.logit_scale,
        data=ready.fingerprint,
        n_train=ready.counts["train"],
        n_val=ready.counts["val"],
        metrics=metrics,
        binder_version=importlib.metadata.version("modality-binder"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _report(folder: Path, card: run_folder.Card, run: loop.Run, ready: Prepared, task: Task) -> None:
    """Draw the run's page. Whatever goes wrong in that, the run is finished."""
    try:
        sides = {**ready.val_sides, card.modality: validation.own_side(run.averaged, ready)} if ready.val_rows else {}
        report.write(folder, card, run.history, ready.counts, task.skipped, ready.val_rows, sides)
    except Exception as error:
        log.warning("%s: could not be drawn: %s: %s", folder / report.NAME, type(error).__name__, error)


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
