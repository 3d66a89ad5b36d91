"""Models of transformers that have a tower for each modality: CLIP, SigLIP, SigLIP 2, CLAP, ALIGN and others.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from binder import AnchorError, loading_model
from binder_transformers import files, names
from binder_transformers.anchor import LibraryAnchor
from binder_transformers.names import Name
from binder_transformers.reading import LONGEST, samples_at_once
from binder_transformers.rows import Features

PREFIX, OPTIONS = "transformers:", {"dtype": names.dtype}
PARTS = {"text": "tokenizer", "image": "image_processor", "audio": "feature_extractor"}  # of a processor
PADDED = ("siglip", "siglip2")  # trained on texts that are filled up to the longest that they take


class DualReading:
    """The processor of a model, called as its authors do. See `reading.Reading`."""

    def __init__(self, processor: Any, kind: str, most: int) -> None:
        self.processor, self.most = processor, most
        self.parts = {modality: _part(processor, name) for modality, name in PARTS.items()}
        tokenizer = self.parts["text"]
        self.pad = int(getattr(tokenizer, "pad_token_id", None) or 0)
        self.more: dict[str, Any] = {"padding": "max_length"} if kind in PADDED else {}
        if tokenizer is not None and tokenizer.model_max_length > most:
            self.more["max_length"] = most
        self.rate, self.longest = samples_at_once(self.parts["audio"])

    def text(self, text: str, prompt: str | None, whole: bool = False) -> Features:
        if whole:
            return dict(self.parts["text"]([text], return_tensors="pt", truncation=False, verbose=False))
        return dict(self._called(text=[text], return_tensors="pt", truncation=True, **self.more))

    def image(self, picture: Image) -> Features:
        return dict(self._called(images=[picture], return_tensors="pt"))

    def audio(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Features:
        return dict(self._called(audio=[samples], sampling_rate=self.rate, return_tensors="pt"))

    def _called(self, **arguments: Any) -> Any:
        if self.processor in self.parts.values():  # no processor of several parts, but one of them
            return self.processor(arguments.pop(next(iter(arguments))), **arguments)
        return self.processor(**arguments)


class DualAnchor(LibraryAnchor):
    """A frozen model with `get_text_features`, `get_image_features` or `get_audio_features`."""

    def __init__(self, name: Name, model: nn.Module, reading: DualReading) -> None:
        there = [m for m, part in reading.parts.items() if part is not None and hasattr(model, f"get_{m}_features")]
        super().__init__(name, model, reading, there)

    def encode(self, modality: str, features: Features) -> Tensor:
        method = getattr(self.model, f"get_{modality}_features")
        known = inspect.signature(method).parameters
        dtype = next(iter(self.model.parameters())).dtype
        z: Any = method(**{k: _of_type(v, dtype) for k, v in features.items() if k in known})
        z = z if isinstance(z, Tensor) else getattr(z, "pooler_output", None)
        return z.float() if isinstance(z, Tensor) else z

    @property
    def logit_scale(self) -> float:
        return logit_scale_of(self.model) or super().logit_scale


def load(text: str, device: str | torch.device = "cpu") -> DualAnchor:
    """The anchor `transformers:ORG/MODEL` or `transformers:FOLDER`, frozen, on `device`. Raises AnchorError."""
    from transformers import AutoModel, AutoProcessor

    name = names.parse(text, PREFIX, OPTIONS)
    label = f"anchor {str(name)!r}"
    folder = files.folder_of(name)
    safely = {"trust_remote_code": False, "local_files_only": True}
    with loading_model(label, folder, error=AnchorError, libraries=["transformers"]):
        models: Any = AutoModel
        dtype = getattr(torch, name.dtype)
        model, info = models.from_pretrained(str(folder), dtype=dtype, output_loading_info=True, **safely)
        if not any(hasattr(model, f"get_{modality}_features") for modality in PARTS):
            raise AnchorError(f"{label}: a {type(model).__name__} has no tower for texts, pictures or sounds; try st:")
        refuse_missing(label, info["missing_keys"])
        processors: Any = AutoProcessor
        processor = processors.from_pretrained(str(folder), **safely)
    reading = DualReading(processor, model.config.model_type, _longest_text(model))
    if hasattr(model, "get_text_features"):
        files.require_vocabulary(folder, label, reading.parts["text"])
    anchor = DualAnchor(name, model, reading)
    anchor.settle(name, folder)
    return anchor.to(device)


def refuse_missing(label: str, missing: set[str]) -> None:
    """Raises AnchorError where a model has weights that are not in its files."""
    if missing:
        raise AnchorError(f"{label}: its files lack {len(missing)} of its weights, among them {sorted(missing)[0]}")


def logit_scale_of(model: nn.Module) -> float | None:
    """The factor on cosines with which a model was trained; None where it has none."""
    found = dict(model.named_parameters())
    for name, weight in found.items():
        last = name.rpartition(".")[2]
        if last in ("logit_scale", "logit_scale_t"):
            return math.exp(float(weight.detach().float().reshape(-1)[0]))
        if last == "temperature":
            return 1 / float(weight.detach().float())
    return None


def _part(processor: Any, name: str) -> Any:
    """The part of a processor that reads one modality, which may be the whole; None where it has none."""
    from transformers import FeatureExtractionMixin, ImageProcessingMixin, PreTrainedTokenizerBase

    kinds = {"tokenizer": PreTrainedTokenizerBase, "image_processor": ImageProcessingMixin}
    if isinstance(processor, kinds.get(name, FeatureExtractionMixin)):
        return processor
    return getattr(processor, name, None)


def _longest_text(model: nn.Module) -> int:
    """How many tokens of a text the model has positions for."""
    most = LONGEST
    for name, module in model.named_modules():
        of_positions = "text" in name and name.endswith(("position_embedding", "position_embeddings"))
        if of_positions and isinstance(module, nn.Embedding):
            start = 0 if module.padding_idx is None else module.padding_idx + 1  # RoBERTa counts from there
            most = min(most, module.num_embeddings - start)
    return most


def _of_type(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
