"""`binder demo`."""

from __future__ import annotations

from pathlib import Path

import click

from binder.cli import options, output
from binder.errors import PluginError, RunError


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder to fill.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--reference", is_flag=True, help="The full recipe, and directly trained references (20 minutes).")
@options.device
def demo_command(out: Path, seed: int, reference: bool, device: str) -> None:
    """See it work offline: align spoken captions to pictures only, then search everything for everything."""
    if (out / "runs").exists():
        raise RunError(f"{out}: holds a demo already; choose another folder with --out, or delete it")
    try:
        from binder.playground.demo import run
    except ImportError as error:
        raise PluginError(f"{error}; the demo needs: pip install 'modality-binder[playground]'") from None

    click.echo("aligning spoken captions to pictures (no captions are shown to it) ...", err=True)
    with output.ProgressBar() as progress:
        result = run(out, seed=seed, reference=reference, device=device, progress=progress)
    zero_shot = result["anchor"]["zero_shot"]
    found = f"{zero_shot['accuracy']:.1%} of new pictures find their caption among {zero_shot['n_classes']}"
    click.echo(f"\nthe frozen anchor by itself: {found}\n")
    unheard = {(r["query"], r["target"]): r["r1"] for r in result["retrieval_unheard"]}
    columns = ["query", "target", "", "queries", "targets", "R@1", "R@5", "R@10", "unheard R@1", "chance"]
    rows = [
        [
            *(r["query"], r["target"], "trained" if r["trained"] else "emergent", r["n"], r["n_targets"]),
            *(float(r[k]) for k in ("r1", "r5", "r10")),
            unheard[r["query"], r["target"]],
            float(r["chance_r1"]),
            *([r["supervised_r1"] if r["supervised_r1"] is not None else "-"] if reference else []),
        ]
        for r in result["retrieval"]
    ]
    output.table([*columns, *(["trained directly"] if reference else [])], rows)
    click.echo(
        f"\n{result['seconds']['total']:.0f} s; look at {out / 'report.html'}, numbers in {out / 'metrics.json'}"
    )
