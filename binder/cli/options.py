"""Options that several verbs share."""

from __future__ import annotations

import click

encoders = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="RUN",
    help="An aligned encoder's folder; may be repeated.",
)
device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
workers = click.option("--workers", type=click.IntRange(0), default=None, help="Processes that read items.")
strict = click.option("--strict", is_flag=True, help="Stop at the first item that cannot be read.")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, everything for people on stderr.")
as_modality = click.option(
    "--as", "modality", metavar="MODALITY", help="What the files are, where suffixes do not say."
)


def worker_count(given: int | None) -> int:
    """The number asked for, or one per core up to eight."""
    import os

    return given if given is not None else min(8, os.cpu_count() or 1)
