"""A sensor aligned to the captions' vectors of a frozen text model: with sentence-transformers' own trainer, and here.

The sensor is made up: three channels over four seconds that shake as their caption says ("a faint slow square shaking
sideways, growing, with two knocks"). The held-out captions are in no training pair. Everybody gets the same recordings,
text model, encoder, batch, epochs, peak learning rate and warm-up, fp32 and one thread, in a process of its own:

  trainer   what sentence-transformers documents: an InputModule for the sensor and the frozen text model are two routes
            of a Router; MultipleNegativesRankingLoss in both directions. The baseline of the ratios
  cached    the same, but the captions' vectors are computed once and given to the trainer, as one could do by hand
  binder    `binder.align` with the anchor st:MODEL and the encoder of the two above
  series    `binder.align` with `series_modality`: a function that reads, and binder's own encoder for series

    python benchmarks/sentence_transformers_trainer.py [--model ORG/MODEL_OR_FOLDER] [--seeds 0 1 2] [--out FILE.json]

Without --model a small BERT with random weights and words of its own is made and saved in the library's format: its
vectors tell the captions apart, and it is as fast as any of its size. Times are CPU seconds without those of imports;
an epoch is the median. Lines are those between the marks in this file without blank ones, comments and docstrings.
Needs the plugin transformers, and what the trainer needs: `pip install accelerate datasets`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from shaking import RATE_HZ, Data, Vectors, make_data, make_text_model, network
from turns import memory_mb

from binder import EncoderConfig, Modality, Series, SeriesConfig, hookimpl, series_modality

if TYPE_CHECKING:
    import torch

    from binder import Anchor, Encoder

ROWS = ("trainer", "cached", "binder", "series")  # the first is the baseline
WARMUP, WEIGHT_DECAY = 0.05, 0.05  # binder's defaults, for everybody


@dataclass
class Clock:
    """CPU seconds of each epoch: a callback of `binder.align`; `epochs_of` makes one for the trainer of it."""

    per_epoch: int  # steps
    epochs: list[float] = field(default_factory=list)
    began: float | None = None

    def start(self) -> None:
        self.began = time.process_time()

    def end(self) -> None:
        if self.began is not None:  # `align` says when a step is done, so that the first epoch has no beginning
            self.epochs.append(time.process_time() - self.began)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage == "training" and done % self.per_epoch == 0:
            self.end()
            self.start()


def epochs_of(clock: Clock) -> Any:
    """The trainer's callback that starts and stops a clock."""
    from transformers import TrainerCallback

    class Epochs(TrainerCallback):
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.start()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            clock.end()

    return Epochs()


def with_trainer(given: argparse.Namespace, data: Data, folder: Path, clock: Clock) -> tuple[Vectors, Vectors]:
    """Vectors of the held-out recordings and captions."""
    # begin: trainer, cached
    import sentence_transformers as st
    import torch
    from datasets import Dataset
    from sentence_transformers.base.modules import InputModule, Normalize, Router
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    class Sensor(InputModule):
        modalities: ClassVar = ["audio"]  # what the library takes every array for

        def __init__(self, dim: int) -> None:
            super().__init__()
            self.net = network(dim)

        def preprocess(self, inputs: Any, prompt: str | None = None, **more: Any) -> dict[str, Any]:
            return {"input_features": torch.tensor(np.array(inputs, np.float32))}

        def forward(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
            return {**features, "sentence_embedding": self.net(features["input_features"])}

        def save(self, output_path: str, *args: Any, **more: Any) -> None:
            self.save_torch_weights(output_path)

    torch.manual_seed(given.seed)
    text = st.SentenceTransformer(given.model, device="cpu").requires_grad_(False)
    sensor = Sensor(text.get_embedding_dimension())
    # end: trainer, cached
    if given.row == "trainer":
        if not given.dropout:
            # begin: trainer
            for part in text.modules():
                if isinstance(part, torch.nn.Dropout):
                    part.p = 0.0  # the trainer puts the frozen model into training mode, too
        captions_of, captions = list(text), data.captions
        # end: trainer
    else:
        # begin: cached

        class Given(InputModule):
            def preprocess(self, inputs: Any, prompt: str | None = None, **more: Any) -> dict[str, Any]:
                return {"sentence_embedding": torch.tensor(np.array(inputs, np.float32))}

            def forward(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
                return features

            def save(self, output_path: str, *args: Any, **more: Any) -> None:
                pass

        distinct = sorted(set(data.captions))
        vectors = dict(zip(distinct, text.encode(distinct), strict=True))
        captions_of, captions = [Given()], [vectors[caption] for caption in data.captions]
        # end: cached
    # begin: trainer, cached
    routes = Router({"sensor": [sensor], "text": captions_of})
    model = st.SentenceTransformer(modules=[routes, Normalize()], device="cpu")
    args = st.SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=given.epochs,
        per_device_train_batch_size=given.batch,
        learning_rate=given.lr,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        router_mapping={"sensor": "sensor", "text": "text"},
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=given.seed,
    )
    both = ("query_to_doc", "doc_to_query")
    loss = MultipleNegativesRankingLoss(model, directions=both, partition_mode="per_direction")
    pairs = Dataset.from_dict({"sensor": list(data.recordings), "text": captions})
    more = [epochs_of(clock)]
    st.SentenceTransformerTrainer(model=model, args=args, train_dataset=pairs, loss=loss, callbacks=more).train()
    return model.encode(list(data.held_out), task="sensor"), text.encode(data.held_out_captions)
    # end: trainer, cached


# begin: binder
def build(config: EncoderConfig, anchor: Anchor) -> Encoder:
    import torch

    from binder import Encoder

    class ShakingEncoder(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(anchor.embed_dim)

        def preprocess(self, item: Vectors) -> torch.Tensor:
            return torch.from_numpy(item)[None]

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            z_BD: torch.Tensor = self.net(batch)
            return z_BD

    return ShakingEncoder()


BINDER = Modality("binder", frozenset(), EncoderConfig, build)
# end: binder


# begin: series
class ShakingConfig(SeriesConfig):
    channels: tuple[str, ...] = ("sideways", "forwards", "upwards")
    strength: float = 0.0  # of the augmentation, which changes what the captions speak of: how strong, how fast


def read(item: Vectors, config: ShakingConfig) -> Series:
    return Series(item.T, rate_hz=RATE_HZ)


SERIES = series_modality("series", (), ShakingConfig, read)
# end: series


# begin: binder, series
@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [BINDER, SERIES]


# end: binder, series


def with_binder(given: argparse.Namespace, data: Data, folder: Path, clock: Clock) -> tuple[Vectors, Vectors]:
    """Vectors of the held-out recordings and captions."""
    # begin: binder, series
    import binder
    from binder.registry import Registry

    plugins = Registry([*entry_points(group="binder"), EntryPoint("shaking", __name__, "binder")])  # pip does that
    rows = [{given.row: x, "text": caption} for x, caption in zip(data.recordings, data.captions, strict=True)]
    anchor, run = f"st:{given.model}", folder / "run"
    train = {
        "epochs": given.epochs,
        "batch_size": given.batch,
        "lr": given.lr,
        "warmup": WARMUP,
        "weight_decay": WEIGHT_DECAY,
        "precision": "fp32",
        "val_fraction": 0.0,
    }
    binder.align(
        given.row,
        rows,
        anchor=anchor,
        to="text",
        out=run,
        config={"train": train},
        seed=given.seed,
        registry=plugins,
        progress=clock,
    )
    space = binder.Binder(anchor, registry=plugins).load(run)
    return space.embed(**{given.row: list(data.held_out)}).vectors, space.embed(text=data.held_out_captions).vectors
    # end: binder, series


def lines_of(row: str) -> int:
    """The lines of code between the marks that name a row."""
    counted, within = 0, False
    for line in Path(__file__).read_text(encoding="utf-8").splitlines():
        text = line.strip()
        mark, _, rows = text.partition(": ")
        if mark in ("# begin", "# end") and row in rows.split(", "):
            within = mark == "# begin"
        elif within and text and not text.startswith(("#", '"""')):
            counted += 1
    return counted


def child(given: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own measures for one row and seed."""
    import sentence_transformers  # noqa: F401 - before the clock starts, as what is imported below
    import torch

    import binder

    torch.set_num_threads(1)
    use = with_binder if given.row in ("binder", "series") else with_trainer
    for name in ("binder.train.align", "binder.api") if use is with_binder else ("datasets",):
        importlib.import_module(name)
    data = make_data(given.pairs, given.held_out, given.seed)
    clock, folder = Clock(-(-given.pairs // given.batch)), Path(given.work)
    began = time.process_time()
    z_items, z_texts = use(given, data, folder, clock)
    seconds = time.process_time() - began
    same = [np.array([i]) for i in range(given.held_out)]
    return {
        "lines": lines_of(given.row),
        "epoch_s": statistics.median(clock.epochs),
        "total_s": seconds,
        "to_text": binder.retrieval(z_items, z_texts, same)["r1"],
        "from_text": binder.retrieval(z_texts, z_items, same)["r1"],
        "memory_mb": memory_mb(),
    }


def measured(given: argparse.Namespace, row: str, seed: int) -> dict[str, Any]:
    """The same, from a fresh process with an empty cache and one thread."""
    with tempfile.TemporaryDirectory() as work:
        options = {**vars(given), "row": row, "seed": seed, "work": work}
        command = [sys.executable, __file__, "--child", json.dumps(options, default=str)]
        quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        alone = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "BINDER_CACHE": str(Path(work) / "cache")}
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet, **alone})
    if done.returncode:
        raise SystemExit(f"{row}, seed {seed}: {done.stderr}")
    return {"row": row, "seed": seed, **json.loads(done.stdout.splitlines()[-1])}


def table(found: list[dict[str, Any]], rows: Sequence[str]) -> None:
    """A line for each row, means over the seeds; in brackets the ratio to the baseline."""
    timed = f"{'s an epoch':>14}  {'s in all':>14}"
    print(f"{'':8}  lines  {timed}  R@1 sensor -> text  R@1 text -> sensor  {'peak MB':>14}")
    base: dict[str, float] = {}
    for row in rows:
        of_row = [one for one in found if one["row"] == row]
        mean = {key: statistics.mean(one[key] for one in of_row) for key in of_row[0] if key not in ("row", "seed")}
        base = base or mean
        ratio = {key: f"({mean[key] / base[key]:.2f})" for key in ("epoch_s", "total_s", "memory_mb")}
        print(
            f"{row:8}  {mean['lines']:5.0f}  {mean['epoch_s']:7.2f} {ratio['epoch_s']}  {mean['total_s']:7.1f} "
            f"{ratio['total_s']}  {mean['to_text']:18.3f}  {mean['from_text']:18.3f}  {mean['memory_mb']:7.0f} "
            f"{ratio['memory_mb']}"
        )


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(argparse.Namespace(**json.loads(sys.argv[2])))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="of sentence-transformers: a folder, or ORG/MODEL where there is a network")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-2, help="peak learning rate of every row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of captions, recordings, weights and order")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--dropout", action="store_true", help="leave the dropout of the text model on in `trainer`")
    parser.add_argument("--out", type=Path, help="JSON of everything measured")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            captions = make_data(given.pairs, given.held_out, 0).captions
            make_text_model(Path(folder), captions, layers=3, width=192)
            given.model = str(Path(folder) / "model")
        found = [measured(given, row, seed) for seed in given.seeds for row in given.rows]
    n = given.held_out
    print(f"{given.pairs:,} pairs, {given.epochs} epochs, batch {given.batch}, lr {given.lr}, seeds {given.seeds};")
    print(f"held out: {n} recordings and as many captions, none of them in training (chance: {1 / n:.3f})")
    table(found, given.rows)
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
