"""The page of a run: how it learnt, what it reaches beside its baselines, what it confuses. One file, nothing fetched.

Shapes: N held-out rows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from binder.artifact.run_folder import CONFIG, Card
from binder.data.columns import Side
from binder.data.manifest import Row
from binder.evaluation import metrics
from binder.evaluation.confusions import confusions, weakest
from binder.files import write_text
from binder.registry import registry
from binder.report import page

log = logging.getLogger(__name__)

NAME = "report.html"
MISTAKES, WEAK = 4, 4  # shown; with three and two previews each they bound the page's size
SKIPPED = 30  # named of those left out
WIDTH, HEIGHT = 280, 150  # of a curve's box, in its own units: small, so that its words can be read on a telephone


def write(
    folder: Path,
    card: Card,
    history: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    skipped: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    sides: Mapping[str, Side],
) -> Path:
    """Write `report.html` into the folder of a finished run; returns its path.

    `history` is the steps of its log; `rows` are the N held-out ones and `sides` their modalities, encoded. An item
    that cannot be shown is left out.
    """
    own, target = card.modality, next((t for t in card.trained_against if t in sides), None)
    mistakes = confusions(sides[own], sides[target])[:MISTAKES] if rows and target else []
    named = {mistake.query for mistake in mistakes}
    weak = [p for p in weakest(sides[own], sides[target]) if p.row not in named][:WEAK] if rows and target else []
    values = {
        "card": card,
        "counts": counts,
        "target": target,
        "cells": [_cell(card, row) for row in card.metrics["retrieval"]],
        "no_miss": metrics.NO_MISS,
        "baselines": card.metrics["baselines"],
        "curves": _curves(card, history),
        "mistakes": [
            {
                **asdict(mistake),
                "asked": shown(rows[mistake.query], own),
                "wanted": shown(rows[mistake.right], str(target)),
                "got": shown(rows[mistake.found], str(target)),
            }
            for mistake in mistakes
        ],
        "weak": [
            {**asdict(pair), "asked": shown(rows[pair.row], own), "wanted": shown(rows[pair.row], str(target))}
            for pair in weak
        ],
        "skipped": [*skipped[:SKIPPED]],
        "n_skipped": len(skipped),
        "reasons": _reasons(skipped),
        "assumed": _assumed(card),
        "config": (folder / CONFIG).read_text(encoding="utf-8"),
        "size": (WIDTH, HEIGHT),
    }
    places = {row.source for row in rows} | {where.rpartition(":")[0] for where, _ in skipped}
    below = [place if place.is_dir() else place.parent for place in map(Path, sorted(filter(None, places)))]
    write_text(folder / NAME, page.render_page(Path(__file__).with_suffix(".html"), below=below, **values))
    return folder / NAME


def _cell(card: Card, row: Mapping[str, Any]) -> dict[str, Any]:
    """One direction's result, None for a rate that says nothing, with the R@1 of every baseline."""
    before = [(b, _r1(b["retrieval"], row)) for b in card.metrics["baselines"]]
    return {**row, **dict.fromkeys(metrics.trivial(row["n_targets"])), "before": before}


def _r1(rows: Sequence[Mapping[str, Any]], like: Mapping[str, Any]) -> float | None:
    same = (row for row in rows if (row["query"], row["target"]) == (like["query"], like["target"]))
    return next((float(row["r1"]) for row in same), None)


def _reasons(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """How often each reason, without the item's name before it, the most frequent first."""
    counted = Counter(why.rpartition(": ")[2] for _, why in skipped)
    return counted.most_common(SKIPPED)


def _assumed(card: Card) -> list[tuple[str, str]]:
    """The encoder's settings that are not the defaults: given, or taken from the data."""
    usual = registry().get(card.modality).config().model_dump(mode="json")
    return [(name, str(value)) for name, value in card.config.items() if usual.get(name, value) != value]


def _curves(card: Card, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The loss, and R@1 and R@10 from the modality to each it was trained against, by step."""
    found = [_curve("loss", history, {"loss": "loss"}, {}, lambda value: f"{value:.2f}")]
    for target in card.trained_against:
        before = {"query": card.modality, "target": target}
        levels = {b["name"]: _r1(b["retrieval"], before) for b in card.metrics["baselines"]}
        chance = [r["chance_r1"] for r in card.metrics["retrieval"] if _r1([r], before) is not None]
        levels |= {"chance": chance[0] if chance else None}
        targets = [r["n_targets"] for r in card.metrics["retrieval"] if _r1([r], before) is not None]
        dull = metrics.trivial(min(targets, default=0))
        series = {f"R@{k}": f"{target}_r{k}" for k in (1, 10) if f"r{k}" not in dull}
        title = f"{card.modality} → {target}, held out"
        found.append(_curve(title, history, series, levels, lambda value: f"{100 * value:.0f} %", top=1.0))
    return [curve for curve in found if curve["lines"]]


def _curve(
    title: str,
    history: Sequence[Mapping[str, Any]],
    series: Mapping[str, str],
    levels: Mapping[str, float | None],
    label: Callable[[float], str],
    top: float | None = None,
) -> dict[str, Any]:
    """What the page draws: each series as points in a box of WIDTH x HEIGHT, and `levels` to compare them with."""
    values = {name: [(h["step"], h[key]) for h in history if h.get(key) is not None] for name, key in series.items()}
    values = {name: points for name, points in values.items() if points}
    last = max((step for points in values.values() for step, _ in points), default=1)
    high = top or max((y for points in values.values() for _, y in points), default=0) or 1.0

    def place(step: float, y: float) -> tuple[float, float]:
        return round(WIDTH * step / last, 1), round(HEIGHT * (1 - min(max(y, 0) / high, 1)), 1)

    drawn = {name: [place(*point) for point in points] for name, points in values.items()}
    ends = _spread([points[-1][1] for points in drawn.values()])
    marks = [(name, place(0, y)[1], label(y)) for name, y in levels.items() if y is not None]
    beside = _spread([y for _, y, _ in marks])
    return {
        "title": title,
        "last": last,
        "ticks": [(place(0, high * share)[1], label(high * share)) for share in (0.0, 0.5, 1.0)],
        "lines": [
            {"name": name, "points": points, "end": label(values[name][-1][1]), "label_y": y}
            for (name, points), y in zip(drawn.items(), ends, strict=True)
        ],
        "levels": [(*mark, y) for mark, y in zip(marks, beside, strict=True)],
    }


def _spread(heights: Sequence[float], gap: float = 14.0) -> list[float]:
    """Heights of labels, moved so that none covers another and none leaves the box: up from its bottom, then down."""
    placed, order = list(heights), sorted(range(len(heights)), key=lambda i: -heights[i])
    free = float(HEIGHT)
    for i in order:
        placed[i] = min(placed[i], free)
        free = placed[i] - gap
    free = 6.0
    for i in reversed(order):
        placed[i] = round(max(placed[i], free), 1)
        free = placed[i] + gap
    return placed


def shown(row: Row, modality: str) -> dict[str, Any]:
    """What the page shows of an item, and where it stands."""
    item = row.items[modality]
    found: dict[str, Any] = {"modality": modality, "text": None, "preview": None, "tag": None, "url": None}
    try:
        found |= page.shown_item(registry().get(modality), item)
    except Exception as error:  # a picture that cannot be drawn is no reason to lose the page
        log.debug("%s: no preview: %s", row.where, error)
    name = _below(item, Path(row.source).parent) if isinstance(item, Path) else ""
    return {**found, "name": name, "where": f"{Path(row.source).name}:{row.line}"}


def _below(path: Path, folder: Path) -> str:
    """A file's name as its manifest has it."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
