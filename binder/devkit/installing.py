"""Installing plugins with what made the environment: the interpreter's own pip, or uv."""

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
from binder.registry import CORE, known_plugins

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
URL = re.compile(r"([A-Za-z0-9._-]+ ?@ ?)?((https?|file)|git\+(https|ssh|http|file))://[!-~]+")
ARCHIVES = (".zip", ".tar.gz")  # of sources
QUIET = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_PROGRESS_BAR": "off", "UV_NO_PROGRESS": "1"}
IDLE = re.compile(r"Requirement already satisfied|Looking in |\[notice\]|DEPRECATION|WARNING: You are using|\s*$")
SAID = 6  # lines of pip's that are shown where it failed


def source(what: str, place: str | None = None) -> str:
    """Where a name, folder, file or URL is installed from: a path or a URL, never a bare name. Reads nothing remote.

    A name is looked for in `place` where that is given; otherwise it is one of the project's list, and lies in the
    checkout or where a release of binder says. Raises PluginError.
    """
    for given in (what, place or ""):
        if given.strip().startswith("-"):
            raise PluginError(f"{given!r} looks like an option; expected a name, a folder or a URL")
    known = known_plugins().get(what)
    if place is not None:
        if not NAME.fullmatch(what):
            raise PluginError(f"--from says where a name is looked for, and {what!r} is none; leave one of the two out")
        return place
    if known:
        folder = Path(__file__).resolve().parents[2] / known.folder
        if (folder / "pyproject.toml").is_file():
            return str(folder)
        if known.wheel:
            return known.wheel
        raise PluginError(
            f"where {known.distribution} lies is not known, and no index is asked, where the name may be anybody's; "
            "add --from PLACE, a folder or a URL of wheels"
        )
    if "://" in what:
        if not URL.fullmatch(what):
            raise PluginError(f"{what!r} is no address that can be installed from; expected https:// or git+https://")
        return what
    return _path(what)


def with_needed(what: str) -> list[str]:
    """What is to be installed, in this order: the known plugins that a known one needs and that are not there, then it.

    pip would look for them on an index, where their names may be anybody's.
    """
    known = known_plugins()
    needed = known[what].needs if what in known else ()
    return [*(name for name in needed if wheels.version(known[name].distribution) is None), what]


def target(what: str, place: str | None, work: Path) -> str:
    """What pip is given: `source`, or the wheel found there, fetched into `work`. Raises PluginError: it does not fit
    the installed binder."""
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
    """What pip's `install` is told: also that the core stays as it is, whatever a package asks for."""
    own = wheels.version(CORE)
    kept = work / "constraints.txt"
    kept.write_text(f"{CORE}=={own}\n" if own else "", encoding="utf-8")
    return ["--constraint", str(kept), *(["--editable"] if editable else []), given]


def packages_of(extra: str) -> list[str]:
    """The requirements of one of the core's extras that are not installed, as pip takes them."""
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
    """What to uninstall: a plugin by its name, short name or distribution. Raises PluginError: none is installed."""
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
    """What `installer` found, told to install or to uninstall in this interpreter's environment without a question."""
    if pip[0] != sys.executable:  # uv: into this environment, whichever is active
        return [*pip, verb, "--python", sys.executable, *arguments]
    return [*pip, verb, *(["--yes"] if verb == "uninstall" else []), *arguments]


def run(command: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Run pip, each of whose lines is handed to `say` -> the last ones that may tell why it failed; none: it worked."""
    said: deque[str] = deque([f"{command[0]} said nothing"], maxlen=200)
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
            if not IDLE.match(line):
                said.append("".join(filter(str.isprintable, line)).rstrip())
                say(said[-1].strip())
    if not process.returncode:
        return []
    errors = [line for line in said if line.lstrip().lower().startswith(("error", "×"))]
    return (errors or list(said))[-SAID:]


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


def _path(what: str) -> str:
    """A folder with a package, a wheel or a source archive, as an absolute path. Raises PluginError."""
    path = Path(what)
    folder = is_folder(path)
    if folder and not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise PluginError(f"{what} is no package: there is no pyproject.toml in it")
    if folder or (is_file(path) and path.name.endswith((".whl", *ARCHIVES))):
        return str(path.resolve())
    if is_file(path):
        raise PluginError(f"{what} is no package: expected a folder, a .whl, or one of {', '.join(ARCHIVES)}")
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


def _made_by_uv() -> bool:
    settings = Path(sys.prefix) / "pyvenv.cfg"
    return settings.is_file() and any(line.startswith("uv ") for line in settings.read_text().splitlines())
