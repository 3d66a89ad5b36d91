"""From the rows of a manifest to what a run trains on: targets encoded, rows split, items read.

Shapes: N rows, U unique targets, D embed_dim.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from binder.anchors.base import Anchor
from binder.anchors.trunk import hash_weights
from binder.config import AlignConfig
from binder.data import encode
from binder.data.cache import Collection
from binder.data.columns import Column, Side, column_of, encoded_side
from binder.data.encode import Progress
from binder.data.manifest import Row
from binder.data.split import split_rows
from binder.devices import seeded
from binder.encoder import Encoder
from binder.errors import ConfigError, ItemError, ManifestError, one_line
from binder.modality import EncoderConfig, Item, Modality
from binder.readers import windows
from binder.registry import Registry
from binder.space.vectors import normalize
from binder.train import loop

log = logging.getLogger(__name__)

SAMPLE = 256  # training items that `Modality.adapt` looks at


@dataclass
class Task:
    """What to align, and what is found out on the way."""

    kind: Modality
    of: str | None  # the plugin's modality, where `kind` has a name of one's own
    registry: Registry
    config: EncoderConfig
    anchor: Anchor
    to: list[str]  # the modalities trained against: the anchor's, or that of an encoder in `towers`
    settings: AlignConfig
    towers: Mapping[str, Encoder] = field(default_factory=dict)  # frozen, by modality
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)  # of `settings.init`: where the encoder starts
    foreign: bool = False  # those weights are of another space, where their head leads
    split: str | None = None  # column that says which rows train, time:COLUMN or order
    group: str | None = None  # column whose equal values stay together
    strict: bool = False
    workers: int = 0
    progress: Progress = encode.silent
    skipped: list[tuple[str, str]] = field(default_factory=list)  # file:row and reason
    anchor_encoded: int = 0  # anchor items that went through a tower: 0 when the cache knew them all


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs."""

    encoder: Encoder
    config: EncoderConfig  # with what was adapted to the data
    data: loop.Data
    val_rows: list[Row]
    val_items: list[bytes]  # content keys of the held-out rows' items, in the collection of `data`
    val_sides: dict[str, Side]  # the anchor modalities of the held-out rows, those not trained against too
    counts: dict[str, int]
    fingerprint: str  # of the training rows


@dataclass(frozen=True)
class _Table:
    """The rows that have an item and a target column, as columns; and the targets, encoded."""

    rows: list[Row]
    items: Column  # of the modality
    columns: dict[str, Column]  # of the modalities trained against
    sides: dict[str, Side]  # those, encoded
    usable: list[int]  # positions of the rows with an item and a target that can be read

    def keys(self, positions: Sequence[int]) -> list[bytes]:
        """The content keys of those rows' items."""
        return [self.items.keys[i] or b"" for i in positions]

    def by_key(self, positions: Sequence[int], name: str) -> dict[bytes, Item]:
        return {self.items.keys[i] or b"": self.rows[i].items[name] for i in positions}


def prepare(task: Task, rows: Sequence[Row]) -> Prepared:
    """Rows -> read, split, cached, drawn to their targets. Raises ManifestError where fewer than two rows can train."""
    table = _read(task, rows)
    train, val = _split(task, table)
    _warn_of_nothing_to_tell_apart(task, table, train)
    config, encoder = _build(task, [table.rows[i].items[task.kind.name] for i in train])
    fresh = {key: tensor.clone() for key, tensor in encoder.state_dict().items()} if task.weights else {}
    if task.weights:
        _start_from(encoder, task)
    collection, failed = _cache(task, table, train, val, config, encoder)
    train = [i for i in train if table.items.keys[i] not in failed]
    val = [i for i in val if table.items.keys[i] not in failed]
    if len(train) < 2:
        first = f"; the first problem: {': '.join(task.skipped[0])}" if task.skipped else ""
        raise ManifestError(f"{len(train)} usable rows to train on, at least 2 are needed{first}")
    data = _data(task, table, train, encoder, collection)
    if task.foreign:
        window = collection.get(encode.view_key(encoder, table.keys(train)[0]))[:1]
        _begin_head_anew(encoder, fresh, torch.from_numpy(window), task)
    val_sides = _val_sides(task, table, val)
    keys = table.keys(train)
    counts = {
        "rows": len(table.rows),
        "train": len(train),
        "val": len(val),
        "skipped": len(task.skipped),
        "items": len(set(keys)),
        "anchor_encoded": task.anchor_encoded,
    }
    fingerprint = _fingerprint(keys, [table.columns[t].keys[i] for t in task.to for i in train])
    val_rows = [table.rows[i] for i in val]
    return Prepared(encoder, config, data, val_rows, table.keys(val), val_sides, counts, fingerprint)


def _read(task: Task, rows: Sequence[Row]) -> _Table:
    """The rows that can be used, each different target encoded once."""
    name = task.kind.name
    rows = [row for row in rows if name in row.items and any(t in row.items for t in task.to)]
    columns = {t: column_of(rows, t, task.strict) for t in task.to}
    sides = {t: _encode(task, t, column) for t, column in columns.items()}
    items = column_of(rows, name, task.strict)
    _skip(task, [(where, str(error)) for where, error in items.bad])
    usable = [i for i in range(len(rows)) if items.keys[i] and any(side.of_row[i] >= 0 for side in sides.values())]
    return _Table(rows, items, columns, sides, usable)


def _cache(
    task: Task, table: _Table, train: Sequence[int], val: Sequence[int], config: EncoderConfig, encoder: Encoder
) -> tuple[Collection, Mapping[bytes, ItemError]]:
    """What the encoder reads of every item, kept on disk; and what cannot be read."""
    name = task.kind.name
    collection, failed = encode.for_training(
        encoder.to(task.anchor.device),
        table.by_key(train, name),
        table.by_key(val, name),
        f"{name}-{_stamp(task, config, encoder)}",
        workers=task.workers,
        strict=task.strict,
        stage=f"reading {name}",
        progress=task.progress,
    )
    _skip(task, [(table.items.where[key], str(error)) for key, error in failed.items()])
    return collection, failed


def _data(task: Task, table: _Table, train: Sequence[int], encoder: Encoder, collection: Collection) -> loop.Data:
    """Where each sample's views lie in the cache, and what it is drawn to."""
    keys = table.keys(train)
    number = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    item_N = np.array([number[key] for key in keys])
    item_S = samples_of(item_N)
    stored = [encode.view_key(encoder, key) for key in number]
    device = task.anchor.device
    return loop.Data(
        items=collection,
        features=encoder.frozen_trunk,
        first=collection.first(stored)[item_S],
        counts=np.array([collection.count(key) for key in stored])[item_S],
        targets={t: targets_of(side.of_rows(train), item_N, item_S, device) for t, side in table.sides.items()},
    )


def _val_sides(task: Task, table: _Table, val: Sequence[int]) -> dict[str, Side]:
    """The frozen modalities of the held-out rows, those not trained against too."""
    others = set(task.anchor.towers) - set(table.sides)
    rows = [table.rows[i] for i in val]
    sides = {t: side.restrict(val) for t, side in table.sides.items()}
    sides |= {t: _encode(task, t, column_of(rows, t)) for t in sorted(others)}
    return {t: side for t, side in sides.items() if (side.of_row >= 0).any()}


def _warn_of_nothing_to_tell_apart(task: Task, table: _Table, train: Sequence[int]) -> None:
    """Say where training can learn nothing."""
    for name, column in {task.kind.name: table.items, **table.columns}.items():
        keys = [column.keys[i] for i in train]
        if len(keys) > 1 and len({key for key in keys if key is not None}) == 1:
            log.warning("all %d rows have the same %s: there is nothing to tell apart", len(keys), name)


def _encode(task: Task, modality: str, column: Column) -> Side:
    """The frozen vectors of one modality, from the cache where it knows them."""
    tower = task.towers.get(modality) or task.anchor.tower(modality)
    weights = f"-{hash_weights(tower.state_dict())[:16]}" if modality in task.towers else ""

    def embed(items: Sequence[Item], keys: Sequence[bytes]) -> encode.Encoded:
        encoded = encode.encode(
            tower,
            items,
            keys=keys,
            cache=task.anchor.stored_as(modality) + weights,
            workers=task.workers,
            strict=task.strict,
            stage=f"encoding {modality}",
            progress=task.progress,
        )
        task.anchor_encoded += encoded.computed
        return encoded

    side, bad = encoded_side(column, embed)
    _skip(task, [(where, str(error)) for where, error in bad])
    return side


def _split(task: Task, table: _Table) -> tuple[list[int], list[int]]:
    """Positions that train and that are held out; rows that share a recording or a picture stay together."""
    files = {m.name for m in task.registry.modalities() if not m.inline} & set(task.anchor.towers)
    shared = {name: table.columns.get(name) or column_of(table.rows, name) for name in sorted(files)}
    shared = {task.kind.name: table.items, **shared}  # the recording first
    links: list[list[Hashable]] = [
        [(name, column.keys[i]) for name, column in shared.items() if column.keys[i] is not None] for i in table.usable
    ]
    train, val = split_rows(
        [table.rows[i] for i in table.usable],
        links,
        column=task.split,
        group=task.group,
        fraction=task.settings.train.val_fraction,
        seed=task.settings.seed,
    )
    return [table.usable[i] for i in train], [table.usable[i] for i in val]


def _build(task: Task, items: Sequence[Item]) -> tuple[EncoderConfig, Encoder]:
    """The encoder as it begins, its open settings filled from a sample of the training items."""
    config = task.config
    if task.kind.adapt is not None and items:
        sample = items[:: max(1, len(items) // SAMPLE)][:SAMPLE]
        config = windows.adapted(task.kind.adapt, config, sample, task.workers)
    with seeded(task.settings.seed, task.anchor.device):
        encoder = task.kind.build(config, task.anchor)
    return config, encoder


def _start_from(encoder: Encoder, task: Task) -> None:
    """Take over what fits of the weights of an earlier run. Raises ConfigError where nothing does."""
    fresh = encoder.state_dict()
    taken = {key: w for key, w in task.weights.items() if key in fresh and w.shape == fresh[key].shape}
    if not taken:
        raise ConfigError(f"init: {task.settings.init}: none of its weights fit this encoder's configuration")
    try:
        encoder.load_state_dict({**fresh, **taken})
    except RuntimeError as error:  # its trunk is another one
        why = one_line(error)
        raise ConfigError(f"init: {task.settings.init}: its weights do not fit this encoder: {why}") from None
    log.info("%d of the encoder's %d tensors start as in %s", len(taken), len(fresh), task.settings.init)


def _begin_head_anew(encoder: Encoder, fresh: Mapping[str, torch.Tensor], window: torch.Tensor, task: Task) -> None:
    """Give the head its fresh weights back: those taken over lead to another space.

    Which parameters are the head's is seen by what its output depends on, with the features held fixed; `window` is
    one that the encoder reads, or its features where the trunk is frozen.
    Raises ConfigError where nothing else was taken over.
    """
    with torch.no_grad():
        given = window.to(task.anchor.device)
        features = given if encoder.frozen_trunk else encoder.features(given)
    own = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        z = encoder.head(features.float())
        found = torch.autograd.grad(z.sum(), list(own.values()), allow_unused=True)
    heads = [name for name, gradient in zip(own, found, strict=True) if gradient is not None]
    encoder.load_state_dict({**encoder.state_dict(), **{name: fresh[name] for name in heads}})
    same = [key for key, tensor in encoder.state_dict().items() if key in task.weights and key not in heads]
    if not any(tensor.is_floating_point() for tensor in (task.weights[key] for key in same)):
        raise ConfigError(
            f"init: {task.settings.init}: aligned to another anchor, and all that was trained there is the way into "
            "its space; align without init"
        )
    log.info("init: aligned to another anchor: its head of %d tensors starts anew", len(heads))


def _stamp(task: Task, config: EncoderConfig, encoder: Encoder) -> str:
    """Names the preprocessing: the plugin by its source, the configuration, the anchor, whose own may be used.

    Where a frozen trunk is a part of it, its weights too: they may depend on the seed or on a file.
    """
    owner = task.registry.owner(task.kind.name)
    weights = ""
    if encoder.frozen_trunk:
        trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
        weights = hash_weights({n: t for n, t in encoder.state_dict().items() if n not in trained})
    parts = f"{owner.name} {owner.source()} {config.model_dump_json()} {task.anchor.fingerprint} {weights}"
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def samples_of(item_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the item of each row -> (S,) the items of an epoch: one that k rows have comes ceil(sqrt(k)) times.

    All its rows draw it to the same place (`targets_of`), so k times would be waste; once would let items that are
    rare but true of much be forgotten. The root as in Mahajan et al., "Exploring the limits of weakly supervised
    pretraining", ECCV 2018.
    """
    counts_I = np.bincount(item_N)
    return np.repeat(np.arange(len(counts_I)), np.ceil(np.sqrt(counts_I)).astype(int))


def targets_of(side: Side, item_N: NDArray[np.int64], item_S: NDArray[np.int64], device: torch.device) -> loop.Targets:
    """What each sample is drawn to: the mean of all that its item is paired with.

    An item with several pictures or captions means what they have in common. Their mean is where the loss draws it in
    the long run, without the noise of one at a time (as class prototypes: Snell et al., NeurIPS 2017).
    """
    has = side.of_row >= 0
    pairs_P2 = np.unique(np.stack((item_N[has], side.of_row[has]), axis=1), axis=0)
    item_I, first_I, count_I = np.unique(pairs_P2[:, 0], return_index=True, return_counts=True)
    of_item = np.full(item_N.max() + 1, -1)
    of_item[item_I] = pairs_P2[first_I, 1]
    several = count_I > 1
    of_item[item_I[several]] = len(side.vectors) + np.arange(several.sum())
    spans = zip(first_I[several], count_I[several], strict=True)
    means = [side.vectors[pairs_P2[first : first + n, 1]].mean(0) for first, n in spans]
    vectors = np.concatenate((side.vectors, normalize(np.stack(means)))) if means else side.vectors
    return loop.Targets(torch.from_numpy(vectors).to(device), torch.from_numpy(of_item[item_S]).to(device))


def _fingerprint(items: Sequence[bytes], targets: Sequence[bytes | None]) -> str:
    digest = hashlib.sha256()
    for key in [*items, *targets]:
        digest.update(key or b"-")
    return digest.hexdigest()[:32]


def _skip(task: Task, problems: Sequence[tuple[str, str]]) -> None:
    task.skipped += [problem for problem in problems if problem not in task.skipped]
