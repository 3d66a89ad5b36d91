"""Models of sentence-transformers, with their own preprocessing and prompts: `st:ORG/MODEL?dim=256&dtype=bfloat16`.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from binder import AnchorError, loading_model
from binder_transformers import files, names
from binder_transformers.anchor import LibraryAnchor
from binder_transformers.dual import logit_scale_of, refuse_missing
from binder_transformers.names import Name
from binder_transformers.reading import LONGEST, samples_at_once
from binder_transformers.rows import Features

log = logging.getLogger(__name__)

PREFIX, OPTIONS = "st:", {"dim": names.dim, "dtype": names.dtype}
OWN = "sentence_transformers."  # its modules; others would be code that comes with the model
MODALITIES = ("text", "image", "audio")
TASKS = {"query": "query", "document": "document", "passage": "document", "corpus": "document"}  # by prompt


class SentenceReading:
    """The first module of a model, which preprocesses, without its weights. See `reading.Reading`."""

    def __init__(self, model: Any) -> None:
        self.module = without_weights(model[0])
        self.prompts: dict[str, str] = dict(model.prompts)
        self.default: str | None = model.default_prompt_name or next(
            (name for name in ("document", "passage", "corpus") if self.prompts.get(name)), "document"
        )
        self.tasks = _tasks(self.module)
        tokenizer = getattr(self.module, "tokenizer", None)
        self.pad = int(getattr(tokenizer, "pad_token_id", None) or 0)
        self.rate, self.longest = samples_at_once(_extractor(self.module))

    def text(self, text: str, prompt: str | None, whole: bool = False) -> Features:
        name = self.default if prompt is None else prompt
        task = TASKS.get(name or "")
        options: dict[str, Any] = {"task": task if task in self.tasks else None}
        first = _routed(self.module, options["task"])
        if _is_transformer(first):
            # named as text, so that a text that looks like an address or a file name is not opened as one
            given: Any = {"text": text}
            if whole:
                options["processing_kwargs"] = {"text": {"truncation": False, "verbose": False}}
            elif not 0 < (first.max_seq_length or 0) <= LONGEST:
                options["processing_kwargs"] = {"text": {"max_length": LONGEST}}
        else:
            given = text
        return _made(self.module.preprocess([given], prompt=self.prompts.get(name or "") or None, **options))

    def image(self, picture: Image) -> Features:
        return _made(self.module.preprocess([{"image": picture}]))

    def audio(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Features:
        return _made(self.module.preprocess([{"audio": {"array": samples, "sampling_rate": self.rate}}]))


class SentenceAnchor(LibraryAnchor):
    """A frozen model of sentence-transformers."""

    def __init__(self, name: Name, model: Any, reading: SentenceReading) -> None:
        super().__init__(name, model, reading, [m for m in MODALITIES if m in model.modalities])
        self.dim = name.dim or model.truncate_dim
        self.prompts = tuple(reading.prompts)

    def encode(self, modality: str, features: Features) -> Tensor:
        model: Any = self.model
        dtype = next(iter(model.parameters())).dtype
        given = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in features.items()}
        z_BD: Tensor = model(given)["sentence_embedding"]
        return z_BD[:, : self.dim].float()

    @property
    def logit_scale(self) -> float:
        return logit_scale_of(self.model) or super().logit_scale


def load(text: str, device: str | torch.device = "cpu") -> SentenceAnchor:
    """The anchor `st:ORG/MODEL` or `st:FOLDER`, frozen, on `device`. Raises AnchorError."""
    name = names.parse(text, PREFIX, OPTIONS)
    if name.folder is None and "/" not in name.place:
        name = dataclasses.replace(name, place=f"sentence-transformers/{name.place}")
    label = f"anchor {str(name)!r}"
    folder = files.folder_of(name)
    _check_modules(folder, label)
    with loading_model(label, folder, error=AnchorError, libraries=["transformers", "sentence_transformers"]):
        model = _loaded(folder, label, name.dtype)
        reading = SentenceReading(model)
    if "text" in model.modalities and _is_transformer(_routed(reading.module, None)):
        files.require_vocabulary(folder, label, model.tokenizer)
    anchor = SentenceAnchor(name, model, reading)
    if name.dim is not None:
        _check_dim(name.dim, model, folder, label)
    anchor.settle(name, folder)
    return anchor.to(device)


def without_weights(module: nn.Module) -> Any:
    """A copy of a module with empty tensors, and transformers models that are no more than their configuration."""
    from transformers import PreTrainedModel

    memo: dict[int, Any] = {}
    for part in module.modules():
        if isinstance(part, PreTrainedModel):
            memo[id(part)] = _OnlyConfig(part.config)
    for tensor in [*module.parameters(), *module.buffers()]:
        memo[id(tensor)] = nn.Parameter(torch.empty(0), requires_grad=False)
    return copy.deepcopy(module, memo).eval()


class _OnlyConfig(nn.Module):
    """Stands for a transformers model where only preprocessing runs."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


def _loaded(folder: Path, label: str, dtype: str) -> Any:
    """The model in a folder. Raises AnchorError where weights are missing."""
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel

    if not (folder / "modules.json").is_file():
        log.warning("%s: no model of sentence-transformers; its last states are pooled, as that library does", label)
    wanted = getattr(torch, dtype)
    model = SentenceTransformer(
        str(folder),
        device="cpu",
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs={"dtype": wanted},
    )
    converted: set[int] = set()
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            _check_weights(part, label, pooled="pooler_output" in str(getattr(model[0], "modality_config", "")))
            converted |= {id(weight) for weight in part.parameters()}
    for weight in model.parameters():
        if id(weight) not in converted and weight.is_floating_point():
            weight.data = weight.data.to(wanted)
    return model


def _check_weights(model: Any, label: str, pooled: bool) -> None:
    """Refuse weights that were not in the files; those of a pooler that is not used become zero."""
    # transformers marks the weights that it has read, as those without the mark are filled at random
    missing = {name for name, w in model.named_parameters() if not getattr(w, "_is_hf_initialized", False)}
    unused = set() if pooled else {name for name in missing if "pooler" in name}
    refuse_missing(label, missing - unused)
    with torch.no_grad():
        for name in unused:
            model.get_parameter(name).zero_()


def _check_modules(folder: Path, label: str) -> None:
    """Raises AnchorError for models of another kind, and those that bring code of their own."""
    kind = files.configuration(folder / "config_sentence_transformers.json", label).get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise AnchorError(f"{label}: is a {str(kind)[:40]}, not a SentenceTransformer: it has no one vector for a text")
    listed = files.configuration(folder / "modules.json", label)
    types = [str(module.get("type")) for module in listed if isinstance(module, dict)] if listed else []
    for path in folder.glob("*/router_config.json"):
        types += [str(one) for one in files.configuration(path, label).get("types", {}).values()]
    for one in types:
        if not one.startswith(OWN):
            raise AnchorError(f"{label}: its part {one[:60]!r} is code that comes with the model, which is never run")


def _check_dim(dim: int, model: Any, folder: Path, label: str) -> None:
    """Raises AnchorError where vectors cannot be cut to `dim`; warns where it is not said that they can."""
    model.truncate_dim = None
    own = model.get_embedding_dimension()
    trained = {n for n in files.trained_dimensions(folder, label) if n <= (own or n)}
    if own is not None and dim > own:
        raise AnchorError(f"{label}: dim={dim}: its vectors have {own} dimensions")
    if trained and dim not in trained | {own}:
        known = ", ".join(map(str, sorted(trained | {own} - {None})))
        raise AnchorError(f"{label}: dim={dim}: it was trained to be cut to {known}")
    if not trained and dim != own:
        log.warning("%s does not say that it was trained for shorter vectors (Matryoshka): dim=%d may cost", label, dim)


def _tasks(module: Any) -> set[str]:
    """The tasks between which a model distinguishes."""
    from sentence_transformers.base.modules import Router

    if not isinstance(module, Router):
        return {"query", "document"}
    return {*module.sub_modules, *(task for task, _ in module.route_mappings if task)}


def _routed(module: Any, task: str | None) -> Any:
    """The module that preprocesses texts: `module` itself, or that of the route which texts take."""
    from sentence_transformers.base.modules import Router

    if not isinstance(module, Router):
        return module
    route: Any = module.sub_modules[str(module._resolve_route(task=task, modality="text"))]
    return route[0]


def _is_transformer(module: Any) -> bool:
    from sentence_transformers.base.modules import Transformer

    return isinstance(module, Transformer)


def _extractor(module: Any) -> Any:
    """The part of a model that reads sounds; None where there is none."""
    found = [getattr(part, "processor", None) for part in module.modules()]
    extractors = [getattr(one, "feature_extractor", one) for one in found if one is not None]
    return next((one for one in extractors if hasattr(one, "sampling_rate")), None)


def _made(features: Any) -> Features:
    return dict(features)
