"""`binder demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from binder import ProgressBar, RunError, common_options, print_table, say

NO_RESULT = "–"  # of R@k where at most k items are searched: it could only be 1
RATES = {"r1": 1, "r5": 5, "r10": 10}  # R@k: the k of each


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder to fill.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--reference", is_flag=True, help="The full recipe, and directly trained references (up to an hour).")
@common_options("device")
def demo_command(out: Path, seed: int, reference: bool, device: str) -> None:
    """See it work offline: align three modalities to pictures only, then search everything for everything."""
    if (out / "runs").exists():
        raise RunError(f"{out}: holds a demo already; choose another folder with --out, or delete it")
    from binder_playground.demo.data import BOUND
    from binder_playground.demo.run import run

    say(f"aligning {', '.join(BOUND)} to pictures (none of them is shown a caption) ...", err=True)
    with ProgressBar() as progress:
        result = run(out, seed=seed, reference=reference, device=device, progress=progress)
    zero_shot = result["anchor"]["zero_shot"]
    found = f"{zero_shot['accuracy']:.1%} of new pictures find their caption among {zero_shot['n_classes']}"
    click.echo(f"\nthe frozen anchor by itself: {found}\n")
    _print_matrix(result["retrieval"])
    _print_cells(result["retrieval"], reference)
    click.echo("\nsums of vectors, the changed item found among one of each class:")
    print_table(
        ["sum", "questions", "R@1", "chance"],
        [[a["kind"], a["n"], a["r1"], a["chance_r1"]] for a in result["arithmetic"]],
    )
    seconds = {part: s for part, s in result["seconds"].items() if part != "total"}
    click.echo("\n" + ", ".join(f"{part} {s:.0f} s" for part, s in seconds.items()))
    say(f"{result['seconds']['total']:.0f} s in all; look at {out / 'report.html'}, numbers in {out / 'metrics.json'}")


def _print_matrix(rows: Sequence[dict[str, Any]]) -> None:
    """R@1 of every ordered pair: rows are the queries, columns are searched; * marks pairs trained together."""
    names = list(dict.fromkeys(row["query"] for row in rows))
    cells = {(row["query"], row["target"]): row for row in rows}

    def shown(query: str, target: str) -> str:
        row = cells.get((query, target))
        if row is None or row["r1"] is None:
            return "" if row is None else "-"
        return f"{row['r1']:.3f}{'*' if row['trained'] else ' '}"

    click.echo("R@1: rows ask, columns are searched; * trained together, all others never were:")
    print_table(["", *names], [[query, *(shown(query, target) for target in names)] for query in names])


def _print_cells(rows: Sequence[dict[str, Any]], reference: bool) -> None:
    """One row for each ordered pair, with R@5, R@10 and the baselines."""
    columns = ["query", "target", "", "same", "queries", "targets", "R@1", "R@5", "R@10", "chance", "untrained"]
    click.echo()
    print_table(
        [*columns, *(["trained directly"] if reference else [])],
        [
            [
                *(r["query"], r["target"], "trained" if r["trained"] else "emergent", r["concept"]),
                *(r["n"], r["n_targets"]),
                *(float(r[name]) if k < r["n_targets"] else NO_RESULT for name, k in RATES.items()),
                float(r["chance_r1"]),
                "" if r["untrained_r1"] is None else r["untrained_r1"],
                *(["" if r["supervised_r1"] is None else r["supervised_r1"]] if reference else []),
            ]
            for r in rows
            if r["r1"] is not None
        ],
    )
