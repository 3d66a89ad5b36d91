"""Installing plugins: by what made the environment, and only where it may be; a real install and back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from plugin_env import Environment

from binder import PluginError
from binder.cli import plugins as cli_plugins
from binder.kit import installing
from binder.kit.new import Plan, write_plugin


def test_outside_a_virtual_environment_nothing_is_installed_unless_told(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    with pytest.raises(PluginError, match="this Python is not a virtual environment"):
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
    ("what", "ends"),
    [
        ("imu", "plugins/imu"),
        ("git+https://example.org/a/b.git", "git+https://example.org/a/b.git"),
        ("https://example.org/a-1.0.zip", "https://example.org/a-1.0.zip"),
    ],
)
def test_names_folders_and_addresses_are_told_apart(what, ends):
    assert installing.target(what).replace("\\", "/").endswith(ends)


def test_what_is_no_package_is_refused_before_pip_is_asked(tmp_path):
    with pytest.raises(PluginError, match=r"is no package: there is no pyproject\.toml in it"):
        installing.target(str(tmp_path))
    with pytest.raises(PluginError, match=r"unknown plugin 'pointclout' \(did you mean 'pointcloud'\?\)"):
        installing.target("pointclout")


def test_what_is_not_installed_cannot_be_uninstalled():
    with pytest.raises(PluginError, match="no plugin 'numpy' is installed"):
        installing.distributions("numpy")


def test_a_failed_install_is_one_line(monkeypatch):
    monkeypatch.setattr(cli_plugins.subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 1))
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    monkeypatch.setattr(installing, "installer", lambda anywhere: [sys.executable, "-m", "pip"])
    result = CliRunner().invoke(cli_plugins.plugins_command, ["install", "imu"])
    assert isinstance(result.exception, PluginError)
    assert str(result.exception).endswith("-m pip install ... failed with status 1")


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
