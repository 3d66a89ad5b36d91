"""`binder.align` in a process of its own, which a test may kill."""

from __future__ import annotations

import os


def align(environment, out, pairs, anchor, arguments) -> None:
    os.environ.update(environment)
    import torch

    import binder

    torch.set_num_threads(1)
    binder.align("toy", pairs, anchor=anchor, out=out, **arguments)
