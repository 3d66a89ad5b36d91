"""The small transformer that the bases for series and for points share: tokens -> one vector.

Shapes: B batch, L tokens, E width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Trunk(nn.Module):
    """(B, L, E) tokens and (B, L) bool, which of them count -> (B, 3 E). At least one must count in every row."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.weigh = nn.Linear(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.out_features = 3 * width
        self.apply(_initialise)

    def forward(self, h_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        for block in self.blocks:
            h_BLE = block(h_BLE, valid_BL)
        return self.dropout(self.pooled(self.norm(h_BLE), valid_BL))

    def pooled(self, h_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        """(B, L, E) -> (B, 3 E): a mean that each head weighs by what it finds important, the mean, the largest."""
        hidden_BL1 = ~valid_BL[:, :, None]
        weight_BLH = self.weigh(h_BLE).float().masked_fill(hidden_BL1, -torch.inf).softmax(1).to(h_BLE.dtype)
        split_BLHc = h_BLE.unflatten(2, (weight_BLH.shape[2], -1))
        weighted_BE = torch.einsum("blh,blhc->bhc", weight_BLH, split_BLHc).flatten(1)
        mean_BE = h_BLE.masked_fill(hidden_BL1, 0.0).sum(1) / valid_BL.sum(1, keepdim=True).to(h_BLE.dtype)
        most_BE = h_BLE.masked_fill(hidden_BL1, -torch.inf).amax(1)
        return torch.cat((weighted_BE, mean_BE, most_BE), dim=1)


class Block(nn.Module):
    """A pre-norm transformer block: (B, L, E), (B, L) bool -> (B, L, E)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm_1(h_BLE)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=valid_BL[:, None, None, :])
        h_BLE = h_BLE + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return h_BLE + self.dropout(self.down(F.gelu(self.up(self.norm_2(h_BLE)))))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
