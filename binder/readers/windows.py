"""Items -> their windows as `preprocess` makes them, in reader processes where possible; a failure costs only its item.

Shapes: W windows of one item.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from binder import readers
from binder.encoder import Encoder, Span
from binder.errors import ItemError, PluginError
from binder.modality import Item
from binder.readers import guard

log = logging.getLogger(__name__)

WORTH_A_WORKER = 32  # items per worker below which starting a process costs more than it saves
PATIENCE = 64  # a sample of that many items gets twice the time and memory of one item

Entry = tuple[bytes, Item, Tensor]  # key, item, its windows (W, ...)


class Failed(dict[bytes, ItemError]):
    """Why items could not be read or encoded, by key. With `strict`, the first error is raised instead."""

    def __init__(self, strict: bool) -> None:
        super().__init__()
        self.strict = strict

    def note(self, key: bytes, error: ItemError) -> None:
        if self.strict:
            raise error
        self[key] = error


class Read:
    """(item, seed of its views or None) -> its windows, or why it cannot be read. Runs in reader processes."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __call__(self, wanted: tuple[Item, bytes | None]) -> Tensor | ItemError:
        item, seed = wanted
        try:
            if seed is None:
                made: object = self.encoder.preprocess(item)
            else:
                made = self.encoder.views(item, np.random.default_rng(list(seed)))  # the same in every run
            return guard.check_windows(self.encoder, item, made)
        except ItemError as error:
            return error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a bug in the plugin, or a panic in a library, costs only the item
            return guard.mistake(self.encoder, item, error)


class _Segments:
    """Item -> its segments and their windows, lazily. Runs in reader processes."""

    def __init__(self, encoder: Encoder, every_s: float) -> None:
        self.encoder, self.every_s = encoder, every_s

    def __call__(self, item: Item) -> Iterator[tuple[Span | None, Tensor]]:
        try:
            for span, made in self.encoder.segments(item, self.every_s):
                yield span, guard.check_windows(self.encoder, item, made)
        except (ItemError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise guard.mistake(self.encoder, item, error) from None


def windows(
    encoder: Encoder,
    items: Sequence[tuple[bytes, Item]],
    workers: int,
    failed: Failed,
    views: Container[bytes] = (),
) -> Iterator[Entry]:
    """Each readable item with its windows, or with its views if its key is in `views`; the others go to `failed`."""
    first: Tensor | None = None
    wanted = [(item, key if key in views else None) for key, item in items]
    with contextlib.closing(_outcomes(Read(encoder), wanted, workers)) as outcomes:
        for (key, item), outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Tensor):
                outcome = guard.alike(encoder, item, outcome, first)
            if isinstance(outcome, ItemError):
                failed.note(key, outcome)
            else:
                first = outcome if first is None else first
                yield key, item, outcome


def _outcomes(read: Read, wanted: Sequence[tuple[Item, bytes | None]], workers: int) -> Generator[Any, None, None]:
    """The result for each item, in order; read in reader processes where there are files or much to do."""
    count = min(workers, max(1, len(wanted) // WORTH_A_WORKER))
    if count and (len(wanted) > WORTH_A_WORKER * workers or any(isinstance(item, Path | bytes) for item, _ in wanted)):
        try:
            return readers.run(read, wanted, count, lambda entry: entry[0])
        except readers.Refused as why:
            _warn_refused(type(read.encoder).__qualname__, str(why))
    return (read(entry) for entry in wanted)


def segments(encoder: Encoder, item: Item, every_s: float, workers: int) -> Iterator[tuple[Span | None, Tensor]]:
    """One item -> the span and the windows (W, ...) of each of its segments, lazily. Raises ItemError."""
    task = _Segments(encoder, every_s)
    if workers and isinstance(item, Path | bytes):
        try:
            yield from readers.stream(task, item, item)
            return
        except readers.Refused as why:
            _warn_refused(type(encoder).__qualname__, str(why))
    yield from task(item)


@functools.cache  # once for each class
def _warn_refused(encoder: str, why: str) -> None:
    log.warning(
        "%s cannot be sent to a reader process (%s), so items are read in this process, without limits on memory and "
        "time; define it in a module that can be imported",
        encoder,
        why,
    )


def adapted(adapt: Callable[[Any, Sequence[Item]], Any], config: Any, items: Sequence[Item], workers: int = 0) -> Any:
    """The configuration that `Modality.adapt` returns for a sample of items, those it fails on left out.

    They are reported when they are encoded. Raises BinderError as `adapt` does.
    """

    def attempt(sample: Sequence[Item]) -> Any:
        if workers:
            with contextlib.suppress(readers.Refused):
                return readers.isolated(adapt, config, sample, item=sample[0], scale=1 + len(sample) / PATIENCE)
        return adapt(config, sample)

    try:
        return attempt(items)
    except (PluginError, ItemError):
        fine = []
        for item in items:
            with contextlib.suppress(PluginError, ItemError):
                attempt([item])
                fine.append(item)
        if not fine:
            raise
        return adapt(config, fine)
