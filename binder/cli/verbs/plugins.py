"""`binder plugins`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import complete, options, output
from binder.errors import PluginError
from binder.known_plugins import known_plugins
from binder.registry import Plugin, registry

if TYPE_CHECKING:
    from binder.devkit.check import Report

SLOW_IMPORT_S = 1.0  # a plugin that takes longer to import is marked in `list`


@click.group("plugins", cls=options.Group)
def plugins_command() -> None:
    """List, install, uninstall, create and check plugins."""


@plugins_command.command("list")
@options.as_json
def list_plugins(as_json: bool) -> None:
    """List the plugins with version, modalities, commands and file suffixes, and the errors of broken ones."""
    registry().register_commands(click.Group())  # fills in `Plugin.commands`
    if as_json:
        output.print_json([_as_dict(plugin) for plugin in registry().plugins])
        return
    for plugin in registry().plugins:  # plain text, which is faster than importing a table library
        names = ", ".join(provided(plugin)) or "-"
        output.say(f"{plugin.name} {plugin.version}: {names}  {' '.join(_suffixes(plugin))}".rstrip())
        if plugin.error:
            output.say(f"  broken: {plugin.error}")
        elif plugin.import_s > SLOW_IMPORT_S:
            click.echo(f"  slow: its import took {plugin.import_s:.1f} s, and every command waits for it")
        for name in sorted({m.name for m in plugin.modalities} - set(registry().names())):
            click.echo(f"  {name}: also provided by another plugin; uninstall one, or choose with BINDER_PLUGINS")
    there = {*registry().names(), *(plugin.name for plugin in registry().plugins)}
    missing = [f"{name} ({known.summary})" for name, known in known_plugins().items() if name not in there]
    if missing:
        click.echo(f"not installed: {'; '.join(missing)}")


@plugins_command.command("install")
@click.argument("what", metavar="NAME|PATH|URL", shell_complete=complete.known_plugins)
@click.option("--from", "place", metavar="PLACE", help="Folder or URL with the wheel of NAME.")
@click.option("--editable", "-e", is_flag=True, help="Install a folder so that changes in it take effect.")
@click.option("--anywhere", is_flag=True, help="Install even outside a virtual environment.")
@click.pass_obj
def install(obj: dict[str, Any] | None, what: str, place: str | None, editable: bool, anywhere: bool) -> None:
    """Install a plugin by its name, from a folder, or from a URL.

    A name is never looked up on a package index: it is a known plugin, found in the checkout or where the release says,
    or a wheel in PLACE. Other packages that the plugin depends on come from the usual index.
    """
    from binder.devkit import installing

    pip = installing.installer(anywhere)
    for name in installing.with_needed(what):
        if name != what:
            output.say(f"{what} needs {name}, which is installed first", err=True)
        source = installing.source(name, place)
        if "://" in source:
            output.say(f"from {source}", err=True)
        if editable and (place is not None or source.partition("#")[0].endswith(".whl")):
            raise PluginError("--editable needs a folder: a wheel cannot be edited")
        with tempfile.TemporaryDirectory() as work:
            given = installing.target(name, place, Path(work))
            _run(installing.command(pip, "install", installing.arguments(given, editable, Path(work))), name, obj)
    click.echo("installed; `binder plugins list` shows it", err=True)


@plugins_command.command("uninstall")
@click.argument("name", shell_complete=complete.installed_plugins)
@click.option("--anywhere", is_flag=True, help="Uninstall even outside a virtual environment.")
@click.pass_obj
def uninstall(obj: dict[str, Any] | None, name: str, anywhere: bool) -> None:
    """Uninstall a plugin, given its name in `binder plugins list` or the name of its distribution."""
    from binder.devkit import installing

    pip = installing.installer(anywhere)
    names = installing.distributions(name)
    _run(installing.command(pip, "uninstall", names), name, obj)
    click.echo(f"uninstalled {', '.join(names)}", err=True)


@plugins_command.command("new")
@click.argument("name")
@click.option(
    "--kind", metavar="KIND", shell_complete=complete.kinds, help="series, waveform, picture, raster, points or custom."
)
@click.option("--suffixes", metavar="LIST", help="Suffixes of its files, such as .csv,.tsv.")
@click.option("--package", metavar="PACKAGE", help="Name of the package; binder-NAME by default.")
@click.option(
    "--out",
    cls=options.Renamed,
    was="--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder to write, which must not exist; PACKAGE by default.",
)
def new(name: str, kind: str | None, suffixes: str | None, package: str | None, out: Path | None) -> None:
    """Create a plugin for a new modality NAME: a package that installs, passes its tests and can be aligned right away.

    Options that are not given are asked for; without a terminal, the defaults are used.
    """
    from binder.devkit.kinds import KINDS
    from binder.devkit.new import Plan, suffixes_of, write_plugin

    if kind is None and _at_terminal():
        click.echo("\n".join(f"  {key:9} {value.asks}" for key, value in KINDS.items()))
    kind = kind or _ask("kind of input", "series")
    usual = Plan(name, kind, (), package or f"binder-{name.replace('_', '-')}")
    chosen = suffixes_of(suffixes if suffixes is not None else _ask("file suffixes", ",".join(KINDS[kind].suffixes)))
    plan = Plan(name, kind, chosen, package or _ask("package", usual.package))
    folder = out or Path(plan.package)
    files = write_plugin(plan, folder, registry().names())
    output.say(f"wrote {folder}: {len(files)} files. Next:")
    for line in (
        f"binder plugins install -e {_here(folder)}",
        f"binder plugins check {_here(folder)}",
        f"binder align {name} {folder / 'sample' / 'pairs.csv'} --out runs/{name} --set train.steps=200",
    ):
        output.say(f"  {line}")


@plugins_command.command("check")
@click.argument("what", metavar="NAME|PATH", shell_complete=complete.plugins_or_folders)
@options.as_json
def check(what: str, as_json: bool) -> None:
    """Run a plugin's tests, including the contract of its encoders, and measure its size and speed.

    Exit status 1 if there is a problem.
    """
    from binder.devkit.check import check as run_check

    output.say(f"checking {what} ...", err=True)
    report = run_check(what)
    if as_json:
        output.print_json(report.as_dict())
    else:
        _show(report)
    if not report.passed:
        sys.exit(1)


def _run(command: list[str], what: str, obj: dict[str, Any] | None) -> None:
    """Run pip, showing one line of progress, or with -v all of its output. Raises PluginError if it fails."""
    from binder.devkit import installing

    if (obj or {}).get("verbose"):
        output.say(" ".join(command), err=True)
        last = installing.run(command, lambda line: output.say(line, err=True))
    else:
        waiting = _Waiting(what)
        last = installing.run(command, waiting.say)
        waiting.done()
        for line in last:
            output.say(f"  {line}", err=True)
    if last:
        hint = "" if (obj or {}).get("verbose") else "; for its whole output: binder -v plugins ..."
        raise PluginError(f"{what}: {Path(command[0]).name} failed{hint}")


class _Waiting:
    """Shows what pip is doing: one line that is updated on a terminal, an occasional line in a log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._printed = time.monotonic()

    def say(self, line: str) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            shown = f"{self._what}: {now - self._began:.0f} s  {line}"[: shutil.get_terminal_size().columns - 1]
            click.echo(f"\r\x1b[K{shown}", nl=False, err=True)
        elif now - self._printed > output.PLAIN_EVERY:
            self._printed = now
            output.say(f"{self._what}: {now - self._began:.0f} s  {line[:150]}", err=True)

    def done(self) -> None:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def _ask(what: str, default: str) -> str:
    """The user's answer, or the default if there is no terminal."""
    return str(click.prompt(what, default=default, err=True)) if _at_terminal() else default


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _here(folder: Path) -> str:
    """A folder written so that it cannot be mistaken for a name."""
    return str(folder) if folder.is_absolute() else f"./{folder.as_posix()}"


def _show(report: Report) -> None:
    from binder.devkit.check import sentence

    output.say(f"{report.plugin} in {report.folder}")
    click.echo()
    for name, facts in report.imports.items():
        if "error" not in facts:
            imports = ", ".join(facts["imports"]) or "nothing else"
            click.echo(
                f"entry point {name}: {facts['module']}, imported in {facts['seconds']:.2f} s, imports {imports}"
            )
    for modality, facts in report.facts.items():
        if "error" in facts:
            continue
        click.echo(
            f"\n{modality}: {facts['parameters']:,} parameters of its own, {facts['trained_parameters']:,} of them "
            f"trainable{'; the trunk is frozen' if facts['frozen_trunk'] else ''}\n"
            f"  a window is {' x '.join(map(str, facts['window_shape']))}, {facts['window_kib']:g} KiB in the cache\n"
            f"  reading an item takes {facts['read_ms']:g} ms; windows per second: {facts['windows_per_second']:,} "
            f"embedding, {facts['trained_windows_per_second']:,} training (CPU, {facts['threads']} threads)"
        )
    if report.tests:
        click.echo()
    for test in report.tests:
        mark = {"passed": "ok     ", "skipped": "skipped"}.get(test["outcome"], "FAILED ")
        output.say(f"  {mark} {sentence(test['test'])}")
    passed = sum(test["outcome"] == "passed" for test in report.tests)
    click.echo(f"\n{passed} of {len(report.tests)} tests passed; {len(report.problems)} problems")
    for problem in report.problems:
        output.say(f"  {problem}")


def provided(plugin: Plugin) -> list[str]:
    """The names of the modalities, anchors and commands that a plugin adds."""
    anchors = (f"{kind.prefix}..." for kind in plugin.anchors if kind.prefix)
    return [
        *(modality.name for modality in plugin.modalities),
        *anchors,
        *(f"binder {name}" for name in plugin.commands),
    ]


def _as_dict(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "modalities": [m.name for m in plugin.modalities],
        "anchors": [kind.prefix for kind in plugin.anchors],
        "commands": plugin.commands,
        "suffixes": _suffixes(plugin),
        "state": "broken" if plugin.error else "works",
        "error": plugin.error,
        "import_s": round(plugin.import_s, 3),
    }


def _suffixes(plugin: Plugin) -> list[str]:
    return sorted({suffix for modality in plugin.modalities for suffix in modality.suffixes})
