"""`binder duplicates`."""

from __future__ import annotations

import click

from binder.cli import hits, options, output


@click.command("duplicates")
@click.argument("index", metavar="INDEX")
@click.option("--cosine", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True, help="How near.")
@click.option("--to", multiple=True, metavar="MODALITY", help="Only this modality; may be repeated.")
@options.as_json
@hits.html
def duplicates_command(index: str, cosine: float, to: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """Groups of items of one modality that lie very near to each other, the largest first."""
    from binder.index import Index

    with output.ProgressBar() as progress:
        groups = Index.open(index).near_duplicates(cosine, to=to or None, progress=progress)
    if as_json:
        for group in groups:
            output.json_line([hits.as_dict(hit) for hit in group])
    if html:
        hits.write_page(html, f"near-duplicates in {index}, cosine {cosine:g} and more", groups)
    if not as_json and not html:
        for group in groups:
            hits.table(group)
            click.echo()
    count = sum(map(len, groups))
    click.echo(f"{count} items in {len(groups)} group{'s' * (len(groups) != 1)}", err=True)
