"""What the searching verbs share: their options, and hits as a table, as JSON or as a page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binder.cli import options, output
from binder.report.text import metadata_of, short, time_of

if TYPE_CHECKING:
    from rich.text import Text

    from binder.index import Hit

Part = tuple[float, str, str]  # of a query: weight, modality, item
F = TypeVar("F", bound=Callable[..., Any])

rank_by = click.option(
    "--rank-by",
    type=click.Choice(["score", "probability"]),
    help="The order of several modalities' hits: by cosine, or by what it means; the latter where INDEX is calibrated.",
)
html = click.option("--html", metavar="FILE.html", help="A page with previews and players, all in one file.")


def narrowing(command: F) -> F:
    """-k, --to, --where."""
    for option in (
        click.option("--where", metavar="CONDITION", help="Only rows that meet it, in SQL: \"license = 'cc'\"."),
        click.option("--to", multiple=True, metavar="MODALITY", help="Search only this modality; may be repeated."),
        click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="How many hits."),
    ):
        command = option(command)
    return command


def places(command: F) -> F:
    """--encoder, --anchor, --trunk: where what fills an index is, if it has been moved."""
    moved = click.option("--anchor", metavar="NAME", help="Where the index's anchor is, if it was moved.")
    return options.encoders(moved(options.trunk(command)))


def showing(command: F) -> F:
    """--json, --html."""
    return options.as_json(html(command))


def search_options(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a verb's options that `Index.search` takes."""
    names = ("k", "where", "rank_by", "exact", "group", "collapse")
    return {"to": given["to"] or None, **{name: given[name] for name in names if name in given}}


def show_options(given: dict[str, Any]) -> dict[str, Any]:
    return {"as_json": given["as_json"], "page": given["html"]}


def show(hits: Sequence[Hit], *, title: str, as_json: bool, page: str | None, query: Sequence[Part] = ()) -> None:
    """Hits as they were asked for; without either option, as a table."""
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
    """Plain values; the others that a hit stands for by their keys."""
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
    """On stdout; a file's name is a link to it where the terminal knows links. No column is empty."""
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
    """The address of a file, where it has one: an absolute path that the system has bytes for."""
    try:
        return Path(path).as_uri() if path and Path(path).is_absolute() else None
    except UnicodeEncodeError:
        return None


def write_page(file: str, title: str, groups: Sequence[Sequence[Hit]], query: Sequence[Part] = ()) -> None:
    from binder.report.hits import write

    with output.ProgressBar() as progress:
        write(Path(file), title, groups, query, progress)
    output.say(f"look at {file}", err=True)


def _item(hit: Hit) -> Text:
    """On a terminal a file below the working directory without the way there, and a link to it."""
    name = short(hit.item) if hit.path is None else _near(hit) if sys.stdout.isatty() else hit.item
    more = f" (+{len(hit.others)})" if hit.others else ""
    return output.shown(name + more, file_link(hit.path))


def _near(hit: Hit) -> str:
    path = Path(hit.path) if hit.path else None
    return str(path.relative_to(Path.cwd())) if path and path.is_relative_to(Path.cwd()) else hit.item
