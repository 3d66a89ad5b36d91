"""`binder search`, `binder similar` and `binder duplicates`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import hits, options, output
from binder.cli.hits import Part

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.space.embeddings import Embeddings

WEIGHT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\*(.+)", re.DOTALL)


@click.command("search")
@click.argument("index", metavar="INDEX")
@click.argument("query", metavar="QUERY")
@click.option("--plus", multiple=True, metavar="QUERY", help="And this; 0.5*image:b.png weighs it by half.")
@click.option("--minus", multiple=True, metavar="QUERY", help="But not this.")
@click.option(
    "--mode",
    type=click.Choice(["vector", "text", "hybrid"]),
    default="vector",
    show_default=True,
    help="By vector, by the words written beside the items, or by both.",
)
@hits.rank_by
@click.option("--exact", is_flag=True, help="Compare all vectors one by one.")
@click.option("--group", is_flag=True, help="One hit for each item, however many of its pieces match.")
@click.option("--collapse", type=click.FloatRange(0, 1), metavar="COSINE", help="One hit of those nearer than this.")
@hits.narrowing
@hits.showing
@hits.places
@options.device
def search_command(
    index: str, query: str, plus: tuple[str, ...], minus: tuple[str, ...], mode: str, **given: Any
) -> None:
    """Search INDEX by QUERY: a text, a file, or MODALITY:ITEM where that does not say it.

    binder search media.idx "rain on a roof" --minus image:city.png --to image -k 20
    """
    from binder.files import check_target
    from binder.index import Index, load_space
    from binder.registry import registry

    if given["html"]:
        check_target(Path(given["html"]))
    where: dict[str, Any] = {name: given[name] for name in ("encoders", "anchor", "trunk", "device")}
    there = Index.open(index, load=lambda record: load_space(record, **where))
    encodable = {*there.record.encoders, *(m.name for m in registry().modalities() if m.frozen)}
    first, *others = (parse(text, encodable) for text in (query, *plus, *minus))
    for _, modality, item in (first, *others):
        if registry().get(modality).inline:
            continue
        where["workers"] = 1  # a file is read where it cannot hurt
        if not os.path.exists(item):  # noqa: PTH110 - Path.exists raises for names that are too long
            raise click.UsageError(f"{item[:200]}: no such file ({modality}); a text is text:{item[:200]}")
    how = hits.search_options(given)
    if mode != "vector":
        if first[1] != "text":
            raise click.UsageError(f"--mode {mode} looks up words; QUERY must be a text")
        if mode == "text" and (plus or minus):
            raise click.UsageError("--mode text takes no --plus and no --minus")
        how |= {"mode": mode, "text": first[2]}
    wanted, unwanted = others[: len(plus)], others[len(plus) :]
    z = None if mode == "text" else composed(there.encoder_space(), first, wanted, unwanted)
    found = there.search(z, **how)
    title = " ".join([query, *(f"+ {p}" for p in plus), *(f"- {m}" for m in minus)])
    asked = [first, *wanted, *((-weight, modality, item) for weight, modality, item in unwanted)]
    hits.show(found, title=title, query=asked, **hits.show_options(given))


def parse(text: str, among: Collection[str] = ()) -> Part:
    """'0.5*image:b.png' -> (0.5, "image", "b.png").

    What has no installed modality in front is a file of the modality that its suffix says, or else a text. A suffix
    of several modalities is that one's which alone is `among` those that can be encoded. Raises UsageError for a
    suffix that says nothing, and for what looks like a file and is none.
    """
    from binder.data.sources import claims_of
    from binder.registry import registry

    weighted = WEIGHT.fullmatch(text)
    weight, rest = (float(weighted[1]), weighted[2]) if weighted else (1.0, text)
    modality, colon, item = rest.partition(":")
    if colon and modality in registry().names():
        return weight, modality, item
    path = Path(rest if len(rest) < 256 else "")  # a longer one is no name of a file
    claims = claims_of(path, among) if path.is_file() or not re.search(r"\s", rest) else []
    if claims and not path.is_file():
        raise click.UsageError(f"{rest}: no such file; a text is text:{rest}")
    if len(claims) > 1:
        ways = " or ".join(f"{m.name}:{rest}" for m in claims)
        raise click.UsageError(f"{rest} may be of several modalities; say {ways}")
    return weight, claims[0].name if claims else "text", rest


def composed(space: Binder, first: Part, plus: Sequence[Part], minus: Sequence[Part]) -> Embeddings:
    """One direction of all parts; each is of length one before it is weighed."""

    def embedded(weight: float, modality: str, item: str) -> Embeddings:
        return weight * space.embed(**{modality: item})  # type: ignore[arg-type]

    total = embedded(*first)
    for part in plus:
        total = total + embedded(*part)
    for part in minus:
        total = total - embedded(*part)
    return total


@click.command("similar")
@click.argument("index", metavar="INDEX")
@click.argument("item", metavar="ITEM")
@hits.rank_by
@click.option("--group", is_flag=True, help="One hit for each item, however many of its pieces match.")
@hits.narrowing
@hits.showing
def similar_command(index: str, item: str, **given: Any) -> None:
    """What lies near an ITEM of INDEX, given by its path, text or name; nothing is encoded."""
    from binder.index import Index
    from binder.index.inspection import vector_of

    there = Index.open(index)
    found = there.similar(item, **hits.search_options(given))
    named = vector_of(there.store.tables(None), item)[1] if given["html"] else ()
    asked = [(1.0, modality, name) for modality, name in sorted(named)]
    hits.show(found, title=f"near {item}", query=asked, **hits.show_options(given))


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
            output.print_json([hits.as_dict(hit) for hit in group])
    if html:
        hits.write_page(html, f"near-duplicates in {index}, cosine {cosine:g} and more", groups)
    if not as_json and not html:
        for group in groups:
            hits.table(group)
            click.echo()
    count = sum(map(len, groups))
    click.echo(f"{count} items in {len(groups)} group{'s' * (len(groups) != 1)}", err=True)
