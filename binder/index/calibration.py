"""Scores that can be compared: from a cosine to the probability of a match.

Cosines of different pairs of modalities lie in different places (two pictures 0.8, a text and a picture 0.25), so by
cosine the query's own modality fills every mixed answer. What a cosine means is told by what the same query gets from
items that have nothing to do with it. So an index keeps, of each modality, the mean and covariance of a sample, and
with them every query has its own null distribution:

    z = (cosine - mean of the query's cosines to the modality) / their standard deviation

which needs no label and no knowledge of the query's modality, and keeps the order within a modality. One logistic map
takes z to the probability of a match. Without labels it is fitted to one minus the local false discovery rate: at each
z, how many pairs there are beyond those that chance (a normal distribution) gives (Efron, "Size, power and false
discovery rates", Annals of Statistics 2007). Hits that were judged right or wrong refine it per pair of modalities
(Platt, "Probabilistic outputs for support vector machines", 1999). Measured in benchmarks/calibration.py.

Shapes: N rows of a sample, D embed_dim, R principal axes, B bins of z.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from binder.errors import StoreError
from binder.files import parse_json
from binder.index.guard import guarded
from binder.index.rows import VECTOR
from binder.index.table import Table
from binder.space.vectors import Vectors

NOTE = "calibration"
FORMAT = 1
SAMPLE = 2048  # rows of a modality that its mean and covariance are taken from
FEWEST = 20  # rows that a modality needs
QUERIES = 512  # rows of the sample that play the query when the map is fitted
RANK = 32  # principal axes that are kept; 16 rank as well as the whole covariance
DRIFT = 1.25  # a modality of so many times more, or fewer, rows than when it was sampled is calibrated no longer
BINS = np.arange(-8, 16.05, 0.1)  # of z


@dataclass(frozen=True)
class Null:
    """What cosines any query gets from a modality by chance."""

    rows: int  # of the modality when it was sampled
    mean_D: Vectors
    axes_RD: Vectors  # principal axes of the sample, unit length
    variances_R: Vectors  # along them
    rest: float  # variance along every other direction

    def of(self, query_D: Vectors) -> tuple[float, float]:
        """Mean and standard deviation of the query's cosines."""
        along_R = (self.axes_RD @ query_D) ** 2
        variance = float(along_R @ self.variances_R) + self.rest * max(0.0, 1 - float(along_R.sum()))
        return float(self.mean_D @ query_D), max(variance, 1e-12) ** 0.5


@dataclass(frozen=True)
class Map:
    """From z to probability: 1 / (1 + exp(-(slope z + offset))), increasing."""

    slope: float
    offset: float

    def __call__(self, z: Any) -> Any:
        return 1 / (1 + np.exp(-np.clip(self.slope * np.asarray(z, np.float64) + self.offset, -500, 500)))


@dataclass(frozen=True)
class Calibration:
    """What an index keeps of it. `judged` maps belong to (query modality, target modality); others use `general`."""

    nulls: dict[str, Null]
    general: Map
    judged: dict[tuple[str, str], Map] = field(default_factory=dict)
    refined: bool = False  # whether judged hits went into `general`

    def covers(self, table: Table) -> bool:
        """Whether the modality was sampled, and holds about as many rows as it did then."""
        null, rows = self.nulls.get(table.name), table.count()
        return null is not None and null.rows / DRIFT <= rows <= null.rows * DRIFT

    def z(self, query_D: Vectors, target: str, cosines: Any) -> np.ndarray:
        mean, deviation = self.nulls[target].of(query_D)
        return (np.asarray(cosines, np.float64) - mean) / deviation

    def probabilities(self, query_D: Vectors, modality: str | None, target: str, cosines: Any) -> np.ndarray:
        """Of a match, for the query's cosines to items of `target`. `modality` None is a sum, or unknown."""
        chosen = self.judged.get((modality or "", target), self.general)
        return chosen(self.z(query_D, target, cosines))


def fitted(tables: Sequence[Table]) -> Calibration | None:
    """Without labels, from a sample of each table; None where none has rows enough. The same rows give the same."""
    samples = {table.name: _sample(table) for table in tables if table.count() >= FEWEST}
    nulls = {table.name: _null(samples[table.name], table.count()) for table in tables if table.name in samples}
    if not nulls:
        return None
    counts_B = np.zeros(len(BINS) - 1)
    for target, null in nulls.items():
        for asking, queries_ND in samples.items():
            asked_ND = queries_ND[:QUERIES]
            cosines = asked_ND @ samples[target].T
            mean, deviation = np.array([null.of(query) for query in asked_ND]).T
            z = (cosines - mean[:, None]) / deviation[:, None]
            if asking == target:  # an item is no match of itself
                z = z[np.eye(*z.shape) == 0]
            counts_B += np.histogram(z, BINS)[0]
    return Calibration(nulls, _map_of_excess(counts_B))


def refined(calibration: Calibration, judged: Iterable[tuple[Vectors, str | None, str, float, bool]]) -> Calibration:
    """With hits that were judged: (query (D,), its modality, the hit's, the cosine, right or wrong).

    Each map starts from the one without labels, so that a few judgements move it a little. A pair of modalities in
    which a higher cosine is no better keeps the general map.
    """
    groups: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for query_D, modality, target, cosine, right in judged:
        found = (float(calibration.z(query_D, target, cosine)), right)
        groups.setdefault((modality or "", target), []).append(found)
    general = _refined(calibration.general, [one for group in groups.values() for one in group]) or calibration.general
    maps = {pair: _refined(general, group) for pair, group in groups.items() if pair[0]}
    kept = {pair: better for pair, better in maps.items() if better is not None}
    return Calibration(calibration.nulls, general, calibration.judged | kept, refined=True)


def renewed(calibration: Calibration, old: Calibration | None) -> Calibration:
    """Newly sampled, with the maps that judged hits gave: they are in z, which means the same in every sample."""
    if old is None or not old.refined:
        return calibration
    return Calibration(calibration.nulls, old.general, old.judged, refined=True)


def dumped(calibration: Calibration) -> str:
    """JSON, arrays as base64 of half precision: about 50 kB a modality of 512 dimensions."""
    nulls = {
        name: {
            "rows": null.rows,
            "rest": null.rest,
            "mean": _text(null.mean_D),
            "axes": _text(null.axes_RD),
            "deviations": _text(np.sqrt(null.variances_R)),  # variances would underflow
        }
        for name, null in calibration.nulls.items()
    }
    judged = [[*pair, one.slope, one.offset] for pair, one in calibration.judged.items()]
    general = [calibration.general.slope, calibration.general.offset]
    whole = {"format": FORMAT, "nulls": nulls, "general": general, "judged": judged, "refined": calibration.refined}
    return json.dumps(whole)


def parse(text: str, where: str) -> Calibration:
    """Raises StoreError for what is damaged or was written by a newer binder."""
    try:
        whole: Mapping[str, Any] = parse_json(text)
        if int(whole["format"]) > FORMAT:
            raise StoreError(f"{where}: calibrated by a newer binder (format {whole['format']}); upgrade binder")
        nulls = {}
        for name, kept in whole["nulls"].items():
            mean_D = _array(kept["mean"])
            axes_RD = _array(kept["axes"]).reshape(-1, len(mean_D))
            variances_R = _array(kept["deviations"]) ** 2
            nulls[name] = Null(int(kept["rows"]), mean_D, axes_RD, variances_R, float(kept["rest"]))
        judged = {(asking, target): Map(float(a), float(b)) for asking, target, a, b in whole["judged"]}
        slope, offset = whole["general"]
        return Calibration(nulls, Map(float(slope), float(offset)), judged, bool(whole["refined"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{where}: its calibration is damaged ({error}); optimize the index to renew it") from None


def _sample(table: Table) -> Vectors:
    """(N, D) rows drawn without replacement."""
    rows = table.count()
    picked = np.random.default_rng(0).permutation(rows)[:SAMPLE]
    with guarded(table.where):
        column = table.inner.take_offsets(picked.tolist()).select([VECTOR]).to_arrow()[VECTOR]
    return np.concatenate([c.flatten().to_numpy() for c in column.chunks if len(c)]).reshape(len(column), -1)


def _null(sample_ND: Vectors, rows: int) -> Null:
    mean_D = sample_ND.mean(0)
    covariance_DD = np.cov(sample_ND.T.astype(np.float64), bias=True)
    variances, axes = np.linalg.eigh(np.atleast_2d(covariance_DD))
    dim = len(mean_D)
    rank = min(RANK, dim)
    rest = float(np.clip(variances[: dim - rank], 0, None).mean()) if dim > rank else 0.0
    axes_RD = np.ascontiguousarray(axes[:, dim - rank :].T, dtype=np.float32)
    return Null(rows, mean_D, axes_RD, np.clip(variances[dim - rank :], 0, None).astype(np.float32), rest)


def _map_of_excess(counts_B: np.ndarray) -> Map:
    """Pairs beyond what a standard normal gives above 0 count as matches, all others not."""
    middle_B = (BINS[1:] + BINS[:-1]) / 2
    chance_B = counts_B.sum() * np.diff(BINS) * np.exp(-(middle_B**2) / 2) / np.sqrt(2 * np.pi)
    matches_B = np.where(middle_B > 0, np.clip(counts_B - chance_B, 0, None), 0)
    return _logistic(middle_B, matches_B, counts_B - matches_B, Map(1.0, -4.0))


def _refined(start: Map, judged: Sequence[tuple[float, bool]]) -> Map | None:
    z = np.array([z for z, _ in judged])
    right = np.array([right for _, right in judged], dtype=np.float64)
    found = _logistic(z, right, 1 - right, start)
    return found if found.slope > 0 else None


def _logistic(z: np.ndarray, matches: np.ndarray, others: np.ndarray, start: Map) -> Map:
    """The maximum-likelihood map for so many matches and others at each z.

    As if one more pair each at z = 0, 1, ... 8 had followed `start`: so it is finite whatever was counted.
    """
    prior_z = np.arange(9.0)
    z = np.concatenate([z, prior_z])
    matches = np.concatenate([matches, start(prior_z)])
    n = matches + np.concatenate([others, 1 - start(prior_z)])
    x = np.stack([z, np.ones_like(z)], axis=1)
    w = np.array([start.slope, start.offset])

    def loss(w: np.ndarray) -> float:
        return float((n * np.logaddexp(0, x @ w) - matches * (x @ w)).sum())

    for _ in range(50):  # Newton's method on a convex function, steps halved until they descend
        p = Map(*w)(z)
        hessian = (x * (n * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, x.T @ (n * p - matches))
        while loss(w - step) > loss(w) and np.abs(step).max() > 1e-9:
            step = step / 2
        w = w - step
        if np.abs(step).max() < 1e-8:
            break
    return Map(float(w[0]), float(w[1]))


def _text(x: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(x, dtype="<f2").tobytes()).decode("ascii")


def _array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float32)
