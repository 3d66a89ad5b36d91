"""The small transformer that the series and point encoders share, and plugins may use: tokens -> one vector.

Shapes: B batch, L tokens, E width, H heads, d = E / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Transformer(nn.Module):
    """(B, L, E) tokens and a (B, L) bool mask of valid ones -> (B, 3 E). Every row needs at least one valid token."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.out_features = 3 * width
        self.apply(initialize)

    def forward(self, h_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        pooled: Tensor = self.dropout(self.pooled(*self.tokens(h_BLE, valid_BL)))
        return pooled

    def tokens(self, h_BLE: Tensor, valid_BL: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, E), (B, L) bool -> (B, L, E) after all blocks, and the mask."""
        for block in self.blocks:
            h_BLE = block(h_BLE, valid_BL)
        return self.norm(h_BLE), valid_BL

    def pooled(self, h_BLE: Tensor, valid_BL: Tensor) -> Tensor:
        """(B, L, E), (B, L) bool -> (B, 3 E): attention pooling, mean and maximum over the tokens, concatenated.

        Each head of the attention pooling learns its own weights. The mean serves signals that are textures and the
        maximum those with one short event, where data is scarce (+9 points of a linear probe on ESC-10).
        """
        hidden_BL1 = ~valid_BL[:, :, None]
        weight_BLH = self.pool(h_BLE).float().masked_fill(hidden_BL1, -torch.inf).softmax(1).to(h_BLE.dtype)
        split_BLHd = torch.unflatten(h_BLE, 2, (weight_BLH.shape[2], -1))
        weighted_BE = torch.einsum("blh,blhd->bhd", weight_BLH, split_BLHd).flatten(1)
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
        h_BLE = h_BLE + self.dropout(self.out(attention(q, k, v, valid_BL).transpose(1, 2).flatten(2)))
        out_BLE: Tensor = h_BLE + self.dropout(self.down(F.gelu(self.up(self.norm_2(h_BLE)))))
        return out_BLE


def attention(q_BHLd: Tensor, k_BHLd: Tensor, v_BHLd: Tensor, valid_BL: Tensor) -> Tensor:
    """Scaled dot-product attention to the valid tokens: (B, H, L, d) each, (B, L) bool -> (B, H, L, d).

    PyTorch's fused kernel, except for training on few tokens on a CPU, where its backward pass takes up to five times
    as long as the plain formula.
    """
    mask_B11L = valid_BL[:, None, None, :]
    few = q_BHLd.shape[2] <= (256 if q_BHLd.dtype == torch.bfloat16 else 64)
    if not (few and q_BHLd.requires_grad and q_BHLd.device.type == "cpu"):
        return F.scaled_dot_product_attention(q_BHLd, k_BHLd, v_BHLd, attn_mask=mask_B11L)
    scale: float = q_BHLd.shape[3] ** -0.5
    scores_BHLL = (q_BHLd * scale) @ k_BHLd.transpose(2, 3)
    return scores_BHLL.masked_fill(~mask_B11L, -torch.inf).softmax(3).to(v_BHLd.dtype) @ v_BHLd


def initialize(module: nn.Module) -> None:
    """For `Module.apply`: small random weights and zero biases in linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
