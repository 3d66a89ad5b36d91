"""Evaluation on the held-out rows of a run, and the baselines to compare it with.

Shapes: W windows of one item, U unique items, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from binder.data.columns import Side
from binder.devices import device_of
from binder.encoder import Encoder
from binder.evaluation.metrics import METRICS
from binder.evaluation.retrieval import retrieval_rows
from binder.space import vectors
from binder.train import ridge
from binder.train.prepare import Prepared, Task

RIDGE = "ridge regression on the initial features of the trunk, in closed form"


def retrieval(encoder: Encoder, ready: Prepared, task: Task) -> list[dict[str, Any]]:
    """Retrieval on the held-out rows, between the modality and each frozen modality that occurs in them."""
    return _retrieval(_forward(encoder, ready), ready, task)


def scores(encoder: Encoder, ready: Prepared, task: Task) -> dict[str, float]:
    """The logged metrics of retrieval from the modality to each frozen one, as {TARGET_METRIC: value}."""
    rows = _retrieval(_forward(encoder, ready), ready, task, queries=[task.kind.name])
    logged = [metric.name for metric in METRICS if metric.logged]
    return {f"{row['target']}_{name}": round(row[name], 4) for row in rows for name in logged}


def baselines(ready: Prepared, task: Task) -> list[dict[str, Any]]:
    """The baselines, as {name, what, retrieval}: the encoder before training, if that means anything, and ridge."""
    if not ready.val_items:
        return []
    found = []
    init = task.settings.init
    what = "the encoder that it starts from" if init else ready.encoder.untrained
    if what:
        rows = retrieval(ready.encoder, ready, task)
        found.append({"name": "start" if init else "untrained", "what": what, "retrieval": rows})
    linear = ridge.fit(ready.encoder, ready.data, task.settings.seed)
    trunk = _trunk(ready.encoder, ready)
    rows = _retrieval(lambda batch: linear(ridge.pooled(trunk(batch))), ready, task)
    return [*found, {"name": "ridge", "what": RIDGE, "retrieval": rows}]


def own_side(encoder: Encoder, ready: Prepared) -> Side:
    """The held-out items of the modality, encoded."""
    return _side(_forward(encoder, ready), ready)


def _forward(encoder: Encoder, ready: Prepared) -> Callable[[Tensor], Tensor]:
    """The part of the encoder from what is cached of an item to its embedding."""
    return encoder.eval().head if ready.data.features else encoder.eval()


def _trunk(encoder: Encoder, ready: Prepared) -> Callable[[Tensor], Tensor]:
    """The part of the encoder from what is cached of an item to its features."""
    return (lambda features: features) if ready.data.features else encoder.eval().features


def _retrieval(
    forward: Callable[[Tensor], Tensor], ready: Prepared, task: Task, queries: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    if not ready.val_items:
        return []
    own = _side(forward, ready)
    result = []
    for name, side in ready.val_sides.items():
        pair = {task.kind.name: own, name: side}
        result += retrieval_rows(pair, lambda q, t: bool({q, t} & set(task.to)), queries)
    return result


@torch.inference_mode()
def _side(forward: Callable[[Tensor], Tensor], ready: Prepared) -> Side:
    """Encode the held-out items with `forward` from their cached windows, averaging the windows of an item."""
    ready.data.items.let_go()  # of the pages of training: this needs memory of its own
    keys = list(dict.fromkeys(ready.val_items))
    items, device = ready.data.items, device_of(ready.encoder)
    rows = []
    for start in range(0, len(keys), 64):
        windows = [torch.from_numpy(items.get(key)) for key in keys[start : start + 64]]
        z = vectors.normalize(torch.cat([forward(w.to(device)).float().cpu() for w in torch.cat(windows).split(64)]))
        ends = np.cumsum([len(w) for w in windows])[:-1]
        rows += [part.mean(0) for part in np.split(z, ends)]
    place = {key: i for i, key in enumerate(keys)}
    return Side(vectors.normalize(np.stack(rows)), np.array([place[key] for key in ready.val_items]))
