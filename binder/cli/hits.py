"""Shared by the verbs that search: their options, and hits as a table, as JSON or as an HTML page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binder.cli import complete, options, output
from binder.report.text import metadata_of, short, time_of

if TYPE_CHECKING:
    from rich.text import Text

    from binder.index import Hit

Part = tuple[float, str, str]  # of a query: weight, modality, item
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

rank_by = click.option(
    "--rank-by",
    type=click.Choice(["score", "probability"]),
    help="Rank hits of several modalities by cosine or by probability; the latter by default if INDEX is calibrated.",
)
per_item = click.option(
    "--per-item",
    cls=options.Renamed,
    was="--group",
    is_flag=True,
    help="One hit per item, however many segments match.",
)
modalities = click.option(
    "--in",
    "modalities",
    cls=options.Renamed,
    was="--to",
    multiple=True,
    metavar="MODALITY",
    shell_complete=complete.modalities,
    help="Only this modality; repeatable.",
)
html = click.option("--html", metavar="FILE.html", help="Write one self-contained page with previews and players.")


def narrowing(command: Decorated) -> Decorated:
    """-k, --in, --where."""
    where = click.option(
        "--where", metavar="CONDITION", help="Only rows that meet this SQL condition: \"license = 'cc'\"."
    )
    k = click.option("-k", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Number of hits.")
    return k(modalities(where(command)))


def locations(command: Decorated) -> Decorated:
    """--encoder, --anchor, --prompt, --trunk: where the models that fill an index are, if they were moved."""
    moved = click.option(
        "--anchor",
        metavar="NAME",
        shell_complete=complete.anchors,
        help="Where the index's anchor is now, if it was moved.",
    )
    return options.encoders(moved(options.prompt(options.trunk(command))))


def showing(command: Decorated) -> Decorated:
    """--json, --html."""
    return options.as_json(html(command))


def search_options(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `Index.search` among a verb's options."""
    names = ("k", "where", "rank_by", "exact", "per_item", "collapse")
    found = {name: given[name] for name in names if name in given}
    return {"modalities": given["modalities"] or None, **found}


def show_options(given: dict[str, Any]) -> dict[str, Any]:
    return {"as_json": given["as_json"], "page": given["html"]}


def show(hits: Sequence[Hit], *, title: str, as_json: bool, page: str | None, query: Sequence[Part] = ()) -> None:
    """Print the hits as JSON, write them as a page, or both; by default, print a table."""
    if as_json:
        for hit in hits:
            output.print_json(as_dict(hit))
    if page:
        write_page(page, title, [hits], query)
    if not as_json and not page:
        table(hits)
    if not hits:
        click.echo("nothing found", err=True)


def as_dict(hit: Hit) -> dict[str, Any]:
    """A hit as plain values; `others`, the hits that it stands for, as their keys."""
    return {
        "modality": hit.modality,
        "item": hit.item,
        "path": hit.path,
        "score": hit.score,
        "probability": hit.probability,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "text": hit.text,
        "metadata": {name: v if isinstance(v, str | int | float) else str(v) for name, v in hit.metadata.items()},
        "others": [other.key for other in hit.others],
    }


def table(hits: Sequence[Hit]) -> None:
    """Print a table without empty columns; file names are links on terminals that support them."""
    columns: list[tuple[str, Callable[[Hit], object]]] = [
        ("score", lambda hit: hit.score),
        ("probability", lambda hit: "" if hit.probability is None else f"{hit.probability:.2f}"),
        ("modality", lambda hit: hit.modality),
        ("item", _item),
        ("seconds", time_of),
        ("text", lambda hit: short(hit.text or "") if hit.path else ""),
        ("metadata", metadata_of),
    ]
    if hits:
        columns = [(name, cell) for name, cell in columns if any(str(cell(hit)) for hit in hits)]
    output.print_table([name for name, _ in columns], [[cell(hit) for _, cell in columns] for hit in hits])


def file_link(path: str | None) -> str | None:
    """The file:// URL of an absolute path; None for other paths, and for names that cannot be encoded."""
    try:
        return Path(path).as_uri() if path and Path(path).is_absolute() else None
    except UnicodeEncodeError:
        return None


def write_page(file: str, title: str, groups: Sequence[Sequence[Hit]], query: Sequence[Part] = ()) -> None:
    from binder.registry import registry
    from binder.report.hits import write

    with output.ProgressBar() as progress:
        write(Path(file), title, groups, registry(), query, progress)
    output.say(f"wrote {file}", err=True)


def _item(hit: Hit) -> Text:
    """The item's name with a link to its file; on a terminal, relative to the working directory."""
    name = short(hit.item) if hit.path is None else _near(hit) if sys.stdout.isatty() else hit.item
    more = f" (+{len(hit.others)})" if hit.others else ""
    return output.shown(name + more, file_link(hit.path))


def _near(hit: Hit) -> str:
    path = Path(hit.path) if hit.path else None
    return str(path.relative_to(Path.cwd())) if path and path.is_relative_to(Path.cwd()) else hit.item
