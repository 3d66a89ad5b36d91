"""`binder eval`."""

from __future__ import annotations

import click

from binder.cli import complete, options, output


@click.command("eval")
@click.argument("pairs", shell_complete=complete.paths)
@options.anchor
@options.prompt
@options.encoders
@options.trunk
@options.as_modality
@options.as_json
@options.strict
@options.device
@options.workers
def eval_command(
    pairs: str,
    anchor: str | None,
    prompt: str | None,
    encoders: tuple[str, ...],
    trunk: str | None,
    modality: str | None,
    as_json: bool,
    strict: bool,
    device: str,
    workers: int | None,
) -> None:
    """Evaluate retrieval between all pairs of modalities of PAIRS: recall, rank and precision, and what chance gives.

    PAIRS is a manifest, or a folder with a folder per class; --as names the modality of the files if their suffixes
    do not.

    A pair of modalities that was never trained together is marked emergent. A metric that no search can miss, such as
    R@5 among five targets, is shown as –; --json lists these under no_result.
    """
    count = options.worker_count(workers)
    from binder.api import Binder
    from binder.evaluation.metrics import no_result

    space = Binder.of(encoders, anchor=anchor, prompt=prompt, trunk=trunk, device=device, workers=count)
    with output.ProgressBar() as progress:
        rows, problems = space.evaluate(pairs, modality=modality, strict=strict, progress=progress)
    output.skipped(problems)
    if as_json:
        marked = [{**row, "no_result": no_result(row["n_targets"])} for row in rows]
        output.print_json({"retrieval": marked, "skipped": [{"where": w, "reason": r} for w, r in problems]})
    else:
        output.retrieval_table(rows)
