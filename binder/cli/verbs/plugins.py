"""`binder plugins`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binder.cli import options, output
from binder.errors import PluginError
from binder.registry import Plugin, known_plugins, registry

if TYPE_CHECKING:
    from binder.devkit.check import Report

SLOW_IMPORT_S = 1.0  # seconds from which `list` remarks on a plugin's import


@click.group("plugins")
def plugins_command() -> None:
    """List, install and uninstall modality plugins; write one, check one."""


@plugins_command.command("list")
@options.as_json
def list_plugins(as_json: bool) -> None:
    """Plugins: version, modalities, suffixes, commands, state, and the error of those that do not work."""
    registry().register_commands(click.Group())  # so that each plugin's commands are known
    if as_json:
        output.print_json([_as_dict(plugin) for plugin in registry().plugins])
        return
    for plugin in registry().plugins:  # plain text: this answers before a table library is imported
        names = ", ".join(provided(plugin)) or "-"
        output.say(f"{plugin.name} {plugin.version}: {names}  {' '.join(_suffixes(plugin))}".rstrip())
        if plugin.error:
            output.say(f"  broken: {plugin.error}")
        elif plugin.import_s > SLOW_IMPORT_S:
            click.echo(f"  slow: its import took {plugin.import_s:.1f} s, and every command waits for it")
        for name in sorted({m.name for m in plugin.modalities} - set(registry().names())):
            click.echo(f"  {name}: provided by another plugin too; uninstall one, or choose with BINDER_PLUGINS")
    there = {*registry().names(), *(plugin.name for plugin in registry().plugins)}
    missing = [f"{name} ({known.summary})" for name, known in known_plugins().items() if name not in there]
    if missing:
        click.echo(f"not installed: {'; '.join(missing)}")


@plugins_command.command("install")
@click.argument("what", metavar="NAME|PATH|URL")
@click.option("--from", "place", metavar="PLACE", help="Where the wheel of NAME lies: a folder, or a URL.")
@click.option("--editable", "-e", is_flag=True, help="Install a folder so that edits of it take effect.")
@click.option("--anywhere", is_flag=True, help="Install outside a virtual environment too.")
@click.pass_obj
def install(obj: dict[str, Any] | None, what: str, place: str | None, editable: bool, anywhere: bool) -> None:
    """Install a plugin: a name, a folder, or a URL.

    A name is never looked up on a package index: it is the project's own plugin in a checkout or as the release says,
    or the wheel of that name in PLACE. What a plugin needs of others comes from the usual index.
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
            raise PluginError("--editable is for a folder: a wheel cannot be edited")
        with tempfile.TemporaryDirectory() as work:
            given = installing.target(name, place, Path(work))
            _run(installing.command(pip, "install", installing.arguments(given, editable, Path(work))), name, obj)
    click.echo("installed; `binder plugins list` shows it", err=True)


@plugins_command.command("uninstall")
@click.argument("name")
@click.option("--anywhere", is_flag=True, help="Uninstall outside a virtual environment too.")
@click.pass_obj
def uninstall(obj: dict[str, Any] | None, name: str, anywhere: bool) -> None:
    """Uninstall a plugin by its name in `binder plugins list`, its short name or its distribution's name."""
    from binder.devkit import installing

    pip = installing.installer(anywhere)
    names = installing.distributions(name)
    _run(installing.command(pip, "uninstall", names), name, obj)
    click.echo(f"uninstalled {', '.join(names)}", err=True)


@plugins_command.command("new")
@click.argument("name")
@click.option("--kind", help="series, waveform, picture, raster, points or custom.")
@click.option("--suffixes", help="Suffixes of its files, such as .csv,.tsv.")
@click.option("--package", help="What pip installs it as.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; must not exist.")
def new(name: str, kind: str | None, suffixes: str | None, package: str | None, folder: Path | None) -> None:
    """Write a plugin for a new modality NAME: a package that can be installed, passes its tests and aligns at once.

    What is not given is asked for, at most three questions; where no terminal can be asked, the defaults are taken.
    """
    from binder.devkit.kinds import KINDS
    from binder.devkit.new import Plan, suffixes_of, write_plugin

    if kind is None and _at_terminal():
        click.echo("\n".join(f"  {key:9} {value.asks}" for key, value in KINDS.items()))
    kind = kind or _ask("kind of input", "series")
    usual = Plan(name, kind, (), package or f"binder-{name.replace('_', '-')}")
    chosen = suffixes_of(suffixes if suffixes is not None else _ask("file suffixes", ",".join(KINDS[kind].suffixes)))
    plan = Plan(name, kind, chosen, package or _ask("package", usual.package))
    files = write_plugin(plan, folder or Path(plan.package), registry().names())
    folder = folder or Path(plan.package)
    output.say(f"wrote {folder}: {len(files)} files. Next:")
    for line in (
        f"binder plugins install -e {_here(folder)}",
        f"binder plugins check {_here(folder)}",
        f"binder align {name} {folder / 'sample' / 'pairs.csv'} --out runs/{name} --set train.steps=200",
    ):
        output.say(f"  {line}")


@plugins_command.command("check")
@click.argument("what", metavar="NAME|PATH")
@options.as_json
def check(what: str, as_json: bool) -> None:
    """Run a plugin's tests, the contract of every encoder among them, and show how large and how fast it is.

    Exit status 1 where something is wrong.
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
    """pip's work as one line of progress, with -v as all of its own lines. Raises PluginError where it fails."""
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
        all_of_it = "" if (obj or {}).get("verbose") else "; all that it said: binder -v plugins ..."
        raise PluginError(f"{what}: {Path(command[0]).name} failed{all_of_it}")


class _Waiting:
    """Where pip is, in one line of a terminal that changes, or now and then a line of a log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._said = time.monotonic()

    def say(self, line: str) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            shown = f"{self._what}: {now - self._began:.0f} s  {line}"[: shutil.get_terminal_size().columns - 1]
            click.echo(f"\r\x1b[K{shown}", nl=False, err=True)
        elif now - self._said > output.PLAIN_EVERY:
            self._said = now
            output.say(f"{self._what}: {now - self._began:.0f} s  {line[:150]}", err=True)

    def done(self) -> None:
        if sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def _ask(what: str, default: str) -> str:
    """The answer, or the default where nobody can be asked."""
    return str(click.prompt(what, default=default, err=True)) if _at_terminal() else default


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _here(folder: Path) -> str:
    """A folder so that it is not taken for a name."""
    return str(folder) if folder.is_absolute() else f"./{folder.as_posix()}"


def _show(report: Report) -> None:
    from binder.devkit.check import sentence

    output.say(f"{report.plugin} in {report.folder}")
    click.echo()
    for name, facts in report.imports.items():
        if "error" not in facts:
            brings = ", ".join(facts["imports"]) or "nothing"
            click.echo(f"entry point {name}: {facts['module']}, imported in {facts['seconds']:.2f} s, brings {brings}")
    for modality, facts in report.facts.items():
        if "error" in facts:
            continue
        click.echo(
            f"\n{modality}: {facts['parameters']:,} parameters of its own, {facts['trained_parameters']:,} of them "
            f"trained{'; the trunk is frozen' if facts['frozen_trunk'] else ''}\n"
            f"  a window is {' x '.join(map(str, facts['window_shape']))}, {facts['window_kib']:g} KiB in the cache\n"
            f"  reading an item {facts['read_ms']:g} ms; windows a second: {facts['windows_per_second']:,} embedded, "
            f"{facts['trained_windows_per_second']:,} trained (CPU, {facts['threads']} threads)"
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
    """What a plugin adds to binder: modalities and commands, as they are called."""
    return [*(modality.name for modality in plugin.modalities), *(f"binder {name}" for name in plugin.commands)]


def _as_dict(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "modalities": [m.name for m in plugin.modalities],
        "commands": plugin.commands,
        "suffixes": _suffixes(plugin),
        "state": "broken" if plugin.error else "works",
        "error": plugin.error,
        "import_s": round(plugin.import_s, 3),
    }


def _suffixes(plugin: Plugin) -> list[str]:
    return sorted({suffix for modality in plugin.modalities for suffix in modality.suffixes})
