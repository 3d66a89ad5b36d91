"""The OpenCLIP model mini, its tokenizer, its losses, and the folder it ships in.

Shape suffixes: B pictures, M captions, D embed_dim, F fields of a concept, T tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from binder_playground import world
from binder_playground.mini import bpe
from binder_playground.mini.data import VALUES

FULL = {
    "scene": ("color", "shape", "count"),
    "motion": ("color", "shape", "motion"),
    "digit": ("digit",),
    "chart": ("chart", "trend"),
    "solid": ("solid",),
}  # the fields that define a class of each kind
MEAN = STD = 0.5  # of pixels in 0..1
SPREAD_SCALE = 10.0  # low, so that cosines of 0.8 still repel
NOTHING = -2  # in a claim (F,): true of no picture


def make_tokenizer(path: Path, context_length: int, merges: int, words: int) -> SimpleTokenizer:
    """Learn the merges from captions and ordinary words, unless `path` exists, and load them as OpenCLIP does."""
    if path.exists():
        return SimpleTokenizer(bpe_path=str(path), context_length=context_length)
    rng = np.random.default_rng(0)
    counts = Counter(bpe.ordinary_words(words))
    for kind in world.KINDS:
        for concept in world.concepts(kind):
            counts.update(
                {word: 20 for word in world.wording(world.detailed(concept, rng), rng).split() if word.isalpha()}
            )
    bpe.write_merges(path, bpe.learn_merges(counts, merges))
    return SimpleTokenizer(bpe_path=str(path), context_length=context_length)


def make_model(config: dict[str, Any], vocab_size: int) -> tuple[CLIP, dict[str, Any]]:
    """A CLIP with random weights, and the model_cfg from which OpenCLIP builds the same."""
    cfg = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": vocab_size}}
    return CLIP(**cfg), cfg


def encode_text(model: CLIP, tokens_MT: Tensor) -> Tensor:
    """Tokens (M, T) -> (M, D) as `CLIP.encode_text` does, but grouped by length to save padding: much cheaper."""
    lengths = (tokens_MT != 0).sum(dim=1)
    order = lengths.argsort()
    parts = []
    for rows in order.chunk(3):
        used = int(lengths[rows].max())
        tokens = tokens_MT[rows, :used]
        x = model.token_embedding(tokens) + model.positional_embedding[:used]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:used, :used]))
        parts.append(x[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)] @ model.text_projection)
    return torch.cat(parts)[order.argsort()]


def pixels(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 (B, H, W, 3) -> normalized float (B, 3, H, W), channels last."""
    x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float()
    return ((x / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


class FieldHeads(nn.Module):
    """A linear classifier per field of a concept; discarded after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(width, len(values)) for values in VALUES.values()])

    def forward(self, image_BD: Tensor, shown_BF: Tensor) -> Tensor:
        """Sum over the fields of the cross-entropy where they are filled, weighted by how often they are."""
        losses = []
        for i, head in enumerate(self.heads):
            filled = shown_BF[:, i] >= 0
            if bool(filled.any()):
                losses.append(
                    F.cross_entropy(head(image_BD[filled]).float(), shown_BF[filled, i]) * filled.float().mean()
                )
        return torch.stack(losses).sum()


def is_full(claims_MF: Tensor) -> Tensor:
    """Which claims (M, F) name a whole class of their kind: (M,) bool."""
    names = list(VALUES)
    full = torch.zeros(len(claims_MF), dtype=torch.bool, device=claims_MF.device)
    for kind, needed in FULL.items():
        of_kind = claims_MF[:, 0] == world.KINDS.index(kind)
        full |= of_kind & (claims_MF[:, [names.index(n) for n in needed]] >= 0).all(dim=1)
    return full


def matching_losses(
    image_BD: Tensor, text_MD: Tensor, shown_BF: Tensor, claims_MF: Tensor, scale: Tensor
) -> dict[str, Tensor]:
    """Losses between unit vectors of pictures and captions; every pair that is true is a positive.

    A caption that is true but leaves out what makes the class ("red circles") is neither positive nor negative for a
    picture; for the caption, all pictures it is true of are positives.
    """
    open_or_same = (claims_MF[None] == -1) | (claims_MF[None] == shown_BF[:, None])
    true = open_or_same.all(dim=2)
    full = true & is_full(claims_MF)[None]
    cosines = image_BD @ text_MD.T
    to_text = (cosines * scale).masked_fill(true & ~full, -1e4).log_softmax(dim=1)
    to_image = (cosines * scale).log_softmax(dim=0)
    return {
        "captions": -_mean_where(to_text, full, 1),
        "pictures": -_mean_where(to_image, true, 0),
        "closeness": _mean_where(1 - cosines, full, 1),
    }


def _mean_where(values: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Mean of the chosen values along `dim`, then over the rows or columns that have any."""
    count = chosen.sum(dim=dim)
    line = (values * chosen).sum(dim=dim) / count.clamp(min=1)
    return line[count > 0].mean()


def spreading_loss(first_WD: Tensor, second_WD: Tensor, others_MD: Tensor) -> Tensor:
    """Contrastive loss: the two wordings of each ordinary word find each other among all other texts."""
    logits = first_WD @ torch.cat([second_WD, others_MD]).T * SPREAD_SCALE
    return F.cross_entropy(logits, torch.arange(len(first_WD), device=logits.device))


def write_folder(folder: Path, model: CLIP, model_cfg: dict[str, Any], merges: Path, card: dict[str, Any]) -> None:
    """Write config, fp16 weights, merges and card, each complete or not at all."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    preprocess = {
        "size": [model_cfg["vision_cfg"]["image_size"]] * 2,
        "mode": "RGB",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    files = {
        "open_clip_model.safetensors": save(half, metadata={"format": "pt"}),
        "bpe.txt.gz": merges.read_bytes(),
        "open_clip_config.json": _json({"model_cfg": model_cfg, "preprocess_cfg": preprocess}),
        "card.json": _json(card),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f".{name}.part").write_bytes(content)
    for name in files:
        (folder / f".{name}.part").replace(folder / name)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
