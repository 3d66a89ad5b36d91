"""The report of `check_pairs` as lines of text, as JSON and as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from binder.files import write_text
from binder.registry import Registry
from binder.report import page
from binder.report.run import shown

if TYPE_CHECKING:
    from binder.pairs import PairsReport

MAX_WEAK = 8  # pairs shown on the page, with a preview of each side
MAX_LISTED = 30  # findings of each kind
BINS = 40  # of the histogram


def as_dict(report: PairsReport) -> dict[str, Any]:
    """The report as plain values for JSON; positions are replaced by file:row."""
    where = [row.where for row in report.rows]
    return {
        "modality": report.modality,
        "rows": len(report.rows),
        "columns": report.columns,
        "distinct": report.distinct,
        "most_repeated": report.most_repeated,
        "unreadable": [{"where": w, "reason": why} for w, why in report.unreadable],
        "repeated_rows": [{"where": where[i], "of": where[first]} for i, first in report.repeated_rows],
        "copies": report.copies,
        "n_near": report.n_near,
        "near": [{"where": a, "of": b, "cosine": round(cosine, 4)} for a, b, cosine in report.near],
        "split": report.split,
        "leaks": [{"modality": m, "where": where[i], "training": where[j]} for m, i, j in report.leaks],
        "cut_texts": report.cut,
        "unknown_words": report.unknown_words,
        "judged_by": report.judged_by,
        "agreement": {where[i]: round(score, 4) for i, score in report.agreement.items()},
        "wrong_share": report.wrong_share,
        "dropped": {where[i]: why for i, why in sorted(report.dropped.items())},
        "kept": len(report.kept),
    }


def lines(report: PairsReport) -> dict[str, list[str]]:
    """The first findings of each kind, a line each."""
    where = [row.where for row in report.rows]
    return {
        "unreadable": [f"{w}: {why}" for w, why in report.unreadable[:MAX_LISTED]],
        "repeated": [f"{where[i]} repeats {where[first]}" for i, first in report.repeated_rows[:MAX_LISTED]],
        "leaks": [f"{where[i]}: its {m} also occurs in training, {where[j]}" for m, i, j in report.leaks[:MAX_LISTED]],
        "copies": [" = ".join(group) for groups in report.copies.values() for group in groups][:MAX_LISTED],
        "near": [f"{a} and {b}: {cosine:.4f}" for a, b, cosine in report.near[:MAX_LISTED]],
        "cut": [f"{text[:80]} ..." for text in report.cut[:MAX_LISTED]],
        "unknown": report.unknown_words[:MAX_LISTED],
    }


def write_page(path: Path, report: PairsReport, registry: Registry) -> None:
    """Write the report as one self-contained page."""
    least = sorted(report.agreement, key=lambda i: report.agreement[i])[:MAX_WEAK]
    weak = [
        {
            "agreement": report.agreement[i],
            "sides": [shown(report.rows[i], name, registry) for name in report.rows[i].items],
        }
        for i in least
    ]
    values = {
        "report": report,
        "kept": len(report.kept),
        "bars": _bars(list(report.agreement.values())),
        "weak": weak,
        "lines": lines(report),
        "n_copies": sum(len(groups) for groups in report.copies.values()),
    }
    source = Path(report.rows[0].source)
    below = [source if source.is_dir() else source.parent]
    write_text(path, page.render_page(Path(__file__).parent / "pairs.html", below=below, **values))


def _bars(scores: list[float]) -> list[dict[str, float]]:
    """A histogram over -1..1 in a box of 620 x 140."""
    if not scores:
        return []
    counts, edges = np.histogram(scores, bins=BINS, range=(-1, 1))
    width = 620 / BINS
    return [
        {
            "x": round(i * width, 1),
            "width": round(width - 1.5, 1),
            "height": round(140 * int(n) / max(int(counts.max()), 1), 1),
            "n": int(n),
            "low": float(edges[i]),
        }
        for i, n in enumerate(counts)
    ]
