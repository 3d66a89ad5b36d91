"""`binder cache`."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from binder.cli import options, output

GIB, MIB = 2**30, 2**20


@click.group("cache")
def cache_command() -> None:
    """What was computed once and is kept: look at it, verify it, make room."""


@cache_command.command("info")
@options.as_json
def info(as_json: bool) -> None:
    """The collections, the latest used first: their items, size and last use."""
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
    """Read everything, compare it with its checksums, and remove what is damaged: it is computed again when needed."""
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
    without = f", {found.unsummed} of them from before there were checksums" if found.unsummed else ""
    left = f"; {found.leftovers} half-written ones of killed processes cleared" if found.leftovers else ""
    output.say(f"{found.good} shards are good{without}; {len(found.removed)} damaged ones removed{left}")


@cache_command.command("prune")
@click.option("--gb", type=click.FloatRange(min=0), help="Room to keep, in GiB; BINDER_CACHE_GB or 20 by default.")
@options.as_json
def prune(gb: float | None, as_json: bool) -> None:
    """Delete the collections unused longest until the cache fits; `--gb 0` deletes all."""
    from binder.data import cache

    gone = [path.name for path in cache.prune(cap=None if gb is None else gb * GIB)]
    left = sum(collection.bytes for collection in cache.collections())
    if as_json:
        output.print_json({"removed": gone, "bytes": left})
        return
    for name in gone:
        output.say(f"removed {name}")
    output.say(f"{len(gone)} collections removed, {left / MIB:.1f} MiB left")


def _ago(seconds: float) -> str:
    """A length of time as people say it: 5 min ago."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"
