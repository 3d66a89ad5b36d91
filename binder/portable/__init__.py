"""What an exported folder runs: plain Python on NumPy, which imports nothing else of binder.

`binder export` writes the source of these modules into the folder's `run.py`. The encoders themselves stand on the same
code, so that an exported one prepares items as binder does. Each module of a kind has a function `windows_of`; `run` is
the program around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Portable:
    """How an exported encoder makes windows of items where there is neither torch nor binder.

    `code` are modules that import only Python's library, NumPy, `needs`, and those before them. Together they define
    `windows_of(item, settings)`, which returns (W, ...) as the encoder's `preprocess` does, and raises OSError or
    ValueError for an item that cannot be read. Their sources become part of the folder's `run.py`; of what several
    define, the last counts.
    """

    code: tuple[ModuleType, ...]
    settings: Mapping[str, Any]  # what `windows_of` is given; JSON
    takes: str  # what an item is, in one line, for the help of `run.py`
    needs: tuple[str, ...] = ()  # packages to install beside NumPy and onnxruntime
    example: Tensor | None = None  # (W, ...) windows of some item; None: the encoder does not know their shape
    files: Mapping[str, bytes] = field(default_factory=dict)  # written beside `run.py`, by name
    same_items: bool = False  # an item is what `preprocess` takes, rather than an array or a picture made from that
