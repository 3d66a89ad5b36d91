"""`binder plugins check`: run a plugin's tests, with the contract, and measure its speed and its imports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from binder.errors import PluginError, nearest
from binder.files import is_folder
from binder.known_plugins import known_plugins

SLOW_IMPORT_S = 1.0  # a slower import is a problem, since every command waits for it


@dataclass
class Report:
    """The findings of `check`."""

    plugin: str  # the package's name
    folder: str
    imports: dict[str, dict[str, Any]] = field(default_factory=dict)  # by entry point
    tests: list[dict[str, str]] = field(default_factory=list)  # test, outcome, why
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by modality
    problems: list[str] = field(default_factory=list)  # one line each; empty if the plugin passed

    @property
    def passed(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def check(what: str) -> Report:
    """A folder, or the name of a plugin whose source folder is known -> Report. Raises PluginError if there is none."""
    folder = folder_of(what)
    project = project_of(folder)
    entry_points = project.get("entry-points", {}).get("binder", {})
    report = Report(str(project.get("name", folder.name)), str(folder))
    if not entry_points:
        report.problems.append('pyproject.toml has no [project.entry-points.binder], such as  name = "binder_name"')
    for name, module in entry_points.items():
        report.imports[name] = _import(folder, module)
        report.problems += _import_problems(name, report.imports[name])
    if not any(facts.get("error") for facts in report.imports.values()):
        _run_tests(folder, report)
    return report


def folder_of(what: str) -> Path:
    """The folder with a plugin's pyproject.toml and tests. Raises PluginError if it is not known."""
    if is_folder(Path(what)):
        return Path(what).resolve()
    candidates = []
    for entry_point in importlib.metadata.entry_points(group="binder"):
        dist = entry_point.dist
        if dist is not None and what in (entry_point.name, dist.name):
            origin = json.loads(dist.read_text("direct_url.json") or "{}").get("url", "")
            if origin.startswith("file:"):
                candidates.append(Path(unquote(urlparse(origin).path)))
    known = known_plugins().get(what)
    if known:
        candidates.append(Path(__file__).resolve().parents[2] / known.folder)
    for folder in candidates:
        if (folder / "pyproject.toml").is_file():
            return folder
    names = {e.name for e in importlib.metadata.entry_points(group="binder")} | set(known_plugins())
    if what in names:
        raise PluginError(f"plugin {what!r}: the folder with its tests is not known; give that instead of the name")
    raise PluginError(f"there is no folder and no installed plugin called {what!r}{nearest(what, names)}")


def project_of(folder: Path) -> dict[str, Any]:
    """The [project] table of a folder's pyproject.toml. Raises PluginError."""
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except FileNotFoundError:
        raise PluginError(f"{folder} is not a package: it has no pyproject.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}: not a readable TOML file: {error}") from None
    except RecursionError:
        raise PluginError(f"{path}: not a readable TOML file: nested too deeply") from None
    if not isinstance(project, dict):
        raise PluginError(f"{path}: [project] is not a table")
    return project


# prints, as JSON, how long the import took, what else it imported, and which modalities it provides
_IMPORT = """
import importlib, json, sys, time
import binder
from binder.errors import kind_and_words
before = set(sys.modules)
found = {}
try:
    began = time.perf_counter()
    module = importlib.import_module(sys.argv[1])
    found["seconds"] = round(time.perf_counter() - began, 3)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    found["imports"] = sorted(new - set(sys.stdlib_module_names) - {sys.argv[1].partition(".")[0], "binder"})
    found["torch"] = "torch" in sys.modules
    found["modalities"] = [m.name for m in getattr(module, "binder_register_modalities", list)()]
    found["commands"] = hasattr(module, "binder_register_commands")
except BaseException as error:
    found["error"] = kind_and_words(error)
print("\\n" + json.dumps(found))
"""


def _import(folder: Path, module: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, module],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(folder),
        cwd=folder,
    )
    try:
        return {"module": module, **json.loads(done.stdout.splitlines()[-1])}
    except (IndexError, json.JSONDecodeError):
        return {"module": module, "error": f"the interpreter ended with status {done.returncode} on import"}


def _import_problems(name: str, facts: dict[str, Any]) -> list[str]:
    if "error" in facts:
        return [f"importing {facts['module']} failed: {facts['error']}"]
    found = []
    if facts["torch"]:
        found.append(f"importing {facts['module']} imports torch; import it inside functions")
    if facts["seconds"] > SLOW_IMPORT_S:
        found.append(
            f"importing {facts['module']} took {facts['seconds']:.1f} s, and every command waits for it; "
            f"import slow packages inside functions (it imports {', '.join(facts['imports']) or 'nothing'})"
        )
    if not facts["modalities"] and not facts["commands"]:
        found.append(f"entry point {name}: provides no modality and no command; see binder_register_modalities")
    return found


def _run_tests(folder: Path, report: Report) -> None:
    if importlib.util.find_spec("pytest") is None:
        raise PluginError("pytest is not installed, and the contract is a test suite: pip install pytest")
    with tempfile.TemporaryDirectory() as work:
        written = Path(work) / "report.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "--quiet", "-p", "binder.devkit.measure", "-p", "no:cacheprovider"),
                *("--import-mode=importlib", f"--rootdir={folder}", str(folder)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**_environment(folder), "BINDER_KIT_REPORT": str(written), "BINDER_CACHE": work},
        )
        if not written.is_file():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"status {done.returncode}"]
            report.problems.append(f"its tests could not be run: {last[0][:300]}")
            return
        result = json.loads(written.read_text())
    report.tests, report.facts = result["tests"], result["facts"]
    failed = [test for test in report.tests if test["outcome"] == "failed"]
    report.problems += [f"{sentence(test['test'])}: {test['why'] or 'failed'}" for test in failed]
    report.problems += [
        f"{n}: its speed could not be measured: {f['error']}" for n, f in report.facts.items() if "error" in f
    ]
    named = {name for facts in report.imports.values() for name in facts["modalities"]}
    for name in sorted(named - set(report.facts)):
        report.problems.append(f"{name}: no test inherits binder.testing.EncoderContract with this modality")


def sentence(test: str) -> str:
    """The id that pytest gives a test -> its name in words: 'the same item twice gives the same bytes'."""
    return test.rpartition("::")[2].removeprefix("test_").replace("_", " ")


def _environment(folder: Path) -> dict[str, str]:
    """Environment variables with which the plugin can be imported, installed or not."""
    places = [str(folder), str(folder / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in places if p), "HF_HUB_OFFLINE": "1"}
