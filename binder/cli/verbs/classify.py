"""`binder classify`."""

from __future__ import annotations

from dataclasses import asdict

import click

from binder.cli import complete, options, output


@click.command("classify", cls=options.Command)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete.paths)
@click.option("--labels", required=True, metavar="LIST", help='The classes, separated by commas: "zero,one,two".')
@click.option(
    "--template",
    "templates",
    multiple=True,
    metavar="PROMPT",
    help='Prompt with {} in place of the label: "the digit {}"; repeatable, several are averaged.',
)
@options.anchor
@options.prompt
@options.encoders
@options.trunk
@options.as_modality
@options.as_json
@options.strict
@options.device
@options.workers
def classify_command(
    files: tuple[str, ...],
    labels: str,
    templates: tuple[str, ...],
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
    """Zero-shot classification: which of the labels fits each item best, by cosine to the labels' prompts.

    FILE is an item, a folder of items, or a manifest, of which --as names the column.
    """
    count = options.worker_count(workers)
    import numpy as np

    from binder.api import Binder
    from binder.cli.items import collect, encode
    from binder.evaluation.zero_shot import Classification

    space = Binder.of(encoders, anchor=anchor, prompt=prompt, trunk=trunk, device=device, workers=count)
    names = [label.strip() for label in labels.split(",") if label.strip()]
    items = collect(files, modality, space)
    rows = encode(items, space, strict=strict)
    found: dict[int, Classification] = {}
    for kind in dict.fromkeys(items[row.position][0] for row in rows):
        of_kind = [row for row in rows if items[row.position][0] == kind]
        own = [row.position for row in of_kind]
        z_ND, shown = np.stack([row.vector for row in of_kind]), [str(items[i][1]) for i in own]
        results = space.classify_vectors(z_ND, shown, kind, names, templates or ("{}",))
        found |= dict(zip(own, results, strict=True))
    ordered = [found[i] for i in sorted(found)]
    if as_json:
        for result in ordered:
            output.print_json(asdict(result))
    else:
        output.print_table(["item", "label", "score"], [[r.item, r.label, r.score] for r in ordered])
