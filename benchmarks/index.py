"""The index against its targets: latency, recall, memory, building, and NumPy's exact search beside it in the same run.

    python benchmarks/index.py                       # 1k to 1M vectors, about six minutes on two cores, 6 GB of disk
    python benchmarks/index.py --sizes 1000,100000   # fewer
    python benchmarks/index.py --plot docs/index.png

Vectors: 512 dimensions, 4,000 skewed clusters with a power-law spectrum, unit length, one modality. Queries come from
the same clusters shifted by a constant (as another modality's would be). Recall@10 is against the exact answer of
NumPy. Every size is searched in a fresh process without torch, one query at a time; its memory is the highest it had
(VmHWM). Filters are metadata columns independent of the vectors.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

DIM, CLUSTERS, QUERIES, K = 512, 4000, 200, 10
CHUNK = 20_000
FILTERS = {"10 %": "share < 0.1", "0.1 %": "share < 0.001"}


def clusters() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centres (C, D), their weights (C,), the spectrum (D,), and the shift of the queries (D,)."""
    rng = np.random.default_rng(0)
    spectrum = (np.arange(1, DIM + 1) ** -0.5).astype(np.float32)
    weights = rng.pareto(1.5, CLUSTERS) + 1
    centres = rng.standard_normal((CLUSTERS, DIM), dtype=np.float32) * spectrum
    return centres, weights / weights.sum(), spectrum, rng.standard_normal(DIM, dtype=np.float32) * spectrum * 1.4


def drawn(n: int, seed: int, *, shifted: bool = False) -> np.ndarray:
    """(n, D) unit vectors."""
    centres, weights, spectrum, shift = clusters()
    rng = np.random.default_rng([seed, 1])
    z = centres[rng.choice(CLUSTERS, n, p=weights)] + 0.6 * rng.standard_normal((n, DIM), dtype=np.float32) * spectrum
    z += shift if shifted else 0
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def chunks(n: int) -> Iterator[tuple[int, np.ndarray]]:
    for i, start in enumerate(range(0, n, CHUNK)):
        yield start, drawn(CHUNK, i)[: n - start]


def truth(n: int, share: np.ndarray, z_QD: np.ndarray) -> dict[str, list[list[int]]]:
    """The exact answers without a filter and with each: positions of the K best rows of every query."""
    allowed = {"": np.ones(n, bool), **{where: share < float(where.split()[-1]) for where in FILTERS.values()}}
    best = {name: (np.full((QUERIES, K), -np.inf, np.float32), np.zeros((QUERIES, K), np.int64)) for name in allowed}
    for start, z_ND in chunks(n):
        scores = z_QD @ z_ND.T
        for name, mask in allowed.items():
            ours = np.where(mask[start : start + len(z_ND)], scores, -np.inf)
            some = np.argpartition(-ours, min(K, len(z_ND) - 1), axis=1)[:, :K]
            top = np.concatenate([best[name][0], np.take_along_axis(ours, some, 1)], axis=1)
            place = np.concatenate([best[name][1], some + start], axis=1)
            order = np.argsort(-top, axis=1)[:, :K]
            best[name] = (np.take_along_axis(top, order, 1), np.take_along_axis(place, order, 1))
    return {name: [p[np.isfinite(s)].tolist() for s, p in zip(*found, strict=True)] for name, found in best.items()}


def build(place: Path, n: int) -> dict[str, Any]:
    """Add n rows with three columns of metadata, streamed; how long, and the memory it took."""
    from binder import Embeddings, Index

    index = Index.create(place, Embeddings(drawn(1, 0), "bench"))
    share = np.random.default_rng(2).random(n)
    made = 0.0

    def parts() -> Iterator[tuple[Embeddings, dict[str, Any]]]:
        nonlocal made
        for start in range(0, n, CHUNK):
            began = time.perf_counter()
            z_ND = drawn(CHUNK, start // CHUNK)[: n - start]
            numbers = range(start, start + len(z_ND))
            metadata = {
                "share": share[start : start + len(z_ND)],
                "license": [("cc", "by")[i % 2] for i in numbers],
                "text": [f"caption number {i % 997}" for i in numbers],
            }
            z = Embeddings(z_ND, "bench", [f"/data/photos/{i:08d}.jpg" for i in numbers])
            made += time.perf_counter() - began
            yield z, metadata

    began = time.perf_counter()
    index.add(image=parts())
    seconds = time.perf_counter() - began - made
    return {"n": n, "build_s": seconds, "build_mb": memory("VmHWM")}


def add_100k(place: Path) -> float:
    """Seconds for one call that adds 100,000 vectors with metadata to a new index, its indexes built."""
    from binder import Embeddings, Index

    z = Embeddings(np.concatenate([z for _, z in chunks(100_000)]), "bench", [f"{i}.jpg" for i in range(100_000)])
    metadata = {"share": np.random.default_rng(2).random(100_000), "license": ["cc", "by"] * 50_000}
    index = Index.create(place, z[:1])
    began = time.perf_counter()
    index.add(image=z, metadata=metadata)
    return time.perf_counter() - began


def ask(place: Path, work: Path, n: int) -> dict[str, Any]:
    """Everything about searching, in this process; `work` holds the queries and the answers."""
    import lancedb  # noqa: F401  # the store's library by itself takes a second

    from binder import Index

    assert "torch" not in sys.modules
    z_QD, right = np.load(work / "queries.npy"), json.loads((work / "truth.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    index = Index.open(place)
    result: dict[str, Any] = {"n": n, "open_s": time.perf_counter() - began}
    result |= timed("", lambda z: index.search(z, k=K), z_QD, right[""])
    result["first_ms"] = result.pop("worst_ms")
    result["overhead_ms"] = overhead(index, z_QD)
    for name, where in FILTERS.items():
        found = timed(name, lambda z, where=where: index.search(z, k=K, where=where), z_QD[:60], right[where])
        result |= {f"{name} {key}": value for key, value in found.items() if key != "worst_ms"}
    result["rss_mb"] = memory("VmHWM")
    if n <= 100_000:
        found = timed("exact", lambda z: index.search(z, k=K, exact=True), z_QD, right[""])
        result |= {f"exact {key}": value for key, value in found.items() if key != "worst_ms"}
    assert "torch" not in sys.modules
    return result


def timed(name: str, search: Callable[[np.ndarray], Any], z_QD: np.ndarray, right: list[list[int]]) -> dict[str, float]:
    """p50 and p95 (the first few queries left out) and recall."""
    taken, found = [], 0.0
    for z, wanted in zip(z_QD, right, strict=False):
        began = time.perf_counter()
        hits = search(z)
        taken.append(time.perf_counter() - began)
        got = {int(Path(hit.item).stem) for hit in hits}
        found += len(got & set(wanted)) / len(wanted) if wanted else float(not got)
    ms = 1000 * np.array(taken)
    warm = ms[5:]
    return {
        "p50_ms": float(np.median(warm)),
        "p95_ms": float(np.percentile(warm, 95)),
        "recall": found / len(ms),
        "worst_ms": float(ms[0]),
    }


def overhead(index: Any, z_QD: np.ndarray) -> float | None:
    """p50 of `search` less that of the same call to the store, taken in turns; None where vectors are in memory."""
    table = index.store.table("image")
    state = table.state()
    if state.in_memory:
        return None
    from binder.index.table import CANDIDATES, PROBES

    ours, direct = [], []
    for z in z_QD:
        began = time.perf_counter()
        index.search(z, k=K)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        query = table.inner.search(z, vector_column_name="vector").distance_type("cosine").limit(K)
        query.nprobes(PROBES).refine_factor(CANDIDATES // K).select([*state.shown, "_distance"]).to_arrow().to_pylist()
        direct.append(time.perf_counter() - began)
    return 1000 * float(np.median(ours) - np.median(direct))


def numpy_ms(n: int, z_QD: np.ndarray) -> float:
    """p50 of NumPy's exact search over the same vectors: one product and a partial sort."""
    z_ND = np.concatenate([z for _, z in chunks(n)])
    taken = []
    for z in z_QD[:60]:
        began = time.perf_counter()
        scores = z_ND @ z
        best = np.argpartition(-scores, K)[:K]
        _ = best[np.argsort(-scores[best])]
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.median(taken[5:]))


def memory(field: str) -> float:
    """A line of /proc/self/status, in MB; 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(field + ":")), 0.0)


def child(*arguments: object) -> Any:
    """What a fresh process of this file prints last, as JSON."""
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(n: int, work: Path) -> dict[str, Any]:
    place = work / f"{n}.idx"
    row = child("build", place, n)
    z_QD = drawn(QUERIES, 10**6, shifted=True)
    share = np.random.default_rng(2).random(n)
    np.save(work / "queries.npy", z_QD)
    (work / "truth.json").write_text(json.dumps(truth(n, share, z_QD)), encoding="utf-8")
    row |= child("ask", place, work, n)
    row["numpy_ms"] = child("numpy", n, work) if n <= 1_000_000 else None
    shutil.rmtree(place)
    return row


def checks(rows: list[dict[str, Any]], add_s: float) -> list[tuple[str, float, float, bool]]:
    """(what, measured, wanted, held) of every target."""
    found: list[tuple[str, float, str, float]] = [("add 100k with metadata, s", add_s, "<=", 5)]
    for row in rows:
        n = row["n"]
        name = f"{n:,}"
        found.append((f"{name}: opened, s", row["open_s"], "<=", 0.1))
        if row["overhead_ms"] is not None:
            found.append((f"{name}: over the store itself, ms", row["overhead_ms"], "<=", 1))
        if n <= 100_000:
            found.append((f"{name}: recall@10", row["recall"], ">=", 0.995))
            found.append((f"{name}: p50, ms", row["p50_ms"], "<=", max(6, row["numpy_ms"])))
            found.append((f"{name}: exact recall@10", row["exact recall"], ">=", 0.9999))
        if n == 100_000:
            found.append((f"{name}: exact over NumPy", row["exact p50_ms"] / row["numpy_ms"], "<=", 1.5))
        if n >= 1_000_000:
            found += [
                (f"{name}: recall@10", row["recall"], ">=", 0.99),
                (f"{name}: p50, ms", row["p50_ms"], "<=", 15),
                (f"{name}: p95, ms", row["p95_ms"], "<=", 25),
                (f"{name}: resident, MB", row["rss_mb"], "<=", 600),
                (f"{name}: built, s", row["build_s"], "<=", 60),
                (f"{name}: peak memory of building, MB", row["build_mb"], "<=", 1500),
            ]
        found += [(f"{name}: recall@10 at {f}", row[f"{f} recall"], ">=", 0.98) for f in FILTERS]
    return [(what, got, want, got <= want if sign == "<=" else got >= want) for what, got, sign, want in found]


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    n = [row["n"] for row in rows]
    axes.plot(n, [row["numpy_ms"] for row in rows], "--", color="#888", label="NumPy, exact")
    axes.plot(n, [row["p50_ms"] for row in rows], "o-", color="#2b7bba", label="binder, p50")
    axes.plot(n, [row["p95_ms"] for row in rows], ":", color="#2b7bba", label="binder, p95")
    axes.plot(n, [row["10 % p50_ms"] for row in rows], "s-", color="#e07b28", label="binder, a filter that leaves 10 %")
    axes.set(xscale="log", yscale="log", xlabel="vectors of 512 dimensions", ylabel="ms a query, one at a time")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--child", nargs="+")
    given = parser.parse_args()
    if given.child:
        kind, *rest = given.child
        if kind == "build":
            print(json.dumps(build(Path(rest[0]), int(rest[1]))))
        elif kind == "add":
            print(json.dumps(add_100k(Path(rest[0]))))
        elif kind == "numpy":
            print(json.dumps(numpy_ms(int(rest[0]), np.load(Path(rest[1]) / "queries.npy"))))
        else:
            print(json.dumps(ask(Path(rest[0]), Path(rest[1]), int(rest[2]))))
        return
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        add_s = child("add", work / "add.idx")
        shutil.rmtree(work / "add.idx")
        rows = []
        for n in sizes:
            rows.append(measured(n, work))
            print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}), flush=True)
    print()
    for what, got, want, held in checks(rows, add_s):
        print(f"{'held  ' if held else 'MISSED'} {what}: {got:.4g} (target {want:.4g})")
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
