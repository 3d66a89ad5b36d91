"""Encoders as graphs without Python: by torch.export, and from there as ONNX.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from binder.anchors.base import Anchor
from binder.anchors.trunk import Trunk
from binder.encoder import Encoder
from binder.errors import RunError, kind_and_words
from binder.scoped import ProcessWide, no_warnings

LARGE = 1_900_000_000  # bytes of weights above which ONNX keeps them in a file of their own: protobuf ends at 2 GB
INSTALL = 'pip install "onnx>=1.17" "onnxscript>=0.5" "onnxruntime>=1.20"'


class Unit(nn.Module):
    """Windows (B, ...) -> unit vectors (B, D): an encoder with the frozen models on which it stands as parts of it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        held = [value for module in encoder.modules() for value in vars(module).values()]
        models = {id(h.model): h.model for h in held if isinstance(h, Anchor | Trunk)}
        self.frozen = nn.ModuleList(models.values())

    def forward(self, windows: Tensor) -> Tensor:
        return F.normalize(self.encoder(windows).float(), dim=-1)


def check_extra() -> None:
    """Raises RunError where the packages are missing that ONNX needs."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            raise RunError(f"--format onnx needs the package {name}: {INSTALL}") from None


def write_torch(encoder: Encoder, example: Tensor, path: Path) -> None:
    """Write an encoder as `torch.export` does, with a batch of any size. Raises RunError."""
    program = traced(encoder, example)
    without_unused(program)
    with _quiet:
        torch.export.save(program, path)


def write_onnx(encoder: Encoder, example: Tensor, path: Path) -> None:
    """Write an encoder as ONNX, with a batch of any size. Raises RunError, also for an operation that it lacks."""
    program = traced(encoder, example)
    with _quiet, _explained("ONNX"):
        made = torch.onnx.export(
            program,
            input_names=["windows"],
            output_names=["vectors"],
            dynamic_shapes=({0: "batch"},),  # its name in the file
            dynamo=True,
            verbose=False,
            optimize=True,
        )
        assert made is not None
        size = sum(weight.numel() * weight.element_size() for weight in program.state_dict.values())
        made.save(str(path), external_data=size > LARGE)


def traced(encoder: Encoder, example: Tensor) -> Any:
    """An encoder and example windows (B, ...), B at least 2 -> its graph. Raises RunError."""
    with _quiet, _explained("the graph"), torch.no_grad():
        shapes = ({0: torch.export.Dim("batch")},)
        return torch.export.export(Unit(encoder).eval(), (example,), dynamic_shapes=shapes, strict=False)


def without_unused(program: Any) -> None:
    """Take weights out of a graph that it does not use, such as those of an anchor's other towers."""
    graph, specs = program.graph_module.graph, program.graph_signature.input_specs
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for node, spec in zip(inputs, list(specs), strict=True):
        if spec.target is not None and not node.users:
            graph.erase_node(node)
            specs.remove(spec)
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
    program.graph_module.recompile()


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with no_warnings:
            yield
    finally:
        logging.disable(before)


_quiet = ProcessWide(_without_logs)  # torch logs whole graphs


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns what torch raises about a model that cannot be exported into a RunError of one line."""
    try:
        yield
    except Exception as error:  # each part of torch raises its own
        raise RunError(f"cannot be exported: {_reason(error, what)}") from error


def _reason(error: Exception, what: str) -> str:
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None and len(causes) < 9:
        causes.append(causes[-1].__cause__)
    said = " ".join(str(cause) for cause in causes)
    lacking = re.search(r"op='([\w.:]+)'", said) if what == "ONNX" else None
    if lacking:
        return f"ONNX has no counterpart of {lacking[1]}; try --format torch"
    if "data-dependent" in said:
        return "its forward asks a question of its numbers (an `if` on a tensor, for instance), which a graph cannot"
    if ".numpy() is not supported" in said:
        return "its forward leaves torch for NumPy, where a graph cannot follow"
    if "your code specialized it" in said:
        return "its forward fixes the size of the batch (by `len(batch)`, for instance: use batch.shape[0])"
    return kind_and_words(causes[-1])
