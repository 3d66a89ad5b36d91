"""`binder eval`."""

from __future__ import annotations

import click

from binder.cli import options, output


@click.command("eval")
@click.argument("pairs")
@click.option("--anchor", metavar="NAME", help="The anchor, where no --encoder names it; mini by default.")
@options.encoders
@options.as_json
@options.strict
@options.device
@options.workers
def eval_command(
    pairs: str,
    anchor: str | None,
    encoders: tuple[str, ...],
    as_json: bool,
    strict: bool,
    device: str,
    workers: int | None,
) -> None:
    """Retrieval between every two modalities of the manifest PAIRS: R@1, R@5, R@10, median rank, mAP, chance.

    A pair of modalities that no training ever saw together is marked emergent.
    """
    from binder.api import Binder

    space = Binder.of(encoders, anchor=anchor, device=device, workers=options.worker_count(workers))
    with output.ProgressBar() as progress:
        rows, problems = space.evaluate(pairs, strict=strict, progress=progress)
    output.skipped(problems)
    if as_json:
        output.json_line({"retrieval": rows, "skipped": [{"where": w, "reason": r} for w, r in problems]})
    else:
        output.retrieval_table(rows)
