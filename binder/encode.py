"""Items -> unit vectors: preprocessing in workers, batching, the policy for bad items, the cache.

Shapes: N items, W windows of one item, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from binder import vectors
from binder.cache import Collection, content_key
from binder.encoder import Encoder
from binder.errors import ItemError
from binder.modality import Item

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


def silent(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass
class Encoded:
    """What became of N items."""

    good: list[int]  # positions of the items that could be encoded, in order
    vectors: vectors.Vectors  # (len(good), D), unit length
    bad: list[tuple[int, ItemError]] = field(default_factory=list)  # position and reason of the others
    computed: int = 0  # how many went through the encoder; the others came from the cache


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
    """(N) items -> unit vectors, one per readable item: the mean of its windows' vectors, normalised again.

    `keys` are their content keys where they are known already. With `cache`, a collection of that name is read and
    filled. Raises the first ItemError if `strict`.
    """
    collection = Collection(cache) if cache else None
    by_position, bad = _keyed(items, keys, strict)
    todo = _missing(by_position, items, collection)
    computed: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, ItemError] = {}
    batches = _windows(encoder, todo, workers, strict, failed)
    for done, (key, row) in enumerate(_rows(encoder, batches, batch_size), start=1):
        computed[key] = row
        if collection is not None:
            collection.add(key, row[None])
        progress(stage, done + len(failed), len(todo))
    if collection is not None:
        collection.flush()
    bad += [(position, failed[key]) for position, key in by_position.items() if key in failed]
    good = [position for position, key in by_position.items() if key not in failed]
    found = [by_position[p] for p in good]
    rows = [computed[key] if key in computed else collection.get(key)[0] for key in found]  # type: ignore[union-attr]
    matrix = np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)
    return Encoded(good, matrix, sorted(bad, key=lambda b: b[0]), len(computed))


def preprocessed(
    encoder: Encoder,
    items: Sequence[Item],
    keys: Sequence[bytes],
    name: str,
    *,
    workers: int = 0,
    strict: bool = False,
    stage: str = "reading",
    progress: Progress = silent,
) -> tuple[Collection, dict[bytes, ItemError]]:
    """Fill the collection `name` with what `preprocess` makes of the items, for training from memory maps.

    Returns the collection and the reason of every item (by its content key) that is not in it.
    """
    collection = Collection(name)
    todo = _missing(dict(enumerate(keys)), items, collection)
    failed: dict[bytes, ItemError] = {}
    for done, (key, windows) in enumerate(_windows(encoder, todo, workers, strict, failed), start=1):
        collection.add(key, windows.numpy())
        progress(stage, done + len(failed), len(todo))
    collection.flush()
    return collection, failed


def _keyed(
    items: Sequence[Item], keys: Sequence[bytes | None] | None, strict: bool
) -> tuple[dict[int, bytes], list[tuple[int, ItemError]]]:
    """Position -> content key of the readable items, and the others with their reason."""
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
    """Each different content that is not in the collection yet, once."""
    todo: dict[bytes, Item] = {}
    for position, key in keys.items():
        if collection is None or key not in collection:
            todo.setdefault(key, items[position])
    return list(todo.items())


def _windows(
    encoder: Encoder,
    items: Sequence[tuple[bytes, Item]],
    workers: int,
    strict: bool,
    failed: dict[bytes, ItemError],
) -> Iterator[tuple[bytes, Tensor]]:
    """(key, (W, ...)) of every item that can be read; the others go to `failed`."""
    dataset = _Preprocess(encoder, [item for _, item in items])
    outcomes: Iterable[Tensor | ItemError] = (dataset[i] for i in range(len(dataset)))
    if workers and len(items) > 4 * workers:
        # spawn: a forked torchaudio can hang. Each worker imports torch anew, which pays from some hundred items on.
        outcomes = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=workers, multiprocessing_context="spawn"
        )
    for (key, _), outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, Tensor):
            yield key, outcome
        elif strict:
            raise outcome
        else:
            failed[key] = outcome


class _Preprocess(torch.utils.data.Dataset[Tensor | ItemError]):
    def __init__(self, encoder: Encoder, items: Sequence[Item]) -> None:
        self.encoder, self.items = encoder, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor | ItemError:
        item = self.items[index]
        try:
            windows = self.encoder.preprocess(item)
        except ItemError as error:
            return error
        if windows.is_floating_point() and not torch.isfinite(windows).all():  # it would spoil its whole batch
            return ItemError(item, "holds numbers that are not finite")
        return windows


def _rows(
    encoder: Encoder, found: Iterator[tuple[bytes, Tensor]], batch_size: int
) -> Iterator[tuple[bytes, np.ndarray]]:
    """(key, (W, ...)) -> (key, (D,) unit vector), `batch_size` windows at a time."""
    encoder.eval()
    waiting: list[tuple[bytes, Tensor]] = []
    size = 0
    for key, windows in found:
        waiting.append((key, windows))
        size += len(windows)
        if size >= batch_size:
            yield from _forward(encoder, waiting, batch_size)
            waiting, size = [], 0
    if waiting:
        yield from _forward(encoder, waiting, batch_size)


def _forward(
    encoder: Encoder, items: Sequence[tuple[bytes, Tensor]], batch_size: int
) -> Iterator[tuple[bytes, np.ndarray]]:
    device = device_of(encoder)
    with torch.inference_mode():
        windows = torch.cat([w for _, w in items])
        parts = [encoder(part.to(device)).float().cpu() for part in windows.split(batch_size)]
    z = vectors.normalize(torch.cat(parts).numpy())
    start = 0
    for key, own in items:
        yield key, vectors.normalize(z[start : start + len(own)].mean(0))
        start += len(own)


def device_of(encoder: Encoder) -> torch.device:
    """Where the encoder's (or, if it has none of its own, its anchor's) weights are."""
    parameter = next(encoder.parameters(), None)
    if parameter is not None:
        return parameter.device
    anchor = getattr(encoder, "anchor", None)
    return anchor.device if anchor is not None else torch.device("cpu")
