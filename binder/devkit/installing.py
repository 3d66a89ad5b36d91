"""Installing plugins with the tool that manages the environment: the interpreter's own pip, or uv."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from binder.devkit import wheels
from binder.devkit.check import project_of
from binder.errors import PluginError, nearest
from binder.files import is_file, is_folder
from binder.known_plugins import known_plugins
from binder.registry import CORE

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
URL = re.compile(r"([A-Za-z0-9._-]+ ?@ ?)?((https?|file)|git\+(https|ssh|http|file))://[!-~]+")
ARCHIVES = (".zip", ".tar.gz")  # suffixes of source archives
QUIET = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_PROGRESS_BAR": "off", "UV_NO_PROGRESS": "1"}
NOISE = re.compile(r"Requirement already satisfied|Looking in |\[notice\]|DEPRECATION|WARNING: You are using|\s*$")
MAX_SHOWN = 6  # lines of pip's output shown when it fails


def source(what: str, place: str | None = None) -> str:
    """A name, folder, file or URL -> the path or URL to install from, never a bare name. Reads nothing remote.

    A name is looked up in `place` if that is given; otherwise it must be a known plugin, whose source is in the
    checkout or whose wheel is named by a release of binder. Raises PluginError.
    """
    for given in (what, place or ""):
        if given.strip().startswith("-"):
            raise PluginError(f"{given!r} looks like an option; expected a name, a folder or a URL")
    known = known_plugins().get(what)
    if place is not None:
        if not NAME.fullmatch(what):
            raise PluginError(
                f"--from says where to look for a name, and {what!r} is not a name; leave out one of the two"
            )
        return place
    if known:
        folder = Path(__file__).resolve().parents[2] / known.folder
        if (folder / "pyproject.toml").is_file():
            return str(folder)
        if known.wheel:
            return known.wheel
        raise PluginError(
            f"it is not known where {known.distribution} is, and a package index is never asked, where anybody may "
            "have taken the name; add --from PLACE, a folder or a URL of wheels"
        )
    if "://" in what:
        if not URL.fullmatch(what):
            raise PluginError(f"{what!r} is not a URL to install from; expected https:// or git+https://")
        return what
    return _path(what)


def with_needed(what: str) -> list[str]:
    """The plugins to install, in order: those that a known plugin needs and that are not installed, then itself.

    pip would look for them on an index, where anybody may have taken their names.
    """
    known = known_plugins()
    needed = known[what].needs if what in known else ()
    return [*(name for name in needed if wheels.version(known[name].distribution) is None), what]


def target(what: str, place: str | None, work: Path) -> str:
    """The argument for pip: `source`, or the wheel found there, downloaded to `work`.

    Raises PluginError, also for a package that does not fit the installed binder.
    """
    found = source(what, place)
    if place is not None:
        known = known_plugins().get(what)
        return str(wheels.find(known.distribution if known else what, place, work))
    if found.partition("#")[0].endswith(".whl"):
        return str(wheels.fetch(found, work))
    if Path(found).is_dir():
        reason = wheels.unmet(_declared(Path(found)))
        if reason:
            raise PluginError(f"{what} {reason}")
    return found


def arguments(given: str, editable: bool, work: Path) -> list[str]:
    """Arguments of `pip install`, among them a constraint that keeps the installed version of the core."""
    own = wheels.version(CORE)
    constraints = work / "constraints.txt"
    constraints.write_text(f"{CORE}=={own}\n" if own else "", encoding="utf-8")
    return ["--constraint", str(constraints), *(["--editable"] if editable else []), given]


def packages_of(extra: str) -> list[str]:
    """The requirements of one of the core's extras that are not installed, in the form that pip takes."""
    try:
        lines = importlib.metadata.requires(CORE) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for wanted in map(Requirement, lines):
        if wanted.marker and wanted.marker.evaluate({"extra": extra}) and not wanted.marker.evaluate({"extra": ""}):
            installed = wheels.version(wanted.name)
            if installed is None or not wanted.specifier.contains(installed, prereleases=True):
                found.append(f"{wanted.name}{wanted.specifier}")
    return found


def distributions(name: str) -> list[str]:
    """The distributions to uninstall for a plugin's name, short name or distribution. Raises PluginError if none is."""
    known = known_plugins().get(name)
    wanted = {name, known.distribution if known else name}
    found = {
        entry_point.dist.name
        for entry_point in importlib.metadata.entry_points(group="binder")
        if entry_point.dist is not None and wanted & {entry_point.name, entry_point.dist.name}
    }
    if not found or not all(NAME.fullmatch(one) for one in found):
        raise PluginError(f"no plugin {name!r} is installed (`binder plugins list`)")
    return sorted(found)


def command(pip: Sequence[str], verb: str, arguments: Sequence[str]) -> list[str]:
    """The command line that installs or uninstalls in this interpreter's environment without asking questions."""
    if pip[0] != sys.executable:  # uv: this environment, whichever one is active
        return [*pip, verb, "--python", sys.executable, *arguments]
    return [*pip, verb, *(["--yes"] if verb == "uninstall" else []), *arguments]


def run(command: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Run pip and pass each line of its output to `say` -> the lines that may explain a failure; [] if it worked."""
    lines: deque[str] = deque([f"{command[0]} printed nothing"], maxlen=200)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **QUIET},
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if not NOISE.match(line):
                lines.append("".join(filter(str.isprintable, line)).rstrip())
                say(lines[-1].strip())
    if not process.returncode:
        return []
    errors = [line for line in lines if line.lstrip().lower().startswith(("error", "×"))]
    return (errors or list(lines))[-MAX_SHOWN:]


def installer(anywhere: bool) -> list[str]:
    """The interpreter's own pip, or uv if that created the environment.

    Raises PluginError outside a virtual environment, unless `anywhere`, and if neither is available.
    """
    if sys.prefix == sys.base_prefix and not anywhere:
        raise PluginError(
            "this Python is not in a virtual environment; create one (python -m venv .venv), or add --anywhere"
        )
    uv = shutil.which("uv")
    if uv and _created_by_uv():
        return [uv, "pip"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv:
        return [uv, "pip"]
    raise PluginError("neither pip nor uv is available to this Python")


def _path(what: str) -> str:
    """A folder with a package, a wheel or a source archive, as an absolute path. Raises PluginError."""
    path = Path(what)
    folder = is_folder(path)
    if folder and not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise PluginError(f"{what} is not a package: it has no pyproject.toml")
    if folder or (is_file(path) and path.name.endswith((".whl", *ARCHIVES))):
        return str(path.resolve())
    if is_file(path):
        raise PluginError(f"{what} is not a package: expected a folder, a .whl, or one of {', '.join(ARCHIVES)}")
    known = known_plugins()
    raise PluginError(
        f"unknown plugin {what!r}{nearest(what, known)}; known: {', '.join(known)}; otherwise give a folder or a URL"
    )


def _declared(folder: Path) -> list[str]:
    """The requirements that a package's pyproject.toml lists."""
    if not (folder / "pyproject.toml").is_file():
        return []
    found = project_of(folder).get("dependencies", [])
    return [str(line) for line in found] if isinstance(found, list) else []


def _created_by_uv() -> bool:
    settings = Path(sys.prefix) / "pyvenv.cfg"
    return settings.is_file() and any(line.startswith("uv ") for line in settings.read_text().splitlines())
