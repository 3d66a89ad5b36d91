"""Items -> unit vectors: preprocessing in worker processes, batching, bad items, the cache.

Shapes: N items, W windows of one item, D embed_dim.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from binder.data.cache import Collection, content_key
from binder.devices import device_of
from binder.encoder import Encoder, Span
from binder.errors import BinderError, ConfigError, ItemError, kind_and_words
from binder.modality import Item
from binder.readers import guard
from binder.readers import windows as reading
from binder.readers.windows import Entry, Failed
from binder.space import vectors

FIXED_BATCH = 16  # windows, on the CPU, for cached vectors: a vector's last digits depend on the size of its batch
SEGMENT_S = (1e-3, 1e7)  # s, the shortest and the longest segments
MAX_SEGMENTS = 1_000_000  # of an item

Progress = Callable[[str, int, int], None]  # (stage, how many are done, of how many)


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


@dataclass
class Encoded:
    """The outcome of encoding N items."""

    good: list[int]  # position of each vector's item, ascending
    vectors: vectors.Vectors  # (len(good), D), unit length
    bad: list[tuple[int, ItemError]] = field(default_factory=list)  # position and error of each other item
    computed: int = 0  # how many went through the encoder; the others came from the cache
    spans: list[Span | None] = field(default_factory=list)  # of each vector, where items were cut into segments


def encode(
    encoder: Encoder,
    items: Sequence[Item],
    *,
    keys: Sequence[bytes | None] | None = None,
    cache: str | None = None,
    batch_size: int = 64,
    workers: int = 0,
    strict: bool = False,
    stage: str = "encoding",
    progress: Progress = silent,
) -> Encoded:
    """(N) items -> unit vectors, one per readable item: the normalized mean of its windows' vectors.

    `keys` are the items' content keys, where they are known already. With `cache`, vectors are read from the collection
    of that name and added to it. With `strict`, raises the first ItemError.
    """
    collection = Collection(cache) if cache else None
    by_position, bad = _keyed(items, keys, strict)
    todo = _missing(by_position, items, collection)
    computed: dict[bytes, np.ndarray] = {}  # without a collection
    failed = Failed(strict)
    batches = reading.windows(encoder, todo, workers, failed)
    fixed = collection is not None
    for done, (key, row) in enumerate(_rows(encoder, batches, batch_size, failed, fixed), start=1):
        if collection is not None:
            collection.add(key, row[None])
        else:
            computed[key] = row
        progress(stage, done + len(failed), len(todo))
    if collection is not None:
        collection.flush()
    bad += [(position, failed[key]) for position, key in by_position.items() if key in failed]
    good = [position for position, key in by_position.items() if key not in failed]
    found = [by_position[p] for p in good]
    if not found:
        matrix = np.empty((0, 0), np.float32)
    elif collection is not None:
        matrix = collection.load(found)
    else:
        matrix = np.stack([computed[key] for key in found])
    return Encoded(good, matrix, sorted(bad, key=lambda b: b[0]), len(todo) - len(failed))


def encode_segments(
    encoder: Encoder,
    items: Sequence[Item],
    every_s: float,
    *,
    batch_size: int = 64,
    workers: int = 0,
    strict: bool = False,
    stage: str = "encoding",
    progress: Progress = silent,
) -> Encoded:
    """(N) items -> unit vectors, one per segment of `every_s` seconds, in bounded memory however long an item is.

    `good` has the item of each vector, `spans` its place in the item. With `strict`, raises the first ItemError. Raises
    ConfigError for an impossible length.
    """
    if not every_s > 0:
        raise ConfigError(f"segments of {every_s:g} s: expected more than 0")
    if not SEGMENT_S[0] <= every_s <= SEGMENT_S[1]:
        raise ConfigError(f"segments of {every_s:g} s: expected {SEGMENT_S[0]:g} to {SEGMENT_S[1]:g} s")
    result = Encoded([], np.empty((0, 0), np.float32))
    rows: list[np.ndarray] = []
    for position, item in enumerate(items):
        own: list[Span | None] = []
        failed = Failed(strict)

        def segments(item: Item = item, own: list[Span | None] = own) -> Iterator[Entry]:
            for span, windows in reading.segments(encoder, item, every_s, workers):
                if len(own) == MAX_SEGMENTS:
                    raise ItemError(item, f"has more than {MAX_SEGMENTS:,} segments of {every_s:g} s; take longer ones")
                own.append(span)
                yield b"%d" % len(own), item, windows

        try:
            found = [row for _, row in _rows(encoder, segments(), batch_size, failed)]
        except ItemError as error:
            if strict:
                raise
            result.bad.append((position, error))
            continue
        result.bad += [(position, error) for error in failed.values()][:1]
        own = [span for n, span in enumerate(own, start=1) if b"%d" % n not in failed]
        rows += found
        result.good += [position] * len(found)
        result.spans += own
        result.computed += 1
        progress(stage, position + 1, len(items))
    return replace(result, vectors=np.stack(rows).astype(np.float32)) if rows else result


def for_training(
    encoder: Encoder,
    train: Mapping[bytes, Item],
    val: Mapping[bytes, Item],
    stamp: str,
    *,
    workers: int = 0,
    strict: bool = False,
    stage: str = "reading",
    progress: Progress = silent,
) -> tuple[Collection, dict[bytes, ItemError]]:
    """Fill a collection with what training reads: the views of `train` under their `view_key`, the windows of `val`.

    Items are given by content key. Where the trunk is frozen, its features are stored instead. `stamp` names the
    preprocessing in the cache. Returns the collection, and the error of every item that is not in it.
    """
    collection = Collection(f"{'features' if encoder.frozen_trunk else 'items'}-{stamp}")
    wanted = [(view_key(encoder, key), item) for key, item in train.items()]
    views = {key for key, _ in wanted} if has_views(encoder) else set()
    plain = {key: key for key in val} | {view_key(encoder, key): key for key in train}
    todo = [(key, item) for key, item in [*wanted, *val.items()] if key not in collection]
    failed = Failed(strict)
    found = reading.windows(encoder, todo, workers, failed, views)
    if encoder.frozen_trunk:
        made = _through(encoder, encoder.features, found, 64, failed, fixed=True)
    else:
        made = ((key, windows) for key, _, windows in found)
    for done, (key, rows) in enumerate(made, start=1):
        collection.add(key, rows.numpy())
        progress(stage, done + len(failed), len(todo))
    collection.flush()
    return collection, {plain[key]: error for key, error in failed.items()}


def has_views(encoder: Encoder) -> bool:
    """Whether training sees views of an item instead of its windows."""
    return type(encoder).views is not Encoder.views


def view_key(encoder: Encoder, key: bytes) -> bytes:
    """An item's content key -> the key of its views."""
    return hashlib.blake2b(key + b"views", digest_size=16).digest() if has_views(encoder) else key


def _keyed(
    items: Sequence[Item], keys: Sequence[bytes | None] | None, strict: bool
) -> tuple[dict[int, bytes], list[tuple[int, ItemError]]]:
    """Position -> content key of the readable items, and position and error of the others."""
    if keys is not None:
        return {position: key for position, key in enumerate(keys) if key is not None}, []
    found: dict[int, bytes] = {}
    bad: list[tuple[int, ItemError]] = []
    for position, item in enumerate(items):
        try:
            found[position] = content_key(item)
        except ItemError as error:
            if strict:
                raise
            bad.append((position, error))
    return found, bad


def _missing(keys: dict[int, bytes], items: Sequence[Item], collection: Collection | None) -> list[tuple[bytes, Item]]:
    """The items that are not in the collection yet, each content once."""
    todo: dict[bytes, Item] = {}
    for position, key in keys.items():
        if collection is None or key not in collection:
            todo.setdefault(key, items[position])
    return list(todo.items())


def _rows(
    encoder: Encoder, found: Iterable[Entry], batch_size: int, failed: Failed, fixed: bool = False
) -> Iterator[tuple[bytes, np.ndarray]]:
    """(key, (W, ...)) -> (key, (D,) unit vector), `batch_size` windows at a time."""
    for key, z_WD in _through(encoder, encoder, found, batch_size, failed, fixed):
        unit_WD = vectors.normalize(z_WD.numpy())
        yield key, unit_WD[0] if len(unit_WD) == 1 else vectors.normalize(unit_WD.mean(0))


@dataclass
class _Waiting:
    """An item with windows that have not been through the encoder yet."""

    key: bytes
    item: Item
    left: int  # windows
    made: list[Tensor] = field(default_factory=list)
    error: ItemError | None = None


def _through(
    encoder: Encoder,
    forward: Callable[[Tensor], Tensor],
    found: Iterable[Entry],
    batch_size: int,
    failed: Failed,
    fixed: bool = False,
) -> Iterator[tuple[bytes, Tensor]]:
    """(key, (W, ...)) -> (key, what `forward` makes of them) in float32, `batch_size` windows at a time.

    With `fixed`, every batch has the same size, so that the last digits of a vector do not depend on the other items in
    its batch. Items that `forward` cannot encode go to `failed`.
    """
    device = device_of(encoder)
    if fixed and device.type == "cpu":
        batch_size = FIXED_BATCH
    waiting: deque[_Waiting] = deque()
    windows: list[Tensor] = []  # of the items that wait
    count = 0

    def run(batch: Tensor) -> Iterator[tuple[bytes, Tensor]]:
        outcomes = _forwarded(forward, batch, batch_size if fixed else len(batch), device)
        while outcomes:
            entry = waiting[0]
            own, outcomes = outcomes[: entry.left], outcomes[entry.left :]
            entry.left -= len(own)
            for outcome in own:
                if isinstance(outcome, Tensor):
                    entry.made.append(outcome)
                else:
                    entry.error = ItemError(entry.item, outcome)
            if not entry.left:
                waiting.popleft()
                if entry.error is not None:
                    failed.note(entry.key, entry.error)
                else:
                    yield entry.key, torch.stack(entry.made)

    with _still(encoder):
        for key, item, own in found:
            waiting.append(_Waiting(key, item, len(own)))
            windows.append(own)
            count += len(own)
            if count >= batch_size:
                together = torch.cat(windows)
                full = count - count % batch_size
                for batch in torch.split(together[:full], batch_size):
                    yield from run(batch)
                windows, count = [together[full:]] if count > full else [], count - full
        if windows:
            yield from run(torch.cat(windows))


def _forwarded(
    forward: Callable[[Tensor], Tensor], batch: Tensor, size: int, device: torch.device
) -> list[Tensor | str]:
    """(B, ...) -> the output of `forward` for each of the B, or why it failed; padded to `size` with the first one."""
    filled = torch.cat((batch, batch[:1].expand(size - len(batch), *batch.shape[1:]))) if len(batch) < size else batch
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            return list(forward(filled.to(device)).float().cpu()[: len(batch)])
    except BinderError as error:
        if not isinstance(error, guard.NotFinite):
            raise  # a bug in the plugin, which concerns every item
        why = str(error)
    except (ValueError, IndexError, RuntimeError, ArithmeticError) as error:
        if "out of memory" in str(error):
            raise
        why = kind_and_words(error)
    if len(batch) == 1:
        return [why]
    return [outcome for one in torch.split(batch, 1) for outcome in _forwarded(forward, one, size, device)]


@contextlib.contextmanager
def _still(encoder: Encoder) -> Iterator[None]:
    """Puts the encoder into eval mode, and afterwards each module back into its own mode: they may be the caller's."""
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
