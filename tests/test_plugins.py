"""Plugins: found by their metadata, each on its own; a broken one breaks no other."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import distribution, installed

from binder import EncoderConfig, PluginError, modality, registry

GOOD = """
    from binder import EncoderConfig, Modality, hookimpl

    @hookimpl
    def binder_register_modalities():
        return [Modality({name!r}, frozenset(), EncoderConfig, build=print)]
"""


@pytest.fixture
def install(tmp_path):
    """install(distribution=source, ...) -> a context in which these are installed plugins, and no other."""

    def context(**sources):
        for name, source in sources.items():
            (tmp_path / f"fake_{name}.py").write_text(textwrap.dedent(source))
            distribution(tmp_path, name, f"fake_{name}")
        return installed(tmp_path, only=",".join(sources))

    return context


def plugin(name):
    return next(p for p in registry.registry().plugins if p.name == name)


def test_the_cores_own_modalities_come_through_the_same_seam(install):
    with install():
        assert registry.registry().names() == ["image", "text"]
        assert registry.registry().owner("image").name == "binder"
        assert not any(modality.trainable for modality in registry.registry().modalities())


def test_an_installed_plugin_is_found_with_its_version(toy):
    assert registry.registry().names() == ["image", "text", "toy"]
    assert (plugin("toy").version, plugin("toy").error) == ("1.0", None)
    assert [m.name for m in registry.registry().by_suffix(".NPY")] == ["toy"]
    assert registry.registry().get("toy").config.__name__ == "ToyConfig"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "import failed: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def broken(:", "import failed: SyntaxError"),
        ("import sys; sys.exit(3)", "import failed: SystemExit: 3"),
        ("raise RuntimeError('one\\ntwo')", "import failed: RuntimeError: one two"),
        (
            "from binder import hookimpl\n@hookimpl\ndef binder_register_modality():\n    return []",
            "unknown hook 'binder_register_modality'",
        ),
        ("def binder_register_modalities():\n    return ['toy']", "must return binder.Modality records, got str"),
        ("def binder_register_modalities():\n    return 3", "TypeError"),
        ("def binder_register_modalities():\n    import sys; sys.exit(1)", "SystemExit"),
        (
            "from binder import hookimpl\n@hookimpl\ndef binder_register_modalities(wrong):\n    return []",
            "wrong",
        ),
        (
            "from binder import EncoderConfig, Modality\ndef binder_register_modalities():\n"
            "    return [Modality('x', frozenset(), EncoderConfig, build=print)] * 2",
            "'x' twice",
        ),
    ],
)
def test_a_broken_plugin_is_kept_with_its_reason_and_breaks_no_other(install, source, reason):
    with install(aa_broken=source, zz_good=GOOD.format(name="good")):
        assert registry.registry().names() == ["image", "text", "good"]
        error = plugin("aa_broken").error
        assert reason in error
        assert "\n" not in error
        assert plugin("zz_good").error is None


def test_asking_for_the_modality_of_a_broken_plugin_says_why(install):
    with install(sonar="import no_such_module_at_all"), pytest.raises(PluginError) as caught:
        registry.registry().get("sonar")
    assert "plugin sonar 1.0 is broken: import failed: ModuleNotFoundError" in str(caught.value)


def test_a_modality_that_two_plugins_provide_names_both_and_breaks_no_other(install):
    sources = {"one": GOOD.format(name="same"), "two": GOOD.format(name="same"), "three": GOOD.format(name="other")}
    with install(**sources):
        assert registry.registry().names() == ["image", "text", "other"]
        with pytest.raises(PluginError, match=r"'same' is provided by one 1\.0 and two 1\.0"):
            registry.registry().get("same")


def test_binder_plugins_narrows_the_set_and_names_what_is_not_there(install):
    two = {"one": GOOD.format(name="sonar"), "two": GOOD.format(name="lidar")}
    with install(**two), pytest.MonkeyPatch.context() as patch:  # undone before what `install` set
        patch.setenv("BINDER_PLUGINS", " two, three ,")
        registry.registry.cache_clear()
        assert registry.registry().names() == ["image", "text", "lidar"]
        assert plugin("three").error == "named in BINDER_PLUGINS but not installed"
        patch.setenv("BINDER_PLUGINS", "")
        registry.registry.cache_clear()
        assert registry.registry().names() == ["image", "text"]


def test_without_binder_plugins_every_entry_point_is_loaded(tmp_path):
    (tmp_path / "fake_sonar.py").write_text(textwrap.dedent(GOOD.format(name="sonar")))
    distribution(tmp_path, "sonar", "fake_sonar")
    with installed(tmp_path, only=None):
        found = {e.name for e in importlib.metadata.entry_points(group="binder")}
        assert {p.name for p in registry.registry().plugins} == {"binder", *found}
        assert "sonar" in registry.registry().names()


def test_an_unknown_modality_suggests_the_nearest(toy):
    with pytest.raises(PluginError, match=r"unknown modality 'toi' \(did you mean 'toy'\?\)"):
        registry.registry().get("toi")
    with pytest.raises(PluginError, match="unknown modality 'zzzzz'; installed: image, text, toy"):
        registry.registry().get("zzzzz")


def test_a_known_plugin_that_is_not_installed_says_how_to_install_it(toy):
    name = next(iter(registry.known_plugins()))
    with pytest.raises(PluginError, match=f"install it with: binder plugins install {name}"):
        registry.registry().get(name)


def test_known_plugins_are_the_folders_of_the_checkout_and_need_each_other_as_they_declare():
    root = Path(__file__).parent.parent
    plugins = registry.known_plugins()
    assert {known.folder for known in plugins.values()} == {
        path.parent.relative_to(root).as_posix() for path in root.glob("plugins/*/pyproject.toml")
    }
    for known in plugins.values():
        project = tomllib.loads((root / known.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["name"] == known.distribution
        declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
        assert {short for short, other in plugins.items() if other.distribution in declared} == set(known.needs)


COMMANDS = """
    import click
    from binder import hookimpl

    @hookimpl
    def binder_register_commands(cli):
        {line}
        cli.add_command(click.Command({name!r}))
"""


def test_a_plugin_that_fails_to_add_its_commands_is_reported_and_the_others_go_on(install, caplog):
    import click

    bad = COMMANDS.format(line="raise ValueError('no')", name="never")
    with install(aa=bad, bb=COMMANDS.format(line="", name="sonar"), cc=bad):
        cli = click.Group()
        registry.registry().register_commands(cli)
    assert list(cli.commands) == ["sonar"]
    assert len([m for m in caplog.messages if "ValueError: no" in m]) == 2


@pytest.mark.parametrize("name", ["where", "k", "embed", "to", "Not A Name", "class", "", "a-b", "1st", "é", 3, None])
def test_what_cannot_name_a_modality_is_refused(name):
    with pytest.raises(PluginError, match="cannot be a modality"):
        modality.check_name(name)


def test_every_keyword_of_the_python_api_is_reserved():
    """A modality is a keyword of these functions, and an attribute of a Binder."""
    from binder import Binder, Index

    functions = [Binder.embed, Binder.classify, Index.add, Index.search, Index.delete]
    taken = {name for function in functions for name in inspect.signature(function).parameters}
    taken |= {name for name in dir(Binder("mini")) if not name.startswith("_")}
    assert taken <= modality.RESERVED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"suffixes": ".csv"}, "suffixes must be a set such as {'.csv'}, got str"),
        ({"suffixes": frozenset({"csv"})}, "suffix 'csv' must be lower case with a dot in front"),
        ({"suffixes": frozenset({".CSV"})}, "suffix '.CSV' must be lower case"),
        ({"suffixes": frozenset({3})}, "suffix 3 must be"),
        ({"config": dict}, "config must be a class derived from binder.EncoderConfig"),
        ({"config": EncoderConfig()}, "config must be a class"),
        ({"build": None}, "build must be a function, got NoneType"),
        ({"adapt": 3}, "adapt must be a function, got int"),
        ({"preview": "show"}, "preview must be a function, got str"),
        ({"media": "picture"}, "media must be a MIME type"),
        ({"inline": "no"}, "inline must be True or False, got 'no'"),
    ],
)
def test_a_record_is_checked_field_by_field(change, reason):
    good = modality.Modality("sonar", frozenset({".csv"}), EncoderConfig, build=print)
    modality.check(good)
    with pytest.raises(PluginError) as caught:
        modality.check(dataclasses.replace(good, **change))
    assert str(caught.value).startswith("modality 'sonar': ") and reason in str(caught.value)


def test_a_config_without_a_default_is_refused():
    class Needy(EncoderConfig):
        rate: float

    with pytest.raises(PluginError, match="config must have a default for every field"):
        modality.check(modality.Modality("sonar", frozenset(), Needy, build=print))


@pytest.mark.parametrize("offers", [True, False])
def test_a_plugin_that_offers_no_commands_is_not_imported_for_the_help(tmp_path, offers):
    """The command line starts fast whatever is installed: only a module that names the hook is imported."""
    hook = textwrap.dedent(COMMANDS.format(line="", name="sonar")) if offers else ""
    (tmp_path / "fake_cmd.py").write_text(f"{hook}\nimport pathlib; pathlib.Path(__file__ + '.imported').touch()")
    distribution(tmp_path, "cmd", "fake_cmd")
    with installed(tmp_path):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "BINDER_PLUGINS": "cmd"}
        command = [sys.executable, "-m", "binder", "--help"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ("sonar" in done.stdout) == offers
    assert (tmp_path / "fake_cmd.py.imported").exists() == offers


def test_a_plugin_knows_which_commands_it_has_added(install):
    import click

    with install(aa=COMMANDS.format(line="", name="sonar"), bb=GOOD.format(name="good")):
        registry.registry().register_commands(click.Group())
        assert [p.commands for p in registry.registry().plugins] == [[], ["sonar"], []]


def test_the_command_of_a_known_plugin_says_how_to_get_it(install, binder):
    name, known = next((name, known) for name, known in registry.known_plugins().items() if known.commands)
    for command in known.commands:
        with install():
            status, out, err = binder(command)
        said = f"error: command {command!r} is not installed; install it with: binder plugins install {name} "
        assert (status, out) == (2, "")
        assert err.startswith(said) and err.count("\n") == 1
    with install(**{name: "binder_register_commands = no_such_name"}):
        status, _, err = binder(known.commands[0])
    assert (status, err.count("\n")) == (2, 1)
    assert f"plugin {name} 1.0 is broken: import failed: NameError" in err


def test_a_known_plugin_of_commands_is_not_taken_for_a_modality(install):
    name = next(name for name, known in registry.known_plugins().items() if known.commands)
    with install(), pytest.raises(PluginError, match=f"unknown modality '{name}'"):
        registry.registry().get(name)


def test_an_edited_plugin_has_another_source(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "read.py").write_text("x = 1")
    (tmp_path / "module.py").write_text("x = 1")
    for place, file in ((tmp_path / "package", "package/read.py"), (tmp_path / "module.py", "module.py")):
        before = registry.Plugin("p", "1", place=place).source()
        assert registry.Plugin("p", "1", place=place).source() == before
        (tmp_path / file).write_text("x = 2")
        assert registry.Plugin("p", "1", place=place).source() != before
        assert registry.Plugin("p", "2", place=place).source() != registry.Plugin("p", "1", place=place).source()
