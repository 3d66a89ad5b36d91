"""Items -> unit vectors: preprocessing in workers, batching, the policy for bad items, the cache.

Shapes: N items, W windows of one item, D embed_dim.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker

import numpy as np
import torch
from torch import Tensor

from binder import vectors
from binder.cache import Collection, content_key
from binder.encoder import Encoder, Span
from binder.errors import ConfigError, ItemError
from binder.modality import Item

WORTH_A_WORKER = 32  # items per worker below which starting it costs more than it brings

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


def silent(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


@dataclass
class Encoded:
    """What became of N items."""

    good: list[int]  # position of each vector's item, in order
    vectors: vectors.Vectors  # (len(good), D), unit length
    bad: list[tuple[int, ItemError]] = field(default_factory=list)  # position and reason of the others
    computed: int = 0  # how many went through the encoder; the others came from the cache
    spans: list[Span | None] = field(default_factory=list)  # of each vector, where items were cut into pieces


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
    computed: dict[bytes, np.ndarray] = {}  # where no collection keeps them
    failed: dict[bytes, ItemError] = {}
    batches = _windows(encoder, todo, workers, strict, failed)
    for done, (key, row) in enumerate(_rows(encoder, batches, batch_size), start=1):
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


def encode_moments(
    encoder: Encoder,
    items: Sequence[Item],
    every_s: float,
    *,
    batch_size: int = 64,
    strict: bool = False,
    stage: str = "encoding",
    progress: Progress = silent,
) -> Encoded:
    """(N) items -> unit vectors, one for each piece of `every_s` seconds, in bounded memory however long an item is.

    `good` names the item of each vector and `spans` its place in it. Raises the first ItemError if `strict`, and
    ConfigError for a length that is not positive.
    """
    if not every_s > 0:
        raise ConfigError(f"pieces of {every_s:g} s: expected more than 0")
    result = Encoded([], np.empty((0, 0), np.float32))
    rows: list[np.ndarray] = []
    for position, item in enumerate(items):
        own: list[Span | None] = []

        def pieces(item: Item = item, own: list[Span | None] = own) -> Iterator[tuple[bytes, Tensor]]:
            for span, windows in encoder.moments(item, every_s):
                own.append(span)
                yield b"", windows

        try:
            found = [row for _, row in _rows(encoder, pieces(), batch_size)]
        except ItemError as error:
            if strict:
                raise
            result.bad.append((position, error))
            continue
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
    """What a run reads from memory maps: the views of `train` under their `view_key`, the windows of `val`.

    Items come by their content key. Where the trunk is frozen, what is kept is what the trunk makes of them. `stamp`
    names the preprocessing in the cache. Returns the collection and the reason of every item that is not in it.
    """
    collection = Collection(f"{'features' if encoder.frozen_trunk else 'items'}-{stamp}")
    wanted = [(view_key(encoder, key), item) for key, item in train.items()]
    views = {key for key, _ in wanted} if has_views(encoder) else set()
    plain = {key: key for key in val} | {view_key(encoder, key): key for key in train}
    todo = [(key, item) for key, item in [*wanted, *val.items()] if key not in collection]
    failed: dict[bytes, ItemError] = {}
    found = _windows(encoder, todo, workers, strict, failed, views)
    if encoder.frozen_trunk:
        found = _through(encoder, encoder.features, found, batch_size=64)
    for done, (key, rows) in enumerate(found, start=1):
        collection.add(key, rows.numpy())
        progress(stage, done + len(failed), len(todo))
    collection.flush()
    return collection, {plain[key]: error for key, error in failed.items()}


def has_views(encoder: Encoder) -> bool:
    """Whether training sees something else of an item than its windows."""
    return type(encoder).views is not Encoder.views


def view_key(encoder: Encoder, key: bytes) -> bytes:
    """Content key of an item -> under which its views are kept."""
    return hashlib.blake2b(key + b"views", digest_size=16).digest() if has_views(encoder) else key


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
    views: Container[bytes] = (),
) -> Iterator[tuple[bytes, Tensor]]:
    """(key, (W, ...)) of every item that can be read, of those in `views` their views; the others go to `failed`."""
    dataset = _Preprocess(encoder, items, views)
    outcomes: Iterable[Tensor | ItemError] = (dataset[i] for i in range(len(dataset)))
    if workers and len(items) > WORTH_A_WORKER * workers:
        # spawn: a forked torchaudio can hang, and each worker imports torch anew
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=workers, multiprocessing_context="spawn"
        )
        with _deaf_to_interrupts():
            outcomes = iter(loader)
    for (key, _), outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, Tensor):
            yield key, outcome
        elif strict:
            raise outcome
        else:
            failed[key] = outcome


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started in here do not hear Ctrl-C: this one ends them, and each would print a traceback of its own."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited; here it is only put off
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Preprocess(torch.utils.data.Dataset[Tensor | ItemError]):
    def __init__(self, encoder: Encoder, items: Sequence[tuple[bytes, Item]], views: Container[bytes]) -> None:
        self.encoder, self.items, self.views = encoder, items, views

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor | ItemError:
        key, item = self.items[index]
        try:
            if key in self.views:
                windows = self.encoder.views(item, np.random.default_rng(list(key)))  # the same ones in every run
            else:
                windows = self.encoder.preprocess(item)
        except ItemError as error:
            return error
        if windows.is_floating_point() and not torch.isfinite(windows).all():  # it would spoil its whole batch
            return ItemError(item, "holds numbers that are not finite")
        return windows


def _rows(
    encoder: Encoder, found: Iterable[tuple[bytes, Tensor]], batch_size: int
) -> Iterator[tuple[bytes, np.ndarray]]:
    """(key, (W, ...)) -> (key, (D,) unit vector), `batch_size` windows at a time."""
    for key, z_WD in _through(encoder, encoder, found, batch_size):
        unit_WD = vectors.normalize(z_WD.numpy())
        yield key, unit_WD[0] if len(unit_WD) == 1 else vectors.normalize(unit_WD.mean(0))


def _through(
    encoder: Encoder, forward: Callable[[Tensor], Tensor], found: Iterable[tuple[bytes, Tensor]], batch_size: int
) -> Iterator[tuple[bytes, Tensor]]:
    """(key, (W, ...)) -> (key, what `forward` makes of it) in float32, `batch_size` windows at a time."""
    encoder.eval()
    device = device_of(encoder)
    waiting: list[tuple[bytes, Tensor]] = []
    count = 0  # windows of those

    def run() -> Iterator[tuple[bytes, Tensor]]:
        with torch.inference_mode():
            windows = torch.cat([w for _, w in waiting])
            made = torch.cat([forward(part.to(device)).float().cpu() for part in windows.split(batch_size)])
        yield from zip([key for key, _ in waiting], made.split([len(w) for _, w in waiting]), strict=True)

    for entry in found:
        waiting.append(entry)
        count += len(entry[1])
        if count >= batch_size:
            yield from run()
            waiting, count = [], 0
    if waiting:
        yield from run()


def device_of(encoder: Encoder) -> torch.device:
    """Where the encoder's (or, if it has none of its own, its anchor's) weights are."""
    parameter = next(encoder.parameters(), None)
    if parameter is not None:
        return parameter.device
    anchor = getattr(encoder, "anchor", None)
    return anchor.device if anchor is not None else torch.device("cpu")
