"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from binder.errors import nearest

Command = TypeVar("Command", bound=Callable[..., Any])


class Seconds(click.ParamType[float]):
    """A length of time: 2s, 0.5s, 500ms, 1min, or a number of seconds."""

    name = "seconds"
    UNITS = {"ms": 0.001, "min": 60.0, "s": 1.0, "": 1.0}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        unit = next(u for u in self.UNITS if text.endswith(u))
        try:
            seconds = float(text.removesuffix(unit)) * self.UNITS[unit]
        except ValueError:
            self.fail(f"{value!r} is no length of time; expected for instance 2s, 500ms or 1min", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r}: expected more than 0 seconds", param, ctx)
        return seconds


encoders = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="RUN",
    help="An aligned encoder's folder; may be repeated.",
)
trunk = click.option(
    "--trunk", metavar="NAME", help="Where the pretrained trunk of an --encoder is, if it was moved: timm:FOLDER."
)
device = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto.")
workers = click.option("--workers", type=click.IntRange(0), default=None, help="Processes that read items.")
strict = click.option("--strict", is_flag=True, help="Stop at the first item that cannot be read.")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, everything for people on stderr.")
as_modality = click.option(
    "--as", "modality", metavar="MODALITY", help="What the files are, where suffixes do not say."
)

COMMON = {
    "device": device,
    "encoder": encoders,
    "json": as_json,
    "strict": strict,
    "trunk": trunk,
    "workers": click.option(
        "--workers",
        type=click.IntRange(0),
        default=None,
        callback=lambda context, option, value: worker_count(value),
        help="Processes that read items.",
    ),
}


def common_options(*names: str) -> Callable[[Command], Command]:
    """Decorates a click command with options of binder's own, in this order; each name is that of an option.

    "device" passes `device: str`, "encoder" `encoders: tuple[str, ...]`, "json" `as_json: bool`, "strict"
    `strict: bool`, "trunk" `trunk: str | None`, and "workers" `workers: int`: the number that was asked for, or one per
    core. They fit the arguments of `binder.Binder` and `binder.align`. Raises ValueError for another name.
    """
    for name in names:
        if name not in COMMON:
            raise ValueError(f"there is no common option {name!r}{nearest(name, COMMON)}")

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = COMMON[name](command)
        return command

    return decorate


def worker_count(given: int | None) -> int:
    """The number asked for, or one per core up to eight.

    Called first, before torch is imported here: the first of them imports it at the same time.
    """
    import os

    from binder import readers

    count = given if given is not None else min(8, os.cpu_count() or 1)
    if count:
        readers.warm(["binder.anchors.openclip", "open_clip"])
    return count
