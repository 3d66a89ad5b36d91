"""The contrastive loss against frozen targets.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_targets(t_BD: Tensor, temperature: float) -> Tensor:
    """Unit targets (B, D) -> (B, B) rows that sum to 1.

    How much each target of the batch counts as a match of each row: the anchor's own similarities, sharpened by
    `temperature`. Equal targets share the mass equally, near-equal ones nearly so, far ones get none; with
    temperature 0 only equal ones (cosine above 0.999) and the row's own count. So a batch in which classes repeat has
    no false negatives. After Andonian et al., "Robust cross-modal representation learning with progressive
    self-distillation", CVPR 2022, with the frozen anchor in the teacher's place.
    """
    cosine = (t_BD @ t_BD.T).clamp(max=1.0)
    if temperature == 0:
        matches = (cosine > 0.999).float()
        return matches / matches.sum(1, keepdim=True)
    return (cosine / temperature).softmax(1)


def contrastive(z_BD: Tensor, t_BD: Tensor, targets_BB: Tensor, scale: Tensor | float) -> Tensor:
    """Unit embeddings, unit targets (B, D), soft targets (B, B), scale on the cosines -> scalar.

    Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with a distribution of matches in place of one.
    Likeness is mutual, so row i of `targets_BB` says what item i matches and also what matches target i: both
    directions have the same least value (`entropy`), reached at z = t when the temperatures agree.
    """
    logits = scale * z_BD @ t_BD.T
    return (F.cross_entropy(logits, targets_BB) + F.cross_entropy(logits.T, targets_BB)) / 2


def entropy(targets_BB: Tensor) -> Tensor:
    """(B, B) -> scalar: the least value `contrastive` could take, so that loss minus this can reach zero."""
    return -(targets_BB * targets_BB.clamp_min(1e-12).log()).sum(1).mean()


def logit_scale_parameter(temperature: float) -> torch.nn.Parameter:
    """The learned form of 1 / temperature: its logarithm; clamp with `clamp_logit_scale` after each step."""
    return torch.nn.Parameter(torch.tensor(1.0 / temperature).log())


def clamp_logit_scale(parameter: Tensor) -> None:
    """Keep the scale in 1..100, as CLIP does (Radford et al. 2021)."""
    with torch.no_grad():
        parameter.clamp_(0.0, 4.6052)
