"""`binder plugins check`: what is wrong with a plugin is found and said, and what is right is measured."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from binder import PluginError
from binder.cli.verbs.plugins import plugins_command
from binder.devkit import check as checking
from binder.devkit.new import Plan, write_plugin


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin that works, as a folder, and a function that changes a file of it."""
    monkeypatch.delenv("BINDER_PLUGINS", raising=False)
    folder = tmp_path / "binder-hum"
    write_plugin(Plan("hum", "custom", (".csv",), "binder-hum"), folder)

    def change(path, old, new):
        text = (folder / path).read_text(encoding="utf-8")
        assert old in text
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")

    return folder, change


@pytest.mark.slow
def test_a_good_plugin_passes_and_is_measured(plugin):
    folder, _ = plugin
    result = CliRunner().invoke(plugins_command, ["check", str(folder), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["passed"]
    assert report["problems"] == []
    assert report["imports"]["hum"]["modalities"] == ["hum"]
    assert not report["imports"]["hum"]["torch"]
    facts = report["facts"]["hum"]
    assert facts["parameters"] == facts["trained_parameters"] == 17 * 128 + 129 * 256
    assert facts["window_shape"] == [16]
    assert facts["window_kib"] == pytest.approx(16 * 4 / 1024, abs=0.05)
    assert 0 < facts["read_ms"] < 1000
    assert facts["windows_per_second"] > facts["trained_windows_per_second"] > 0
    assert len(report["tests"]) == 18


def test_what_is_wrong_is_listed_and_the_exit_status_says_so(plugin):
    folder, change = plugin
    encoder = "binder_hum/encoder.py"
    change(encoder, "return self.project(features)", "return self.project(features) * torch.nan")
    change(encoder, 'raise ItemError(item, f"expected', 'raise KeyError(f"expected')
    change(
        "binder_hum/__init__.py", "from binder import EncoderConfig", "import torch\nfrom binder import EncoderConfig"
    )
    result = CliRunner().invoke(plugins_command, ["check", str(folder)], catch_exceptions=False)
    assert result.exit_code == 1
    said = result.stdout
    assert "importing binder_hum imports torch; import it inside functions" in said
    assert "FAILED  forward gives a finite row of the anchors width" in said
    assert "FAILED  broken items raise item error" in said
    assert "ok      windows have one shape" in said
    problems = said.partition(" problems\n")[2].splitlines()
    assert any(line.strip().startswith("broken items raise item error: KeyError") for line in problems)


@pytest.mark.slow
def test_a_plugin_without_the_contract_does_not_pass(plugin):
    folder, _ = plugin
    (folder / "tests/test_hum.py").write_text("def test_nothing():\n    pass\n")
    assert checking.check(str(folder)).problems == [
        "hum: no test inherits binder.testing.EncoderContract with this modality"
    ]


@pytest.mark.slow
def test_tests_that_cannot_be_collected_are_a_problem(plugin):
    folder, _ = plugin
    (folder / "tests/test_hum.py").write_text("import no_such_module_at_all\n")
    problems = checking.check(str(folder)).problems
    assert any("No module named 'no_such_module_at_all'" in problem for problem in problems)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def broken(:", "importing binder_hum failed: SyntaxError"),
        ("import no_such_module_at_all", "importing binder_hum failed: ModuleNotFoundError: No module named"),
        ("import sys; sys.exit(3)", "importing binder_hum failed: SystemExit: 3"),
        ("import os; os._exit(7)", "the interpreter ended with status 7 on import"),
        ("from binder import NoSuchBase", "importing binder_hum failed: ImportError: cannot import name 'NoSuchBase'"),
        ("x = 1", "entry point hum: provides no modality and no command"),
        ("def binder_register_modalities(): return []", "entry point hum: provides no modality and no command"),
        (
            "import time; time.sleep(1.1)\ndef binder_register_modalities(): return []",
            "importing binder_hum took 1.1 s, and every command waits for it; import slow packages inside functions",
        ),
    ],
)
def test_a_package_that_does_not_import_well_says_how(plugin, source, problem, monkeypatch):
    folder, _ = plugin
    (folder / "binder_hum/__init__.py").write_text(source)
    monkeypatch.setattr(checking, "_run_tests", lambda folder, report: None)
    problems = checking.check(str(folder)).problems
    assert any(problem in one for one in problems), problems
    assert all("\n" not in one for one in problems)


def test_a_package_without_an_entry_point_is_told_to_have_one(plugin, monkeypatch):
    folder, change = plugin
    change("pyproject.toml", "[project.entry-points.binder]", "[project.entry-points.other]")
    monkeypatch.setattr(checking, "_run_tests", lambda folder, report: None)
    assert "no [project.entry-points.binder]" in checking.check(str(folder)).problems[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-plugin", "there is no folder and no installed plugin called 'no-such-plugin'"),
        ("pointclod", "(did you mean 'pointcloud'?)"),
    ],
)
def test_what_is_not_there_cannot_be_checked(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError) as caught:
        checking.check(name)
    assert message in str(caught.value)


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"is not a package: it has no pyproject\.toml"):
        checking.check(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(PluginError, match="not a readable TOML file"):
        checking.check(str(tmp_path))


def test_a_known_plugin_is_checked_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = checking.folder_of("imu")
    assert (folder / "pyproject.toml").is_file()
    assert folder.name == "imu"
