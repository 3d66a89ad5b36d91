"""`binder cache`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from binder.cli import options, output

GIB, MIB = 2**30, 2**20


@click.group("cache", cls=options.Group)
def cache_command() -> None:
    """Inspect, verify or shrink the cache of vectors and preprocessed items."""


@cache_command.command("info")
@options.as_json
def info(as_json: bool) -> None:
    """List the collections, most recently used first, with their items, size and last use."""
    from binder.data import cache

    found = cache.collections()
    total = sum(collection.bytes for collection in found)
    if as_json:
        about = {"folder": str(cache.root()), "bytes": total, "cap_bytes": cache.cap_bytes()}
        output.print_json({**about, "collections": [asdict(collection) for collection in found]})
        return
    rows = [[c.name, c.items, c.shards, round(c.bytes / MIB, 1), _ago(time.time() - c.used)] for c in found]
    if rows:
        output.print_table(["collection", "items", "shards", "MiB", "last used"], rows)
    output.say(f"{total / MIB:.1f} MiB of at most {cache.cap_bytes() / GIB:g} GiB in {cache.root()}")


@cache_command.command("verify")
@options.as_json
def verify(as_json: bool) -> None:
    """Compare all of the cache with its checksums and remove damaged shards, which are recomputed when needed."""
    from binder.data import cache

    found = cache.verify()
    if as_json:
        named = [[{"shard": str(p), "reason": why} for p, why in group] for group in (found.removed, found.stuck)]
        output.print_json({**asdict(found), "removed": named[0], "stuck": named[1]})
        return
    for shard, why in found.removed:
        output.say(f"removed {shard}: {why}")
    for shard, why in found.stuck:
        output.say(f"in use, not removed: {shard}: {why}")
    without = f", {found.unsummed} of them too old to have checksums" if found.unsummed else ""
    left = f"; {found.leftovers} left half-written by killed processes deleted" if found.leftovers else ""
    output.say(f"{found.good} good shards{without}; {len(found.removed)} damaged ones removed{left}")


@cache_command.command("prune")
@click.option(
    "--max-gb",
    cls=options.Renamed,
    was="--gb",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Largest size to keep, in GiB; BINDER_CACHE_GB or 20 by default.",
)
@options.as_json
def prune(max_gb: float | None, as_json: bool) -> None:
    """Delete the least recently used collections until the cache fits; --max-gb 0 deletes all of them."""
    from binder.data import cache

    gone = [path.name for path in cache.prune(cap=None if max_gb is None else max_gb * GIB)]
    left = sum(collection.bytes for collection in cache.collections())
    if as_json:
        output.print_json({"removed": gone, "bytes": left})
        return
    for name in gone:
        output.say(f"removed {name}")
    output.say(f"{len(gone)} collections removed, {left / MIB:.1f} MiB left")


def _ago(seconds: float) -> str:
    """How long ago, in words: 5 min ago."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"
