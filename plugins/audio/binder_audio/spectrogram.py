"""Waveforms -> mel spectrograms in dB, which are cached -> the normalized input of the trunk.

Shapes: B batch, T samples of a window, M mel bands, N frames, 2 channels (see `normalize`).
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor

from binder_audio.config import AudioConfig

WINDOW_MS = 25.0  # of the Fourier transform
LOWEST_HZ = 40.0
SILENCE_DB = -100.0  # lower limit of the level (a full-scale sine has about 30 dB); keeps the logarithm finite
PADDING_DB = -200.0  # marks the frames after the end of a sound


class Spectrogram:
    """(B, T) int16 -> (B, M, N) float16 dB, PADDING_DB after the end of a sound.

    Half precision is accurate to 0.06 dB; with 48 bands this takes a third of the bytes of the samples. Not a module,
    because it runs on CPU where items are read, whatever device the encoder is on.
    """

    def __init__(self, config: AudioConfig) -> None:
        assert config.hop_ms and config.mels
        rate = config.sample_rate
        self.hop = max(1, round(rate * config.hop_ms / 1000))
        size = max(round(rate * WINDOW_MS / 1000), self.hop)
        n_fft = 1 << (size - 1).bit_length()
        self.size, self.n_fft = size, n_fft
        self.fourier = torchaudio.transforms.Spectrogram(n_fft, win_length=size, hop_length=self.hop, power=None)
        self.bands = torchaudio.transforms.MelScale(config.mels, rate, f_min=LOWEST_HZ, n_stft=n_fft // 2 + 1)
        top_mel = 2595 * math.log10(1 + rate / 2 / 700)
        low_mel = 2595 * math.log10(1 + LOWEST_HZ / 700)
        center_mel_M = torch.linspace(low_mel, top_mel, config.mels + 2)[1:-1]
        self.centers_M = 700 * (10 ** (center_mel_M / 2595) - 1)  # Hz, of the mel bands

    def numbers(self) -> dict[str, float]:
        """What `portable.spectrograms` has to know to make the same of a window."""
        return {
            "n_fft": self.n_fft,
            "frame": self.size,
            "hop": self.hop,
            "lowest_hz": LOWEST_HZ,
            "silence_db": SILENCE_DB,
            "padding_db": PADDING_DB,
        }

    @torch.no_grad()
    def __call__(self, wave_BT: Tensor) -> Tensor:
        """(B, T) int16 -> (B, M, N); exact zeros at the end of a row are padding."""
        fourier = self.fourier(wave_BT.float() / 32_768)
        power_BMN = self.bands(fourier.real.square() + fourier.imag.square())  # power without the square root of `abs`
        center_N = torch.arange(power_BMN.shape[2]) * self.hop
        valid_BN = center_N < length_without_padding(wave_BT)[:, None]
        return decibels(power_BMN).masked_fill(~valid_BN[:, None], PADDING_DB).half()


def normalize(db_BMN: Tensor, valid_BN: Tensor, config: AudioConfig) -> Tensor:
    """(B, M, N) dB, (B, N) bool -> (B, 2, M, N): about zero mean and unit variance; padding frames are zero.

    Channel 0 is relative to the clip's loudest point, which cancels the recording level. Channel 1 is relative also to
    each band's mean over the clip, which reduces the influence of voice and microphone.
    """
    assert config.mean_db is not None
    assert config.std_db
    valid_B1N = valid_BN[:, None]
    level = (db_BMN - loudest(db_BMN, valid_BN)).clamp(min=-config.range_db)
    level = ((level - config.mean_db) / config.std_db).masked_fill(~valid_B1N, 0.0)
    mean_BM1 = level.sum(2, keepdim=True) / valid_B1N.sum(2, keepdim=True).clamp(min=1)
    band = (level - mean_BM1).masked_fill(~valid_B1N, 0.0)
    return torch.stack((level, band), dim=1)


def loudest(db_BMN: Tensor, valid_BN: Tensor) -> Tensor:
    """(B, M, N) dB, (B, N) bool -> (B, 1, 1): the highest level before the padding."""
    return db_BMN.amax(1).masked_fill(~valid_BN, -torch.inf).amax(1)[:, None, None]


def sounding(db_BMN: Tensor) -> tuple[Tensor, Tensor]:
    """(B, M, N) from `Spectrogram` -> the same in float32, (B, N) bool: True for the frames before the padding."""
    return db_BMN.float().clamp(min=SILENCE_DB), db_BMN[:, 0] > PADDING_DB


def decibels(power: Tensor) -> Tensor:
    """Power -> dB, at least SILENCE_DB."""
    return 10 * torch.log10(power.clamp(min=10 ** (SILENCE_DB / 10)))


def from_decibels(db: Tensor) -> Tensor:
    """dB -> power."""
    return torch.exp2(db * (math.log2(10) / 10))  # six times as fast as a power of ten


def length_without_padding(rows_BT: Tensor) -> Tensor:
    """(B, T) -> (B,) int: length of each row without the exact zeros at its end, at least 1."""
    place_T = torch.arange(1, rows_BT.shape[1] + 1, device=rows_BT.device, dtype=torch.int32)
    return ((rows_BT != 0) * place_T).amax(1).clamp(min=1)


def valid_frames(x_B2MN: Tensor) -> Tensor:
    """(B, 2, M, N) from `normalize` -> (B, N) bool: True for the frames before the padding."""
    length_B1 = length_without_padding(x_B2MN.abs().amax((1, 2)))[:, None]
    return torch.arange(x_B2MN.shape[3], device=x_B2MN.device) < length_B1
