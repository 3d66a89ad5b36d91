"""`binder plugins`."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from binder.cli import options, output
from binder.errors import PluginError, nearest
from binder.plugins import Plugin, known_plugins, registry


@click.group("plugins")
def plugins_command() -> None:
    """List, install and uninstall modality plugins."""


@plugins_command.command("list")
@options.as_json
def list_plugins(as_json: bool) -> None:
    """Installed plugins: version, modalities, suffixes, and the error of those that do not work."""
    if as_json:
        output.json_line([_as_dict(plugin) for plugin in registry().plugins])
        return
    for plugin in registry().plugins:  # plain text: this answers before a table library is imported
        names = ", ".join(m.name for m in plugin.modalities) or "-"
        click.echo(f"{plugin.name} {plugin.version}: {names}  {' '.join(_suffixes(plugin))}".rstrip())
        if plugin.error:
            click.echo(f"  broken: {plugin.error}")
    missing = [f"{n} ({k.summary})" for n, k in known_plugins().items() if n not in registry().names()]
    if missing:
        click.echo(f"not installed: {'; '.join(missing)}")


@plugins_command.command("install")
@click.argument("what", metavar="NAME|PATH|URL")
@click.option("--editable", "-e", is_flag=True, help="Install a folder so that edits of it take effect.")
@click.option("--anywhere", is_flag=True, help="Install outside a virtual environment too.")
def install(what: str, editable: bool, anywhere: bool) -> None:
    """Install a plugin: a short name of the project's own list, a folder, or a URL.

    A short name is never looked up on a package index by itself.
    """
    target = _target(what)
    _run([*_installer(anywhere), "install", *(["--editable"] if editable else []), target])
    click.echo("installed; `binder plugins list` shows it", err=True)


@plugins_command.command("uninstall")
@click.argument("name")
@click.option("--anywhere", is_flag=True, help="Uninstall outside a virtual environment too.")
def uninstall(name: str, anywhere: bool) -> None:
    """Uninstall a plugin by its short name or its distribution's name."""
    known = known_plugins().get(name)
    installer = _installer(anywhere)
    yes = ["--yes"] if installer[-1] == "pip" and installer[0] == sys.executable else []
    _run([*installer, "uninstall", *yes, known.distribution if known else name])


def _as_dict(plugin: Plugin) -> dict[str, Any]:
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "modalities": [m.name for m in plugin.modalities],
        "suffixes": _suffixes(plugin),
        "error": plugin.error,
    }


def _suffixes(plugin: Plugin) -> list[str]:
    return sorted({suffix for modality in plugin.modalities for suffix in modality.suffixes})


def _target(what: str) -> str:
    """What pip is given. Raises PluginError for a name that the project's list does not know."""
    known = known_plugins()
    if what in known:
        folder = Path(__file__).resolve().parents[2] / known[what].folder
        if (folder / "pyproject.toml").is_file():
            return str(folder)
        raise PluginError(
            f"{known[what].distribution} is not published on an index yet; "
            f"from a checkout of the project: binder plugins install ./{known[what].folder}"
        )
    if "://" in what:
        return what
    if Path(what).exists():
        return str(Path(what).resolve())
    raise PluginError(
        f"unknown plugin {what!r}{nearest(what, known)}; known: {', '.join(known)}; otherwise give a folder or a URL"
    )


def _installer(anywhere: bool) -> list[str]:
    if sys.prefix == sys.base_prefix and not anywhere:
        raise PluginError(
            "this Python is not a virtual environment; make one (python -m venv .venv), or add --anywhere"
        )
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if shutil.which("uv"):
        return ["uv", "--quiet", "pip"]
    raise PluginError("neither pip nor uv is available to this Python")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise PluginError(f"{' '.join(command[:4])} ... failed with status {done.returncode}")
