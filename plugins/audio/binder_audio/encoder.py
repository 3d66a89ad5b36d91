"""The encoder on spectrograms: convolutional or patch stem, transformer, pooling, head.

Shapes: B batch, W windows, T samples of a window, M mel bands, N frames, L tokens, E width, D embed_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from binder import Portable, Transformer
from binder_audio import channels, cutting
from binder_audio import portable as without_torch
from binder_audio.augment import distort, mask
from binder_audio.base import SoundEncoder
from binder_audio.config import AudioConfig
from binder_audio.pretrained import load
from binder_audio.spectrogram import Spectrogram, normalize, sounding, valid_frames


class AudioEncoder(SoundEncoder):
    """Sound -> (D,). `preprocess` makes spectrograms in dB, so that the cached ones serve every augmentation."""

    hz_M: Tensor  # centers of the mel bands

    def __init__(self, config: AudioConfig, embed_dim: int) -> None:
        super().__init__(config)
        config = self.config
        self.spectrogram = Spectrogram(config)
        self.register_buffer("hz_M", self.spectrogram.centers_M, persistent=False)
        self.trunk = Trunk(config)
        if config.trunk == "speech":
            load(self.trunk, config)
        self.project = nn.Linear(self.trunk.out_features, embed_dim)

    def represent(self, wave_WT: Tensor) -> Tensor:
        """(W, T) int16 -> (W, M, N) float16."""
        return self.spectrogram(wave_WT)

    def portable(self) -> Portable:
        settings = {
            "sample_rate": self.config.sample_rate,
            "window": self.window,
            "mels": self.config.mels,
            **self.spectrogram.numbers(),
        }
        example = self.represent(torch.arange(self.window)[None].remainder(97).to(torch.int16))
        takes = "a sound: WAV, FLAC, OGG or another format of libsndfile"
        code = (channels, cutting, without_torch)
        return Portable(code, settings, takes, ("soundfile", "soxr"), example, same_items=True)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, M, N) -> (B, 2, M, N), altered at random; `features` takes either shape."""
        strength = self.config.strength
        db_BMN, valid_BN = sounding(batch)
        if strength == 0:
            return normalize(db_BMN, valid_BN, self.config)
        hop_s = self.spectrogram.hop / self.config.sample_rate
        db_BMN, valid_BN = distort(db_BMN, valid_BN, self.hz_M, hop_s, strength, generator)
        return mask(normalize(db_BMN, valid_BN, self.config), valid_BN, strength, generator)

    def lr_scales(self) -> dict[str, float]:
        return {"trunk.": self.config.trunk_lr} if self.config.trunk == "speech" else {}

    def features(self, batch: Tensor) -> Tensor:
        """(B, M, N) as `preprocess` or (B, 2, M, N) as `augment` made it -> (B, F)."""
        x_B2MN = batch if batch.ndim == 4 else normalize(*sounding(batch), self.config)
        features_BF: Tensor = self.trunk(x_B2MN, valid_frames(x_B2MN))
        return features_BF

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        z_BD: Tensor = self.project(features)
        return z_BD


class Trunk(Transformer):
    """(B, 2, M, N), (B, N) bool -> (B, F)."""

    def __init__(self, config: AudioConfig) -> None:
        assert config.width and config.layers and config.heads and config.mels
        super().__init__(config.width, config.layers, config.heads, config.dropout)
        self.stem: nn.Module
        if config.preset == "vit-b":
            self.stem = PatchStem(config.mels, config.width)
        else:
            self.stem = ConvStem(config.mels, config.width)

    def tokens(self, x_B2MN: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, M, N), (B, N) bool -> (B, L, E) in time order, (B, L) bool: False where padding."""
        return super().tokens(*self.stem(x_B2MN, valid_BN))


class ConvStem(nn.Module):
    """(B, 2, M, N) -> (B, N / 4, E): two convolutions, then one token for all bands of four frames."""

    def __init__(self, mels: int, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(2, 32, 5, stride=(4, 2), padding=2)
        self.two = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(64)
        self.token = nn.Linear(64 * -(-mels // 8), width)
        self.place = nn.Conv1d(width, width, 9, padding=4, groups=width)  # position from the neighbors

    def forward(self, x_B2MN: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
        # channels last: faster on CPU, and the layer norm over channels needs no copy
        h_BcMN = functional.relu(self.one(x_B2MN.contiguous(memory_format=torch.channels_last)))
        h_BNMc = self.two(h_BcMN).permute(0, 3, 2, 1)
        h_BNMc = functional.relu(self.norm(h_BNMc))
        valid_BL = valid_BN[:, ::4]
        h_BLE = self.token(h_BNMc.flatten(2)).masked_fill(~valid_BL[:, :, None], 0.0)
        return h_BLE + self.place(h_BLE.transpose(1, 2)).transpose(1, 2), valid_BL


class PatchStem(nn.Module):
    """(B, 2, M, N) -> (B, L, E): overlapping square patches as in ImageBind, with fixed sine positions."""

    PATCH, STRIDE = 16, 10  # bands and frames

    def __init__(self, mels: int, width: int) -> None:
        super().__init__()
        if mels < self.PATCH:
            raise ValueError(f"the patch stem needs at least {self.PATCH} mels")
        self.cut = nn.Conv2d(2, width, self.PATCH, stride=self.STRIDE)

    def forward(self, x_B2MN: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
        h_BEmn = self.cut(x_B2MN)
        rows, columns = h_BEmn.shape[2:]
        valid_Bn = valid_BN[:, : columns * self.STRIDE : self.STRIDE]
        half = h_BEmn.shape[1] // 2
        where_mnE = torch.cat(
            (
                _sines(rows, half, h_BEmn)[:, None].expand(-1, columns, -1),
                _sines(columns, h_BEmn.shape[1] - half, h_BEmn)[None].expand(rows, -1, -1),
            ),
            dim=2,
        )
        h_BLE = (h_BEmn.permute(0, 2, 3, 1) + where_mnE).flatten(1, 2)
        return h_BLE, valid_Bn[:, None].expand(-1, rows, -1).flatten(1)


def _sines(count: int, width: int, like: Tensor) -> Tensor:
    """(count, width): fixed sine and cosine positions, so that windows of any length work."""
    place = torch.arange(count, device=like.device, dtype=torch.float32)[:, None]
    wave = torch.exp(torch.arange((width + 1) // 2, device=like.device) * (-9.2 / max(width // 2, 1)))
    return torch.cat((torch.sin(place * wave), torch.cos(place * wave)), dim=1)[:, :width].to(like.dtype)
