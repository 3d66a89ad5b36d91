"""The contrastive loss against frozen targets.

Shapes: B batch, M bank, D embed_dim.
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
    return _shares((t_BD @ t_BD.T).clamp(max=1.0), temperature)


def contrastive(z_BD: Tensor, t_BD: Tensor, targets_BB: Tensor, scale: Tensor | float) -> Tensor:
    """Unit embeddings, unit targets (B, D), soft targets (B, B), scale on the cosines -> scalar.

    Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with a distribution of matches in place of one.
    Likeness is mutual, so row i of `targets_BB` says what item i matches and also what matches target i: both
    directions have the same least value (`entropy`), reached at z = t when the temperatures agree.
    """
    logits = scale * z_BD @ t_BD.T
    return (F.cross_entropy(logits, targets_BB) + F.cross_entropy(logits.T, targets_BB)) / 2


def contrastive_with_bank(
    z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor, scale: Tensor | float, temperature: float
) -> Tensor:
    """`contrastive` less its least value, items told from the targets in a bank as well -> scalar.

    Frozen targets never go stale, so those of all rows may be negatives, as keys in a memory are (Wu et al., CVPR 2018;
    He et al., CVPR 2020). How much each counts as a match follows from `temperature` as in `soft_targets`: one that is
    in the batch, too, is a match twice and no false negative. Targets have no bank of items, which do change.
    """
    logits_BB, others_BM = scale * z_BD @ t_BD.T, scale * z_BD @ bank_MD.T
    cosine_BB = (t_BD @ t_BD.T).clamp(max=1.0)
    targets_BB = _shares(cosine_BB, temperature)
    targets_BC = _shares(torch.cat([cosine_BB, (t_BD @ bank_MD.T).clamp(max=1.0)], 1), temperature)
    forward = F.cross_entropy(torch.cat([logits_BB, others_BM], 1), targets_BC) - entropy(targets_BC)
    return (forward + F.cross_entropy(logits_BB.T, targets_BB) - entropy(targets_BB)) / 2


def _shares(cosine_BC: Tensor, temperature: float) -> Tensor:
    """Cosines of targets -> rows that sum to 1."""
    if temperature == 0:
        matches = (cosine_BC > 0.999).float()
        return matches / matches.sum(1, keepdim=True)
    return (cosine_BC / temperature).softmax(1)


def entropy(targets_BB: Tensor) -> Tensor:
    """Rows that sum to 1 -> scalar: the least value `contrastive` could take; the loss less this can reach zero."""
    return -(targets_BB * targets_BB.clamp_min(1e-12).log()).sum(1).mean()


def logit_scale_parameter(temperature: float) -> torch.nn.Parameter:
    """The learned form of 1 / temperature: its logarithm; clamp with `clamp_logit_scale` after each step."""
    return torch.nn.Parameter(torch.tensor(1.0 / temperature).log())


def clamp_logit_scale(parameter: Tensor) -> None:
    """Keep the scale in 1..100, as CLIP does (Radford et al. 2021)."""
    with torch.no_grad():
        parameter.clamp_(0.0, 4.6052)
