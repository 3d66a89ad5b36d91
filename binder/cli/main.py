"""The `binder` command. Verbs are imported when they are called, so that `--help` stays fast."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings

import click

from binder.cli import output
from binder.errors import BinderError, PluginError, nearest
from binder.report.text import visible

LONGEST = 2000  # letters of an error that are shown
VERBS = {  # name: one line of help
    "align": "Train a modality's encoder into the space of a frozen anchor.",
    "embed": "Turn items into vectors, written to a Parquet file.",
    "eval": "Retrieval between every two modalities of a manifest.",
    "classify": "Zero-shot: which of the given labels fits each item.",
    "index": "Keep items and their vectors on disk: create, add, delete, info, optimize, verify, export.",
    "search": "Search an index by text, by an item, or by sums and differences of several.",
    "similar": "What lies near an item of an index.",
    "duplicates": "Items of an index that lie very near to each other.",
    "pairs": "Look after a manifest of pairs: duplicates, leaks, unreadable items, noisy rows.",
    "push": "Put an aligned encoder on the model hub.",
    "pull": "Fetch an aligned encoder from the model hub.",
    "cache": "What was computed once and is kept: look at it, verify it, make room.",
    "plugins": "List, install and uninstall modality plugins.",
    "anchors": "List the frozen models there are.",
    "doctor": "Versions, devices, plugins and decoders on this machine.",
}
# A verb NAME is `NAME_command` of the module binder.cli.verbs.NAME, or of the one that is named here.
TOGETHER = {"similar": "search", "duplicates": "search", "push": "hub", "pull": "hub"}


class LazyGroup(click.Group):
    """A group whose own verbs are imported on use; plugins add theirs through their hook."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugin_commands()
        return [*VERBS, *sorted(set(self.commands) - set(VERBS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in VERBS:
            module = importlib.import_module(f"binder.cli.verbs.{TOGETHER.get(name, name)}")
            command: click.Command = getattr(module, f"{name}_command")
            return command
        self._add_plugin_commands()
        return self.commands.get(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from binder.registry import command_plugins

            lacking = command_plugins().unknown_command(args[0])
            if lacking:
                raise PluginError(lacking)
            ctx.fail(f"no such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}")
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
@click.option("-v", "--verbose", is_flag=True, help="Show what the libraries log, and tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """Bind any modality into one embedding space: small encoders aligned to a frozen CLIP."""
    ctx.obj = {"verbose": verbose}
    _set_up_logging(verbose)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit status 2; anything else is a bug."""
    output.any_text_can_be_written()
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()  # here a pipe that is closed is still found in good time
    except click.ClickException as error:
        vars(error)["message"] = _short(visible(error.message, keep="\n\t"))  # click's lists of choices have lines
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BinderError as error:
        if logging.getLogger("binder").level == logging.DEBUG:
            raise
        output.say(f"error: {_short(str(error))}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, `head` for instance, has seen enough
        sys.stderr.close()
        sys.exit(0)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _set_up_logging(verbose: bool) -> None:
    handler = output.LogHandler()
    own = logging.getLogger("binder")
    own.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        own.propagate = False
        own.handlers = [handler]
        logging.getLogger().addHandler(logging.NullHandler())  # other libraries' chatter
        warnings.simplefilter("ignore")
    else:
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
