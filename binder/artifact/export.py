"""Exported encoders: a folder with the model, facts and preprocessing as data, and a program that runs it.

`model.json` has the facts, `preprocess.json` the numbers of the preprocessing, `run.py` is the program; the model is
`model.onnx` or, by torch.export, `model.pt2`. Shapes: W windows, D embed_dim.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from binder.anchors.base import Anchor
from binder.anchors.exported import array_portable
from binder.artifact import graphs
from binder.artifact.hub import public
from binder.artifact.program import program
from binder.artifact.run_folder import Card
from binder.devices import device_of
from binder.encoder import Encoder
from binder.errors import ConfigError, PluginError, RunError, kind_and_words, name_of, nearest
from binder.files import check_target, why
from binder.known_plugins import known_plugins
from binder.modality import Item
from binder.portable import ExportFormat, Portable, run
from binder.readers.guard import check_windows, plugin_of
from binder.space import vectors

if TYPE_CHECKING:
    from binder.api import Binder

MODELS = {"onnx": "model.onnx", "torch": "model.pt2"}  # format -> the file of the model
MOST_APART = 1e-4  # largest difference of a number in a unit vector
BATCHES = (2, 3)  # sizes of the batch with which a model is made, and with which it is tried


def _loaded(folder: Path) -> Callable[[str], vectors.Vectors]:
    """The function item -> (D,) unit vector of a folder's `run.py`."""
    load: Callable[[Path], Callable[[str], vectors.Vectors]] = _program(folder / "run.py").load
    return load(folder)


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    folder: Path
    model: str  # the name of its file; "" in a format of a plugin
    bytes: int  # of the model, or of all files
    takes: str  # what an item of its `run.py` is; in a format of a plugin, how it is used
    needs: tuple[str, ...]  # packages
    difference: float  # the largest between its unit vectors and those of the encoder
    compared: int  # items whose vectors were compared, apart from an example

    loads: Callable[[Path], Callable[[str], vectors.Vectors]] = _loaded

    def load(self) -> Callable[[str], vectors.Vectors]:
        """The function item -> (D,) unit vector of what was written, in this process."""
        return self.loads(self.folder)


@dataclass(frozen=True)
class Source:
    """An encoder that is to be exported, and what is known about it."""

    modality: str
    encoder: Encoder
    anchor: Anchor
    card: Card | None  # None: a tower of the anchor itself


def export(
    space: Binder, modality: str, out: str | Path, *, format: str = "onnx", items: Sequence[Item] = ()
) -> Exported:
    """Write an encoder that a Binder has loaded, or a tower of its anchor, to the new folder `out`.

    `format` is onnx or torch, for a folder whose `run.py` needs onnxruntime or torch but no binder, or that of a
    plugin. The vectors of `items` are compared with binder's. Raises RunError: the folder exists, the encoder cannot
    be exported, or what was exported gives other vectors; ItemError for an item that cannot be read.
    """
    if modality not in space.encoders:
        raise PluginError(f"no encoder for {modality!r} is loaded (loaded: {', '.join(space.encoders)})")
    plugins = space.registry.export_formats()
    if format in plugins:
        return _by_plugin(space, modality, Path(out), plugins[format], items)
    if format not in MODELS:
        raise ConfigError(_unknown(format, [*MODELS, *plugins]))
    source = Source(modality, space.encoders[modality], space.anchor, space.cards.get(modality))
    return _written(source, Path(out), format, items)


def _written(source: Source, folder: Path, kind: str, items: Sequence[Item]) -> Exported:
    """The folder of an encoder as ONNX or by torch.export, written completely or not at all."""
    if kind == "onnx":
        graphs.check_extra()
    with new_folder(folder) as beside:
        portable, example = _portable(source, items)
        needs = ("numpy", "onnxruntime" if kind == "onnx" else "torch", *portable.needs)
        write = graphs.write_onnx if kind == "onnx" else graphs.write_torch
        with _named(source):
            write(source.encoder, _rows(example, BATCHES[0]).to(device_of(source.encoder)), beside / MODELS[kind])
        facts = {**_facts(source), "model": MODELS[kind], "device": str(device_of(source.encoder)), "needs": needs}
        facts["input"] = {"shape": ["batch", *example.shape[1:]], "dtype": str(example.dtype).removeprefix("torch.")}
        what = f"Vectors of {source.modality} in the space of {facts['anchor']}, without binder."
        code = program(
            portable.code, what=what, takes=portable.takes, needs=", ".join(needs), model=str(facts["model"])
        )
        (beside / "run.py").write_text(code, encoding="utf-8")
        for name, data in portable.files.items():
            (beside / name).write_bytes(data)
        _write_json(beside / "preprocess.json", portable.settings)
        _write_json(beside / "model.json", facts)
        difference = _compared(source, portable, example, items, beside, facts)
        _write_json(beside / "model.json", {**facts, "difference": difference})
        size = sum(path.stat().st_size for path in beside.glob(f"{MODELS[kind]}*"))
    return Exported(folder, MODELS[kind], size, portable.takes, needs, difference, len(items))


def _by_plugin(space: Binder, modality: str, folder: Path, form: ExportFormat, items: Sequence[Item]) -> Exported:
    """The folder of an encoder in a plugin's format."""
    encoder, apart = space.encoders[modality], 0.0
    with new_folder(folder) as beside:
        form.write(space, modality, beside)
        found = form.load(beside) if items else None
        for item in items:
            wanted = vectors.normalize(_unit(encoder, check_windows(encoder, item, encoder.preprocess(item))).mean(0))
            difference = float(np.abs(found(item) - wanted).max()) if found else 0.0
            _check(difference, name_of(item), "gives other vectors than the encoder")
            apart = max(apart, difference)
        size = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
    return Exported(folder, "", size, form.summary.format(folder=str(folder)), form.needs, apart, len(items), form.load)


def _unknown(format: str, known: Sequence[str]) -> str:
    """What to say of a format that nobody offers."""
    owner = next((short for short, plugin in known_plugins().items() if format in plugin.exports), None)
    if owner:
        return f"format {format!r} needs a plugin: binder plugins install {owner} --from PLACE"
    return f"format {format!r}{nearest(format, known)}: expected {' or '.join(known)}"


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which becomes it in the end, or is removed where an exception is raised."""
    if check_target(folder, folder=True).exists():
        raise RunError(f"{folder}: exists already; choose another folder, or delete it")
    beside = folder.with_name(f".{folder.name[:40]}.{uuid.uuid4().hex[:8]}")
    try:
        beside.mkdir(parents=True)
        yield beside
        beside.replace(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {why(error)}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _portable(source: Source, items: Sequence[Item]) -> tuple[Portable, Tensor]:
    """How items become windows without binder, and example windows. Raises RunError where their shape is not known."""
    encoder = source.encoder
    order = type(encoder).__mro__
    says = next(place for place, cls in enumerate(order) if "portable" in vars(cls))
    does = next(place for place, cls in enumerate(order) if "preprocess" in vars(cls))
    portable = encoder.portable() if says <= does else None  # not one of a class whose `preprocess` is overridden
    if portable is not None and portable.example is not None:
        return portable, portable.example
    if not items:
        raise RunError(
            f"{source.modality}: plugin {plugin_of(encoder)} does not say what its windows look like: give an item "
            "of which they are made as an example (--item FILE)"
        )
    example = check_windows(encoder, items[0], encoder.preprocess(items[0]))
    return portable or array_portable(example), example


def _facts(source: Source) -> dict[str, Any]:
    """What the model is, for people and programs."""
    from importlib.metadata import version

    card, anchor = source.card, source.anchor
    facts: dict[str, Any] = {
        "format": run.FORMAT,
        "modality": source.modality,
        "anchor": public(anchor.name),
        "space": anchor.fingerprint,
        "embed_dim": anchor.embed_dim,
        "logit_scale": card.logit_scale if card else anchor.logit_scale,
    }
    if card:
        named = ("kind", "plugin", "plugin_version", "trained_against", "license")
        facts |= {name: getattr(card, name) for name in named if getattr(card, name) is not None}
    return {
        **facts,
        "binder_version": version("modality-binder"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _compared(
    source: Source, portable: Portable, example: Tensor, items: Sequence[Item], folder: Path, facts: dict[str, Any]
) -> float:
    """The largest difference between the exported vectors and the encoder's. Raises RunError where it is too large."""
    model = run.model_of(folder / facts["model"], facts["device"])
    apart = _apart(source, model, _rows(example, BATCHES[1]), source.modality)
    load = _loaded(folder) if items and portable.same_items else None
    for item in items:
        windows = check_windows(source.encoder, item, source.encoder.preprocess(item))
        name = name_of(item)
        apart = max(apart, _apart(source, model, windows, name))
        if load is None:
            continue
        wanted = vectors.normalize(_unit(source.encoder, windows).mean(0))
        try:
            difference = float(np.abs(load(str(item)) - wanted).max())
        except (OSError, ValueError, ImportError) as error:
            raise RunError(f"{name}: its run.py cannot read it: {kind_and_words(error)}") from None
        _check(difference, name, "prepares it otherwise than binder")
        apart = max(apart, difference)
    return apart


def _apart(source: Source, model: Any, windows: Tensor, name: str) -> float:
    """The largest difference that a model makes to the vectors of windows."""
    wanted = _unit(source.encoder, windows)
    try:
        found = model(windows.numpy())
    except Exception as error:  # each library raises its own
        raise RunError(f"the exported model cannot be run: {kind_and_words(error)}") from error
    difference = float(np.abs(found - wanted).max())
    _check(difference, name, "gives other vectors than the encoder")
    return difference


def _check(difference: float, name: str, what: str) -> None:
    if not difference <= MOST_APART:
        raise RunError(f"{name}: the exported model {what}: they differ by {difference:.2g}, at most {MOST_APART:g}")


def _unit(encoder: Encoder, windows: Tensor) -> vectors.Vectors:
    """(W, ...) -> (W, D) unit vectors of the encoder."""
    with torch.inference_mode():
        return vectors.normalize(encoder(windows.to(device_of(encoder))).float().cpu().numpy())


def _rows(example: Tensor, count: int) -> Tensor:
    """Example windows (W, ...) -> (count, ...), the windows repeated."""
    return example[torch.arange(count) % len(example)].clone()


def _program(path: Path) -> Any:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(f"binder_exported_{uuid.uuid4().hex[:8]}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its data classes look themselves up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _named(source: Source) -> Iterator[None]:
    """Says in errors which encoder it was."""
    try:
        yield
    except RunError as error:
        plugin = plugin_of(source.encoder)
        whose = f"anchor {source.anchor.name}" if plugin == "binder" else f"plugin {plugin}"
        raise RunError(f"{source.modality}, {whose}: {error}") from error
