"""Never allocate a model that is larger than its file of weights, whatever its configuration claims."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
SPARE = 1_000_000  # elements beyond those in the file: buffers and masks that are not saved
DRAFTS = 4  # times as many elements on the device "meta"
SIZED = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}  # allocate a given shape
COPIED = {torch.empty_like, torch.zeros_like, torch.ones_like, torch.rand_like, torch.randn_like}  # that of a tensor
LISTED = {torch.arange, torch.linspace, torch.eye}  # allocate a given number of elements


@contextlib.contextmanager
def no_larger_than(weights: Path | None) -> Iterator[None]:
    """Within this, ValueError is raised before a model gets more elements than the file has bytes.

    Of a folder, the files of weights in it and below count together. Without one (before it is downloaded) there is no
    limit.
    """
    if weights is None:
        yield
        return
    files = [path for path in weights.rglob("*") if path.suffix in SUFFIXES] if weights.is_dir() else [weights]
    with _Counting(sum(path.stat().st_size for path in files) + SPARE):
        yield


def weights_in(folder: Path) -> Path | None:
    """The largest file of weights in a folder; None where there is none."""
    found = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    return max((path for path in found if path.is_file()), key=lambda path: path.stat().st_size, default=None)


class _Counting(TorchFunctionMode):
    """Counts the elements of newly allocated tensors.

    Those on the device "meta" take no memory: libraries draft a model there, weights that parts of it share several
    times. They have a limit of their own, so that no endless draft is made.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = {"meta": DRAFTS * most, "": most}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SIZED or func in LISTED or func in COPIED:
            where = "meta" if str(kwargs.get("device", "")) == "meta" else ""
            if func in COPIED and "device" not in kwargs:
                where = "meta" if args[0].is_meta else ""
            self.left[where] -= _count(func, args, kwargs)
            if self.left[where] < 0:
                raise ValueError("its configuration describes a larger model than the file of its weights holds")
        return func(*args, **kwargs)


def _count(func: Any, args: Any, kwargs: Any) -> int:
    if func in COPIED:
        return int(args[0].numel())
    return _listed(args, kwargs) if func in LISTED else _sized(args, kwargs)


def _sized(args: Any, kwargs: Any) -> int:
    size = kwargs.get("size", args)
    if isinstance(size, tuple | list) and size and isinstance(size[0], tuple | list):
        size = size[0]
    return math.prod(int(n) for n in size if isinstance(n, int)) if isinstance(size, tuple | list) else 0


def _listed(args: Any, kwargs: Any) -> int:
    """An upper bound on the number of elements, for steps of 1 or more."""
    return max((int(abs(n)) for n in [*args, *kwargs.values()] if isinstance(n, int | float)), default=0)
