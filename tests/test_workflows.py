"""What runs on others' machines is held to what it stands on: the Makefile, the versions of Python, the files here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
INSTALL = ROOT / ".github/actions/install/action.yml"
PRE_COMMIT = ROOT / ".pre-commit-config.yaml"
ACTIONLINT = shutil.which("actionlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LIMIT_B = 1024 * 1024


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return read(path)["jobs"]


def steps() -> Iterator[dict[str, Any]]:
    for path in WORKFLOWS:
        for job in jobs(path).values():
            yield from job.get("steps", [])
    yield from read(INSTALL)["runs"]["steps"]


def hook(name: str) -> dict[str, Any]:
    (found,) = (one for repo in read(PRE_COMMIT)["repos"] for one in repo["hooks"] if one["id"] == name)
    return found


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), PRE_COMMIT], ids=lambda path: str(path.relative_to(ROOT))
)
def test_yaml_is_whole(path):
    assert read(path)


def test_targets_that_are_called_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {name for step in steps() for name in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))}
    assert called <= targets
    assert called >= {"install", "test", "test-slow", "lint", "docs", "dist"}


def test_every_python_that_is_tested_is_allowed_and_the_oldest_allowed_is_tested():
    matrix = jobs(ROOT / ".github/workflows/test.yml")["test"]["strategy"]["matrix"]
    tested = [*matrix["python"], read(INSTALL)["inputs"]["python"]["default"]]
    assert all(isinstance(version, str) for version in tested), "3.10 without quotes is 3.1"
    minors = sorted(int(version.removeprefix("3.")) for version in matrix["python"])
    for pyproject in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        allowed = SpecifierSet(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["requires-python"])
        assert all(version in allowed for version in tested), pyproject
        assert f"3.{minors[0] - 1}" not in allowed, pyproject
    assert all(second - first == 1 for first, second in pairwise(minors))


def test_windows_gets_the_extras_that_the_makefile_installs():
    extras = re.compile(r"'\.\[[\w,]+\]'")
    (windows,) = {found for step in steps() for found in extras.findall(step.get("run", ""))}
    assert windows in extras.findall((ROOT / "Makefile").read_text(encoding="utf-8"))


def test_what_is_not_ours_is_pinned_and_the_same_everywhere():
    used = {step["uses"] for step in steps() if not step.get("uses", "./").startswith("./")}
    assert used
    unpinned = {one for one in used if not re.search(r"@[0-9a-f]{40}$|^docker://.*:\d+\.\d+\.\d+$", one)}
    assert not unpinned
    assert len({re.split("[@:]", one.removeprefix("docker://"))[0] for one in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_and_time_are_bounded(path):
    assert read(path)["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs(path).items() if "steps" in job and "timeout-minutes" not in job] == []


def test_large_files_are_those_that_are_excepted():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no checkout of git")
    check = hook("check-added-large-files")
    assert f"--maxkb={LIMIT_B // 1024}" in check["args"]
    files = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    large = {name for name in files if (ROOT / name).stat().st_size > LIMIT_B}
    assert large == {name for name in files if re.search(check["exclude"], name)}


@pytest.mark.skipif(ACTIONLINT is None, reason="no actionlint on this machine")
def test_actionlint_finds_nothing():
    done = subprocess.run([ACTIONLINT, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
