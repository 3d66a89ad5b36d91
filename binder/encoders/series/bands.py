"""Short-time power in frequency bands, a compact form of fast series.

Shapes: B batch, C channels, T samples, N frames, K frequencies, F bands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FRAMES = 200  # per window
RANGE_DB = 50.0  # dB below the loudest point of an item, at which power is clipped


class Bands(nn.Module):
    """(B, C, T), (B, 1, T) validity -> (B, C F, N), (B, 1, N): dB in F log-spaced bands, scaled to -1..1.

    Relative to the loudest point of the item, so that its overall level does not matter.
    """

    weight_KF: Tensor
    shape_K: Tensor

    def __init__(self, size: int, bands: int) -> None:
        super().__init__()
        self.hop = max(1, size // FRAMES)
        self.length = max(4 * self.hop, 2 * bands)  # samples in a frame
        self.frames = -(-size // self.hop)
        self.register_buffer("shape_K", torch.hann_window(self.length), persistent=False)
        self.register_buffer("weight_KF", _triangles(self.length // 2 + 1, bands), persistent=False)

    def forward(self, x_BCT: Tensor, valid_B1T: Tensor) -> tuple[Tensor, Tensor]:
        padded = nn.functional.pad(x_BCT, (self.length // 2, self.length))
        frames_BCNK = padded.unfold(2, self.length, self.hop)[:, :, : self.frames] * self.shape_K
        power_BCNK = torch.fft.rfft(frames_BCNK.float()).abs().square()
        db_BCNF = 10 * torch.log10((power_BCNK @ self.weight_KF).clamp(min=1e-12))
        loudest = db_BCNF.amax((1, 2, 3), keepdim=True)
        level_BCNF = (db_BCNF - loudest).clamp(min=-RANGE_DB) / (RANGE_DB / 2) + 1
        valid_B1N = valid_B1T[:, :, :: self.hop]
        return level_BCNF.transpose(2, 3).flatten(1, 2) * valid_B1N, valid_B1N


def _triangles(frequencies: int, bands: int) -> Tensor:
    """(K, F): overlapping triangular bands, of equal width at low frequencies and wider at high ones."""
    top = torch.tensor(float(frequencies - 1))
    knee = top / 8
    warped = torch.linspace(0, float(torch.log1p(top / knee)), bands + 2)
    edges = knee * torch.expm1(warped)
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    k = torch.arange(frequencies)[:, None]
    weight = torch.minimum((k - low) / (center - low), (high - k) / (high - center)).clamp(min=0)
    nearest = (k - center).abs() <= 0.5  # for bands narrower than the spacing of the frequencies
    return torch.where(weight.sum(0) > 0, weight, nearest.float())
