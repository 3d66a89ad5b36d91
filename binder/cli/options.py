"""Options shared by several verbs, and the classes of binder's commands: old option names, "did you mean", errors."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from binder.cli import complete, output
from binder.errors import OLD_NAMES, nearest

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Renamed(click.Option):
    """An option with an earlier name, `was`, which still works in a `Command` and is not shown in --help."""

    def __init__(self, *args: Any, was: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.was = was


class Command(click.Command):
    """A command whose `Renamed` options are also understood, with a warning, by their earlier names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._renamed(args))

    def _renamed(self, args: list[str]) -> list[str]:
        """The arguments with earlier names of options replaced; values of options are left alone."""
        options = [param for param in self.params if isinstance(param, click.Option)]
        now = {option.was: option.opts[0] for option in options if isinstance(option, Renamed)}
        with_value = {name for option in options if not option.is_flag and not option.count for name in option.opts}
        result: list[str] = []
        is_value = False
        for i, arg in enumerate(args):
            if arg == "--" and not is_value:
                return [*result, *args[i:]]
            name, equals, value = arg.partition("=")
            if name in now and not is_value:
                if not any(earlier.partition("=")[0] == name for earlier in args[:i]):
                    output.say(f"warning: {name} is now {now[name]}; {OLD_NAMES}", err=True)
                arg = f"{now[name]}{equals}{value}"
            is_value = not is_value and arg in with_value
            result.append(arg)
        return result


class Group(click.Group):
    """A group of such commands. It shows their help uncut and suggests the nearest command for a misspelled one."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=200)) for name, command in commands if command])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"no such command: {args[0]}{nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def usage_error(error: click.UsageError) -> str:
    """What is wrong with a command line, as one line that ends with where to look."""
    if isinstance(error, click.NoSuchOption):
        message = f"no such option: {error.option_name}{_nearest_option(error)}"
    else:
        message = " ".join(error.format_message().split()).removesuffix(".")
        message = message[:1].lower() + message[1:]
    return f"{message}; see {error.ctx.command_path} --help" if error.ctx else message


def _nearest_option(error: click.NoSuchOption) -> str:
    """' (did you mean --X?)' for the option whose name is closest, dashes aside; '' where none is."""
    params = error.ctx.command.get_params(error.ctx) if error.ctx else []
    known = {name.lstrip("-"): name for param in params if isinstance(param, click.Option) for name in param.opts}
    close = difflib.get_close_matches(error.option_name.lstrip("-"), known, n=1)
    return f" (did you mean {known[close[0]]}?)" if close else ""


class Duration(click.ParamType[float]):
    """A duration in seconds: 2s, 0.5s, 500ms, 1min, or a plain number of seconds."""

    name = "duration"
    UNITS = {"ms": 0.001, "min": 60.0, "s": 1.0, "": 1.0}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        unit = next(u for u in self.UNITS if text.endswith(u))
        try:
            seconds = float(text.removesuffix(unit)) * self.UNITS[unit]
        except ValueError:
            self.fail(f"{value!r} is not a duration; expected for example 2s, 500ms or 1min", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r}: expected more than 0 seconds", param, ctx)
        return seconds


every = click.option(
    "--every",
    type=Duration(),
    metavar="DURATION",
    help="Cut items with a time axis into segments of this length (2s, 500ms, 1min), each with a vector of its own.",
)
anchor = click.option(
    "--anchor",
    metavar="NAME",
    shell_complete=complete.anchors,
    help="The anchor, where no --encoder implies it; mini by default.",
)
prompt = click.option(
    "--prompt", metavar="NAME", help="The anchor's instruction for texts, where it has several: query, document ..."
)
encoders = click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="RUN",
    shell_complete=complete.runs,
    help="Run folder, or hf:ORG/NAME, of an aligned encoder; repeatable.",
)
trunk = click.option(
    "--trunk", metavar="NAME", help="Where an encoder's pretrained trunk is now, if it was moved: timm:FOLDER."
)
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    shell_complete=complete.devices,
    help="cpu, cuda, cuda:1, mps or auto.",
)
_workers: dict[str, Any] = {
    "type": click.IntRange(0),
    "metavar": "N",
    "help": "Processes that read items; by default one per core, at most 8.",
}
workers = click.option("--workers", **_workers)
strict = click.option("--strict", is_flag=True, help="Stop at the first unreadable item instead of skipping it.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout; messages go to stderr.")
as_modality = click.option(
    "--as",
    "modality",
    metavar="MODALITY",
    shell_complete=complete.modalities,
    help="Modality of the files, where their suffixes do not say.",
)

COMMON = {
    "device": device,
    "encoder": encoders,
    "json": as_json,
    "strict": strict,
    "trunk": trunk,
    "workers": click.option("--workers", callback=lambda context, option, value: worker_count(value), **_workers),
}


def common_options(*names: str) -> Callable[[Decorated], Decorated]:
    """Decorates a click command with binder's own options, in this order; each name is that of an option.

    "device" passes `device: str`, "encoder" `encoders: tuple[str, ...]`, "json" `as_json: bool`, "strict"
    `strict: bool`, "trunk" `trunk: str | None`, and "workers" `workers: int`: the number given, or one per core. They
    fit the parameters of `binder.Binder` and `binder.align`. Raises ValueError for an unknown name.
    """
    for name in names:
        if name not in COMMON:
            raise ValueError(f"there is no common option {name!r}{nearest(name, COMMON)}")

    def decorate(command: Decorated) -> Decorated:
        for name in reversed(names):
            command = COMMON[name](command)
        return command

    return decorate


def worker_count(given: int | None) -> int:
    """The number of workers given, or one per core up to eight.

    Call this before importing torch: the first worker starts here and imports torch while this process does.
    """
    import os

    from binder import readers

    count = given if given is not None else min(8, os.cpu_count() or 1)
    if count:
        readers.warm(["binder.anchors.openclip", "open_clip"])
    return count
