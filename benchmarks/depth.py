"""Depth maps of 20 shapes aligned to shaded pictures only, then named by text.

Data, made up here: instances of the playground's 20 solids (`binder_playground.solids`) of varied proportions, as a
depth camera sees them from a random side: 160 x 120 pixels, 16-bit PNG in millimetres, a slanted wall or nothing
behind them, noise that grows with the distance (0.0012 m + 0.0019 (z - 0.4 m)^2: Nguyen et al. 2012), 2 % of the
pixels and most edges not measured. Training: each with shaded pictures of other instances of its solid. Test: instances
never seen; depth -> text ("a mug", never trained) and depth -> picture (new ones). In the same run: the untrained
encoder (the anchor on the drawn map), ridge regression from it to the pictures' vectors, which is the baseline of
`align`, and a logistic regression on the pixels of the drawings, trained on the labels of the same instances.

    python benchmarks/depth.py [--seeds 0 1 2] [--per-class 40] [--set encoder.drawing=near] [--out results.json]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from binder_depth import DEPTH, DepthConfig
from binder_playground.solids import mesh
from binder_playground.world import SOLIDS
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from solid_shapes import bind, command

from binder import PictureEncoder
from binder import config as configs
from binder.train.ridge import Moments, ridge

TEST_PER_CLASS = 20
WIDTH, HEIGHT, FOCAL_PX = 160, 120, 140.0  # of the depth camera
POINTS = 80_000  # of a surface: about ten for each pixel that it covers
Floats = NDArray[np.floating[Any]]
KEYS = ("depth_to_text", "untrained", "ridge", "depth_to_picture", "picture_to_text", "logistic_regression")


def run(seed: int, per_class: int, folder: Path, sets: list[str]) -> dict[str, Any]:
    """Make the data, align, and name the test instances."""
    sets = ["encoder.units=mm", *sets]
    rng = np.random.default_rng([seed, 21])
    train = [(_depth_map(s, rng, folder / f"train-{s}-{i}.png"), s) for s in SOLIDS for i in range(per_class)]
    test = [(_depth_map(s, rng, folder / f"test-{s}-{i}.png"), s) for s in SOLIDS for i in range(TEST_PER_CLASS)]
    bound = bind("depth", "depth", train, test, rng, folder, seed, sets)
    references = _references(bound.space, train, test, bound.rows, bound.prompts.vectors, sets)
    return {"seed": seed, **bound.scores, **references, **bound.sizes}


def _depth_map(solid: str, rng: np.random.Generator, path: Path) -> Path:
    """One instance, seen by a depth camera, as a file."""
    vertices, faces = mesh(solid)
    spread = 0.04 if solid in ("sphere", "cube") else 0.12
    shape = vertices * np.exp(rng.normal(0, spread, 3)) / np.abs(vertices).max()
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    triangles = triangles[np.array([len(set(t)) == 3 for t in triangles.tolist()])]
    size_m = np.exp(rng.uniform(np.log(0.15), np.log(0.6)))  # from the middle to the farthest side
    made = trimesh.Trimesh(shape * size_m @ _view(rng).T, triangles, process=False)
    points, _ = trimesh.sample.sample_surface(made, POINTS, seed=int(rng.integers(1 << 31)))
    away_m = size_m * FOCAL_PX / (HEIGHT / 2) * rng.uniform(1.3, 2.2)
    place = np.append(rng.uniform(-0.15, 0.15, 2) * size_m, away_m)
    z_HW = _seen(points + place)
    if rng.random() < 0.8:  # a wall; otherwise nothing that reflects
        rows, columns = np.indices(z_HW.shape) / WIDTH - 0.5
        slope = rng.uniform(-0.5, 0.5, 2) * size_m
        z_HW = np.minimum(z_HW, away_m + size_m * rng.uniform(1.2, 3) + slope[0] * rows + slope[1] * columns)
    edge_HW = np.hypot(*np.gradient(np.minimum(z_HW, 1e3))) > 0.25 * size_m
    gone_HW = (rng.random(z_HW.shape) < 0.02) | (edge_HW & (rng.random(z_HW.shape) < 0.6)) | np.isinf(z_HW)
    z_HW = np.where(gone_HW, 0, z_HW)
    z_HW += rng.normal(0, 1, z_HW.shape) * np.where(gone_HW, 0, 0.0012 + 0.0019 * (z_HW - 0.4) ** 2)
    Image.fromarray((1000 * z_HW).round().clip(0, 65535).astype(np.uint16)).save(path)
    return path


def _view(rng: np.random.Generator) -> Floats:
    """(3, 3) from the solid's axes, z up, to the camera's: x right, y down, z away; from any side, a little above."""
    around, above, roll = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.9), rng.normal(0, 0.1)
    spin = np.array([(np.cos(around), -np.sin(around), 0), (np.sin(around), np.cos(around), 0), (0, 0, 1)])
    look = np.array([(1, 0, 0), (0, np.sin(above), -np.cos(above)), (0, np.cos(above), -np.sin(above))])
    look[1] = np.cross(look[2], look[0])  # right-handed
    turn = np.array([(np.cos(roll), -np.sin(roll), 0), (np.sin(roll), np.cos(roll), 0), (0, 0, 1)])
    return turn @ look @ spin


def _seen(points_P3: Floats) -> Floats:
    """(H, W) m: the nearest point in each pixel of a pinhole camera, infinite where there is none."""
    x, y, z = points_P3.T
    column = np.floor(x / z * FOCAL_PX + WIDTH / 2).astype(int)
    row = np.floor(y / z * FOCAL_PX + HEIGHT / 2).astype(int)
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    z_HW = np.full((HEIGHT, WIDTH), np.inf)
    np.minimum.at(z_HW, (row[inside], column[inside]), z[inside])
    return z_HW


def _references(
    space: Any,
    train: list[tuple[Path, str]],
    test: list[tuple[Path, str]],
    rows: list[dict[str, Path]],
    prompts_CD: Floats,
    sets: list[str],
) -> dict[str, float]:
    """Depth -> text without any training, and in closed form; and what the labels would have taught."""
    import torch

    config = configs.validate(DepthConfig, configs.apply_sets({}, sets)["encoder"], "depth")
    encoder = DEPTH.build(config, space.anchor)
    assert isinstance(encoder, PictureEncoder)
    drawn = {path: encoder.picture(path) for path, _ in (*train, *test)}
    with torch.inference_mode():
        batch = torch.stack([space.anchor.transform(drawing) for drawing in drawn.values()])
        found = torch.nn.functional.normalize(torch.cat([space.anchor.encode_image(x) for x in batch.split(64)]), dim=1)
    z = dict(zip(drawn, found, strict=True))
    targets = torch.from_numpy(space.embed(image=[row["image"] for row in rows]).vectors)
    linear = ridge(Moments.of(torch.stack([z[row["depth"]] for row in rows]), targets))
    z_ND, truth = torch.stack([z[path] for path, _ in test]), np.array([solid for _, solid in test])
    names = np.array(SOLIDS)
    pixels = {path: np.asarray(drawing.convert("L").resize((32, 24))).ravel() / 255 for path, drawing in drawn.items()}
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    model.fit([pixels[path] for path, _ in train], [solid for _, solid in train])
    return {
        "untrained": float((names[(z_ND.numpy() @ prompts_CD.T).argmax(1)] == truth).mean()),
        "ridge": float((names[(linear(z_ND).numpy() @ prompts_CD.T).argmax(1)] == truth).mean()),
        "logistic_regression": float(model.score([pixels[path] for path, _ in test], truth)),
    }


if __name__ == "__main__":
    command(__doc__, KEYS, 40, run)
