"""Tiny models with random weights, saved as their libraries save them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

WORDS = ["<pad>", "<unk>", "<s>", "</s>", "query", "doc", ":", "a", "photo", "of", "red", "blue", "circle", "square"]
WIDTH: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT: dict[str, Any] = {**WIDTH, "vocab_size": 64, "max_position_embeddings": 16, "pad_token_id": 0}
TEXT |= {"bos_token_id": 2, "eos_token_id": 3}
VISION: dict[str, Any] = {**WIDTH, "image_size": 32, "patch_size": 16}


def tokenizer(kind: Any = None, **more: Any) -> Any:
    """A tokenizer of whole words, as `kind` of transformers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(WORDS + list("bcdefghijklmnpqrstuvwxyz"))}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    tokens = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>"}
    settings = {"model_max_length": 16, **tokens, "sep_token": "</s>", "mask_token": "<unk>", **more}
    return (kind or PreTrainedTokenizerFast)(tokenizer_object=made, **settings)


def write_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    sizes: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)).save_pretrained(folder)
    CLIPProcessor(image_processor=CLIPImageProcessor(**sizes), tokenizer=tokenizer()).save_pretrained(folder)


def write_siglip(folder: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).save_pretrained(folder)
    pictures = SiglipImageProcessor(size={"height": 32, "width": 32})
    words = tokenizer(model_input_names=["input_ids"])
    SiglipProcessor(image_processor=pictures, tokenizer=words).save_pretrained(folder)


def write_siglip2(folder: Path) -> None:
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Processor

    text = {**TEXT, "max_position_embeddings": 64, "projection_size": 32}
    vision = {**WIDTH, "patch_size": 16, "num_patches": 256}
    Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(folder)
    pictures = Siglip2ImageProcessor(patch_size=16, max_num_patches=256)
    words = tokenizer(model_max_length=64)
    Siglip2Processor(image_processor=pictures, tokenizer=words).save_pretrained(folder)


def write_clap(folder: Path, truncation: str = "rand_trunc") -> None:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    text = {**TEXT, "max_position_embeddings": 18, "projection_dim": 24}
    sound = {"spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1]}
    sound |= {"num_attention_heads": [1, 2], "hidden_size": 16, "window_size": 4, "projection_dim": 24}
    sound |= {"enable_fusion": truncation == "fusion", "aff_block_r": 1, "patch_size": 4, "patch_stride": [4, 4]}
    ClapModel(ClapConfig(text_config=text, audio_config=sound, projection_dim=24)).eval().save_pretrained(folder)
    sounds = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8000,
        max_length_s=1,
        hop_length=80,
        fft_window_size=256,
        frequency_max=4000,
        truncation=truncation,
    )
    ClapProcessor(feature_extractor=sounds, tokenizer=tokenizer()).save_pretrained(folder)


def write_bert(folder: Path) -> None:
    """BERT with mean pooling: prompts, 12 tokens, unit vectors of 32 dimensions."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**TEXT)).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    words = Transformer(str(folder / "base"), max_seq_length=12)
    prompts = {"query": "query : ", "document": "doc : ", "plain": ""}
    model = SentenceTransformer(modules=[words, Pooling(32), Normalize()], prompts=prompts, device="cpu")
    model.save(str(folder / "model"))


def write_static(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = StaticEmbedding(tokenizer(), embedding_dim=20)
    SentenceTransformer(modules=[words], device="cpu").save(str(folder))


def write_multimodal(folder: Path) -> None:
    """A CLIP as sentence-transformers keeps it."""
    from sentence_transformers import SentenceTransformer

    write_clip(folder / "clip")
    SentenceTransformer(str(folder / "clip"), device="cpu").save(str(folder / "model"))


def write_router(folder: Path) -> None:
    """Queries and documents with weights of their own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    sides: list[Any] = [[StaticEmbedding(tokenizer(), embedding_dim=20)] for _ in range(2)]
    SentenceTransformer(modules=[Router.for_query_document(sides[0], sides[1])], device="cpu").save(str(folder))


WRITERS: dict[str, tuple[Callable[..., None], str]] = {  # name -> (writer, folder inside)
    "clip": (write_clip, ""),
    "siglip": (write_siglip, ""),
    "siglip2": (write_siglip2, ""),
    "clap": (write_clap, ""),
    "fusion": (partial(write_clap, truncation="fusion"), ""),
    "bert": (write_bert, "model"),
    "static": (write_static, ""),
    "multimodal": (write_multimodal, "model"),
    "router": (write_router, ""),
}


@pytest.fixture(scope="session", autouse=True)
def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Name and seed -> the folder of that model, made on the first call."""
    made: dict[tuple[str, int], Path] = {}

    def folder(name: str, seed: int = 0) -> Path:
        if (name, seed) not in made:
            write, inside = WRITERS[name]
            place = tmp_path_factory.mktemp(f"{name}{seed}")
            torch.manual_seed(seed)
            write(place)
            made[name, seed] = place / inside
        return made[name, seed]

    return folder


@pytest.fixture
def altered(models: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Name -> a copy of that model's folder, to be changed."""

    def folder(name: str) -> Path:
        return Path(shutil.copytree(models(name), tmp_path / name))

    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield


@pytest.fixture
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((40, 50, 3), (90, 30, 3))]


@pytest.fixture(name="tokenizer")
def _tokenizer() -> Callable[..., Any]:
    return tokenizer
