"""Waveforms -> mel spectrograms in dB -> what the trunk sees.

Shapes: B batch, T samples of a window, M mel bands, N frames, 2 channels (see `normalise`).
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn

from binder_audio.config import AudioConfig

WINDOW_MS = 25.0  # of the Fourier transform
LOWEST_HZ = 40.0
TINY = 1e-10  # power of a full-scale int16 sine is about 1e3; keeps the logarithm finite


class Spectrogram(nn.Module):
    """(B, T) int16 or float -> (B, 2, M, N) float32."""

    centres_M: Tensor  # Hz, of the mel bands

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        assert config.hop_ms and config.mels and config.mean_db is not None and config.std_db
        rate = config.sample_rate
        self.hop = max(1, round(rate * config.hop_ms / 1000))
        size = max(round(rate * WINDOW_MS / 1000), self.hop)
        n_fft = 1 << (size - 1).bit_length()
        self.fourier = torchaudio.transforms.Spectrogram(n_fft, win_length=size, hop_length=self.hop, power=None)
        self.bands = torchaudio.transforms.MelScale(config.mels, rate, f_min=LOWEST_HZ, n_stft=n_fft // 2 + 1)
        top_mel = 2595 * math.log10(1 + rate / 2 / 700)
        low_mel = 2595 * math.log10(1 + LOWEST_HZ / 700)
        centre_mel_M = torch.linspace(low_mel, top_mel, config.mels + 2)[1:-1]
        self.register_buffer("centres_M", 700 * (10 ** (centre_mel_M / 2595) - 1), persistent=False)  # Hz
        self.range_db, self.mean_db, self.std_db = config.range_db, config.mean_db, config.std_db

    def forward(self, wave_BT: Tensor) -> Tensor:
        """(B, T) -> (B, 2, M, N) normalised; frames of padding are exactly zero."""
        db_BMN, valid_BN = self.decibels(wave_BT)
        return self.normalise(db_BMN, valid_BN)

    def decibels(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) int16 or float -> (B, M, N) dB, and (B, N) bool: the frames before the padding.

        Padding is what `preprocess` appends: the exact zeros at the end of a row.
        """
        with torch.autocast(wave_BT.device.type, enabled=False):  # powers span more than bf16 tells apart
            wave = wave_BT.float() / 32_768 if not wave_BT.is_floating_point() else wave_BT.float()
            fourier = self.fourier(wave)
            power_BMN = self.bands(fourier.real.square() + fourier.imag.square())  # no detour by the root
        length_B1 = trailing_zeros_removed(wave_BT)[:, None]
        centre_N = torch.arange(power_BMN.shape[2], device=wave_BT.device) * self.hop
        return decibels(power_BMN), centre_N < length_B1

    def normalise(self, db_BMN: Tensor, valid_BN: Tensor) -> Tensor:
        """(B, M, N) dB -> (B, 2, M, N): about zero mean and unit variance; frames of padding are zero.

        Channel 0 is relative to the clip's loudest point, so that the recording level does not count; channel
        1 moreover to each band's mean over the clip, so that the voice and the microphone count less.
        """
        valid_B1N = valid_BN[:, None]
        loudest_B11 = db_BMN.masked_fill(~valid_B1N, -torch.inf).amax((1, 2), keepdim=True)
        level = (db_BMN - loudest_B11).clamp(min=-self.range_db)
        level = ((level - self.mean_db) / self.std_db).masked_fill(~valid_B1N, 0.0)
        mean_BM1 = level.sum(2, keepdim=True) / valid_B1N.sum(2, keepdim=True).clamp(min=1)
        band = (level - mean_BM1).masked_fill(~valid_B1N, 0.0)
        return torch.stack((level, band), dim=1)


def decibels(power: Tensor) -> Tensor:
    """Power -> dB, finite for silence."""
    return 10 * torch.log10(power.clamp(min=TINY))


def trailing_zeros_removed(rows_BT: Tensor) -> Tensor:
    """(B, T) -> (B,) int: length of each row without the exact zeros at its end, at least 1."""
    place_T = torch.arange(1, rows_BT.shape[1] + 1, device=rows_BT.device, dtype=torch.int32)
    return ((rows_BT != 0) * place_T).amax(1).clamp(min=1)


def valid_frames(x_B2MN: Tensor) -> Tensor:
    """(B, 2, M, N) as `normalise` makes it -> (B, N) bool: the frames before the padding."""
    length_B1 = trailing_zeros_removed(x_B2MN.abs().amax((1, 2)))[:, None]
    return torch.arange(x_B2MN.shape[3], device=x_B2MN.device) < length_B1
