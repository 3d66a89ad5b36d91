"""Losses: classes with a name and settings of their own, which a run chooses by `loss.kind`.

A loss pulls the embeddings of a batch to their frozen targets. To add one, derive from `Loss` and put the class into
`LOSSES`; the training loop knows none of them by name.

Shapes: B batch, M bank, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from binder import config
from binder.config import AlignConfig
from binder.devices import seeded
from binder.errors import ConfigError, nearest

if TYPE_CHECKING:
    from binder.train.loop import Data

LARGEST_LOG_SCALE = 4.6052  # of the logit scale, which stays in 1..100 as in CLIP (Radford et al. 2021)


@dataclass(frozen=True)
class Context:
    """What a loss can use of the run it is made for."""

    data: Data
    logit_scale: float  # of the anchor
    seed: int = 0  # of the run: what a loss draws when it is made depends on nothing else


class Loss(nn.Module):
    """Base class of every loss. Its parameters, if it has any, are trained along with the encoder.

    Every process of a run calls it with the whole batch, so its gradients need no exchange between processes.
    """

    name: ClassVar[str]  # as `loss.kind` gives it
    Config: ClassVar[type[config.Config]] = config.Config  # its settings: the other keys of the `loss` table
    bank: int = 0  # targets it wants besides those of the batch, drawn anew in each step; with all of them or more: all

    def __init__(self, settings: Any, context: Context) -> None:
        super().__init__()
        self.anchor_scale = context.logit_scale

    def forward(self, z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor | None = None) -> Tensor:
        """Unit embeddings and their unit targets (B, D), the targets of `bank` other rows -> scalar."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each step of the optimizer: the place to keep parameters within bounds."""

    def lr_scales(self) -> dict[str, float]:
        """Factors on the learning rate, by prefix of the parameter's name; as `Encoder.lr_scales`."""
        return {}

    @property
    def logit_scale(self) -> float:
        """The factor from cosines to logits that goes into the card; the anchor's, if the loss has none."""
        return self.anchor_scale


class InfoNCE(Loss):
    """Symmetric InfoNCE with soft targets, less its minimum: the best possible embeddings have a loss of zero."""

    name = "infonce"

    class Config(config.Config):
        temperature: float = Field(0.05, gt=0, le=1)  # of the logits
        soft: float = Field(0.02, ge=0)  # temperature of the similarities between targets; 0: hard targets
        learn_temperature: bool = False  # train the temperature as well, starting from this one

    def __init__(self, settings: Config, context: Context) -> None:
        super().__init__(settings, context)
        self.soft = settings.soft
        log_scale = torch.tensor(1.0 / settings.temperature).log()
        self.log_scale = nn.Parameter(log_scale, requires_grad=settings.learn_temperature)

    def forward(self, z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor | None = None) -> Tensor:
        soft_BB = soft_targets(t_BD, self.soft)
        return contrastive(z_BD, t_BD, soft_BB, self.log_scale.exp()) - entropy(soft_BB)

    def after_step(self) -> None:
        with torch.no_grad():
            self.log_scale.clamp_(0.0, LARGEST_LOG_SCALE)

    @property
    def logit_scale(self) -> float:
        return self.log_scale.exp().item()


class InfoNCEBank(InfoNCE):
    """`InfoNCE` with more negatives for the items: the cached targets of other rows."""

    name = "infonce_bank"

    class Config(InfoNCE.Config):
        bank: int = Field(16_384, ge=1)  # other rows whose targets are negatives, drawn anew in each step

    def __init__(self, settings: Config, context: Context) -> None:
        super().__init__(settings, context)
        self.bank = settings.bank

    def forward(self, z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor | None = None) -> Tensor:
        others_MD = t_BD[:0] if bank_MD is None else bank_MD
        return contrastive_with_bank(z_BD, t_BD, others_MD, self.log_scale.exp(), self.soft)


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (InfoNCE, InfoNCEBank)}


def resolved(settings: AlignConfig, where: str = "configuration") -> AlignConfig:
    """The same configuration with its loss table complete. Raises ConfigError: an unknown kind, key or value."""
    kind, own = _chosen(settings.loss, where)
    return settings.model_copy(update={"loss": {"kind": kind.name, **own.model_dump(mode="json")}})


def make(table: Mapping[str, Any], context: Context) -> Loss:
    """The loss that a `loss` table describes, with fresh parameters. Raises ConfigError as `resolved` does."""
    kind, own = _chosen(table, "configuration")
    with seeded(context.seed, torch.device("cpu")):
        return kind(own, context)


def _chosen(table: Mapping[str, Any], where: str) -> tuple[type[Loss], config.Config]:
    """The class that a `loss` table names, and its settings."""
    values = _with_kind(table)
    name = str(values.pop("kind"))
    if name not in LOSSES:
        there = ", ".join(sorted(LOSSES))
        raise ConfigError(f"{where}: loss.kind: unknown loss {name[:80]!r}{nearest(name, LOSSES)}; there is {there}")
    kind = LOSSES[name]
    known = sorted(kind.Config.model_fields)
    for key in values:
        if key not in known:
            others = [other for other, loss in LOSSES.items() if key in loss.Config.model_fields]
            hint = f" (a setting of {' and '.join(others)})" if others else nearest(key, ["kind", *known])
            raise ConfigError(f"{where}: unknown key 'loss.{key[:80]}'{hint}; loss {name!r} has {', '.join(known)}")
    return kind, config.validate(kind.Config, values, f"{where}: loss {name}")


def _with_kind(table: Mapping[str, Any]) -> dict[str, Any]:
    """A `loss` table with its kind. A table from before there were kinds has none, and `bank` is 0 for no bank."""
    values = {"kind": table.get("kind", InfoNCE.name), **table}
    if values["kind"] == InfoNCE.name and "bank" in values:
        if values["bank"] == 0:
            del values["bank"]
        elif "kind" not in table:
            values["kind"] = InfoNCEBank.name
    return values


def soft_targets(t_BD: Tensor, temperature: float) -> Tensor:
    """Unit targets (B, D) -> (B, B) rows that sum to 1: how much each target of the batch matches each row.

    A softmax of the cosines between targets, so equal targets share the mass equally, similar ones nearly so, and
    distant ones get none. With temperature 0 only equal targets (cosine above 0.999) match. A batch with several
    items of a class thus has no false negatives. After Andonian et al., "Robust cross-modal representation learning
    with progressive self-distillation", CVPR 2022, with the frozen anchor as the teacher.
    """
    return _shares((t_BD @ t_BD.T).clamp(max=1.0), temperature)


def contrastive(z_BD: Tensor, t_BD: Tensor, targets_BB: Tensor, scale: Tensor | float) -> Tensor:
    """Unit embeddings, unit targets (B, D), soft targets (B, B), logit scale -> scalar.

    Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with a distribution of matches instead of a
    single one. Similarity is symmetric, so row i of `targets_BB` serves item i in one direction and target i in the
    other. Both directions have the same minimum (`entropy`), reached at z = t if the temperatures are equal.
    """
    logits = scale * z_BD @ t_BD.T
    return (F.cross_entropy(logits, targets_BB) + F.cross_entropy(logits.T, targets_BB)) / 2


def contrastive_with_bank(
    z_BD: Tensor, t_BD: Tensor, bank_MD: Tensor, scale: Tensor | float, temperature: float
) -> Tensor:
    """`contrastive` less its minimum, with the targets of a bank as further negatives of the items -> scalar.

    Frozen targets never go stale, so those of all rows can serve as negatives, like the keys of a memory bank (Wu et
    al., CVPR 2018; He et al., CVPR 2020). How much each one matches follows from `temperature` as in `soft_targets`:
    a target of the bank that is also in the batch is a second match, not a false negative. The other direction has no
    bank, because embeddings of items do go stale.
    """
    logits_BB, others_BM = scale * z_BD @ t_BD.T, scale * z_BD @ bank_MD.T
    cosine_BB = (t_BD @ t_BD.T).clamp(max=1.0)
    targets_BB = _shares(cosine_BB, temperature)
    targets_BC = _shares(torch.cat([cosine_BB, (t_BD @ bank_MD.T).clamp(max=1.0)], 1), temperature)
    forward = F.cross_entropy(torch.cat([logits_BB, others_BM], 1), targets_BC) - entropy(targets_BC)
    return (forward + F.cross_entropy(logits_BB.T, targets_BB) - entropy(targets_BB)) / 2


def entropy(targets_BB: Tensor) -> Tensor:
    """Rows that sum to 1 -> scalar: their mean entropy, the minimum of `contrastive`."""
    return -(targets_BB * targets_BB.clamp_min(1e-12).log()).sum(1).mean()


def _shares(cosine_BC: Tensor, temperature: float) -> Tensor:
    """Cosines between targets (B, C) -> (B, C) rows that sum to 1."""
    if temperature == 0:
        matches = (cosine_BC > 0.999).float()
        return matches / matches.sum(1, keepdim=True)
    return (cosine_BC / temperature).softmax(1)
