"""What calibration does to a mixed index: five modalities, ranked by cosine and by probability.

    binder demo --out demo                  # once
    python benchmarks/calibration.py demo   # two minutes or so on two cores; less when the cache has the vectors
    python benchmarks/calibration.py demo --plot reliability.png

The held-out items of the demo are one index. A hit is right where it shows the same as the query in everything that
both are labeled with (color, shape and count of a scene, and so on); one with no label in common is wrong. Queries
are items of the index, as many of each modality, and are left out of their own hits. Judged hits are the first ten in
each modality of other queries than those that are measured.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from binder_playground.demo.cells import FACETS
from binder_playground.demo.data import MODALITIES, Gallery
from binder_playground.world import Concept
from finished_demo import opened

from binder import Embeddings, Index
from binder.index import Hit

QUERIES = 60  # of each modality
JUDGED = 10  # other queries of each modality whose hits are judged
K = 10
Found = list[tuple[str, list[Hit]]]  # the name of each query, and its hits
Bins = list[tuple[float, float, int]]  # what hits said, what is true, how many


@dataclass(frozen=True)
class Mixed:
    """The index, the vectors and labels of its items by name, and the queries."""

    index: Index
    z: dict[str, Embeddings]
    shows: dict[str, Concept]
    queries: list[str]
    others: list[str]  # queries whose hits are judged

    def right(self, a: str, b: str) -> bool:
        common = set(FACETS[self.shows[a].kind]) & set(FACETS[self.shows[b].kind])
        return bool(common) and all(getattr(self.shows[a], f) == getattr(self.shows[b], f) for f in common)

    def search(self, name: str, k: int = K, **how: str) -> list[Hit]:
        hits = self.index.search(self.z[name], k=k + 1, **how)  # type: ignore[arg-type]
        return [hit for hit in hits if hit.item != name][:k]

    def all(self, **how: str) -> Found:
        return [(name, self.search(name, **how)) for name in self.queries]


def mixed(galleries: Sequence[Gallery], place: Path) -> Mixed:
    rng = np.random.default_rng(0)
    z: dict[str, Embeddings] = {}
    shows: dict[str, Concept] = {}
    index: Index | None = None
    for g in galleries:
        names = [f"{g.modality}-{g.kind}-{i}" for i in range(len(g.items))]
        rows = Embeddings(g.z, "demo", names, g.modality)
        index = index or Index.create(place, rows)
        index.add(**{g.modality: rows})
        z |= dict(zip(names, rows, strict=True))
        shows |= dict(zip(names, g.concepts, strict=True))
    assert index is not None
    asked, others = [], []
    for modality in MODALITIES:
        own = rng.permutation([name for name in z if z[name].modality == modality]).tolist()
        asked += own[:QUERIES]
        others += own[QUERIES : QUERIES + JUDGED]
    return Mixed(index, z, shows, asked, others)


def judged(m: Mixed) -> list[tuple[Embeddings, Hit, bool]]:
    pairs = product(m.others, MODALITIES)
    return [(m.z[q], hit, m.right(q, hit.item)) for q, target in pairs for hit in m.search(q, modalities=target)]


def quality(m: Mixed, found: Found) -> str:
    """Shares of the first ten that are right, by the query's modality, and of each modality among the hits."""
    right = {name: np.mean([m.right(name, hit.item) for hit in hits]) for name, hits in found}
    hits = [hit for _, hits in found for hit in hits]
    own = np.mean([hit.modality == m.z[name].modality for name, hits in found for hit in hits])
    by = [np.mean([right[name] for name in right if m.z[name].modality == modality]) for modality in MODALITIES]
    shares = [np.mean([hit.modality == modality for hit in hits]) for modality in MODALITIES]
    numbers = [np.mean(list(right.values())), *by, own, *shares]
    return " | ".join(f"{100 * x:5.1f}" for x in numbers)


def bins_of(m: Mixed, found: Found) -> Bins:
    """Ten bins of equal width: the mean of what hits in it said, the share that is right, how many."""
    said = np.array([hit.probability for _, hits in found for hit in hits])
    true = np.array([m.right(name, hit.item) for name, hits in found for hit in hits])
    bins = np.minimum((said * 10).astype(int), 9)
    return [(said[bins == b].mean(), true[bins == b].mean(), int((bins == b).sum())) for b in np.unique(bins)]


def reliability(bins: Bins) -> str:
    """Expected calibration error over the bins (Naeini et al., AAAI 2015), and each bin."""
    error = sum(n * abs(said - true) for said, true, n in bins) / sum(n for *_, n in bins)
    lines = [f"    {said:.2f} said, {true:.2f} true, {n} hits" for said, true, n in bins]
    return "\n".join([f"  expected calibration error {error:.3f}", *lines])


def plot(found: dict[str, Bins], path: Path) -> None:
    """The reliability diagram: on the diagonal what is said is true; the larger a point, the more hits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.4, 4.2))
    axes.plot([0, 1], [0, 1], "--", color="#888", linewidth=1)
    for (title, bins), color in zip(found.items(), ("#2b7bba", "#e07b28"), strict=True):
        said, true, n = np.array(bins).T
        axes.plot(said, true, color=color, linewidth=1, label=title)
        axes.scatter(said, true, 300 * n / n.sum(), color=color)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability that hits said", ylabel="share of them that is right")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def recall(m: Mixed, rank_by: str) -> dict[tuple[str, str], float]:
    """R@1 of each pair of modalities, over the queries that the target has an answer to."""
    found: dict[tuple[str, str], float] = {}
    for asking, target in product(MODALITIES, MODALITIES):
        items = [name for name in m.z if m.z[name].modality == target]
        answered = [
            m.right(q, m.search(q, 1, modalities=target, rank_by=rank_by)[0].item)
            for q in m.queries
            if m.z[q].modality == asking and any(m.right(q, name) for name in items if name != q)
        ]
        if answered:
            found[asking, target] = float(np.mean(answered))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `binder demo` left")
    parser.add_argument("--plot", type=Path, help="draw what is said against what is true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        galleries = opened(given.demo, Path(folder) / "held_out").galleries
        found = measure(mixed(galleries, Path(folder) / "mixed.idx"))
    if given.plot:
        plot(found, given.plot)


def measure(m: Mixed) -> dict[str, Bins]:
    """Print all; what is said and what is true, by how it was calibrated."""
    names = " | ".join(f"{name:>5}" for name in MODALITIES)
    print(f"{m.index}\n{'% of the first ten':26} | right | {names} |   own | {names}")
    print(f"{'':26} |  all  | by the query's modality {'':20} | modality of the hits")
    print(f"{'by cosine':26} | {quality(m, m.all())}", flush=True)
    m.index.optimize()
    r1 = {how: recall(m, how) for how in ("score", "probability")}
    hits = m.all()
    print(f"{'by probability':26} | {quality(m, hits)}")
    verdicts = judged(m)
    m.index.calibrate(verdicts)
    better = m.all()
    print(f"{f'{len(verdicts)} hits judged':26} | {quality(m, better)}")
    found = {"without labels": bins_of(m, hits), "with judged hits": bins_of(m, better)}
    for title, bins in found.items():
        print(f"{title}\n{reliability(bins)}")
    same = "equal" if r1["score"] == r1["probability"] else "DIFFERENT"
    print(
        f"R@1 within one modality, by cosine and by probability: {same} in all {len(r1['score'])} pairs, mean", end=" "
    )
    print(f"{np.mean(list(r1['score'].values())):.3f}")
    return found


if __name__ == "__main__":
    main()
