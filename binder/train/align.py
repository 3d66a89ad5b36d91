"""`align`: train a modality's encoder into the space of a frozen anchor, from pairs."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from binder import files, readers
from binder.anchors.base import Anchor
from binder.artifact import hub, run_folder
from binder.config import AlignConfig
from binder.data import cache, manifest
from binder.data.encode import Progress, silent
from binder.data.manifest import Row
from binder.data.split import said
from binder.devices import pick_device
from binder.encoders.picture import anchors_trunk
from binder.errors import ConfigError, PluginError, RunError
from binder.modality import EncoderConfig, PictureConfig
from binder.registry import Registry
from binder.registry import registry as installed
from binder.report import run as report
from binder.train import distributed, lock, loop, losses, schedule, validation
from binder.train import settings as run_settings
from binder.train.distributed import Group
from binder.train.follow import Callback, RunLog
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
    anchor: str | Anchor | None = None,
    to: str | None = None,
    as_new: str | None = None,
    prompt: str | None = None,
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
    callback: Callback | None = None,
    registry: Registry | None = None,
) -> Result:
    """Train the encoder of `modality` on `pairs` and leave the aligned encoder in the folder `out`.

    `pairs` is a manifest, a folder with a folder per class, or rows as mappings. What is given here overrides
    `config` (a TOML file or a mapping). `to` names modalities of the anchor, several with commas between them, `both`
    (image and text), or the modality of one of `encoders`: run folders of aligned encoders of the same space, which
    stay frozen. `as_new` is the name of the aligned modality where the anchor encodes `modality` itself; its column may
    be called by either. `prompt` is the anchor's instruction for texts, where it has several. `init` is an encoder of
    the same modality whose weights and settings it starts from: more data, or another part trained next; of one that is
    aligned to another anchor, only the trunk's. With `workers` items are read in so many processes, with limits on time
    and memory. Started by torchrun, its processes share the work.

    `callback` is called, in the first process only, with what is logged, each a mapping with the key `event`: "data"
    with the counts when training begins, "step" with each line of log.jsonl, "done" with the metrics of the card. A
    resumed run tells no step twice. An exception in it ends the run as Ctrl-C does: `resume` goes on after that step.
    Raises BinderError: a bad option, a damaged manifest, a run folder that exists.
    """
    began = time.monotonic()
    readers.check_workers(workers)
    settings = run_settings.resolve(
        config,
        sets,
        anchor=anchor.name if isinstance(anchor, Anchor) else anchor,
        to=to,
        as_new=as_new,
        prompt=prompt,
        encoders=[str(p) for p in ([encoders] if isinstance(encoders, str | Path) else encoders)] or None,
        init=str(init) if init is not None else None,
        seed=seed,
        epochs=epochs,
        minutes=minutes,
    )
    asked = _asked(modality, registry or installed(), settings)
    folder = Path(out) if out is not None else Path("runs") / asked.name
    with distributed.joined() as processes, _claimed(folder, resume, processes):
        rows = _read(asked, pairs, strict)
        where = pick_device(distributed.local_device() if processes.size > 1 and device == "auto" else device)
        frozen = anchor.to(where) if isinstance(anchor, Anchor) else asked.registry.load_anchor(settings.anchor, where)
        task = _task(asked, frozen, rows)
        task = replace(task, split=split, group=group, strict=strict, workers=workers, progress=progress)
        return _run(task, rows, RunLog(folder, callback, processes), resume, began, processes)


@dataclass(frozen=True)
class _Asked:
    """What is to be aligned, checked as far as that goes before anything is read."""

    modality: str  # the plugin's
    name: str  # what it will be called
    settings: AlignConfig
    encoder: EncoderConfig
    started: Path | None  # the run whose weights it starts from
    registry: Registry  # knows it by that name, too


def _asked(modality: str, plugins: Registry, settings: AlignConfig) -> _Asked:
    """Raises PluginError for a modality that no plugin has an encoder for, ConfigError for what its encoder lacks."""
    kind = plugins.get(modality)
    if not kind.trainable:
        raise PluginError(f"modality {modality!r} is encoded by anchors only: there is nothing to align")
    started = hub.local(settings.init) if settings.init else None
    encoder = run_settings.encoder_config(kind, settings, started)
    name = settings.as_new or modality
    known = plugins.with_name(name, modality) if settings.as_new else plugins
    return _Asked(modality, name, settings, encoder, started, known)


def _task(asked: _Asked, loaded: Anchor, rows: Sequence[Row]) -> Task:
    """What to align to which modalities of the anchor. Raises ConfigError, ManifestError for what does not fit."""
    settings, started = asked.settings, asked.started
    anchor = loaded.with_prompt(settings.prompt) if settings.prompt else loaded
    others = {run_folder.read_card(run).modality: run for run in map(hub.local, settings.encoders)}
    _check_fit(asked.name, asked.encoder, anchor)
    wanted = _wanted(asked.name, settings.to, anchor, others, rows)
    towers = {m: run_folder.load(run, anchor, asked.registry).encoder for m, run in others.items() if m in wanted}
    anchor.warn_unknown([row.items["text"] for row in rows if isinstance(row.items.get("text"), str)])
    return Task(
        kind=asked.registry.get(asked.name),
        of=asked.modality if settings.as_new else None,
        registry=asked.registry,
        config=asked.encoder,
        anchor=anchor,
        to=wanted,
        settings=settings.model_copy(update={"to": settings.to or ",".join(wanted)}),
        towers=towers,
        weights=run_folder.read_weights(started) if started else {},
        foreign=started is not None and run_folder.read_card(started).space != anchor.fingerprint,
    )


def _run(task: Task, rows: Sequence[Row], run_log: RunLog, resume: bool, began: float, processes: Group) -> Result:
    """Prepare, train, evaluate, and write what a finished run leaves."""
    settings, folder = task.settings, run_log.folder
    with processes.main_first():
        ready = prepare(task, rows)
    settings = settings.model_copy(update={"encoder": ready.config.model_dump(mode="json")})
    if processes.is_main:
        run_settings.write_or_compare(folder, settings, ready.fingerprint, resume)
    metrics: dict[str, Any] = {"baselines": validation.baselines(ready, task)}  # of the encoder before it is trained
    run = _train(settings, ready, task, run_log, resume, processes)
    metrics["retrieval"] = validation.retrieval(run.averaged, ready, task)
    card = _card(task, settings, ready, metrics, run)
    if processes.is_main:
        _report(folder, card, run, ready, task)
        run_folder.write_aligned(folder, card, run.averaged.state_dict())  # last: from now on the run is finished
        cache.prune(keep=[ready.data.items.folder])
    run_log.done(run.step, metrics)
    return Result(folder, card, metrics["retrieval"], task.skipped, ready.counts, time.monotonic() - began)


def _read(asked: _Asked, pairs: Any, strict: bool) -> list[Row]:
    """The manifest's rows, the items to align under their new name. Raises ManifestError where there are none."""
    modality, name = asked.modality, asked.name
    rows = manifest.read(pairs, asked.registry.modalities(), modality, strict)
    if name != modality:
        rows = manifest.with_name(rows, name, modality)
    given = name if any(name in row.items for row in rows) else modality
    manifest.require(rows, str(pairs) if isinstance(pairs, str | Path) else "rows", given)
    return rows


def _check_fit(name: str, config: EncoderConfig, anchor: Anchor) -> None:
    """Raises ConfigError where the anchor encodes the modality itself, or lacks a picture tower to build on."""
    if name in anchor.towers:
        raise ConfigError(
            f"anchor {anchor.name} encodes {name} itself; to align an encoder of your own beside it, give it a name: "
            "--as-new NAME"
        )
    if isinstance(config, PictureConfig) and config.trunk is None:
        anchors_trunk(anchor)


def _wanted(name: str, to: str | None, anchor: Anchor, others: Mapping[str, Path], rows: Sequence[Row]) -> list[str]:
    """The modalities to train against. Raises ConfigError for one that is not encoded, ManifestError for no column."""
    frozen = list(anchor.towers)
    both = ["image", "text"]
    wanted = both if to == "both" else [part.strip() for part in to.split(",")] if to else ["image"]
    if to is None and "image" not in frozen:
        wanted = frozen[:1]
    for target in wanted:
        if target not in (*frozen, *others) or target == name:
            ways = [
                *frozen,
                *(["both"] if set(both) <= set(frozen) else []),
                *(f"{m} (by its encoder)" for m in others),
            ]
            raise ConfigError(
                f"to: {to!r}: anchor {anchor.name} does not encode {target!r}: expected {', '.join(ways)}; for another "
                "modality give its aligned encoder"
            )
    there = next((column for row in rows for column in frozen if column in row.items), None)
    for column in wanted:
        manifest.require(rows, rows[0].source, column, f"; what is there is used with --to {there}" if there else "")
    return list(dict.fromkeys(wanted))


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


def _train(
    settings: AlignConfig, ready: Prepared, task: Task, run_log: RunLog, resume: bool, processes: Group
) -> loop.Run:
    """The training itself, its state kept in the run's folder; the anchor is shown to be unchanged by it."""
    readers.rest()  # everything is read
    before = task.anchor.checksum()
    context = losses.Context(ready.data, task.anchor.logit_scale, settings.seed)
    run = loop.start(ready.encoder, settings, losses.make(settings.loss, context))
    state = run_folder.read_state(run_log.folder) if resume else None
    if processes.is_main:
        log.info("%s", schedule.plan(len(ready.data), settings, processes))
    if state is not None:
        run.load(state)
        log.info("resumed at step %d", run.step)

    run_log.begin(ready.counts, run.state())
    loop.train(
        run,
        ready.data,
        settings,
        validate=lambda e: validation.scores(e, ready, task),
        save=run_log.save,
        progress=task.progress,
        group=processes,
    )
    if task.anchor.checksum() != before:
        raise AssertionError("the frozen anchor's weights changed during training")
    return run


def _card(
    task: Task, settings: AlignConfig, ready: Prepared, metrics: dict[str, Any], run: loop.Run
) -> run_folder.Card:
    owner = task.registry.owner(task.kind.name)
    return run_folder.Card(
        modality=task.kind.name,
        kind=task.of,
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
        held_out=said(task.split, task.group),
        metrics=metrics,
        binder_version=importlib.metadata.version("modality-binder"),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _report(folder: Path, card: run_folder.Card, run: loop.Run, ready: Prepared, task: Task) -> None:
    """Draw the run's page. Whatever goes wrong in that, the run is finished."""
    try:
        sides = {**ready.val_sides, card.modality: validation.own_side(run.averaged, ready)} if ready.val_rows else {}
        report.write(folder, card, run.history, ready.counts, task.skipped, ready.val_rows, sides, task.registry)
    except Exception as error:
        log.warning("%s: could not be drawn: %s: %s", folder / report.NAME, type(error).__name__, error)
