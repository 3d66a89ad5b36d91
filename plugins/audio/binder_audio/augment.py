"""Augmentation of mel spectrograms in dB: random changes that leave the meaning of a sound alone.

They are applied to the spectrogram rather than the waveform, where each is almost free: stretching and shifting in
time, warping the frequency axis (pitch, length of the vocal tract), reverberation, a microphone's frequency response,
noise and masks.

Shapes: B batch, M mel bands, N frames. Random numbers come from a CPU generator and are moved to the batch's device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from binder_audio.spectrogram import decibels, from_decibels, loudest


@dataclass(frozen=True)
class Amounts:
    """The range of each change at strength 1."""

    stretch: float = 0.25  # time is scaled by up to 1 + this and down to 1 / (1 + this)
    warp: float = 0.20  # the frequency axis, likewise
    tilt_db: float = 8.0  # dB at either end of the frequency axis
    ripple_db: float = 4.0  # dB, standard deviation of three slow waves along the frequency axis
    lowpass: float = 0.25  # share of the clips that lose their upper bands
    noise: float = 0.5  # share of the clips
    snr_db: tuple[float, float] = (0.0, 40.0)  # dB of the noise below the clip's mean power
    room: float = 0.3  # share of the clips
    decay_s: tuple[float, float] = (0.1, 0.8)  # s until the reverberation has fallen by 60 dB
    floor_db: tuple[float, float] = (25.0, 55.0)  # dB below the loudest point at which levels are clipped
    mask_bands: float = 0.2  # largest share of the bands under one of the two masks
    mask_time: float = 0.2  # largest share of the time under one of the two masks


class Dice:
    """Random numbers for B clips from a CPU generator, on the batch's device."""

    def __init__(self, generator: torch.Generator, like: Tensor) -> None:
        self.generator, self.device, self.count = generator, like.device, like.shape[0]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) in low..high."""
        u = torch.rand(self.count, *shape, generator=self.generator)
        return (low + (high - low) * u).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return torch.randn(self.count, *shape, generator=self.generator).to(self.device)

    def some(self, share: float) -> Tensor:
        """(b,): indices of a random subset of the clips, about `share` of them."""
        return (torch.rand(self.count, generator=self.generator) < share).nonzero()[:, 0].to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true with probability `share`."""
        return self.uniform(0, 1, *shape) < share


def distort(
    db_BMN: Tensor, valid_BN: Tensor, hz_M: Tensor, hop_s: float, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(B, M, N) dB, (B, N) bool -> the same shapes: stretched, shifted, warped, reverberant, noisy."""
    dice, amounts = Dice(generator, db_BMN), Amounts()
    db, valid = _resample(db_BMN, valid_BN, hz_M, strength, amounts, dice)
    power_BMN = _room(from_decibels(db), hop_s, strength, amounts, dice)
    power_BMN = power_BMN * from_decibels(_response(hz_M, strength, amounts, dice))
    db = decibels(_noise(power_BMN, valid, hz_M, strength, amounts, dice))
    # the level of the pauses is what differs most between recordings
    return torch.maximum(db, loudest(db, valid) - dice.uniform(*amounts.floor_db, 1, 1)), valid


def mask(x_B2MN: Tensor, valid_BN: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(B, 2, M, N) -> the same with two bands and two spans of time set to zero (SpecAugment)."""
    dice, amounts = Dice(generator, x_B2MN), Amounts()
    length_B1 = valid_BN.sum(1, keepdim=True)
    bands = x_B2MN.shape[2]
    band_M = torch.arange(bands, device=x_B2MN.device)
    frame_N = torch.arange(x_B2MN.shape[3], device=x_B2MN.device)
    hidden_BM = torch.zeros(x_B2MN.shape[0], bands, dtype=torch.bool, device=x_B2MN.device)
    hidden_BN = torch.zeros_like(valid_BN)
    for _ in range(2):
        hidden_BM |= _span(band_M, torch.full_like(length_B1, bands), amounts.mask_bands * strength, dice)
        hidden_BN |= _span(frame_N, length_B1, amounts.mask_time * strength, dice)
    return x_B2MN.masked_fill((hidden_BM[:, :, None] | hidden_BN[:, None, :])[:, None], 0.0)


def _span(place_X: Tensor, length_B1: Tensor, most: float, dice: Dice) -> Tensor:
    """(X,), (B, 1) -> (B, X) bool: a random span of up to the share `most` of the length."""
    size_B1 = dice.uniform(0, min(most, 0.9), 1) * length_B1
    first_B1 = dice.uniform(0, 1, 1) * (length_B1 - size_B1)
    return (place_X >= first_B1) & (place_X < first_B1 + size_B1)


def _resample(
    db_BMN: Tensor, valid_BN: Tensor, hz_M: Tensor, strength: float, amounts: Amounts, dice: Dice
) -> tuple[Tensor, Tensor]:
    """Stretch and shift in time and warp in frequency, by bilinear interpolation."""
    bands, frames = db_BMN.shape[1:]
    rate_B1 = torch.exp(dice.uniform(-1, 1, 1) * math.log1p(amounts.stretch) * strength)
    length_B1 = (valid_BN.sum(1, keepdim=True) * rate_B1).round().clamp(1, frames)
    # the clip starts later where the window has room for that; one that fills the window may lose its end
    room_B1 = frames - length_B1
    start_B1 = (dice.uniform(0, 1, 1) * room_B1 * min(strength, 1) * 0.5).round()
    frame_N = torch.arange(frames, device=db_BMN.device)
    time_BN = ((frame_N - start_B1) / rate_B1).clamp(min=0)

    factor_B1 = torch.exp(dice.uniform(-1, 1, 1) * math.log1p(amounts.warp) * strength)
    source_BM = torch.bucketize(hz_M * factor_B1, hz_M).clamp(1, bands - 1)
    low, high = hz_M[source_BM - 1], hz_M[source_BM]
    band_BM = source_BM - 1 + (hz_M * factor_B1 - low) / (high - low)  # constant beyond the last band

    grid = torch.stack(
        (
            (2 * time_BN / max(frames - 1, 1) - 1)[:, None, :].expand(-1, bands, -1),
            (2 * band_BM / max(bands - 1, 1) - 1)[:, :, None].expand(-1, -1, frames),
        ),
        dim=3,
    )
    warped = functional.grid_sample(db_BMN[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    before = frame_N < start_B1
    warped = warped.masked_fill(before[:, None], -100.0)
    return warped, frame_N < start_B1 + length_B1


def _room(power_BMN: Tensor, hop_s: float, strength: float, amounts: Amounts, dice: Dice) -> Tensor:
    """Reverberation in some of the clips: the power of every frame decays exponentially over the next ones."""
    frames = power_BMN.shape[2]
    decay_B1 = dice.uniform(*amounts.decay_s, 1)
    share_B1 = from_decibels(dice.uniform(-25, -8, 1))  # of a frame's power that enters the next frame
    inside = dice.some(amounts.room * strength)
    if not len(inside):
        return power_BMN
    later_N = torch.arange(frames, device=power_BMN.device)
    kernel_bN = share_B1[inside] * from_decibels(-60 * later_N * hop_s / decay_B1[inside])
    kernel_bN[:, 0] = 1.0  # the direct sound
    padded = functional.pad(kernel_bN, (frames - 1, 0))
    echo_bNN = padded.unfold(1, frames, 1).flip(1)  # row i, column j: the share of frame i in frame j
    return power_BMN.index_copy(0, inside, power_BMN[inside] @ echo_bNN)


def _response(hz_M: Tensor, strength: float, amounts: Amounts, dice: Dice) -> Tensor:
    """(B, M, 1) dB: the tilt and ripple of a microphone; some clips lose their upper bands, as on a telephone."""
    place_M = torch.linspace(0, 1, len(hz_M), device=hz_M.device)
    curve_BM = dice.uniform(-1, 1, 1) * amounts.tilt_db * (2 * place_M - 1)
    for waves in (1, 2, 3):
        phase_B1 = dice.uniform(0, 2 * math.pi, 1)
        curve_BM = curve_BM + dice.normal(1) * amounts.ripple_db / math.sqrt(3) * torch.cos(
            math.pi * waves * place_M + phase_B1
        )
    cut_B1 = dice.uniform(0.55, 1.0, 1)  # of the mel axis: 2.2 kHz to 8 kHz at 16 kHz
    missing_BM = (place_M > cut_B1) & dice.chance(amounts.lowpass * strength, 1)
    return (curve_BM * strength).masked_fill(missing_BM, -80.0)[:, :, None]


def _noise(power_BMN: Tensor, valid_BN: Tensor, hz_M: Tensor, strength: float, amounts: Amounts, dice: Dice) -> Tensor:
    """Stationary noise, from white to brown, at a random level below the clip, in some of the clips."""
    bands, frames = power_BMN.shape[1:]
    inside = dice.some(min(1.0, amounts.noise * strength))
    octave_M = torch.log2(hz_M / hz_M[0])
    slope_B1 = dice.uniform(-6, 3, 1)  # dB per octave; white noise rises, as the bands get wider
    color_BM = from_decibels(slope_B1 * (octave_M - octave_M.mean()))
    color_BM = color_BM / color_BM.mean(1, keepdim=True)
    mean_B11 = (power_BMN * valid_BN[:, None]).sum((1, 2), keepdim=True) / (
        bands * valid_BN.sum(1)[:, None, None].clamp(min=1)
    )
    low, high = amounts.snr_db
    level_B11 = mean_B11 * from_decibels(-dice.uniform(low, high, 1, 1))
    grain = torch.rand(len(inside), bands, frames, generator=dice.generator).clamp(min=1e-4)
    noise = -torch.log(grain).to(power_BMN.device)  # exponential, the distribution of the power in one Fourier bin
    return power_BMN.index_add(0, inside, noise * (level_B11 * color_BM[:, :, None])[inside])
