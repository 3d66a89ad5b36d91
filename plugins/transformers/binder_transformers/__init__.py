"""Anchors from transformers and sentence-transformers. Importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder import AnchorKind, ExportFormat, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from binder import Anchor, Binder

__all__ = ["MODULE", "SENTENCE_TRANSFORMERS", "TRANSFORMERS"]


def _load_transformers(name: str, device: str) -> Anchor:
    """See `dual.load`; imported on the first call, because it needs torch."""
    from binder_transformers.dual import load

    return load(name, device)


def _load_sentence_transformers(name: str, device: str) -> Anchor:
    """See `sentences.load`; imported on the first call, because it needs torch."""
    from binder_transformers.sentences import load

    return load(name, device)


def _write_module(space: Binder, modality: str, folder: Path) -> None:
    """See `module.write`; imported on the first call, because it needs torch."""
    from binder_transformers.module import write

    write(space, modality, folder)


def _load_module(folder: Path) -> Callable[[Any], Any]:
    """See `module.load`; imported on the first call, because it needs torch."""
    from binder_transformers.module import load

    return load(folder)


TRANSFORMERS = AnchorKind(
    prefix="transformers:",
    summary="transformers:ORG/MODEL or a folder: CLIP, SigLIP, SigLIP 2, CLAP and others of transformers",
    load=_load_transformers,
    list=lambda: [
        ("transformers:google/siglip-base-patch16-224", "SigLIP: pictures and texts, downloaded once"),
        ("transformers:google/siglip2-base-patch16-224", "SigLIP 2: pictures and texts of 109 languages"),
        ("transformers:laion/clap-htsat-unfused", "CLAP: sounds and texts"),
    ],
)
SENTENCE_TRANSFORMERS = AnchorKind(
    prefix="st:",
    summary="st:ORG/MODEL or a folder: every model of sentence-transformers; ?dim=256 cuts vectors, &dtype=bfloat16",
    load=_load_sentence_transformers,
    list=lambda: [
        ("st:sentence-transformers/all-MiniLM-L6-v2", "English texts, small and fast, downloaded once"),
        ("st:sentence-transformers/all-mpnet-base-v2", "English texts"),
        ("st:Qwen/Qwen3-Embedding-0.6B", "texts of 100 languages; takes ?dim="),
    ],
)
MODULE = ExportFormat(
    name="sentence-transformers",
    summary="SentenceTransformer({folder!r}, trust_remote_code=True) loads it, where binder and the plugins are",
    write=_write_module,
    load=_load_module,
    needs=("sentence-transformers", "binder-transformers"),
)


@hookimpl
def binder_register_anchors() -> Sequence[AnchorKind]:
    return [TRANSFORMERS, SENTENCE_TRANSFORMERS]


@hookimpl
def binder_register_exports() -> Sequence[ExportFormat]:
    return [MODULE]
