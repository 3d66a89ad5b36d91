"""Zero-shot accuracy of mini on held-out drawings, each among all classes of its kind."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from binder_playground import world
from binder_playground.digits import draw_scan, handwritten_split
from binder_playground.mini import bpe
from binder_playground.mini.data import VALUES, Pool, drawn, numbered
from binder_playground.mini.model import FULL, encode_text, pixels

HELD_OUT = 1_000_003  # mixed into the seed of held-out drawings
AMOUNTS = {"scene": 2000, "motion": 1160, "digit": 500, "chart": 500, "matplotlib": 250, "solid": 500}
WAYS = ("{}", "a picture of {}", "this is {}")


def held_out(seed: int, size: int) -> dict[str, Pool]:
    """New pictures of every kind, and the test scans, which no training picture shows: enlarged, and rewritten."""
    pools = {
        k: drawn(k, n, np.random.default_rng((seed, HELD_OUT, i)), size) for i, (k, n) in enumerate(AMOUNTS.items())
    }
    test = handwritten_split()[1]
    shown = np.array(
        [numbered(world.Concept("digit", digit=int(d), style="handwritten")) for d in test.labels], np.int16
    )
    for name, plain in (("scans enlarged", True), ("scans rewritten", False)):
        rng = np.random.default_rng((seed, HELD_OUT, 100 + plain))
        pictures = np.stack([np.asarray(draw_scan(scan, rng, size, plain=plain)) for scan in test.ink])
        pools[name] = Pool(pictures, shown)
    return pools


@torch.no_grad()
def class_vectors(model: CLIP, tokenizer: SimpleTokenizer, kind: str, ways: tuple[str, ...]) -> Tensor:
    """Unit vectors (C, D) of all classes of a kind, averaged over several wordings of their captions."""
    device = model.logit_scale.device
    total = torch.zeros(())
    for way in ways:
        tokens = tokenizer([way.format(world.caption(c)) for c in world.concepts(kind)]).to(device)
        total = total + F.normalize(encode_text(model, tokens), dim=1).cpu()
    return F.normalize(total, dim=1)


@torch.no_grad()
def image_vectors(model: CLIP, pool: Pool) -> Tensor:
    """Unit vectors (N, D) of a pool's pictures."""
    device = model.logit_scale.device
    parts = [model.encode_image(pixels(pool.pictures[i : i + 250], device)) for i in range(0, len(pool.shown), 250)]
    return F.normalize(torch.cat(parts), dim=1).cpu()


def accuracies(model: CLIP, tokenizer: SimpleTokenizer, pools: dict[str, Pool]) -> dict[str, dict[str, float]]:
    """Per pool: accuracy with the bare caption, with several wordings, per field, and picture-caption cosines."""
    model.eval()
    names, report = list(VALUES), {}
    for name, pool in pools.items():
        kind = world.KINDS[int(pool.shown[0, 0])]
        classes = np.array([numbered(c) for c in world.concepts(kind)])
        fields = [names.index(f) for f in FULL[kind]]
        image = image_vectors(model, pool)
        bare, several = (class_vectors(model, tokenizer, kind, ways) for ways in (WAYS[:1], WAYS))
        guess = classes[(image @ bare.T).argmax(dim=1).numpy()][:, fields]
        right = guess == pool.shown[:, fields]
        better = classes[(image @ several.T).argmax(dim=1).numpy()][:, fields] == pool.shown[:, fields]
        truth = (classes[:, fields][None] == pool.shown[:, fields][:, None]).all(axis=2).argmax(axis=1)
        report[name] = {
            "n": float(len(pool.shown)),
            "caption": float(right.all(axis=1).mean()),
            "ensemble": float(better.all(axis=1).mean()),
            **{f: float(right[:, i].mean()) for i, f in enumerate(FULL[kind])},
            "cosine": float((image * bare[truth]).sum(dim=1).mean()),
        }
    return report


@torch.no_grad()
def unseen_cosine(model: CLIP, tokenizer: SimpleTokenizer) -> float:
    """The largest cosine between any two words kept out of training."""
    tokens = tokenizer(list(bpe.UNSEEN)).to(model.logit_scale.device)
    vectors = F.normalize(encode_text(model, tokens), dim=1)
    return float((vectors @ vectors.T - 2 * torch.eye(len(vectors), device=vectors.device)).max())
