"""Random changes of a sound that do not change what it is, on batches of mel spectrograms in dB.

On the spectrogram rather than the waveform each costs almost nothing: stretching and shifting in time,
warping the frequency axis (pitch and the length of the vocal tract), a room, a microphone's response, noise,
masks.

Shapes: B batch, M mel bands, N frames. Random numbers are drawn from a CPU generator and moved to the batch.
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
    """How far each change goes at strength 1."""

    stretch: float = 0.25  # longest is 1 + this, shortest 1 / (1 + this)
    warp: float = 0.20  # the frequency axis, likewise
    tilt_db: float = 8.0  # dB at either end of the frequency axis
    ripple_db: float = 4.0  # dB, standard deviation of three slow waves along the frequency axis
    lowpass: float = 0.25  # share of the clips whose upper bands are taken away
    noise: float = 0.5  # share of the clips
    snr_db: tuple[float, float] = (0.0, 40.0)  # dB below the clip's mean
    room: float = 0.3  # share of the clips
    decay_s: tuple[float, float] = (0.1, 0.8)  # s until an echo has fallen by 60 dB
    floor_db: tuple[float, float] = (25.0, 55.0)  # dB below the loudest point under which nothing is heard
    mask_bands: float = 0.2  # largest share of the bands in one of two masks
    mask_time: float = 0.2  # largest share of the time in one of two masks


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
        """Numbers of the clips, about `share` of them, that are drawn."""
        return (torch.rand(self.count, generator=self.generator) < share).nonzero()[:, 0].to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true for about `share`."""
        return self.uniform(0, 1, *shape) < share


def distort(
    db_BMN: Tensor, valid_BN: Tensor, hz_M: Tensor, hop_s: float, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(B, M, N) dB, (B, N) bool -> the same shapes: stretched, shifted, warped, echoing, noisy."""
    dice, amounts = Dice(generator, db_BMN), Amounts()
    db, valid = _resample(db_BMN, valid_BN, hz_M, strength, amounts, dice)
    power_BMN = _room(from_decibels(db), hop_s, strength, amounts, dice)
    power_BMN = power_BMN * from_decibels(_response(hz_M, strength, amounts, dice))
    db = decibels(_noise(power_BMN, valid, hz_M, strength, amounts, dice))
    # recordings differ in nothing so much as in how silent their pauses are
    return torch.maximum(db, loudest(db, valid) - dice.uniform(*amounts.floor_db, 1, 1)), valid


def mask(x_B2MN: Tensor, valid_BN: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(B, 2, M, N) -> the same with two bands and two stretches of time zeroed (SpecAugment)."""
    dice, amounts = Dice(generator, x_B2MN), Amounts()
    length_B1 = valid_BN.sum(1, keepdim=True)
    bands = x_B2MN.shape[2]
    band_M = torch.arange(bands, device=x_B2MN.device)
    frame_N = torch.arange(x_B2MN.shape[3], device=x_B2MN.device)
    hidden_BM = torch.zeros(x_B2MN.shape[0], bands, dtype=torch.bool, device=x_B2MN.device)
    hidden_BN = torch.zeros_like(valid_BN)
    for _ in range(2):
        hidden_BM |= _stretch(band_M, torch.full_like(length_B1, bands), amounts.mask_bands * strength, dice)
        hidden_BN |= _stretch(frame_N, length_B1, amounts.mask_time * strength, dice)
    return x_B2MN.masked_fill((hidden_BM[:, :, None] | hidden_BN[:, None, :])[:, None], 0.0)


def _stretch(place: Tensor, length_B1: Tensor, most: float, dice: Dice) -> Tensor:
    """(X,), (B, 1) -> (B, X) bool: a random stretch of up to `most` of the length."""
    size = dice.uniform(0, min(most, 0.9), 1) * length_B1
    first = dice.uniform(0, 1, 1) * (length_B1 - size)
    return (place >= first) & (place < first + size)


def _resample(
    db_BMN: Tensor, valid_BN: Tensor, hz_M: Tensor, strength: float, amounts: Amounts, dice: Dice
) -> tuple[Tensor, Tensor]:
    """Stretch and shift in time, warp in frequency, by bilinear interpolation."""
    bands, frames = db_BMN.shape[1:]
    rate_B1 = torch.exp(dice.uniform(-1, 1, 1) * math.log1p(amounts.stretch) * strength)
    length_B1 = (valid_BN.sum(1, keepdim=True) * rate_B1).round().clamp(1, frames)
    # where there is room for it, the clip starts later; a clip that fills the window is cut a little
    room_B1 = frames - length_B1
    start_B1 = (dice.uniform(0, 1, 1) * room_B1 * min(strength, 1) * 0.5).round()
    frame_N = torch.arange(frames, device=db_BMN.device)
    time_BN = ((frame_N - start_B1) / rate_B1).clamp(min=0)

    factor_B1 = torch.exp(dice.uniform(-1, 1, 1) * math.log1p(amounts.warp) * strength)
    source_BM = torch.bucketize(hz_M * factor_B1, hz_M).clamp(1, bands - 1)
    low, high = hz_M[source_BM - 1], hz_M[source_BM]
    band_BM = source_BM - 1 + (hz_M * factor_B1 - low) / (high - low)  # beyond the last band: held there

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
    """Echoes: every frame lasts on and decays exponentially, in some of the clips."""
    frames = power_BMN.shape[2]
    decay_B1 = dice.uniform(*amounts.decay_s, 1)
    share_B1 = from_decibels(dice.uniform(-25, -8, 1))  # of a frame's power, in the frame after it
    inside = dice.some(amounts.room * strength)
    if not len(inside):
        return power_BMN
    later_N = torch.arange(frames, device=power_BMN.device)
    kernel_bN = share_B1[inside] * from_decibels(-60 * later_N * hop_s / decay_B1[inside])
    kernel_bN[:, 0] = 1.0  # the sound itself
    padded = functional.pad(kernel_bN, (frames - 1, 0))
    echo_bNN = padded.unfold(1, frames, 1).flip(1)  # row i, column j: what of frame i is left in frame j
    return power_BMN.index_copy(0, inside, power_BMN[inside] @ echo_bNN)


def _response(hz_M: Tensor, strength: float, amounts: Amounts, dice: Dice) -> Tensor:
    """(B, M, 1) dB: a microphone's tilt and ripple, and for some clips a telephone's missing upper bands."""
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
    """Steady noise, from white to brown, at a random distance below the clip, in some of the clips."""
    bands, frames = power_BMN.shape[1:]
    inside = dice.some(min(1.0, amounts.noise * strength))
    octave_M = torch.log2(hz_M / hz_M[0])
    slope_B1 = dice.uniform(-6, 3, 1)  # dB per octave; white noise rises, as bands grow wider
    colour_BM = from_decibels(slope_B1 * (octave_M - octave_M.mean()))
    colour_BM = colour_BM / colour_BM.mean(1, keepdim=True)
    mean_B11 = (power_BMN * valid_BN[:, None]).sum((1, 2), keepdim=True) / (
        bands * valid_BN.sum(1)[:, None, None].clamp(min=1)
    )
    low, high = amounts.snr_db
    level_B11 = mean_B11 * from_decibels(-dice.uniform(low, high, 1, 1))
    grain = torch.rand(len(inside), bands, frames, generator=dice.generator).clamp(min=1e-4)
    noise = -torch.log(grain).to(power_BMN.device)  # as the power of one Fourier bin of noise is distributed
    return power_BMN.index_add(0, inside, noise * (level_B11 * colour_BM[:, :, None])[inside])
