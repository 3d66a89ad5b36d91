"""CLIP, SigLIP, SigLIP 2 and CLAP of transformers as anchors."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from binder_transformers.dual import load
from PIL import Image
from safetensors.torch import load_file, save_file

from binder import AnchorError, ItemError, Trunk, get_modality

TEXTS = ["a red circle", "a photo of a blue square of a circle", "square"]
KINDS = ["clip", "siglip", "siglip2", "clap"]


def tone(hz: float = 440, seconds: float = 0.6, rate: int = 8000) -> Any:
    return np.sin(2 * np.pi * hz / rate * np.arange(round(rate * seconds))).astype(np.float32)


def embedded(tower: Any, items: list[Any]) -> torch.Tensor:
    with torch.inference_mode():
        z: torch.Tensor = tower(torch.cat([tower.preprocess(item) for item in items]))
    return torch.nn.functional.normalize(z)


def library(folder: Any, modality: str, items: list[Any]) -> torch.Tensor:
    """What transformers itself gives, written out."""
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    rows = []
    for item in items:
        given: dict[str, Any] = {"text": {"text": [item]}, "image": {"images": [item]}}.get(modality, {})
        if modality == "text" and model.config.model_type == "siglip":
            given["padding"] = "max_length"
        if modality == "audio":
            given = {"audio": [item], "sampling_rate": 8000}
        with torch.inference_mode():
            inputs = processor(**given, return_tensors="pt", truncation=modality == "text" or None)
            rows.append(getattr(model, f"get_{modality}_features")(**inputs).pooler_output)
    return torch.nn.functional.normalize(torch.cat(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_have_the_librarys_vectors(models, kind):
    got = embedded(load(f"transformers:{models(kind)}").tower("text"), TEXTS)
    torch.testing.assert_close(got, library(models(kind), "text", TEXTS), atol=1e-5, rtol=0)
    assert (got[0] - got[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_pictures_have_the_librarys_vectors(models, pictures, kind):
    got = embedded(load(f"transformers:{models(kind)}").tower("image"), pictures)
    torch.testing.assert_close(got, library(models(kind), "image", pictures), atol=1e-5, rtol=0)


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_sounds_have_the_librarys_vectors(tmp_path, truncation):
    from conftest_models import write_clap

    write_clap(tmp_path, truncation)
    sounds = [tone(440, 0.6), tone(700, 1.0)]
    got = embedded(load(f"transformers:{tmp_path}").tower("audio"), sounds)
    torch.testing.assert_close(got, library(tmp_path, "audio", sounds), atol=1e-5, rtol=0)
