"""The report of a run: how it learned, its metrics beside those of the baselines, what it confuses. One HTML file.

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
from binder.evaluation.retrieval import baseline_values, row_of
from binder.files import write_text
from binder.registry import Registry
from binder.report import page

log = logging.getLogger(__name__)

NAME = "report.html"
MISTAKES, WEAK = 4, 4  # shown; they have three and two previews each, which bounds the size of the page
SKIPPED = 30  # skipped items that are listed
WIDTH, HEIGHT = 280, 150  # of a curve's box, in its own units: small, so that its labels are legible on a phone


def write(
    folder: Path,
    card: Card,
    history: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    skipped: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    sides: Mapping[str, Side],
    registry: Registry,
) -> Path:
    """Write `report.html` into the folder of a finished run; returns its path.

    `history` holds the steps of the log, `rows` the N held-out rows, and `sides` their modalities, encoded. An item
    that cannot be shown is left out.
    """
    target = next((t for t in card.trained_against if t in sides), None)
    values = {
        "card": card,
        "counts": counts,
        "target": target,
        **_results(card, target),
        "curves": _curves(card, history),
        **_examples(card.modality, target, rows, sides, registry),
        "skipped": [*skipped[:SKIPPED]],
        "n_skipped": len(skipped),
        "reasons": _reasons(skipped),
        "assumed": _assumed(card, registry),
        "config": (folder / CONFIG).read_text(encoding="utf-8"),
        "size": (WIDTH, HEIGHT),
    }
    places = {row.source for row in rows} | {where.rpartition(":")[0] for where, _ in skipped}
    below = [place if place.is_dir() else place.parent for place in map(Path, sorted(filter(None, places)))]
    write_text(folder / NAME, page.render_page(Path(__file__).with_suffix(".html"), below=below, **values))
    return folder / NAME


def _results(card: Card, target: str | None) -> dict[str, Any]:
    """What the page shows of the metrics: the headline, and the table's columns and rows."""
    rows, baselines = card.metrics["retrieval"], card.metrics["baselines"]
    first, with_chance = metrics.METRICS[0], [m for m in metrics.METRICS if m.chance]
    cells = []
    for row in rows:
        before = baseline_values(baselines, row["query"], row["target"])
        cells.append(
            {
                **row,
                "values": [_text(metric, metric.of(row)) for metric in metrics.METRICS],
                "bar": first.of(row) if first.percent else None,
                "before": [_text(first, value) for value in before],
                "chances": [_text(metric, row.get(f"chance_{metric.name}")) for metric in with_chance],
            }
        )
    return {
        "headline": _headline(card, row_of(rows, card.modality, str(target))),
        "metrics": metrics.METRICS,
        "with_chance": with_chance,
        "baselines": baselines,
        "cells": cells,
        "no_miss": metrics.NO_MISS if any(metrics.no_result(row["n_targets"]) for row in rows) else None,
        "lower_is_better": metrics.lower_is_better(),
    }


def _headline(card: Card, row: Mapping[str, Any] | None) -> list[tuple[str | None, str]]:
    """The most important numbers, each with what it is: the first metric, another one, the baselines and chance."""
    if row is None:
        return []
    first, *others = metrics.METRICS
    no_miss = f": {metrics.NO_MISS}" if first.of(row) is None else ""
    found = [
        (
            _text(first, first.of(row)),
            f"{first.label}: {row['query']} → {row['target']} among {row['n_targets']}{no_miss}",
        )
    ]
    shares = [m for m in others if m.percent and m.of(row) is not None]
    if shares:
        ranks = [f"; {m.label} {m.text(m.of(row))}" for m in metrics.METRICS if not m.higher_is_better]
        found.append((_text(shares[-1], shares[-1].of(row)), shares[-1].label + "".join(ranks)))
    baselines = card.metrics["baselines"]
    before = zip(baselines, baseline_values(baselines, row["query"], row["target"]), strict=True)
    found += [(_text(first, value), f"{b['name']}: {b['what']}") for b, value in before if value is not None]
    chance = row.get(f"chance_{first.name}")
    return [*found, (_text(first, chance), "by chance")] if chance is not None else found


def _text(metric: metrics.Metric, value: float | None) -> str | None:
    """A value as the page shows it; None for no result."""
    return None if value is None else page.percent(value) if metric.percent else metric.text(value)


def _examples(
    own: str, target: str | None, rows: Sequence[Row], sides: Mapping[str, Side], registry: Registry
) -> dict[str, Any]:
    """The clearest mistakes, and the least similar of the other pairs."""
    if not rows or target is None:
        return {"mistakes": [], "weak": []}
    mistakes = confusions(sides[own], sides[target])[:MISTAKES]
    named = {mistake.query for mistake in mistakes}
    weak = [pair for pair in weakest(sides[own], sides[target]) if pair.row not in named][:WEAK]
    return {
        "mistakes": [
            {
                **asdict(mistake),
                "asked": shown(rows[mistake.query], own, registry),
                "wanted": shown(rows[mistake.right], target, registry),
                "got": shown(rows[mistake.found], target, registry),
            }
            for mistake in mistakes
        ],
        "weak": [
            {
                **asdict(pair),
                "asked": shown(rows[pair.row], own, registry),
                "wanted": shown(rows[pair.row], target, registry),
            }
            for pair in weak
        ],
    }


def _reasons(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """The reasons, without the item's name, and how often each occurs, the most frequent first."""
    counted = Counter(why.rpartition(": ")[2] for _, why in skipped)
    return counted.most_common(SKIPPED)


def _assumed(card: Card, registry: Registry) -> list[tuple[str, str]]:
    """The encoder's settings that differ from the defaults: given by the user, or derived from the data."""
    usual = registry.get(card.kind or card.modality).config().model_dump(mode="json")
    return [(name, str(value)) for name, value in card.config.items() if usual.get(name, value) != value]


def _curves(card: Card, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The loss, and the logged metrics from the modality to each that it was trained against, by step."""
    found = [_curve("loss", history, {"loss": "loss"}, {}, lambda value: f"{value:.2f}")]
    first, baselines = metrics.METRICS[0], card.metrics["baselines"]
    for target in card.trained_against:
        row = row_of(card.metrics["retrieval"], card.modality, target)
        if row is None:
            continue
        before = baseline_values(baselines, card.modality, target)
        levels = {b["name"]: value for b, value in zip(baselines, before, strict=True)}
        levels |= {"chance": row.get(f"chance_{first.name}")}
        logged = [m for m in metrics.METRICS if m.logged and m.of(row) is not None]
        series = {metric.label: f"{target}_{metric.name}" for metric in logged}
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
    """A curve for the template: each series as points in a box of WIDTH x HEIGHT, and the `levels` to compare with."""
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
    """Heights of labels, moved so that none overlaps another or leaves the box: first up from its bottom, then down."""
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


def shown(row: Row, modality: str, registry: Registry) -> dict[str, Any]:
    """What the page shows of an item, and its place in the manifest."""
    item = row.items[modality]
    found: dict[str, Any] = {"modality": modality, "text": None, "preview": None, "tag": None, "url": None}
    try:
        found |= page.shown_item(registry.get(modality), item)
    except Exception as error:  # a preview that cannot be drawn is no reason to lose the page
        log.debug("%s: no preview: %s", row.where, error)
    name = _below(item, Path(row.source).parent) if isinstance(item, Path) else ""
    return {**found, "name": name, "where": f"{Path(row.source).name}:{row.line}"}


def _below(path: Path, folder: Path) -> str:
    """A file's path as in its manifest."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
