"""The `binder` command. Verbs are imported when they are called, so that `--help` stays fast."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from typing import Any, NoReturn

import click

from binder.cli import complete, options, output
from binder.errors import OLD_NAMES, BinderError, PluginError

MAX_ERROR = 2000  # characters shown of an error
# raised for a group without a verb by click 8.2 and later, earlier versions print the help themselves
HELP_SHOWN: tuple[type[click.UsageError], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)
VERBS = {  # name: one line of help
    "align": "Train the encoder of a modality into the space of a frozen anchor.",
    "embed": "Compute vectors of items and write them to a file.",
    "eval": "Measure retrieval between every two modalities of a manifest.",
    "classify": "Zero-shot classification: which of the given labels fits each item.",
    "index": "Keep items and their vectors in a searchable index.",
    "search": "Search an index by text, by an item, or by sums and differences of several.",
    "similar": "Find what is closest to an item of an index.",
    "duplicates": "Find near-duplicates in an index.",
    "pairs": "Check and clean a manifest of pairs before training.",
    "export": "Write an encoder as ONNX or by torch.export, to run it without binder.",
    "push": "Upload an aligned encoder to the Hugging Face Hub.",
    "pull": "Download an aligned encoder from the Hugging Face Hub.",
    "cache": "Inspect, verify or shrink the cache of vectors and preprocessed items.",
    "plugins": "List, install, uninstall, create and check plugins.",
    "anchors": "List the frozen models to align to.",
    "doctor": "Show versions, devices, plugins and decoders on this machine.",
    "completion": "Print the script by which bash, zsh or fish completes what is typed.",
}
# The verb NAME is `NAME_command` in the module binder.cli.verbs.NAME, or in the module named here.
MODULES = {"similar": "search", "duplicates": "search", "push": "hub", "pull": "hub"}


class LazyGroup(options.Group):
    """The group of all verbs: the core's own are imported on use, plugins add theirs through their hook."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugin_commands()
        return [*VERBS, *sorted(set(self.commands) - set(VERBS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in VERBS:
            module = importlib.import_module(f"binder.cli.verbs.{MODULES.get(name, name)}")
            command: click.Command = getattr(module, f"{name}_command")
            return command
        self._add_plugin_commands()
        return self.commands.get(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from binder.registry import command_plugins

            how_to_install = command_plugins().unknown_command(args[0])
            if how_to_install:
                raise PluginError(how_to_install)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, VERBS.get(name) or self._help(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _help(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=100) if command else ""

    def _add_plugin_commands(self) -> None:
        if getattr(self, "_asked", False):
            return
        self._asked = True
        from binder.registry import command_plugins

        command_plugins().register_commands(self)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="modality-binder", prog_name="binder")
@click.option("-v", "--verbose", is_flag=True, help="Show the log messages of libraries, and tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """Bind any modality into one embedding space: small encoders, aligned to a frozen CLIP."""
    ctx.obj = {"verbose": verbose}
    _set_up_logging(verbose)


def main() -> None:
    """Entry point: a mistake of the user is one line on stderr, with exit status 2; any other exception is a bug."""
    output.any_text_can_be_written()
    if complete.asked():
        complete.answer(cli)
    try:
        cli.main(prog_name="binder", standalone_mode=False)
        sys.stdout.flush()  # raises BrokenPipeError here rather than at exit
    except click.ClickException as error:
        if isinstance(error, HELP_SHOWN):
            error.show()
            sys.exit(error.exit_code)
        message = options.usage_error(error) if isinstance(error, click.UsageError) else error.format_message()
        _fail(" ".join(message.split()), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BinderError as error:
        if logging.getLogger("binder").level == logging.DEBUG:
            raise
        _fail(str(error), 2)
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str, status: int) -> NoReturn:
    """Print an error as one line of bounded length and exit."""
    output.say(f"error: {message if len(message) <= MAX_ERROR else message[:MAX_ERROR] + ' ...'}", err=True)
    sys.exit(status)


def _set_up_logging(verbose: bool) -> None:
    handler = output.LogHandler()
    own = logging.getLogger("binder")
    own.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        own.propagate = False
        own.handlers = [handler]
        logging.getLogger().addHandler(logging.NullHandler())  # of other libraries nothing is shown
        warnings.simplefilter("ignore")
        warnings.filterwarnings("once", message=f".*{OLD_NAMES}", category=FutureWarning)
        warnings.showwarning = _show_warning
    else:
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")


def _show_warning(message: Warning | str, category: Any, filename: str, lineno: int, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code that caused it."""
    output.say(f"warning: {message}", err=True)
