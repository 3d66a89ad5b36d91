"""Installing plugins with what made the environment: the interpreter's own pip, or uv."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from binder.errors import PluginError, nearest
from binder.plugins import known_plugins


def target(what: str) -> str:
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
    path = Path(what)
    if path.is_dir() and not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise PluginError(f"{what} is no package: there is no pyproject.toml in it")
    if path.exists():
        return str(path.resolve())
    raise PluginError(
        f"unknown plugin {what!r}{nearest(what, known)}; known: {', '.join(known)}; otherwise give a folder or a URL"
    )


def distributions(name: str) -> list[str]:
    """What to uninstall: a plugin by its name, short name or distribution. Raises PluginError: none is installed."""
    known = known_plugins().get(name)
    wanted = {name, known.distribution if known else name}
    found = {
        entry_point.dist.name
        for entry_point in importlib.metadata.entry_points(group="binder")
        if entry_point.dist is not None and wanted & {entry_point.name, entry_point.dist.name}
    }
    if not found:
        raise PluginError(f"no plugin {name!r} is installed (`binder plugins list`)")
    return sorted(found)


def command(pip: Sequence[str], verb: str, arguments: Sequence[str]) -> list[str]:
    """What `installer` found, told to install or to uninstall in this interpreter's environment without a question."""
    if pip[0] != sys.executable:  # uv: into this environment, whichever is active
        return [*pip, verb, "--python", sys.executable, *arguments]
    return [*pip, verb, *(["--yes"] if verb == "uninstall" else []), *arguments]


def installer(anywhere: bool) -> list[str]:
    """The interpreter's own pip, or uv where that made the environment.

    Raises PluginError outside a virtual environment, unless `anywhere`, and where there is neither.
    """
    if sys.prefix == sys.base_prefix and not anywhere:
        raise PluginError(
            "this Python is not a virtual environment; make one (python -m venv .venv), or add --anywhere"
        )
    uv = shutil.which("uv")
    if uv and _made_by_uv():
        return [uv, "pip"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv:
        return [uv, "pip"]
    raise PluginError("neither pip nor uv is available to this Python")


def _made_by_uv() -> bool:
    settings = Path(sys.prefix) / "pyvenv.cfg"
    return settings.is_file() and any(line.startswith("uv ") for line in settings.read_text().splitlines())
