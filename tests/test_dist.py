"""What is given away: packages that are complete, hold nothing else, say what they need, and work once installed."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import binder
from binder.devkit.new import _bounds
from binder.known_plugins import known_plugins
from binder.registry import CORE

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
FULL = os.environ.get("BINDER_DIST_FULL")  # everything that the packages need is fetched anew, some GB
BROUGHT = {
    "jinja2": {"markupsafe"},
    "open-clip-torch": {"ftfy", "timm"},
    "scikit-learn": {"scipy"},
}  # by what is declared, as part of its interface


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(folder: Path, extras: bool = False) -> dict[str, Requirement]:
    own = project(folder)
    optional = own.get("optional-dependencies", {}) if extras else {}
    lines = [*own["dependencies"], *(line for group in optional.values() for line in group)]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def packages(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob("binder*/__init__.py")]


def short(folder: Path) -> str:
    return folder.name if folder != ROOT else "core"


def test_the_version_is_the_packages():
    assert binder.__version__ == importlib.metadata.version(CORE) == project(ROOT)["version"]


@pytest.mark.parametrize("folder", PROJECTS[1:], ids=short)
def test_a_plugin_says_which_core_it_is_made_for(folder):
    wanted = declared(folder)[CORE].specifier
    assert str(wanted) == str(Requirement(f"x{_bounds()}").specifier)
    major, minor, _ = (int(part) for part in project(ROOT)["version"].split("."))
    assert wanted.contains(f"{major}.{minor}.7")
    assert not wanted.contains(f"{major}.{minor + 1}.0")
    assert known_plugins()[folder.name].distribution == project(folder)["name"]


@pytest.mark.parametrize("folder", PROJECTS, ids=short)
def test_whatever_is_imported_is_declared(folder):
    """By the package itself or, in a plugin, by the core that it needs; what only an extra brings, by that extra."""
    allowed = set(declared(folder, extras=True)) | set(declared(ROOT))
    allowed |= {name for source in allowed for name in BROUGHT.get(source, ())}
    provides = importlib.metadata.packages_distributions()
    lacking = {}
    for path in (path for package in packages(folder) for path in package.rglob("*.py")):
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            distributions = {canonicalize_name(one) for one in provides.get(name, [name])}
            if name not in {package.name for package in packages(folder)} | {"binder"} and not distributions & allowed:
                lacking[name] = path.name
    assert not lacking


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_what_users_are_told_to_install_is_what_is_declared_and_there():
    """No message names an extra of ours or a bare name of ours: on an index they may be anybody's."""
    known = {str(r) for folder in PROJECTS for r in declared(folder, extras=True).values()}
    hints = 0
    for path in (path for folder in PROJECTS for package in packages(folder) for path in package.rglob("*.py")):
        for found in re.findall(r"pip install ([^\n]*)", path.read_text(encoding="utf-8")):
            assert "modality-binder" not in found, path
            for named in re.findall(r'"([A-Za-z][\w.-]*[<>=][^"]*)"', found):
                assert str(Requirement(named)) in known, (path, named)
                hints += 1
    assert hints


# ---- built, and looked into -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """The packages, made for a release that lies in the very folder."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    subprocess.run([sys.executable, "tools/dist.py", str(folder), "--out", str(folder)], cwd=ROOT, check=True)
    return folder


def wheel_of(dist: Path, folder: Path) -> Path:
    (found,) = dist.glob(f"{project(folder)['name'].replace('-', '_')}-*.whl")
    return found


def tracked(package: Path) -> set[str]:
    """The files of a package under git, or new and not ignored: the naive list of what belongs into its wheel."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", package.name]
    done = subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (package.parent / name).is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("folder", PROJECTS, ids=short)
def test_a_wheel_holds_the_package_and_nothing_else(dist, folder):
    with zipfile.ZipFile(wheel_of(dist, folder)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = {name.rpartition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
        for name in sorted(names - {"binder/known_plugins.toml"}):
            assert archive.read(name) == (folder / name).read_bytes(), name
    assert names == set().union(*map(tracked, packages(folder)))
    assert metadata == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt", "top_level.txt"}
    assert f"{packages(folder)[0].name}/py.typed" in names
    assert not [name for name in names if "test_" in name or name.endswith(".pyc")]


@pytest.mark.slow
def test_recordings_and_the_demo_are_in_the_playgrounds_wheel_and_mini_is_in_the_cores(dist):
    core, playground = (zipfile.ZipFile(wheel_of(dist, folder)) for folder in (ROOT, ROOT / "plugins/playground"))
    with core, playground:
        recordings = [name for name in playground.namelist() if name.endswith(".ogg")]
        assert len(recordings) == 57
        assert "binder_playground/demo/report.html" in playground.namelist()
        assert "binder/anchors/mini/open_clip_model.safetensors" in core.namelist()
        assert not [name for name in core.namelist() if "playground" in name or name.endswith(".ogg")]


@pytest.mark.slow
def test_the_folder_names_each_file_with_its_hash(dist):
    sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    assert {name: value for name, value in files.items() if name.endswith((".whl", ".gz"))} == sums
    assert len(sums) == 2 * len(PROJECTS)
    assert all(f'href="{name}#sha256={value}"' in (dist / "index.html").read_text() for name, value in sums.items())
    with zipfile.ZipFile(wheel_of(dist, ROOT)) as archive:
        known = tomllib.loads(archive.read("binder/known_plugins.toml").decode())
    for name, entry in known.items():
        wheel = wheel_of(dist, ROOT / "plugins" / name)
        assert entry["wheel"] == f"{dist.as_uri()}/{wheel.name}#sha256={sums[wheel.name]}"


# ---- installed into an environment of its own -------------------------------------------------------------------


def others_packages(folder: Path) -> Path:
    """A folder of links to what is installed here, of which nothing is ours, nor pip, nor a .pth file."""
    folder.mkdir()
    ours = re.compile(r"binder|modality_binder|__editable__|pip(-.*)?$|__pycache__|distutils-precedence|.*\.pth$")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not ours.match(entry.name):
            (folder / entry.name).symlink_to(entry)
    return folder


class Fresh:
    """An environment that holds pip and nothing of ours; `run` starts commands in an empty folder beside it.

    Packages of others are those of the environment that runs the tests, linked one by one: to fetch them anew takes
    minutes and some gigabytes, and would show only that the lists of dependencies are complete, which
    `test_whatever_is_imported_is_declared` does.
    With BINDER_DIST_FULL=1 nothing is linked, and pip fetches them from its index.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "elsewhere"
        self.folder.mkdir()
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(root / "env")
        self.bin = root / "env" / "bin"
        if not FULL:
            (site,) = (root / "env").glob("lib/python*/site-packages")
            self.run("python", "-m", "pip", "uninstall", "--yes", "setuptools")  # Python 3.11 brings an old one
            (site / "theirs.pth").write_text(f"{others_packages(root / 'theirs')}\n")

    def run(self, *command: str | Path, fails: bool = False) -> str:
        left_out = ("BINDER_PLUGINS", "PYTHONPATH", "VIRTUAL_ENV", "BINDER_CACHE")
        own = {key: value for key, value in os.environ.items() if key not in left_out}
        own |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "BINDER_CACHE": str(self.folder.parent / "c")}
        own |= {} if FULL else {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # read the wrong way round
        done = subprocess.run(list(map(str, command)), cwd=self.folder, env=own, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, dist) -> Fresh:
    there = Fresh(tmp_path_factory.mktemp("fresh"))
    there.run("python", "-m", "pip", "install", wheel_of(dist, ROOT))
    return there


@pytest.mark.slow
def test_the_core_alone_works_as_the_readme_says(fresh):
    assert "align" in fresh.run("binder", "--help")
    where = fresh.run("python", "-c", "import binder; print(binder.__file__, binder.__version__)").split()
    assert Path(where[0]).is_relative_to(fresh.bin.parent)
    assert where[1] == project(ROOT)["version"]
    report = json.loads(fresh.run("binder", "doctor", "--json"))
    assert report["anchors"]["mini"].startswith("works, 256 dimensions")
    assert list(report["plugins"]) == ["binder"]
    listed = fresh.run("binder", "plugins", "list")
    assert all(f"{name} (" in listed.partition("not installed: ")[2] for name in known_plugins())
    said = fresh.run("binder", "align", "audio", "nothing.csv", fails=True)
    assert "binder plugins install audio" in said
    said = fresh.run("binder", "demo", fails=True)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "binder plugins install playground" in said


@pytest.mark.slow
def test_a_plugin_is_written_installed_checked_aligned_and_searched(fresh):
    if FULL:
        fresh.run("python", "-m", "pip", "install", "pytest")  # as docs/PLUGINS.md says
    fresh.run("binder", "plugins", "new", "sway", "--kind", "series", "--suffixes", ".csv")
    fresh.run("binder", "plugins", "install", "-e", "./binder-sway")
    assert " 0 problems" in fresh.run("binder", "plugins", "check", "./binder-sway")
    pairs = "binder-sway/sample/pairs.csv"
    fresh.run("binder", "align", "sway", pairs, "--out", "runs/sway", "--set", "train.steps=100")
    fresh.run("binder", "index", "create", "sways.idx", "--encoder", "runs/sway")
    fresh.run("binder", "index", "add", "sways.idx", "--as", "sway", "binder-sway/sample/items")
    found = re.findall(r"(\d\d)\.csv", fresh.run("binder", "search", "sways.idx", "a red circle", "-k", "3"))
    assert len(found) >= 3
    assert all(int(number) % 4 == 0 for number in found), "every fourth recording is a red circle"


@pytest.mark.slow
def test_every_plugin_is_installed_from_the_place_written_in_and_from_one_that_is_given(fresh, dist):
    names = sorted(known_plugins(), key=lambda name: not known_plugins()[name].needs)  # first what brings others along
    for i, name in enumerate(names):
        given = ["--from", dist] if i % 2 else []
        said = fresh.run("binder", "plugins", "install", name, *given)
        assert (f"from {dist.as_uri()}" in said) == (not given)
        lines = [line for line in said.splitlines() if not re.match(rf"{name}: \d+ s ", line)]  # how far it is, if slow
        assert len(lines) < (9 if known_plugins()[name].needs else 5)
        there = json.loads(fresh.run("binder", "plugins", "list", "--json"))
        assert {*known_plugins()[name].needs, name} <= {plugin["plugin"] for plugin in there}
    report = json.loads(fresh.run("binder", "doctor", "--json"))
    for name, known in known_plugins().items():
        kinds = [*(f"{prefix}..." for prefix in known.anchors), *(f"binder {command}" for command in known.commands)]
        provided = ", ".join(kinds) or name
        assert report["plugins"][name] == f"{project(ROOT / known.folder)['version']}: {provided}"
    assert re.search(r"^  demo +See it work", fresh.run("binder", "--help"), re.MULTILINE)
    assert "--reference" in fresh.run("binder", "demo", "--help")
    assert fresh.run("python", "-m", "pip", "check").strip().endswith("No broken requirements found.")


@pytest.mark.slow
def test_a_wheel_that_was_exchanged_is_not_installed(fresh, dist, tmp_path):
    wheel = wheel_of(dist, ROOT / "plugins/imu")
    before = wheel.read_bytes()
    try:
        wheel.write_bytes(wheel_of(dist, ROOT / "plugins/depth").read_bytes())
        said = fresh.run("binder", "plugins", "install", "imu", fails=True)
    finally:
        wheel.write_bytes(before)
    assert "not the expected file: its SHA-256 is" in said
    assert len([line for line in said.splitlines() if line.startswith("error:")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("folder", PROJECTS[1:], ids=short)
def test_a_plugins_wheel_works_beside_the_core_alone(dist, folder, tmp_path):
    """Nothing of another plugin's, and nothing of its source's folder, is on the path."""
    for wheel in (wheel_of(dist, ROOT), wheel_of(dist, folder)):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "site")
    checked = (
        "space = binder.Binder('mini')\n"
        "made = [m.build(m.config(), space.anchor) for m in registry().modalities() if m.trainable]\n"
        "assert len(made) == 1; print(registry().names())\n"
    )
    if folder.name == "playground":
        checked = (
            "import numpy as np; from binder_playground import draw, speech, world; from binder.cli.main import cli\n"
            "clip = speech.clips('test')[0]; assert len(speech.audio(clip)[0]) == round(clip.seconds * speech.RATE)\n"
            "assert draw.draw(world.concepts('digit')[7], np.random.default_rng(0)).size == (64, 64)\n"
            "cli.main(['demo', '--help'], prog_name='binder playground', standalone_mode=False)\n"
        )
    if folder.name == "transformers":
        checked = (
            "from binder_transformers import dual, sentences\n"
            "assert [kind.prefix for kind in registry().anchor_kinds()] == ['', dual.PREFIX, sentences.PREFIX]\n"
            "print([plugin.name for plugin in registry().plugins])\n"
        )
    code = (
        "import sys; from pathlib import Path; import binder; from binder.registry import registry\n"
        "assert Path(binder.__file__).is_relative_to(sys.argv[1])\n"
        f"assert not [name for name in registry().plugins if name.error], registry().plugins\n{checked}"
    )
    own = {key: value for key, value in os.environ.items() if key != "BINDER_PLUGINS"}
    own["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{others_packages(tmp_path / 'theirs')}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, tmp_path / "site"], cwd=tmp_path, env=own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert folder.name in done.stdout
