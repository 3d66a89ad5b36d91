"""The point cloud encoder: neighborhoods as tokens, then a small transformer.

The groups are those of PointNet++ (Qi et al. 2017); turning them into tokens follows Point-BERT (Yu et al. 2022).

Shapes: B batch, N points, C values of a point, G groups, K neighbors, E width, D embed_dim.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from binder.encoder import Encoder
from binder.encoders.points.cloud import read_points
from binder.encoders.points.config import PointConfig, Read
from binder.encoders.transformer import Transformer
from binder.modality import Item
from binder.portable import Portable, points

# the augmentation at strength 1
STRETCH = 0.1  # standard deviation of the log of the factor on an axis
JITTER = 0.01  # standard deviation, in radii of the unit sphere
DROP = 0.5  # largest share of points that are dropped
TINT = 0.1  # standard deviation, as a share of a color's range


class PointEncoder(Encoder):
    """Points in the unit sphere -> (D,). `read` is a function of the plugin: (item, config) -> Points."""

    def __init__(self, config: PointConfig, embed_dim: int, read: Read) -> None:
        super().__init__()
        self.config, self.read = config, read
        channels = 3 * (1 + config.normals + config.colors)
        self.groups = Groups(channels, config)
        self.trunk = Transformer(config.width, config.layers, config.heads, config.dropout)
        self.project = nn.Linear(self.trunk.out_features, embed_dim)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, N, C) float32: coordinates, then normals and colors where the configuration has them."""
        return torch.from_numpy(read_points(self.read, item, self.config))[None]

    def portable(self) -> Portable:
        config = self.config
        columns = ["x, y, z", *["normals"] * config.normals, *["colors"] * config.colors]
        settings = {
            "points": config.points,
            "up": config.up,
            "normals": config.normals,
            "colors": config.colors,
        }
        takes = f"a .npy file of points (P, {3 * len(columns)}): {', '.join(columns)}"
        around = torch.randn(1, config.points, 3 * len(columns), generator=torch.Generator().manual_seed(0))
        return Portable((points,), settings, takes, example=around / 4)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N, C) -> (B, N, C): rotated, stretched, jittered, thinned, tinted."""
        strength = self.config.strength
        if strength == 0:
            return batch

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(batch)

        count, points = batch.shape[:2]
        turn_B33 = turns(count, self.config.turn, generator).to(batch)
        xyz_BN3 = batch[:, :, :3] @ turn_B33.mT
        xyz_BN3 = xyz_BN3 * torch.exp(normal(count, 1, 3) * STRETCH * strength)
        xyz_BN3 = xyz_BN3 + normal(count, points, 3) * JITTER * strength
        parts = [xyz_BN3 / xyz_BN3.norm(dim=2, keepdim=True).amax(1, keepdim=True)]
        if self.config.normals:
            parts.append(batch[:, :, 3:6] @ turn_B33.mT)
        if self.config.colors:
            parts.append((batch[:, :, -3:] + normal(count, 1, 3) * TINT * strength).clamp(0, 1))
        x_BNC = torch.cat(parts, dim=2)
        # a dropped point is replaced by another one, as in PointNet++, so that shapes stay the same
        share_B1 = torch.rand(count, 1, generator=generator) * min(DROP * strength, 0.9)
        gone_BN = torch.rand(count, points, generator=generator) < share_B1
        gone_BN[:, 0] = False
        other_BN = torch.where(gone_BN, 0, torch.arange(points)).to(batch.device)
        return x_BNC.gather(1, other_BN[:, :, None].expand_as(x_BNC))

    def features(self, batch: Tensor) -> Tensor:
        """(B, N, C) -> (B, F)."""
        h_BGE = self.groups(batch)
        features_BF: Tensor = self.trunk(h_BGE, torch.ones(h_BGE.shape[:2], dtype=torch.bool, device=h_BGE.device))
        return features_BF

    def head(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, D)."""
        z_BD: Tensor = self.project(features)
        return z_BD


class Groups(nn.Module):
    """(B, N, C) in the order of `points.cloud.spread` -> (B, G, E): a token for each of the first G points.

    A token describes the K nearest points, relative to the first one, by a PointNet: maximum and mean over the points.
    """

    def __init__(self, channels: int, config: PointConfig) -> None:
        super().__init__()
        self.count, self.neighbors = config.groups, config.neighbors
        hidden = config.width
        self.each = nn.Sequential(nn.Linear(channels + 1, 64), nn.GELU(), nn.Linear(64, hidden))
        self.both = nn.Sequential(nn.GELU(), nn.Linear(2 * hidden, config.width))
        self.place = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, config.width))

    def forward(self, x_BNC: Tensor) -> Tensor:
        center_BG3 = x_BNC[:, : self.count, :3]
        with torch.no_grad(), torch.autocast(x_BNC.device.type, enabled=False):
            distance_BGN = torch.cdist(center_BG3.float(), x_BNC[:, :, :3].float())
            near_BGK = distance_BGN.topk(self.neighbors, largest=False).indices
        near_BGKC = x_BNC[torch.arange(x_BNC.shape[0], device=x_BNC.device)[:, None, None], near_BGK]
        around_BGK3 = near_BGKC[..., :3] - center_BG3[:, :, None]
        # in units of the mean distance, with that distance as one more feature, so that small parts show their shape
        size_BG11 = around_BGK3.norm(dim=3).mean(2)[:, :, None, None]
        relative_BGK3 = around_BGK3 / size_BG11.clamp(min=1e-4)
        each_BGKC = torch.cat((relative_BGK3, near_BGKC[..., 3:], size_BG11.expand_as(near_BGKC[..., :1])), dim=3)
        h_BGKE = self.each(each_BGKC)
        what_BGE: Tensor = self.both(torch.cat((h_BGKE.amax(2), h_BGKE.mean(2)), dim=2))
        where_BGE: Tensor = self.place(center_BG3)
        return what_BGE + where_BGE


def turns(count: int, about: str, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) random rotations about one axis (x, y, z), about all, or none."""
    if about == "none":
        return torch.eye(3).expand(count, 3, 3)
    if about == "all":  # the orthogonal factor of a Gaussian matrix is uniform over all rotations (Stewart 1980)
        q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
        rotations: Tensor = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None]
        sign: Tensor = torch.linalg.det(rotations)
        return rotations * sign[:, None, None]
    angle = torch.rand(count, generator=generator) * 2 * math.pi
    axis = "xyz".index(about)
    first, second = (i for i in range(3) if i != axis)
    turn = torch.eye(3).repeat(count, 1, 1)
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
    return turn
