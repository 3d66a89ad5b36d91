"""Augmentation of series: random changes of pace, start, level, orientation, noise and gaps.

Shapes: B batch, C channels, T samples. Random numbers come from a CPU generator and are moved to the batch's device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Amounts:
    """The size of each change at strength 1."""

    pace: float = 0.25  # the whole series is up to this much slower or faster
    warp: float = 0.25  # standard deviation of the log of the pace, which varies slowly within a series
    knots: int = 6  # of that variation
    shift: float = 0.1  # share of the window, in either direction
    scale: float = 0.15  # standard deviation of the log of the factor on a channel
    noise: float = 0.05  # in standard deviations of a channel
    mask: float = 0.15  # largest share of the window in each of two gaps


def change(
    batch: Tensor,
    std_C: Tensor,
    *,
    vectors: Sequence[tuple[int, int, int]],
    turn_deg: float,
    strength: float,
    generator: torch.Generator,
) -> Tensor:
    """(B, C + 1, T) windows -> the same shape, augmented.

    `std_C` is the standard deviation of each channel, `vectors` the positions of channels that are rotated together.
    """
    if strength == 0:
        return batch
    dice, amounts = _Dice(generator, batch), Amounts()
    x_BCT, valid_BT = _resample(batch, strength, amounts, dice)
    if vectors and turn_deg:
        x_BCT = _turn(x_BCT, vectors, math.radians(turn_deg) * min(strength, 1.0), dice)
    channels, size = x_BCT.shape[1:]
    x_BCT = x_BCT * torch.exp(dice.normal(channels, 1) * amounts.scale * strength)
    x_BCT = x_BCT + dice.normal(channels, size) * std_C[:, None] * amounts.noise * strength
    for _ in range(2):
        valid_BT = valid_BT & ~_gap(valid_BT, amounts.mask * strength, dice)
    valid_B1T = valid_BT[:, None].to(x_BCT.dtype)
    return torch.cat((x_BCT * valid_B1T, valid_B1T), dim=1)


class _Dice:
    """Random numbers for a batch from a CPU generator, on the batch's device."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator, self.like = generator, like

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) in low..high."""
        u = torch.rand(len(self.like), *shape, generator=self.generator)
        return (low + (high - low) * u).to(self.like)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return torch.randn(len(self.like), *shape, generator=self.generator).to(self.like)


def _resample(batch: Tensor, strength: float, amounts: Amounts, dice: _Dice) -> tuple[Tensor, Tensor]:
    """(B, C + 1, T) -> (B, C, T), (B, T) bool validity: time-warped and shifted, by linear interpolation."""
    size = batch.shape[2]
    slow_BT = F.interpolate(dice.normal(amounts.knots)[:, None], size=size, mode="linear", align_corners=True)[:, 0]
    log_BT = dice.uniform(-1, 1, 1) * math.log1p(amounts.pace) + slow_BT * amounts.warp
    time_BT = torch.cumsum(torch.exp(log_BT * strength), dim=1)
    # around the middle, so that both ends are equally likely to leave the window
    time_BT = time_BT - time_BT[:, size // 2, None] + size // 2
    time_BT = time_BT + dice.uniform(-1, 1, 1) * amounts.shift * size * strength
    low_BT = time_BT.floor()
    part_B1T = (time_BT - low_BT)[:, None]
    first = low_BT.long().clamp(0, size - 1)[:, None].expand_as(batch)
    second = (low_BT.long() + 1).clamp(0, size - 1)[:, None].expand_as(batch)
    moved = batch.gather(2, first) * (1 - part_B1T) + batch.gather(2, second) * part_B1T
    inside_BT = (time_BT >= 0) & (time_BT <= size - 1)
    valid_BT = (moved[:, -1] > 0.999) & inside_BT
    lost_B1 = ~valid_BT.any(1, keepdim=True)  # a short series may have left the window entirely
    x_BCT = torch.where(lost_B1[:, None], batch[:, :-1], moved[:, :-1])
    return x_BCT, torch.where(lost_B1, batch[:, -1] > 0, valid_BT)


def _turn(x_BCT: Tensor, vectors: Sequence[tuple[int, int, int]], most: float, dice: _Dice) -> Tensor:
    """(B, C, T) -> (B, C, T): vectors rotated about one random axis per series, by up to `most` radians (Rodrigues)."""
    axis_B3 = F.normalize(dice.normal(3), dim=1)
    angle_B11 = dice.uniform(-most, most, 1, 1)
    zero_B = torch.zeros_like(axis_B3[:, 0])
    x, y, z = axis_B3.unbind(1)
    cross_B33 = torch.stack((zero_B, -z, y, z, zero_B, -x, -y, x, zero_B), dim=1).view(-1, 3, 3)
    turn_B33 = torch.eye(3).to(x_BCT) + angle_B11.sin() * cross_B33 + (1 - angle_B11.cos()) * cross_B33 @ cross_B33
    turned = x_BCT.clone()
    for triple in vectors:
        turned[:, list(triple)] = turn_B33 @ x_BCT[:, list(triple)]
    return turned


def _gap(valid_BT: Tensor, most: float, dice: _Dice) -> Tensor:
    """(B, T) bool -> (B, T) bool: a random run of up to the share `most` of the valid samples."""
    length_B1 = valid_BT.sum(1, keepdim=True)
    place_BT = valid_BT.cumsum(1) - 1
    size_B1 = dice.uniform(0, min(most, 0.4), 1) * length_B1
    start_B1 = dice.uniform(0, 1, 1) * (length_B1 - size_B1)
    return (place_BT >= start_B1) & (place_BT < start_B1 + size_B1)
