"""`binder similar`."""

from __future__ import annotations

from typing import Any

import click

from binder.cli import hits


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
