"""`binder search`, `binder similar` and `binder duplicates`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import complete, hits, options, output
from binder.cli.hits import Part

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.index import Index
    from binder.space.embeddings import Embeddings

WEIGHT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\*(.+)", re.DOTALL)


@click.command("search", cls=options.Command)
@click.argument("index", metavar="INDEX", shell_complete=complete.indexes)
@click.argument("query", metavar="[QUERY]", required=False, shell_complete=complete.paths)
@click.option(
    "--queries",
    metavar="FILE",
    help="Search for every line of FILE, a text each, or for every vector that `binder embed` wrote, at once.",
)
@click.option(
    "--plus",
    multiple=True,
    metavar="QUERY",
    help="Add this to the query; 0.5*image:b.png adds it with weight 0.5. Repeatable.",
)
@click.option("--minus", multiple=True, metavar="QUERY", help="Subtract this from the query. Repeatable.")
@click.option(
    "--mode",
    type=click.Choice(["vector", "text", "hybrid"]),
    default="vector",
    show_default=True,
    help="Search by vector, by words in the items' text and metadata, or by both.",
)
@hits.rank_by
@click.option("--exact", is_flag=True, help="Compare with every vector instead of using the approximate index.")
@hits.per_item
@click.option(
    "--collapse",
    type=click.FloatRange(0, 1),
    metavar="COSINE",
    help="Show one of several hits closer to each other than this.",
)
@hits.narrowing
@hits.showing
@hits.locations
@options.device
def search_command(
    index: str, query: str | None, plus: tuple[str, ...], minus: tuple[str, ...], mode: str, **given: Any
) -> None:
    """Search INDEX for QUERY: a text, a file, or MODALITY:ITEM where the kind of item is not obvious.

    \b
    binder search media.idx "rain on a roof" --minus image:city.png --in image -k 20
    """
    from binder.files import check_target
    from binder.index import Index, load_space
    from binder.registry import registry

    file = given.pop("queries")
    if query is None and file is None:
        raise click.UsageError("missing argument 'QUERY'")
    if file is not None and (query is not None or plus or minus or given["html"]):
        raise click.UsageError("--queries takes no QUERY, no --plus, no --minus and no --html")
    if given["html"]:
        check_target(Path(given["html"]))
    where: dict[str, Any] = {name: given[name] for name in ("encoders", "anchor", "prompt", "trunk", "device")}
    there = Index.open(index, load=lambda record: load_space(record, **where))
    if query is None:
        search_all(there, Path(file), mode, hits.search_options(given), as_json=given["as_json"])
        return
    own = {m.name for m in registry().modalities() if not m.trainable}
    encodable = own | {*there.record.encoders, *there.modalities()}
    first, *others = (parse(text, encodable) for text in (query, *plus, *minus))
    for _, modality, item in (first, *others):
        if registry().get(modality).inline:
            continue
        where["workers"] = 1  # files are read in a separate process
        if not os.path.exists(item):  # noqa: PTH110 - Path.exists raises for names that are too long
            raise click.UsageError(f"{item[:200]}: no such file ({modality}); a text is text:{item[:200]}")
    how = hits.search_options(given)
    if mode != "vector":
        if first[1] != "text":
            raise click.UsageError(f"--mode {mode} searches for words; QUERY must be a text")
        if mode == "text" and (plus or minus):
            raise click.UsageError("--mode text takes no --plus and no --minus")
        how |= {"mode": mode, "text": first[2]}
    wanted, unwanted = others[: len(plus)], others[len(plus) :]
    z = None if mode == "text" else composed(there.encoder_space().for_queries(), first, wanted, unwanted)
    found = there.search(z, **how)
    title = " ".join([query, *(f"+ {p}" for p in plus), *(f"- {m}" for m in minus)])
    asked = [first, *wanted, *((-weight, modality, item) for weight, modality, item in unwanted)]
    hits.show(found, title=title, query=asked, **hits.show_options(given))


def search_all(index: Index, file: Path, mode: str, how: dict[str, Any], *, as_json: bool) -> None:
    """Search for every text or vector of a file, and print the hits of each under it. Raises UsageError."""
    from binder.index.transfer import is_file_of_vectors
    from binder.space.embeddings import Embeddings

    if not file.is_file():
        raise click.UsageError(f"{file}: no such file")
    if file.suffix.lower() in (".parquet", ".npz") or is_file_of_vectors(file):
        if mode != "vector":
            raise click.UsageError(f"--mode {mode} searches for words; {file} holds vectors")
        z = Embeddings.load(file)
        names, found = [z.items[i] if z.items else f"vector {i}" for i in range(len(z))], index.search(z, **how)
        found = [found] if len(z) == 1 else found
    else:
        try:
            names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise click.UsageError(f"{file}: neither a text in UTF-8 nor a file of vectors") from None
        found = index.search(text=names, **(how | {"mode": mode}))
    for name, some in zip(names, found, strict=True):
        if as_json:
            output.print_json({"query": name, "hits": [hits.as_dict(hit) for hit in some]})
            continue
        output.say(name)
        hits.table(some)
        click.echo()


def parse(text: str, among: Collection[str] = ()) -> Part:
    """'0.5*image:b.png' -> (0.5, "image", "b.png").

    Without an installed modality in front it is a file, whose suffix says its modality, or else a text. Of several
    modalities with that suffix, the only one in `among` (those that can be encoded) is taken. Raises UsageError for an
    ambiguous suffix, and for what looks like the name of a file that does not exist.
    """
    from binder.data.sources import claims_of
    from binder.registry import registry

    weighted = WEIGHT.fullmatch(text)
    weight, rest = (float(weighted[1]), weighted[2]) if weighted else (1.0, text)
    modality, colon, item = rest.partition(":")
    if colon and modality in registry().names():
        return weight, modality, item
    path = Path(rest if len(rest) < 256 else "")  # too long to be a file name
    claims = claims_of(path, registry(), among) if path.is_file() or not re.search(r"\s", rest) else []
    if claims and not path.is_file():
        raise click.UsageError(f"{rest}: no such file; a text is text:{rest}")
    if len(claims) > 1:
        ways = " or ".join(f"{m.name}:{rest}" for m in claims)
        raise click.UsageError(f"{rest} may be of several modalities; give {ways}")
    return weight, claims[0].name if claims else "text", rest


def composed(space: Binder, first: Part, plus: Sequence[Part], minus: Sequence[Part]) -> Embeddings:
    """The weighted sum of all parts, each of unit length before it is weighted."""

    def embedded(weight: float, modality: str, item: str) -> Embeddings:
        return weight * space.embed(**{modality: item})  # type: ignore[arg-type]

    total = embedded(*first)
    for part in plus:
        total = total + embedded(*part)
    for part in minus:
        total = total - embedded(*part)
    return total


@click.command("similar", cls=options.Command)
@click.argument("index", metavar="INDEX", shell_complete=complete.indexes)
@click.argument("item", metavar="ITEM", shell_complete=complete.paths)
@hits.rank_by
@hits.per_item
@hits.narrowing
@hits.showing
def similar_command(index: str, item: str, **given: Any) -> None:
    """Find what is closest to an ITEM of INDEX, given by its path, text or name. Nothing is encoded."""
    from binder.index import Index
    from binder.index.search import vector_of

    there = Index.open(index)
    found = there.similar(item, **hits.search_options(given))
    named = vector_of(there.store.tables(None), item)[1] if given["html"] else ()
    asked = [(1.0, modality, name) for modality, name in sorted(named)]
    hits.show(found, title=f"similar to {item}", query=asked, **hits.show_options(given))


@click.command("duplicates", cls=options.Command)
@click.argument("index", metavar="INDEX", shell_complete=complete.indexes)
@click.option(
    "--cosine",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    metavar="COSINE",
    help="Lowest cosine of two near-duplicates.",
)
@hits.modalities
@options.as_json
@hits.html
def duplicates_command(index: str, cosine: float, modalities: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """Find groups of near-duplicates, each within one modality, largest group first."""
    from binder.index import Index

    with output.ProgressBar() as progress:
        groups = Index.open(index).near_duplicates(cosine, modalities=modalities or None, progress=progress)
    if as_json:
        for group in groups:
            output.print_json([hits.as_dict(hit) for hit in group])
    if html:
        hits.write_page(html, f"near-duplicates in {index}, cosine {cosine:g} or more", groups)
    if not as_json and not html:
        for group in groups:
            hits.table(group)
            click.echo()
    count = sum(map(len, groups))
    click.echo(f"{count} items in {len(groups)} group{'s' * (len(groups) != 1)}", err=True)
