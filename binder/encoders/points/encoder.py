"""The base encoder of sets of points: neighbourhoods as tokens, then a small transformer.

After PointNet++ (Qi et al. 2017), whose groups it forms, and Point-BERT (Yu et al. 2022), which makes tokens of them.

Shapes: B batch, N points, C numbers of a point, G groups, K neighbours, E width, D embed_dim.
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

# how far each change goes at strength 1
STRETCH = 0.1  # log of the factor on an axis, standard deviation
JITTER = 0.01  # of the unit sphere's radius, standard deviation
DROP = 0.5  # largest share of the points that are taken away
TINT = 0.1  # of a colour's range, standard deviation


class PointEncoder(Encoder):
    """Points in the unit sphere -> (D,). `read` is the plugin's: (item, config) -> Points."""

    def __init__(self, config: PointConfig, embed_dim: int, read: Read) -> None:
        super().__init__()
        self.config, self.read = config, read
        channels = 3 * (1 + config.normals + config.colours)
        self.groups = Groups(channels, config)
        self.trunk = Transformer(config.width, config.layers, config.heads, config.dropout)
        self.project = nn.Linear(self.trunk.out_features, embed_dim)

    def preprocess(self, item: Item) -> Tensor:
        """One item -> (1, N, C) float32: coordinates, then normals and colours where the configuration has them."""
        return torch.from_numpy(read_points(self.read, item, self.config))[None]

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """(B, N, C) -> (B, N, C): turned, stretched, jittered, thinned, tinted."""
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
        if self.config.colours:
            parts.append((batch[:, :, -3:] + normal(count, 1, 3) * TINT * strength).clamp(0, 1))
        x_BNC = torch.cat(parts, dim=2)
        # a point that is taken away lies on another one, as in PointNet++: the shapes stay
        share_B1 = torch.rand(count, 1, generator=generator) * min(DROP * strength, 0.9)
        gone_BN = torch.rand(count, points, generator=generator) < share_B1
        gone_BN[:, 0] = False
        other_BN = torch.where(gone_BN, 0, torch.arange(points)).to(batch.device)
        return x_BNC.gather(1, other_BN[:, :, None].expand_as(x_BNC))

    def features(self, batch: Tensor) -> Tensor:
        """(B, N, C) -> (B, F)."""
        h_BGE = self.groups(batch)
        return self.trunk(h_BGE, torch.ones(h_BGE.shape[:2], dtype=torch.bool, device=h_BGE.device))

    def head(self, features: Tensor) -> Tensor:
        return self.project(features)


class Groups(nn.Module):
    """(B, N, C) as `points.cloud.spread` orders them -> (B, G, E): a token for each of the first G points.

    It describes the K nearest points, relative to the first, by the largest of what each of them says (PointNet).
    """

    def __init__(self, channels: int, config: PointConfig) -> None:
        super().__init__()
        self.count, self.neighbours = config.groups, config.neighbours
        hidden = config.width
        self.each = nn.Sequential(nn.Linear(channels + 1, 64), nn.GELU(), nn.Linear(64, hidden))
        self.both = nn.Sequential(nn.GELU(), nn.Linear(2 * hidden, config.width))
        self.place = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, config.width))

    def forward(self, x_BNC: Tensor) -> Tensor:
        centre_BG3 = x_BNC[:, : self.count, :3]
        with torch.no_grad(), torch.autocast(x_BNC.device.type, enabled=False):
            distance_BGN = torch.cdist(centre_BG3.float(), x_BNC[:, :, :3].float())
            near_BGK = distance_BGN.topk(self.neighbours, largest=False).indices
        near_BGKC = x_BNC[torch.arange(len(x_BNC), device=x_BNC.device)[:, None, None], near_BGK]
        around_BGK3 = near_BGKC[..., :3] - centre_BG3[:, :, None]
        # in units of the usual distance of neighbours, and that distance beside it: small parts show their shape
        size_BG11 = around_BGK3.norm(dim=3).mean(2)[:, :, None, None]
        relative_BGK3 = around_BGK3 / size_BG11.clamp(min=1e-4)
        each_BGKC = torch.cat((relative_BGK3, near_BGKC[..., 3:], size_BG11.expand_as(near_BGKC[..., :1])), dim=3)
        h_BGKE = self.each(each_BGKC)
        h_BGE = self.both(torch.cat((h_BGKE.amax(2), h_BGKE.mean(2)), dim=2))
        return h_BGE + self.place(centre_BG3)


def turns(count: int, about: str, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) random rotations about one axis (x, y, z), about all of them, or none."""
    if about == "none":
        return torch.eye(3).expand(count, 3, 3)
    if about == "all":  # of a normal matrix, the orthogonal part is uniform over all turns (Stewart 1980)
        q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
        q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None]
        return q * torch.linalg.det(q)[:, None, None]
    angle = torch.rand(count, generator=generator) * 2 * math.pi
    axis = "xyz".index(about)
    first, second = (i for i in range(3) if i != axis)
    turn = torch.eye(3).repeat(count, 1, 1)
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
    return turn
