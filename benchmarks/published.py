"""Published figures of three public anchors measured again, and of the shipped one: each within half a point.

    python benchmarks/published.py        # downloads about 3 GB; minutes on a GPU, an hour or so on two cores
    python benchmarks/published.py --only st: --data FOLDER
    python benchmarks/published.py --sources

The table `FIGURES` says what is compared with what and where the figure stands; `SETS` where the data lie, and with
which prompts and class names. Plain files of the Hugging Face hub are read; `--data FOLDER` holds them already, as
FOLDER/ORG/NAME/FILE. The anchor mini is measured on drawings made here and stored in the same formats, so that the code
is run where there is no network, too.

Needs the plugin transformers (`binder plugins install transformers`) and, for mini, playground.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

import binder

TOLERANCE = 0.5  # points by which a figure may differ from the published one
BATCH = 256  # pictures that are in memory at a time
OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/main/docs"
BIG_VISION = "https://github.com/google-research/big_vision/blob/main/big_vision/configs/proj/image_text"
MTEB = "https://github.com/embeddings-benchmark/results/blob/main/results"
MINILM = f"{MTEB}/sentence-transformers__all-MiniLM-L6-v2/8b3219a92973c328a8e22fadcfa821b5dc75636a"
CARD = "binder/anchors/mini/card.json"

CLIP, SIGLIP = "ViT-B-32/laion2b_s34b_b79k", "transformers:google/siglip2-base-patch16-224"
SENTENCES = "st:sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Figure:
    """A figure that somebody has published."""

    anchor: str
    data: str  # a key of SETS
    metric: str
    published: float | None  # in points, 0..100; None: nobody has, the code is run all the same
    source: str  # page: table, row, column


FIGURES = (
    Figure(CLIP, "CIFAR-10", "accuracy", 93.58, f"{OPEN_CLIP}/openclip_results.csv: ViT-B-32, CIFAR-10"),
    Figure(CLIP, "COCO", "R@1 text -> image", 39.34, f"{OPEN_CLIP}/openclip_retrieval_results.csv: MSCOCO image retr."),
    Figure(CLIP, "COCO", "R@1 image -> text", 56.32, f"{OPEN_CLIP}/openclip_retrieval_results.csv: MSCOCO text retr."),
    Figure(
        SIGLIP, "COCO", "R@1 text -> image", 52.1, f"{BIG_VISION}/README_siglip2.md: Checkpoints, B/16 224, COCO T→I"
    ),
    Figure(
        SIGLIP, "COCO", "R@1 image -> text", 68.9, f"{BIG_VISION}/README_siglip2.md: Checkpoints, B/16 224, COCO I→T"
    ),
    Figure(SENTENCES, "STS-B", "Spearman", 82.03, f"{MINILM}/STSBenchmark.json: test, cosine_spearman"),
    Figure(SENTENCES, "SciFact", "nDCG@10", 64.51, f"{MINILM}/SciFact.json: test, ndcg_at_10"),
    Figure("mini", "scenes", "accuracy", 98.65, f"{CARD}: accuracy, scene, caption"),
    Figure("mini", "digits", "accuracy", 99.2, f"{CARD}: accuracy, digit, caption"),
    Figure("mini", "scenes, captioned", "R@1 text -> image", None, ""),
    Figure("mini", "scenes, captioned", "R@1 image -> text", None, ""),
    Figure("mini", "captions in pairs", "Spearman", None, ""),
    Figure("mini", "captions to search", "nDCG@10", None, ""),
)


@dataclass(frozen=True)
class Measured:
    """What was found on a data set."""

    n: str
    prompts: int
    classes: int | None
    points: dict[str, float]  # metric -> 0..100


@dataclass(frozen=True)
class Set:
    """A data set: files of the hub, and how they are measured."""

    place: str  # ORG/NAME
    revision: str
    files: tuple[str, ...]
    measure: Callable[[binder.Binder, Set, Sequence[Path]], Measured]
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("{}",)


def pictures(
    space: binder.Binder, paths: Sequence[Path], column: str, other: str
) -> tuple[NDArray[np.float32], list[Any]]:
    """Parquet files with encoded pictures -> their unit vectors (N, D), and the values of the other column."""
    parts, others = [], []
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=[column, other]):
            rows = batch.to_pylist()
            parts.append(space.embed(image=[row[column]["bytes"] for row in rows]).vectors)
            others += [row[other] for row in rows]
            print(f"\r{len(others):,} pictures", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return np.concatenate(parts), others


def zero_shot(space: binder.Binder, data: Set, paths: Sequence[Path]) -> Measured:
    """Columns img and label: the share of pictures whose class is the nearest to them."""
    z_ND, labels = pictures(space, paths, "img", "label")
    found = space.classify_vectors(z_ND, [""] * len(z_ND), "image", data.classes, data.templates)
    right = [one.label == data.classes[label] for one, label in zip(found, labels, strict=True)]
    return Measured(
        f"{len(right):,}", len(data.templates), len(data.classes), {"accuracy": 100 * float(np.mean(right))}
    )


def retrieval(space: binder.Binder, data: Set, paths: Sequence[Path]) -> Measured:
    """Columns image and caption (several): how often the first hit is right, of all captions and of all pictures."""
    z_ND, captions = pictures(space, paths, "image", "caption")
    of_text = np.repeat(np.arange(len(captions)), [len(several) for several in captions])
    z_TD = space.embed(text=[data.templates[0].format(text) for several in captions for text in several]).vectors
    to_image = binder.retrieval(z_TD, z_ND, list(of_text[:, None]))["r1"]
    to_text = binder.retrieval(z_ND, z_TD, [np.flatnonzero(of_text == i) for i in range(len(z_ND))])["r1"]
    points = {"R@1 text -> image": 100 * to_image, "R@1 image -> text": 100 * to_text}
    return Measured(f"{len(z_ND):,} + {len(z_TD):,}", 1, None, points)


def similarity(space: binder.Binder, data: Set, paths: Sequence[Path]) -> Measured:
    """Columns sentence1, sentence2 and score: the rank correlation of cosines and scores."""
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    one, two = (space.embed(text=[row[name] for row in rows]).vectors for name in ("sentence1", "sentence2"))
    cosines, scores = (one * two).sum(1), np.array([row["score"] for row in rows])
    correlation = np.corrcoef(mean_ranks(cosines), mean_ranks(scores))[0, 1]
    return Measured(f"{len(rows):,}", 1, None, {"Spearman": 100 * float(correlation)})


def mean_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) -> (N,) ranks, those of equal values averaged."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return means[which]


def search(space: binder.Binder, data: Set, paths: Sequence[Path]) -> Measured:
    """Files of documents, queries and which belong together -> the mean nDCG of the first ten hits."""
    documents, queries, judged = ([json.loads(line) for line in path.open(encoding="utf-8")] for path in paths)
    relevant: dict[str, dict[str, float]] = {}
    for row in judged:
        relevant.setdefault(str(row["query-id"]), {})[str(row["corpus-id"])] = float(row["score"])
    asked = [row for row in queries if row["_id"] in relevant]
    z_ND = space.embed(text=[f"{row.get('title', '')} {row['text']}".strip() for row in documents]).vectors
    z_QD = space.embed(text=[row["text"] for row in asked]).vectors
    discount = 1 / np.log2(np.arange(2, 12))
    values = []
    for z_D, query in zip(z_QD, asked, strict=True):
        gains = relevant[query["_id"]]
        hits = [documents[i]["_id"] for i in np.argsort(-(z_ND @ z_D), kind="stable")[:10]]
        best = sorted(gains.values(), reverse=True)[:10]
        found = discount[: len(hits)] @ [gains.get(hit, 0.0) for hit in hits]
        values.append(found / (discount[: len(best)] @ best))
    return Measured(f"{len(asked):,} + {len(documents):,}", 1, None, {"nDCG@10": 100 * float(np.mean(values))})


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# of LAION-AI/CLIP_benchmark, clip_benchmark/datasets/en_zeroshot_classification_templates.json: cifar10
KINDS = ("photo", "blurry photo", "black and white photo", "low contrast photo", "high contrast photo")
CIFAR_TEMPLATES = (
    *(f"a {kind} of {which} {{}}." for which in ("a", "the") for kind in (*KINDS, "bad photo", "good photo")),
    *(f"a photo of {which} {size} {{}}." for which in ("a", "the") for size in ("small", "big")),
)
SETS = {
    "CIFAR-10": Set(
        "uoft-cs/cifar10",
        "0b2714987fa478483af9968de7c934580d0bb9a2",
        ("plain_text/test-00000-of-00001.parquet",),
        zero_shot,
        CIFAR_CLASSES,
        CIFAR_TEMPLATES,
    ),
    "COCO": Set(  # the 5,000 pictures for testing of Karpathy's split, with all their captions
        "nlphuji/mscoco_2014_5k_test_image_text_retrieval",
        "fb42856fbf2ecad4d1382679f0abb33cab9fc952",
        ("TEST/test/0000.parquet", "TEST/test/0001.parquet"),
        retrieval,
    ),
    "STS-B": Set("mteb/stsbenchmark-sts", "refs/convert/parquet", ("default/test/0000.parquet",), similarity),
    "SciFact": Set(
        "mteb/scifact",
        "0228b52cf27578f30900b9e5271d331663a030d7",
        ("corpus.jsonl", "queries.jsonl", "qrels/test.jsonl"),
        search,
    ),
}


def draw_sets(folder: Path) -> dict[str, Set]:
    """What mini knows, drawn as for its card and written to folder/playground in the formats of the sets above."""
    from binder_playground import world
    from binder_playground.mini.data import drawn, named
    from binder_playground.mini.evaluation import AMOUNTS, HELD_OUT

    place = folder / "playground"
    place.mkdir()
    sets, pools = {}, {}
    for kind in ("scene", "digit"):
        seed = (0, HELD_OUT, list(AMOUNTS).index(kind))  # of the card's drawings
        pool = pools[kind] = drawn(kind, AMOUNTS[kind], np.random.default_rng(seed), 64)
        classes = tuple(world.caption(concept) for concept in world.concepts(kind))
        labels = [classes.index(world.caption(named(row))) for row in pool.shown]
        table = {"img": [{"bytes": png(picture), "path": None} for picture in pool.pictures], "label": labels}
        pq.write_table(pa.table(table), place / f"{kind}.parquet")
        sets[f"{kind}s"] = Set("playground", "", (f"{kind}.parquet",), zero_shot, classes)
    shown = [named(row) for row in pools["scene"].shown[:500]]  # one of each
    captions = [world.caption(concept) for concept in shown]
    ways = [[caption, f"a picture of {caption}"] for caption in captions]
    images = [{"bytes": png(picture), "path": None} for picture in pools["scene"].pictures[:500]]
    pq.write_table(pa.table({"image": images, "caption": ways}), place / "captioned.parquet")
    sets["scenes, captioned"] = Set("playground", "", ("captioned.parquet",), retrieval)
    alike = [
        sum(getattr(a, name) == getattr(b, name) for name in ("color", "shape", "count")) for a, b in pairwise(shown)
    ]
    pairs = {"sentence1": captions[:-1], "sentence2": captions[1:], "score": alike}
    pq.write_table(pa.table(pairs), place / "pairs.parquet")
    sets["captions in pairs"] = Set("playground", "", ("pairs.parquet",), similarity)
    rows: dict[str, list[dict[str, Any]]] = {
        "corpus.jsonl": [{"_id": str(i), "title": "", "text": caption} for i, caption in enumerate(captions)],
        "queries.jsonl": [{"_id": f"q{i}", "text": way} for i, (_, way) in enumerate(ways)],
        "judged.jsonl": [{"query-id": f"q{i}", "corpus-id": str(i), "score": 1} for i in range(len(ways))],
    }
    for name, lines in rows.items():
        (place / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sets["captions to search"] = Set("playground", "", tuple(rows), search)
    return sets


def png(pixels_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "png")
    return file.getvalue()


def local(data: Set, folder: Path | None) -> list[Path]:
    """The files of a set: those in the folder, or else downloaded once into the cache of the hub. Raises OSError."""
    if folder is not None and (folder / data.place).is_dir():
        return [folder / data.place / file for file in data.files]
    from huggingface_hub import hf_hub_download

    return [Path(hf_hub_download(data.place, file, repo_type="dataset", revision=data.revision)) for file in data.files]


def offline() -> bool:
    """Whether the hub does not answer."""
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=10).close()
    except urllib.error.HTTPError:  # an answer
        return False
    except OSError:
        return True
    return False


def measured(figures: Sequence[Figure], sets: dict[str, Set], folder: Path | None, device: str) -> Iterator[list[str]]:
    """The rows of the table for the figures of one anchor, each set measured once."""
    space, found = None, {}
    for figure in figures:
        data = sets[figure.data]
        if figure.data not in found:
            paths = local(data, folder)  # before the anchor, which takes longer to download
            space = space or binder.Binder(figure.anchor, device=device)
            found[figure.data] = data.measure(space, data, paths)
        result = found[figure.data]
        value = result.points[figure.metric]
        row = [figure.anchor, figure.data, result.n, str(result.prompts), str(result.classes or "–"), figure.metric]
        if figure.published is None:
            yield [*row, f"{value:.2f}", "–", "–", ""]
            continue
        difference = value - figure.published
        verdict = "held" if abs(difference) <= TOLERANCE else "MISSED"
        yield [*row, f"{value:.2f}", f"{figure.published:.2f}", f"{difference:+.2f}", verdict]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="anchors whose names begin so")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets' files")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sources", action="store_true", help="only say where the figures stand")
    given = parser.parse_args()
    figures = [figure for figure in FIGURES if figure.anchor.startswith(given.only or "")]
    if given.sources:
        for figure in figures:
            print(f"{figure.anchor}, {figure.data}, {figure.metric}: {figure.published} {figure.source}")
        return
    if offline():
        os.environ["HF_HUB_OFFLINE"] = "1"  # what has been downloaded before is used, and nothing is waited for
    columns = ["anchor", "data", "n", "prompts", "classes", "metric", "figure", "published", "difference", ""]
    rows: list[list[str]] = []
    missing: dict[str, str] = {}  # anchor -> why
    with tempfile.TemporaryDirectory() as work:
        drawn = draw_sets(Path(work)) if any(figure.anchor == "mini" for figure in figures) else {}
        for anchor in dict.fromkeys(figure.anchor for figure in figures):
            own = [figure for figure in figures if figure.anchor == anchor]
            try:
                rows += measured(own, SETS | drawn, Path(work) if anchor == "mini" else given.data, given.device)
            except (binder.BinderError, OSError) as error:  # the hub's errors are OSErrors
                missing[anchor] = " ".join(str(error).split())[:100]
    binder.print_table(columns, rows)
    if missing:
        why = "no network" if offline() else next(iter(missing.values()))
        print(f"not measured: {', '.join(missing)}: {why}")
    sys.exit(any(row[-1] == "MISSED" for row in rows))


if __name__ == "__main__":
    main()
