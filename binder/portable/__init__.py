"""What an exported folder runs: plain Python on NumPy, which imports nothing else of binder.

`binder export` writes the source of these modules into the folder's `run.py`. The encoders themselves stand on the same
code, so that an exported one prepares items as binder does. Each module of a kind has a function `windows_of`; `run` is
the program around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from binder.api import Binder


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


@dataclass(frozen=True)
class ExportFormat:
    """A format in which `binder export` can write an encoder, beside the core's own onnx and torch.

    Plugins return these records from the hook `binder_register_exports`.
    """

    name: str  # what `--format` takes
    summary: str  # how what was written is used, in one line; {folder} stands for where it is
    write: Callable[[Binder, str, Path], None]  # (space, modality, an empty folder): writes the files
    load: Callable[[Path], Callable[[Any], NDArray[np.float32]]]  # folder -> the function item -> (D,) unit vector
    needs: tuple[str, ...] = ()  # packages to install where it is used


def check(form: ExportFormat) -> None:
    """Raises ValueError for a record with a wrong field, which the message names."""
    if not isinstance(form.name, str) or not re.fullmatch("[a-z][a-z0-9-]{0,39}", form.name):
        raise ValueError(f"export format {form.name!r}: expected a lower-case name such as 'core-ml'")
    for name in ("write", "load"):
        if not callable(getattr(form, name)):
            raise ValueError(f"export format {form.name!r}: {name} must be a function")
