"""Point clouds of 20 shapes aligned to renderings only, then named by text.

Data, made up here: instances of the playground's 20 solids (`binder_playground.solids`), of varied proportions, bent,
turned about the upright axis, scaled and moved; half of them as meshes (off), half as noisy scans of one to three
thousand points (ply). Training: each with renderings of other instances of its solid. Test: instances never seen;
point cloud -> text ("a mug", never trained) and point cloud -> picture (new renderings). References in the same run:
nearest class mean and 1-nearest neighbour of shape descriptors, trained on the labels of the same instances.

    python benchmarks/pointcloud.py [--seeds 0 1 2] [--per-class 60] [--out results.json]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from binder_playground.solids import mesh
from binder_playground.world import SOLIDS
from binder_pointcloud import PointcloudConfig
from binder_pointcloud.reading import read
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from solid_shapes import bind, command

TEST_PER_CLASS = 25
KEYS = ("cloud_to_text", "cloud_to_picture", "picture_to_text", "class_mean", "nearest_neighbour")
Floats = NDArray[np.floating[Any]]


def run(seed: int, per_class: int, folder: Path, sets: list[str]) -> dict[str, Any]:
    """Make the data, align, and name the test instances."""
    rng = np.random.default_rng([seed, 20])
    train = [(_instance(s, rng, folder / f"train-{s}-{i}"), s) for s in SOLIDS for i in range(per_class)]
    test = [(_instance(s, rng, folder / f"test-{s}-{i}"), s) for s in SOLIDS for i in range(TEST_PER_CLASS)]
    bound = bind("pointcloud", "cloud", train, test, rng, folder, seed, sets)
    return {"seed": seed, **bound.scores, **_references(train, test), **bound.sizes}


def _instance(solid: str, rng: np.random.Generator, path: Path) -> Path:
    """One instance as a file: a mesh or a scan."""
    vertices, faces = mesh(solid)
    shape = vertices * np.exp(rng.normal(0, 0.12 if solid not in ("sphere", "cube") else 0.04, 3))
    height = shape[:, 2] / np.ptp(shape[:, 2])
    shape[:, :2] *= 1 + rng.normal(0, 0.08) * height[:, None]  # wider above or below
    shape[:, :2] += rng.normal(0, 0.06, 2) * height[:, None]  # leaning
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([(np.cos(angle), -np.sin(angle), 0), (np.sin(angle), np.cos(angle), 0), (0, 0, 1)])
    placed = (shape @ turn.T) * np.exp(rng.uniform(-3, 3)) + rng.uniform(-5, 5, 3)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    triangles = triangles[np.array([len(set(t)) == 3 for t in triangles.tolist()])]
    made = trimesh.Trimesh(placed, triangles, process=False)
    if rng.random() < 0.5:
        path = path.with_name(path.name + ".off")
        made.export(path)
        return path
    points, _ = trimesh.sample.sample_surface(made, int(rng.integers(1000, 3000)), seed=int(rng.integers(1 << 31)))
    points = points + rng.normal(0, 0.015 * np.ptp(placed, axis=0).max() / 2, points.shape)
    path = path.with_name(path.name + ".ply")
    trimesh.PointCloud(points).export(path)
    return path


def _references(train: list[tuple[Path, str]], test: list[tuple[Path, str]]) -> dict[str, float]:
    """Accuracies of what needs no network: standardised descriptors, the nearest class mean or training instance."""
    x, y = np.array([_descriptor(path) for path, _ in train]), [solid for _, solid in train]
    x_test, y_test = np.array([_descriptor(path) for path, _ in test]), [solid for _, solid in test]
    models = {"class_mean": NearestCentroid(), "nearest_neighbour": KNeighborsClassifier(1)}
    return {
        name: float(make_pipeline(StandardScaler(), model).fit(x, y).score(x_test, y_test))
        for name, model in models.items()
    }


def _descriptor(path: Path) -> Floats:
    """(72,): distances between random points and from the centre (Osada et al. 2002), spread by height, moments."""
    xyz = read(path, PointcloudConfig()).xyz
    xyz = xyz[np.random.default_rng(0).permutation(len(xyz))[:1000]]
    xyz = xyz - xyz.mean(0)
    xyz = xyz / np.sqrt(np.square(xyz).sum(1).mean())
    pairs = np.linalg.norm(xyz[:, None] - xyz[np.random.default_rng(1).permutation(len(xyz))[:200]], axis=2).ravel()
    away = np.linalg.norm(xyz, axis=1)
    around = np.hypot(xyz[:, 0], xyz[:, 1])
    bins = [
        np.histogram(values, 16, (low, high))[0] / len(values)
        for values, low, high in ((pairs, 0, 4), (away, 0, 2.5), (around, 0, 2.5), (xyz[:, 2], -2.5, 2.5))
    ]
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(xyz.T)), 0))
    others = [xyz[:, 2].std(), around.std(), np.mean(xyz[:, 2] ** 3), away.max(), away.min()]
    return np.concatenate([*bins, spread, others])


if __name__ == "__main__":
    command(__doc__, KEYS, 60, run)
