"""`binder classify`."""

from __future__ import annotations

from dataclasses import asdict

import click

from binder.cli import options, output


@click.command("classify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--labels", required=True, help='The classes, comma-separated: "zero,one,two".')
@click.option(
    "--template",
    "templates",
    multiple=True,
    help='Prompt with {} for the label: "the digit {}"; several are averaged.',
)
@click.option("--anchor", metavar="NAME", help="The anchor, where no --encoder names it; mini by default.")
@options.encoders
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
    encoders: tuple[str, ...],
    modality: str | None,
    as_json: bool,
    strict: bool,
    device: str,
    workers: int | None,
) -> None:
    """Zero-shot classification: which of the labels fits each item, by the cosine to the labels' prompts.

    FILE is an item, a folder of items, or a manifest (then --as names the column).
    """
    from binder.cli.items import collect

    items = collect(files, modality)
    from binder.api import Binder, Classification

    space = Binder.of(encoders, anchor=anchor, device=device, workers=options.worker_count(workers))
    names = [label.strip() for label in labels.split(",") if label.strip()]
    found: dict[int, Classification] = {}
    problems: list[tuple[str, str]] = []
    with output.ProgressBar() as progress:
        for kind in dict.fromkeys(kind for kind, _ in items):
            positions = [i for i, (k, _) in enumerate(items) if k == kind]
            encoded = space.encode(kind, [items[i][1] for i in positions], strict=strict, progress=progress)
            good = [positions[p] for p in encoded.good]
            results = space.classify_vectors(
                encoded.vectors, [str(items[i][1]) for i in good], kind, names, templates or ("{}",)
            )
            found |= dict(zip(good, results, strict=True))
            problems += [("", str(error)) for _, error in encoded.bad]
    output.skipped(problems)
    if not found:
        raise click.ClickException("no item could be read")
    ordered = [found[i] for i in sorted(found)]
    if as_json:
        for result in ordered:
            output.json_line(asdict(result))
    else:
        output.table(["item", "label", "score"], [[r.item, r.label, r.score] for r in ordered])
