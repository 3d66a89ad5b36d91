"""Installing plugins: by what made the environment, and only where it may be; a real install and back."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugin_env import Environment

import binder
from binder import PluginError
from binder.cli.verbs import plugins as cli_plugins
from binder.devkit import installing
from binder.devkit.new import Plan, write_plugin
from binder.known_plugins import KnownPlugin


def test_outside_a_virtual_environment_nothing_is_installed_unless_told(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    with pytest.raises(PluginError, match="this Python is not in a virtual environment"):
        installing.installer(anywhere=False)
    assert installing.installer(anywhere=True)


@pytest.mark.parametrize(
    ("settings", "uv", "pip", "expected"),
    [
        ("home = /usr/bin\n", None, True, [sys.executable, "-m", "pip"]),
        ("home = /usr/bin\n", "/bin/uv", True, [sys.executable, "-m", "pip"]),
        ("home = /usr/bin\nuv = 0.9.1\n", "/bin/uv", True, ["/bin/uv", "pip"]),
        ("home = /usr/bin\nuv = 0.9.1\n", None, True, [sys.executable, "-m", "pip"]),
        ("home = /usr/bin\n", "/bin/uv", False, ["/bin/uv", "pip"]),
        ("home = /usr/bin\n", None, False, None),
    ],
)
def test_what_made_the_environment_installs_into_it(settings, uv, pip, expected, monkeypatch, tmp_path):
    (tmp_path / "pyvenv.cfg").write_text(settings)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(installing.shutil, "which", lambda name: uv)
    monkeypatch.setattr(installing.importlib.util, "find_spec", lambda name: object() if pip else None)
    if expected is None:
        with pytest.raises(PluginError, match="neither pip nor uv"):
            installing.installer(anywhere=False)
    else:
        assert installing.installer(anywhere=False) == expected


@pytest.mark.parametrize(
    ("pip", "verb", "expected"),
    [
        (["/bin/uv", "pip"], "install", ["/bin/uv", "pip", "install", "--python", sys.executable, "x"]),
        (["/bin/uv", "pip"], "uninstall", ["/bin/uv", "pip", "uninstall", "--python", sys.executable, "x"]),
        ([sys.executable, "-m", "pip"], "install", [sys.executable, "-m", "pip", "install", "x"]),
        ([sys.executable, "-m", "pip"], "uninstall", [sys.executable, "-m", "pip", "uninstall", "--yes", "x"]),
    ],
)
def test_each_is_told_what_it_needs(pip, verb, expected):
    assert installing.command(pip, verb, ["x"]) == expected


@pytest.mark.parametrize(
    ("what", "place", "ends"),
    [
        ("imu", None, "plugins/imu"),
        ("imu", "https://example.org/x/", "https://example.org/x/"),
        ("git+https://example.org/a/b.git@v1#subdirectory=c", None, "a/b.git@v1#subdirectory=c"),
        ("acme @ git+ssh://git@example.org/a/b.git", None, "git+ssh://git@example.org/a/b.git"),
        ("https://example.org/a-1.0.zip", None, "https://example.org/a-1.0.zip"),
    ],
)
def test_names_folders_and_addresses_are_told_apart(what, place, ends):
    assert installing.source(what, place).replace("\\", "/").endswith(ends)


@pytest.mark.parametrize(
    ("what", "place", "message"),
    [
        ("pointclout", None, "unknown plugin 'pointclout' (did you mean 'pointcloud'?)"),
        ("numpy", None, "unknown plugin 'numpy'"),
        ("--index-url=http://evil.example", None, "'--index-url=http://evil.example' looks like an option"),
        (" -rrequirements.txt", None, "looks like an option"),
        ("imu", "--extra-index-url=x", "'--extra-index-url=x' looks like an option"),
        ("numpy; python_version != '://'", None, "is not a URL to install from"),
        ("numpy --find-links=http://evil.example", None, "is not a URL to install from"),
        ("ftp://example.org/a.zip", None, "is not a URL to install from"),
        ("https://example.org/a.zip\n--pre", None, "is not a URL to install from"),
        ("https://example.org/\x1b[2Ja.zip", None, "is not a URL to install from"),
        ("./imu", "place", "'./imu' is not a name; leave out one of the two"),
        ("https://example.org/a.zip", "place", "leave out one of the two"),
        ("tests", None, "tests is not a package: it has no pyproject.toml"),
        ("x" * 5000, None, "unknown plugin 'xxx"),
        ("notes.txt", None, "notes.txt is not a package: expected a folder, a .whl, or one of .zip, .tar.gz"),
    ],
)
def test_what_cannot_be_installed_is_refused_before_pip_is_asked(what, place, message, tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    (tmp_path / "notes.txt").write_text("numpy\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError) as caught:
        installing.source(what, place)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_checkout_a_name_is_where_the_release_says_or_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(installing, "__file__", str(tmp_path / "site/binder/devkit/installing.py"))
    with pytest.raises(PluginError, match=r"not known where binder-imu is, .*; add --from PLACE"):
        installing.source("imu")
    known = {"imu": KnownPlugin("binder-imu", "plugins/imu", "", wheel="https://example.org/a.whl#sha256=0")}
    monkeypatch.setattr(installing, "known_plugins", lambda: known)
    assert installing.source("imu") == "https://example.org/a.whl#sha256=0"


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("modality-binder>=99", f"needs modality-binder >=99, this is {binder.__version__}; update one of the two"),
        ("Modality_Binder @ https://evil.example/x.zip", "needs Modality_Binder https://evil.example/x.zip, this is"),
        ("binder", None),
        ("numpy>=99", None),
        ("modality-binder>=99; extra == 'x'", None),
        ("modality-binder>=0.0.1", None),
        ("((", "has an invalid requirement: '(('"),
    ],
)
def test_a_folder_made_for_another_core_is_refused_before_pip_would_look_for_that(requirement, message, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'acme'\ndependencies = [{requirement!r}]\n")
    if message is None:
        assert installing.target(str(tmp_path), None, tmp_path) == str(tmp_path.resolve())
    else:
        with pytest.raises(PluginError) as caught:
            installing.target(str(tmp_path), None, tmp_path)
        assert message in str(caught.value)


def test_what_a_known_plugin_needs_is_installed_before_it_unless_it_is_there(monkeypatch):
    plain = {name: KnownPlugin(f"binder-{name}", f"plugins/{name}", "") for name in ("a", "b", "imu")}
    known = {**plain, "c": KnownPlugin("binder-c", "plugins/c", "", needs=["a", "imu", "b"])}
    monkeypatch.setattr(installing, "known_plugins", lambda: known)
    monkeypatch.setattr(installing.wheels, "version", lambda name: "0.2.0" if name == "binder-imu" else None)
    assert installing.with_needed("c") == ["a", "b", "c"]
    assert installing.with_needed("a") == ["a"]
    assert installing.with_needed("./folder") == ["./folder"]


@pytest.mark.parametrize("text", ["[project", "project = 3\n", "a = " + "[" * 5000])
def test_a_folder_whose_metadata_cannot_be_read_is_one_line(text, tmp_path):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(PluginError, match=r"pyproject\.toml: "):
        installing.target(str(tmp_path), None, tmp_path)


def test_the_core_stays_as_it_is_whatever_a_package_asks_for(tmp_path):
    given = installing.arguments("x", True, tmp_path)
    assert given[-2:] == ["--editable", "x"]
    assert Path(given[given.index("--constraint") + 1]).read_text() == f"modality-binder=={binder.__version__}\n"


def test_the_packages_of_an_extra_are_named_where_they_are_not_there(monkeypatch):
    lines = ["numpy>=1", "acme-a>=1.5; extra == 'x'", "numpy>=1; extra == 'x'", "numpy>=99; extra == 'y'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert installing.packages_of("x") == ["acme-a>=1.5"]
    assert installing.packages_of("y") == ["numpy>=99"]
    assert installing.packages_of("z") == []


def test_what_is_not_installed_cannot_be_uninstalled():
    with pytest.raises(PluginError, match="no plugin 'numpy' is installed"):
        installing.distributions("numpy")


PIP = """
import sys
for i in range(90):
    print(f"Collecting package {i}")
print("ERROR: no room\\x1b[2J on the disk", file=sys.stderr)
print("[notice] A new release of pip is available")
sys.exit("good" not in sys.argv[-1])
"""


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """pip is a script that says much, and fails unless what it is given is called good."""
    script = tmp_path / "pip.py"
    script.write_text(PIP)
    monkeypatch.setattr(installing, "installer", lambda anywhere: [sys.executable, str(script)])
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(f"[project]\nname = '{name}'\n")

    def run(name, verbose=False):
        given = ["install", str(tmp_path / name)]
        return CliRunner().invoke(cli_plugins.plugins_command, given, obj={"verbose": verbose})

    return run


def test_pip_is_quiet_where_it_works_and_shows_everything_on_request(pip):
    assert pip("good").output == "installed; `binder plugins list` shows it\n"
    said = pip("good", verbose=True).output
    assert said.count("Collecting package") == 90
    assert "--constraint" in said


def test_where_pip_fails_its_last_lines_and_one_of_ours_are_shown(pip):
    result = pip("bad")
    assert isinstance(result.exception, PluginError)
    assert "\n" not in str(result.exception)
    assert str(result.exception).endswith("failed; for its whole output: binder -v plugins ...")
    assert result.output == "  ERROR: no room[2J on the disk\n"


def test_progress_is_a_line_now_and_then(pip, monkeypatch):
    monkeypatch.setattr("binder.cli.output.PLAIN_EVERY", 0)
    assert re.search(r"good: 0 s  Collecting package 7\n", pip("good").output)


def test_a_wheel_cannot_be_edited(pip, tmp_path):
    for given in (["imu", "--from", str(tmp_path)], ["https://example.org/binder_x-1.0-py3-none-any.whl"]):
        result = CliRunner().invoke(cli_plugins.plugins_command, ["install", "-e", *given])
        assert str(result.exception) == "--editable needs a folder: a wheel cannot be edited"


@pytest.mark.slow
def test_a_plugin_is_installed_listed_and_uninstalled_again(tmp_path):
    there = Environment(tmp_path)
    write_plugin(Plan("hum", "custom", (".csv",), "acme-hum"), there.folder / "acme-hum")
    installed = there.run("binder", "plugins", "install", "-e", "acme-hum")
    assert installed.returncode == 0, installed.stderr
    listed = json.loads(there.run("binder", "plugins", "list", "--json").stdout)
    (own,) = [entry for entry in listed if entry["plugin"] == "hum"]
    assert (own["version"], own["modalities"], own["suffixes"], own["state"]) == ("0.1.0", ["hum"], [".csv"], "works")
    module = there.folder / "acme-hum/acme_hum/__init__.py"
    module.write_text("import no_such_module_at_all\n")
    said = there.run("binder", "plugins", "list").stdout
    assert "hum 0.1.0: -" in said
    assert "broken: import failed: ModuleNotFoundError: No module named 'no_such_module_at_all'" in said
    assert "image, text" in said
    gone = there.run("binder", "plugins", "uninstall", "hum")
    assert gone.returncode == 0, gone.stderr
    assert "hum" not in there.run("binder", "plugins", "list").stdout
