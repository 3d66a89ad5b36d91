"""Comparable scores: from a cosine to the probability of a match.

Cosines of different pairs of modalities differ in level (two pictures 0.8, a text and a picture 0.25), so by cosine the
query's own modality fills every mixed answer. What a cosine means shows in the cosines that the same query gets from
unrelated items. So an index keeps the mean and covariance of a sample of each modality, which give every query its own
null distribution:

    z = (cosine - mean of the query's cosines to the modality) / their standard deviation

This needs no labels and no knowledge of the query's modality, and keeps the order within a modality. One logistic map
takes z to the probability of a match. Without labels it is fitted to one minus the local false discovery rate: at each
z, how many pairs there are beyond those that chance (a normal distribution) gives (Efron, "Size, power and false
discovery rates", Annals of Statistics 2007). Hits judged right or wrong refine it per pair of modalities (Platt,
"Probabilistic outputs for support vector machines", 1999). Measured in benchmarks/calibration.py.

Shapes: N rows of a sample, D embed_dim, R principal axes, B bins of z.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from binder.errors import StoreError
from binder.files import parse_json
from binder.index.hits import Hit
from binder.index.store import Store
from binder.index.table import Table
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

NOTE = "calibration"  # its key among the store's notes
FORMAT = 1
SAMPLE = 2048  # rows of a modality that give its mean and covariance
MIN_ROWS = 20  # of a modality
QUERIES = 512  # rows of the sample that serve as queries when the map is fitted
RANK = 32  # principal axes that are kept; 16 rank as well as the whole covariance
DRIFT = 1.25  # a modality that has grown or shrunk by this factor since it was sampled is no longer calibrated
BINS = np.arange(-8, 16.05, 0.1)  # of z

Judged = Iterable[tuple[Embeddings | Vectors, Hit, bool]]


@dataclass(frozen=True)
class Null:
    """The cosines that a query gets from a modality by chance."""

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
    """What an index keeps: a null for each modality, and a map for all pairs of modalities but those with their own."""

    nulls: dict[str, Null]
    general: Map
    judged: dict[tuple[str, str], Map] = field(default_factory=dict)  # by (query modality, target modality)
    refined: bool = False  # whether judged hits went into `general`

    def covers(self, table: Table) -> bool:
        """Whether the modality was sampled, and has about as many rows as it had then."""
        null, rows = self.nulls.get(table.name), table.count()
        return null is not None and null.rows / DRIFT <= rows <= null.rows * DRIFT

    def z(self, query_D: Vectors, target: str, cosines: Any) -> np.ndarray:
        mean, deviation = self.nulls[target].of(query_D)
        return (np.asarray(cosines, np.float64) - mean) / deviation

    def probabilities(self, query_D: Vectors, modality: str | None, target: str, cosines: Any) -> np.ndarray:
        """Of a match, given the query's cosines to items of `target`. `modality` is None for a sum, or if unknown."""
        chosen = self.judged.get((modality or "", target), self.general)
        return np.asarray(chosen(self.z(query_D, target, cosines)))


class Kept:
    """The calibration of an open index: read again when any process has renewed it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: tuple[int | None, Calibration | None] = (None, None)  # as of which version of the notes

    def now(self) -> Calibration | None:
        """The current one. Raises StoreError if it is damaged."""
        version = self._store.notes_version()
        if version != self._read[0]:
            text = self._store.note(NOTE)
            self._read = version, parse(text, self._store.location) if text else None
        return self._read[1]

    def put(self, calibration: Calibration | None) -> None:
        text = "" if calibration is None else dumped(calibration)
        if text != (self._store.note(NOTE) or ""):
            self._store.set_note(NOTE, text)

    def renew(self, tables: Sequence[Table], pairs: Judged | None) -> None:
        """Sample the tables again; see `Index.calibrate`."""
        old = None
        with contextlib.suppress(StoreError):  # a damaged one is replaced
            old = self.now()
        new = fitted(tables)
        if new is None:
            self.put(None)
            return
        record, judged = self._store.record, []
        for query, hit, right in pairs or ():
            if hit.modality not in new.nulls:
                raise StoreError(f"{self._store.location}: too few rows of {hit.modality} to calibrate it")
            modality = query.modality if isinstance(query, Embeddings) else None
            judged.append((record.one_vector(query), modality, hit.modality, hit.score, bool(right)))
        self.put(refined(new, judged) if judged else renewed(new, old))

    def orders(self, rank_by: str | None, tables: Sequence[Table], calibration: Calibration | None) -> bool:
        """Whether to rank the hits of these tables by probability. Raises StoreError if asked to and it cannot be."""
        lacking = [table.name for table in tables if calibration is None or not calibration.covers(table)]
        if rank_by == "probability" and lacking:
            raise StoreError(
                f"{self._store.location}: {', '.join(lacking)} not calibrated, or changed since; "
                "call optimize (binder index optimize), or rank by score"
            )
        return not lacking and (rank_by == "probability" or (rank_by is None and len(tables) > 1))


def fitted(tables: Sequence[Table]) -> Calibration | None:
    """Without labels, from a sample of each table; None if no table has enough rows. Deterministic."""
    samples = {table.name: _sample(table) for table in tables if table.count() >= MIN_ROWS}
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
            if asking == target:  # an item does not count as its own match
                z = z[np.eye(*z.shape) == 0]
            counts_B += np.histogram(z, BINS)[0]
    return Calibration(nulls, _map_of_excess(counts_B))


def refined(calibration: Calibration, judged: Iterable[tuple[Vectors, str | None, str, float, bool]]) -> Calibration:
    """With judged hits: (query (D,), its modality, the hit's modality, the cosine, whether it is right).

    Each map starts from the one without labels, so a few judgments move it only a little. A pair of modalities in which
    a higher cosine is no better keeps the general map.
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
    """A new sample with the old maps from judged hits, which still hold: z means the same in every sample."""
    if old is None or not old.refined:
        return calibration
    return Calibration(calibration.nulls, old.general, old.judged, refined=True)


def dumped(calibration: Calibration) -> str:
    """JSON with arrays as base64 of float16: about 50 kB per modality of 512 dimensions."""
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
    """Raises StoreError for a calibration that is damaged, or was written by a newer binder."""
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
    return table.vectors_at(np.random.default_rng(0).permutation(table.count())[:SAMPLE].tolist())


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
    """Above 0, the pairs in excess of a standard normal count as matches; all others do not."""
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
    """The maximum-likelihood map for the numbers of matches and others at each z.

    One more pair each at z = 0, 1, ... 8 that follows `start` keeps it finite for any counts.
    """
    prior_z = np.arange(9.0)
    z = np.concatenate([z, prior_z])
    matches = np.concatenate([matches, start(prior_z)])
    n = matches + np.concatenate([others, 1 - start(prior_z)])
    x = np.stack([z, np.ones_like(z)], axis=1)
    w = np.array([start.slope, start.offset])

    def loss(w: np.ndarray) -> float:
        return float((n * np.logaddexp(0, x @ w) - matches * (x @ w)).sum())

    for _ in range(50):  # Newton's method on a convex function; a step is halved until it descends
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
