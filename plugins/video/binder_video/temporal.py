"""The layer that adds the order of the frames to their mean.

Shapes: B batch, T frames, D embed_dim.
"""

from __future__ import annotations

from torch import Tensor, nn


class Temporal(nn.Module):
    """(B, T, D) -> (B, D): one hidden layer over the concatenated frames; its output starts at zero.

    Chosen over a transformer on the frames, attention pooling and convolutions in time: as good when trained on 2,000
    moving shapes, 7 points better on 150, in a quarter of the time (see the README).
    """

    def __init__(self, frames: int, embed_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(frames * embed_dim, hidden)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(hidden, embed_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z_BTD: Tensor) -> Tensor:
        z_BD: Tensor = self.leave(self.dropout(nn.functional.gelu(self.enter(z_BTD.flatten(1)))))
        return z_BD
