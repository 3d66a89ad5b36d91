"""`binder align`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import complete, options, output

if TYPE_CHECKING:
    from binder.train.align import Result


@click.command("align")
@click.argument("modality", shell_complete=complete.trainable)
@click.argument("pairs", shell_complete=complete.paths)
@click.option(
    "--anchor",
    metavar="NAME",
    shell_complete=complete.anchors,
    help="mini (default), or another of `binder anchors list`, or a folder.",
)
@click.option(
    "--to",
    metavar="MODALITY,...",
    shell_complete=complete.targets,
    help="What to train against: image, text, both, or what else the anchor encodes; image by default.",
)
@click.option("--as-new", metavar="NAME", help="Name of what is aligned, where the anchor encodes MODALITY itself.")
@options.prompt
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="RUN",
    shell_complete=complete.runs,
    help="Run folder of the frozen encoder of a MODALITY in --to.",
)
@click.option(
    "--init",
    metavar="RUN",
    shell_complete=complete.runs,
    help="Start from the weights and settings of this encoder of the same MODALITY.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Run folder to write; runs/MODALITY by default."
)
@click.option(
    "--config", "config_file", metavar="FILE.toml", shell_complete=complete.paths, help="Read settings from a file."
)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as train.lr=0.001. Repeatable."
)
@click.option("--seed", type=int, metavar="N", help="Seed of weights, shuffling and augmentation; 0 by default.")
@click.option("--epochs", type=int, metavar="N", help="Number of passes over the pairs.")
@click.option("--minutes", type=float, metavar="N", help="Time limit; the learning rate is cooled down by then.")
@click.option(
    "--split",
    metavar="COLUMN",
    help="Column with the split of each row: train or val. time:COLUMN holds the latest rows out, order the last ones.",
)
@click.option(
    "--group", metavar="COLUMN", help="Rows with the same value in this column stay on one side of the split."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--tensorboard", is_flag=True, help="Write what is logged into FOLDER/tensorboard as well.")
@options.as_json
@options.strict
@options.device
@options.workers
def align_command(
    modality: str,
    pairs: str,
    config_file: str | None,
    tensorboard: bool,
    as_json: bool,
    workers: int | None,
    **given: Any,
) -> None:
    """Train the encoder of MODALITY on PAIRS, into the space of a frozen anchor.

    PAIRS is a CSV, TSV, JSONL or Parquet file with a column per modality (paths relative to the file, or text), or a
    folder with a subfolder per class.

    --json prints an object at the end: out, card, counts, retrieval, baselines, skipped, seconds.
    """
    from binder.registry import registry

    registry().get(modality)  # a typo fails before torch is imported
    count = options.worker_count(workers)
    from binder.data.encode import silent
    from binder.train.align import align
    from binder.train.distributed import rank
    from binder.train.tensorboard import tensorboard_writer

    out = given["out"] = given["out"] or Path("runs") / (given["as_new"] or modality)
    try:
        with output.ProgressBar() as progress:
            result = align(
                modality,
                pairs,
                config=config_file,
                workers=count,
                progress=silent if rank() else progress,
                callback=tensorboard_writer(out) if tensorboard else None,
                **given,
            )
    except KeyboardInterrupt:
        output.say(f"interrupted; {_what_is_left(out)}", err=True)
        sys.exit(130)
    if rank():  # of several processes only the first prints
        return
    output.skipped(result.skipped)
    counts = result.counts
    output.say(
        f"aligned {result.card.modality} on {counts['train']} rows in {result.seconds:.0f} s "
        f"({counts['val']} held out; {counts['anchor_encoded']} anchor items newly encoded)",
        err=as_json,
    )
    if result.retrieval and not as_json:
        output.retrieval_table(result.retrieval, baselines=result.card.metrics["baselines"])
    output.say(f"the encoder is in {result.out}", err=as_json)
    if as_json:
        output.print_json(_facts(result))


def _facts(result: Result) -> dict[str, Any]:
    """What a run left, for a program; the rows of retrieval and what was skipped as `binder eval --json` has them."""
    from binder.evaluation.metrics import no_result

    return {
        "out": str(result.out),
        "card": result.card.model_dump(mode="json", exclude={"metrics"}),
        "counts": result.counts,
        "retrieval": [{**row, "no_result": no_result(row["n_targets"])} for row in result.retrieval],
        "baselines": result.card.metrics["baselines"],
        "skipped": [{"where": where, "reason": reason} for where, reason in result.skipped],
        "seconds": result.seconds,
    }


def _what_is_left(out: Path) -> str:
    """What an interrupted run has left in its folder, and how to continue."""
    from binder.artifact import run_folder

    if (out / run_folder.CARD).is_file():
        return f"the run had finished, the encoder is in {out}"
    if (out / run_folder.CONFIG).is_file():
        return f"run the same command with --resume to continue {out}"
    return "no run had started"
