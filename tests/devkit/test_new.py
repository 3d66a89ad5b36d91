"""`binder plugins new`: what it writes can be installed, passes its tests and aligns, before anything is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from support import distribution, installed

import binder
from binder import PluginError
from binder.cli.verbs import plugins as cli_plugins
from binder.cli.verbs.plugins import plugins_command
from binder.devkit.kinds import KINDS
from binder.devkit.new import Plan, suffixes_of, write_plugin
from binder.devkit.sample import CLASSES

SMALL = {  # sizes for tests, by kind
    "series": {"width": 32, "layers": 1},
    "waveform": {"width": 32, "layers": 1, "bands": 24},
    "points": {"points": 128, "groups": 24, "neighbors": 12, "width": 48, "layers": 1},
}
STEPS = {"points": 120}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A plugin of every kind, as `new` writes it."""
    root = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        write_plugin(Plan(f"my_{kind}", kind, KINDS[kind].suffixes, f"binder-my-{kind}"), root / kind)
    return root


@pytest.fixture(scope="module")
def outcomes(written) -> dict[str, dict[str, str]]:
    """Kind -> test -> what became of it: all of them in one process of pytest."""
    report = written / "report.xml"
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(str(written / kind) for kind in KINDS)}
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        f"--rootdir={written}",
        f"--junitxml={report}",
    )
    folders = [str(written / kind) for kind in KINDS]
    subprocess.run([sys.executable, "-m", "pytest", *options, *folders], env=own, capture_output=True, check=False)
    found: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for case in ElementTree.parse(report).iter("testcase"):
        problems = [child.get("message", child.tag) for child in case]
        found[case.get("classname", "").partition(".")[0]][case.get("name", "")] = " ".join(problems) or "passed"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_its_tests_at_once(outcomes, kind):
    assert len(outcomes[kind]) >= 18, "the contract and one of its own"
    assert {test: said for test, said in outcomes[kind].items() if said != "passed"} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_its_sample_aligns_to_pictures_at_once_and_is_then_named_by_words(written, kind, tmp_path):
    site = tmp_path / "site"
    distribution(site, f"binder-my-{kind}", f"binder_my_{kind}", key=f"my_{kind}")
    sets = [f"encoder.{key}={value}" for key, value in SMALL.get(kind, {}).items()]
    with installed(site, written / kind, only=f"my_{kind}"):
        sample = written / kind / "sample"
        binder.align(
            f"my_{kind}",
            sample / "pairs.csv",
            anchor="mini",
            to="image",
            out=tmp_path / "run",
            sets=[*sets, f"train.steps={STEPS.get(kind, 60)}"],
        )
        space = binder.Binder.of(tmp_path / "run")
        items = sorted((sample / "items").iterdir())
        found = space.classify(list(CLASSES), "a {}", **{f"my_{kind}": items})
    right = sum(one.label == CLASSES[i % len(CLASSES)] for i, one in enumerate(found))
    assert right >= 0.85 * len(items)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_little_to_read_and_nothing_left_to_fill_in(written, kind):
    package = written / kind / f"binder_my_{kind}"
    code = [path.read_text(encoding="utf-8") for path in package.glob("*.py")]
    lines = [line for text in code for line in text.splitlines() if line.strip()]
    assert len(lines) <= 60
    for path in (written / kind).rglob("*"):
        if path.suffix in (".py", ".md", ".toml"):
            assert "$" not in path.read_text(encoding="utf-8"), path
    listed = {path.name for path in (written / kind).iterdir()}
    assert listed == {"pyproject.toml", "README.md", "sample", "tests", package.name}


@pytest.mark.parametrize("kind", KINDS)
def test_its_code_is_clean(written, kind):
    ruff = shutil.which("ruff", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if ruff is None:  # a tool of this project's own checks, found beside the interpreter or on the path
        pytest.skip("ruff is not installed")
    rules = ["--isolated", "--line-length=120", "--no-cache"]
    for command in (["check", "--select=E,F,I,B,UP,SIM,RET"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, *rules, "."], cwd=written / kind, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_the_sample_is_the_same_every_time_and_small(written, tmp_path):
    write_plugin(Plan("my_series", "series", (".csv",), "binder-my-series"), tmp_path / "again")
    files = [p for p in (tmp_path / "again").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 200_000
    for path in files:
        other = written / "series" / path.relative_to(tmp_path / "again")
        assert path.name == "README.md" or path.suffix == ".py" or path.read_bytes() == other.read_bytes()


def test_without_suffixes_nothing_is_guessed(tmp_path):
    write_plugin(Plan("hum", "series", (), "binder-hum"), tmp_path / "hum")
    assert 'series_modality("hum", (), HumConfig, read)' in (tmp_path / "hum/binder_hum/__init__.py").read_text()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"name": "My Sensor"}, "'My Sensor' cannot be a modality: expected a lower-case name such as"),
        ({"name": "My Sensor"}, ", perhaps 'my_sensor'"),
        ({"name": "class"}, ", perhaps 'my_class'"),
        ({"name": "3d"}, ", perhaps 'd'"),
        ({"name": "where"}, ", perhaps 'my_where'"),
        ({"name": "k"}, "'k' cannot be a modality: "),
        ({"name": "x" * 100}, f", perhaps '{'x' * 30}'"),
        ({"kind": "serie"}, "unknown kind 'serie' (did you mean 'series'?)"),
        ({"kind": "smell"}, "unknown kind 'smell': expected series, waveform, picture, raster, points, custom"),
        ({"suffixes": (".c v",)}, "'.c v' is not a file suffix"),
        ({"package": "-x"}, "'-x' cannot be a package"),
        ({"package": "json"}, "package 'json' is already taken; choose another name"),
        ({"package": "binder"}, "package 'binder' is already taken"),
        ({"package": "Torch"}, "package 'Torch' is already taken"),
        ({"package": "scikit-learn"}, "package 'scikit-learn' is already taken"),
        ({"package": "Modality.Binder"}, "package 'Modality.Binder' is already taken"),
        ({"package": "binder_thermal"}, "package 'binder_thermal' is already taken"),
        ({"package": "3d"}, "would be imported as '3d', which is not a valid name"),
    ],
)
def test_names_that_cannot_be_used_are_refused(plan, message):
    with pytest.raises(PluginError) as caught:
        Plan(**{"name": "hum", "kind": "series", "suffixes": (".csv",), "package": "binder-hum", **plan})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("installed", "bounds"),
    [("0.2.0", ">=0.2,<0.3"), ("0.9.3.dev1", ">=0.9,<0.10"), ("1.4.2", ">=1,<2"), (None, "")],
)
def test_a_new_plugin_is_bound_to_the_versions_of_the_core_that_it_was_written_with(
    installed, bounds, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "binder.devkit.new.wheels.version", lambda name: installed if name == "modality-binder" else None
    )
    write_plugin(Plan("hum", "custom", (".csv",), "acme-hum"), tmp_path / "hum")
    project = tomllib.loads((tmp_path / "hum/pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"modality-binder{bounds}"]


def test_suffixes_are_understood_however_they_are_written():
    assert suffixes_of(".csv, TSV .csv;".replace(";", "")) == (".csv", ".tsv")
    assert suffixes_of("") == ()


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, monkeypatch):
    plan = Plan("hum", "series", (".csv",), "binder-hum")
    (tmp_path / "there").mkdir()
    with pytest.raises(PluginError, match="exists already"):
        write_plugin(plan, tmp_path / "there")
    with pytest.raises(PluginError, match="'hum' is already installed"):
        write_plugin(plan, tmp_path / "new", taken=["hum"])

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("binder.devkit.new.write_sample", full_disk)
    with pytest.raises(PluginError, match="cannot be written: No space left on device"):
        write_plugin(plan, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.fixture
def said(monkeypatch, tmp_path):
    """said(*arguments, answers="") -> what the command wrote; with answers, as if at a terminal."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, answers=None):
        monkeypatch.setattr(cli_plugins, "_at_terminal", lambda: answers is not None)
        result = CliRunner().invoke(plugins_command, ["new", *arguments], input=answers, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_nobody_is_asked_without_a_terminal(said, toy):
    out = said("hum")
    assert "wrote binder-hum" in out
    assert "?" not in out
    assert "binder plugins install -e ./binder-hum" in out
    assert "binder align hum binder-hum/sample/pairs.csv" in out.replace("\\", "/")


def test_at_a_terminal_three_things_are_asked_at_most(said, toy, tmp_path):
    out = said("hum", answers="points\n.las,.laz\nacme-hum\n")
    assert [out.count(f"{what} [") for what in ("kind of input", "file suffixes", "package")] == [1, 1, 1]
    assert '"hum", {".las", ".laz"}' in (tmp_path / "acme-hum/acme_hum/__init__.py").read_text()


def test_what_is_given_is_not_asked(said, toy, tmp_path):
    out = said("hum", "--kind", "custom", "--suffixes", ".x", "--package", "acme", "--out", "f/g", answers="")
    assert "[" not in out
    assert (tmp_path / "f/g/acme/encoder.py").is_file()


def test_an_installed_modality_is_not_taken_again(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(plugins_command, ["new", "toy"])
    assert isinstance(result.exception, PluginError)
    assert "'toy' is already installed" in str(result.exception)
    assert not list(tmp_path.iterdir())
