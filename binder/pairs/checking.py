"""Checking a manifest of pairs: repeated rows, leaks, unreadable items, pairs that do not match, and what is left.

Shapes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from binder.api import Binder
from binder.config import validate
from binder.data import encode, manifest
from binder.data.columns import Column, Side, column_of, encoded_side
from binder.data.encode import Progress, silent
from binder.data.manifest import Row
from binder.devices import seeded
from binder.encoder import Encoder
from binder.errors import ConfigError, ItemError, ManifestError, nearest, renamed
from binder.modality import Item
from binder.pairs import contents
from binder.pairs.agreement import MIN_PAIRS, agreement, cross_fit, wrong_share
from binder.readers import windows
from binder.registry import Registry
from binder.train.ridge import pooled

SAMPLE = 256  # items passed to `Modality.adapt`
NEAR_DUPLICATES = 0.995  # lowest cosine of two near-duplicate pictures


@dataclass
class PairsReport:
    """What `check_pairs` found. A position i refers to `rows[i]`; where rows are strings, they read file:row."""

    modality: str  # the one to be aligned
    rows: list[Row]
    columns: dict[str, int]  # modality -> rows that have it
    distinct: dict[str, int]  # modality -> different items
    most_repeated: dict[str, list[tuple[str, int]]]  # modality -> the items in most rows, and in how many
    repeated_rows: list[tuple[int, int]]  # positions of a row and of the earlier row with the same content
    copies: dict[str, list[list[str]]]  # modality -> groups of files with the same content
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # row and reason
    n_near: int = 0  # pairs of near-duplicate pictures, as the anchor sees them
    near: list[tuple[str, str, float]] = field(default_factory=list)  # the closest of them: rows and cosine
    split: str | None = None  # the column that says which rows train
    leaks: list[tuple[str, int, int]] = field(default_factory=list)  # modality, held-out and training position
    cut: list[str] = field(default_factory=list)  # texts that the anchor truncates
    unknown_words: list[str] = field(default_factory=list)  # to the anchor
    judged_by: str = ""  # how agreement was estimated, or why it was not
    agreement: dict[int, float] = field(default_factory=dict)  # position -> how well its pair agrees, -1..1
    wrong_share: float | None = None  # estimated share of wrong pairs, 0..1
    dropped: dict[int, str] = field(default_factory=dict)  # position -> why the row is not kept

    @property
    def kept(self) -> list[Row]:
        """The rows of the cleaned manifest."""
        return [row for i, row in enumerate(self.rows) if i not in self.dropped]


@renamed(near="cosine")
def check_pairs(
    pairs: str | Path | Iterable[Mapping[str, Any]],
    *,
    modality: str | None = None,
    encoder: str | Path | None = None,
    anchor: str | None = None,
    split: str | None = None,
    keep: float | Literal["auto"] | None = None,
    cosine: float = NEAR_DUPLICATES,
    device: str = "auto",
    workers: int = 0,
    progress: Progress = silent,
) -> PairsReport:
    """Check a manifest of pairs: duplicates, leaks, balance, unreadable items, and how well each pair agrees.

    `modality` is the one to be aligned, by default the one that the anchor does not encode itself. How well its items
    agree with the anchor's is judged by an aligned `encoder`, or without one by cross-fitting (see
    `binder.pairs.agreement`). The report's `kept` leaves out rows that are unreadable, repeat others, or are held out
    by the column `split` (by default the one called "split") but also occur in training. `keep` is the share of the
    remaining pairs to keep, those that agree best; "auto" keeps as many as are estimated to be correct. Pictures with a
    cosine above `cosine` count as near-duplicates. Raises ConfigError for an invalid `keep`, ManifestError for a
    manifest that cannot be used.
    """
    if not (keep in (None, "auto") or (isinstance(keep, int | float) and 0 < keep <= 1)):
        raise ConfigError(f"keep: {keep!r}, expected a share above 0 and up to 1 such as 0.7, or auto")
    space = Binder.of([encoder] if encoder else [], anchor=anchor, device=device, workers=workers)
    registry = space.registry
    rows = manifest.read(pairs, registry.modalities(), modality)
    columns = {name: column_of(rows, name) for name in registry.names() if any(name in r.items for r in rows)}
    own = _own(rows, columns, modality, space)
    report = _contents(rows, columns, own, split, registry)
    texts = [str(text) for text in columns["text"].items.values()] if "text" in columns else []
    report.cut = [texts[i] for i in contents.cut_texts(texts, space.anchor)]
    report.unknown_words = space.anchor.unknown_words(texts)
    sides: dict[str, Side] = {}
    for name, column in columns.items():
        coder = _coder(name, own, column, space)
        bad = column.bad
        if coder is not None:
            sides[name], bad = _side(name, column, coder, space, progress)
        report.unreadable += [(where, str(error)) for where, error in bad]
        if coder is not None and name in space.anchor.towers and not registry.get(name).inline:
            _find_near_duplicates(report, sides[name], cosine)
    _judge(report, sides, own, space)
    _drop(report, columns, sides, keep)
    return report


class Trunk(Encoder):
    """An encoder that returns the features of another's trunk, so that they are computed and cached like vectors."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__()
        self.inner = inner

    def preprocess(self, item: Item) -> Tensor:
        return self.inner.preprocess(item)

    def features(self, batch: Tensor) -> Tensor:
        """(B, ...) -> (B, F + 1): the features and a constant 1, so that no row is zero."""
        x_BF = pooled(self.inner.features(batch))
        return torch.cat([x_BF, x_BF.new_ones(len(x_BF), 1)], 1)

    def head(self, features: Tensor) -> Tensor:
        return features


def _own(rows: Sequence[Row], columns: Mapping[str, Column], modality: str | None, space: Binder) -> str:
    """The modality to be aligned. Raises ManifestError if it is ambiguous or missing."""
    source = rows[0].source
    if modality is not None:
        space.registry.get(modality)
        manifest.require(rows, source, modality)
        return modality
    if not columns:
        manifest.require(rows, source, "image")
    others = [name for name in columns if name not in space.anchor.towers]
    if len(others) > 1:
        raise ManifestError(f"{source}: columns {' and '.join(others)}: say with --modality which one to align")
    return others[0] if others else next(iter(columns))


def _contents(
    rows: list[Row], columns: Mapping[str, Column], own: str, split: str | None, registry: Registry
) -> PairsReport:
    """A report of what can be said without encoding anything."""
    files = {name: column for name, column in columns.items() if not registry.get(name).inline}
    split = split or ("split" if any("split" in row.meta for row in rows) else None)
    if split is not None and not any(split in row.meta for row in rows):
        raise ManifestError(f"{rows[0].source}: no column {split!r}{nearest(split, rows[0].meta)}")
    return PairsReport(
        modality=own,
        rows=rows,
        columns={name: sum(name in row.items for row in rows) for name in columns},
        distinct={name: len(column.items) for name, column in columns.items()},
        most_repeated={name: contents.most_repeated(column) for name, column in columns.items()},
        repeated_rows=contents.repeated_rows(rows, columns),
        copies={name: found for name, column in files.items() if (found := contents.copies(rows, name, column))},
        split=split,
        leaks=contents.leaks(rows, files, split) if split else [],
    )


def _coder(name: str, own: str, column: Column, space: Binder) -> Encoder | None:
    """The encoder for the items of a modality; None if they are not encoded."""
    if name in space.encoders or name != own:
        return space.encoders.get(name)
    kind = space.registry.get(name)
    if not kind.trainable:
        return None
    config = validate(kind.config, {}, name)
    if kind.adapt is not None and column.items:
        items = list(column.items.values())
        sample = items[:: max(1, len(items) // SAMPLE)][:SAMPLE]
        config = windows.adapted(kind.adapt, config, sample, space.workers)
    with seeded(0, space.anchor.device):
        return Trunk(kind.build(config, space.anchor)).to(space.anchor.device)


def _side(
    name: str, column: Column, coder: Encoder, space: Binder, progress: Progress
) -> tuple[Side, list[tuple[str, ItemError]]]:
    """A column, encoded, and the rows that cannot be read. The anchor's vectors share the cache of `align`."""
    cached = space.anchor.stored_as(name) if name in space.anchor.towers else None

    def embed(items: Sequence[Item], keys: Sequence[bytes]) -> encode.Encoded:
        return encode.encode(
            coder, items, keys=keys, cache=cached, workers=space.workers, stage=f"reading {name}", progress=progress
        )

    return encoded_side(column, embed)


def _find_near_duplicates(report: PairsReport, side: Side, threshold: float) -> None:
    """Add a modality's near-duplicates to the report, each by the first row that contains it."""
    where = {int(u): row.where for u, row in zip(side.of_row[::-1], report.rows[::-1], strict=True)}
    count, found = contents.near_duplicates(side.vectors, threshold)
    report.n_near += count
    report.near += [(where[i], where[j], cosine) for i, j, cosine in found]


def _judge(report: PairsReport, sides: Mapping[str, Side], own: str, space: Binder) -> None:
    """Add to the report how well each row's item agrees with its items of the anchor, averaged over these."""
    targets = [name for name in sides if name != own and name in space.anchor.towers]
    if own in space.cards:
        report.judged_by = "the aligned encoder"
    elif own in space.encoders:
        report.judged_by = "the anchor"
    else:
        report.judged_by = "cross-fitting on features of the untrained trunk"
    found: dict[int, list[float]] = {}
    wrong: list[tuple[int, float]] = []
    for name in targets:
        own_N, target_N = sides[own].of_row, sides[name].of_row
        rows = np.flatnonzero((own_N >= 0) & (target_N >= 0))
        if len(rows) < MIN_PAIRS or len(np.unique(target_N[rows])) < 2:
            continue
        a, b = sides[own].vectors[own_N[rows]], sides[name].vectors[target_N[rows]]
        if own not in space.encoders:
            a = cross_fit(a, b, own_N[rows].tolist())
        for row, score in zip(rows.tolist(), agreement(a, b).tolist(), strict=True):
            found.setdefault(row, []).append(score)
        wrong.append((len(rows), wrong_share(a, b)))
    if not wrong:
        report.judged_by = f"not judged: this needs at least {MIN_PAIRS} pairs with different targets"
        return
    report.agreement = {row: float(np.mean(scores)) for row, scores in found.items()}
    report.wrong_share = sum(n * share for n, share in wrong) / sum(n for n, _ in wrong)


def _drop(
    report: PairsReport, columns: Mapping[str, Column], sides: Mapping[str, Side], keep: float | str | None
) -> None:
    """Add to the report which rows are dropped, each with the first reason that applies."""
    for i, row in enumerate(report.rows):
        bad = [
            name
            for name in row.items
            if (columns[name].keys[i] is None if name not in sides else sides[name].of_row[i] < 0)
        ]
        if bad:
            report.dropped[i] = f"{bad[0]} cannot be read"
    for i, first in report.repeated_rows:
        report.dropped.setdefault(i, f"repeats {report.rows[first].where}")
    for name, i, first in report.leaks:
        report.dropped.setdefault(i, f"its {name} is also in training: {report.rows[first].where}")
    if keep is None:
        return
    if report.wrong_share is None:
        raise ManifestError(f"{report.rows[0].source}: {report.judged_by}, so nothing can be kept by agreement")
    share = 1 - report.wrong_share if keep == "auto" else float(keep)
    judged = sorted((i for i in report.agreement if i not in report.dropped), key=lambda i: report.agreement[i])
    for i in judged[: len(judged) - round(share * len(judged))]:
        report.dropped[i] = f"agrees least: {report.agreement[i]:.2f}"
