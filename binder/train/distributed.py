"""Distributed training: the processes of a run that `torchrun` started, and what they exchange.

Every process holds the whole encoder and takes a share of each batch. The loss compares all items of a batch with each
other, so the embeddings are gathered. Gradients flow through a process's own share only, and their sum over the
processes is the gradient of the whole batch. Without torchrun there is one process, and nothing is exchanged.

Shapes: B batch of all processes, D embed_dim.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from binder.errors import TrainingError


@dataclass(frozen=True)
class Group:
    """The processes of a run."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and reports to the user."""
        return self.rank == 0

    def shares(self, n: int) -> list[int]:
        """The number of rows, of n, that each process takes."""
        return [len(part) for part in np.array_split(np.arange(n), self.size)]

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that this process takes."""
        return np.array_split(rows, self.size)[self.rank]

    def gather(self, own: Tensor, n: int) -> Tensor:
        """Embeddings of this process (its share, D) -> those of all (n, D); gradients flow through its own."""
        if self.size == 1:
            return own
        shares = self.shares(n)
        padded = own.new_zeros((max(shares), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in shares]
        with _together():
            dist.all_gather(parts, padded)
        found = [part[:count] for part, count in zip(parts, shares, strict=True)]
        found[self.rank] = own
        return torch.cat(found)

    def sum_gradients(self, trained: Sequence[Tensor]) -> None:
        """Sum the gradients over the processes, in place; that of an empty share counts as zero."""
        if self.size == 1:
            return
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        with _together():
            dist.all_reduce(flat)
        for p, grad in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            p.grad = grad.view_as(p)

    def agree(self, value: float) -> float:
        """The value of the first process, for what differs between processes, such as clocks."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=_device())
        with _together():
            dist.broadcast(box, 0)
        return float(box)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the body in the first process, then in the others, which find its results in the cache."""
        if self.size > 1 and not self.is_main:
            with _together():
                dist.barrier()
        yield
        if self.size > 1 and self.is_main:
            with _together():
                dist.barrier()


ALONE = Group()


def rank() -> int:
    """The rank of this process among those that torchrun started; 0 without torchrun. Imports nothing."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def joined() -> Iterator[Group]:
    """The processes that torchrun started, connected until the context ends."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield Group()
        return
    ours = not dist.is_initialized()
    if ours:
        with _together():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


def local_device() -> str:
    """The device of this process among several: its own accelerator, if there are any."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def _device() -> torch.device:
    return torch.device(local_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # raised by torch.distributed if another process is gone
        reason = str(error).splitlines()[0][:200]
        raise TrainingError(
            f"another process of this run ended or cannot be reached ({reason}); continue with --resume"
        ) from None
