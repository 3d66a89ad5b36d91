"""docs/names.md: every public name in an example, and the examples run; those of longer pages do in slow tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import installed

import binder

DOCS = Path(binder.__file__).parents[1] / "docs"
PAGE = DOCS / "names.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITHIN = re.compile(r"^## (.+)$", re.MULTILINE)


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def used(source: str) -> Iterator[str]:
    """The names of binder that a program uses: binder.NAME, or imported from it; an import alone is no use."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "binder"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "binder":
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in imported:
            yield imported[node.id]


def test_every_public_name_has_an_example_that_runs() -> None:
    """Those of python.md run in `test_the_quickstart_and_what_follows_run_as_they_are_written`."""
    found = {name for page in (PAGE, DOCS / "python.md") for block in blocks(page) for name in used(block)}
    assert set(binder.__all__) - found == set()
    assert found <= {*binder.__all__, "testing", "__version__"}, "an example uses what is not public"


def test_a_name_without_an_example_would_be_seen() -> None:
    assert set(used("import binder\nfrom binder import Hit, Span as S\nbinder.align()\nS(0, 1)\n# binder.push")) == {
        "align",
        "Span",
    }


@pytest.fixture
def nothing_installed() -> Iterator[None]:
    with installed(only=""):
        yield


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("number", range(len(blocks(PAGE))))
def test_the_examples_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = blocks(PAGE)[number]
    if "import transformers" in block:
        pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
