"""The documentation is run and compared with the code, so that it cannot drift."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import reference
from plugin_env import Environment
from support import distribution, installed

import binder
from binder.known_plugins import known_plugins

ROOT = Path(binder.__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


@pytest.mark.parametrize(("page", "made"), reference.PAGES.items(), ids=list(reference.PAGES))
def test_pages_made_from_the_code_are_up_to_date(page, made):
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == made(), "make it again: python tools/reference.py docs"


def test_the_reference_has_every_field_method_and_hook():
    text = reference.reference()
    for part in ("binder_register_modalities", "binder_register_commands", "`turn_deg`", "`rate_hz`", "`views`"):
        assert part in text
    assert "| `window_s` | `float \\| None` |" in text
    assert "segments(" in text
    assert "the same item twice gives the same bytes" in text


def test_every_verb_with_its_options_and_every_setting_is_there():
    options, settings = reference.options(), reference.settings()
    for part in ("## `binder align`", "`--resume`", "## `binder index export`", "## `binder plugins new`"):
        assert part in options
    for part in ("| `weight_decay` |", "| `val_fraction` |", '`kind = "infonce_bank"`', "| `temperature` |"):
        assert part in settings
    assert settings.count("| `learn_temperature` |") == 2  # inherited, too


def test_the_python_interface_is_there():
    text = reference.api()
    for part in (
        "### `align`",
        "### `Binder`",
        "Binder.of(",
        "Embeddings.load(",
        "near_duplicates(",
        "### `Hit`",
        "| `probability` |",
        "SpaceError",
    ):
        assert part in text
    assert " at 0x" not in text


def test_known_plugins_are_all_on_their_page():
    page = (DOCS / "KNOWN_PLUGINS.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page and plugin.summary in page for name, plugin in known_plugins().items())


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_links_in_the_docs_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    return Environment(tmp_path_factory.mktemp("tutorial"))


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is_written(environment, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    blocks = BLOCK.findall((DOCS / "PLUGINS.md").read_text(encoding="utf-8"))
    assert len(blocks) > 6
    said = []
    for language, block in blocks:
        named = FILE.match(block)
        if named:
            (environment.folder / named[1]).write_text(block[named.end() :], encoding="utf-8")
            continue
        command = ["bash", "-euo", "pipefail", "-c", block] if language == "sh" else [environment.python, "-c", block]
        done = environment.run(*command)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    searched = said[3]
    assert len(re.findall(r"0[048]\.csv|[1-4][0-9]\.csv", searched)) == 3
    numbers = [int(n) for n in re.findall(r"(\d\d)\.csv", searched)]
    assert len(numbers) >= 3
    assert all(n % 4 == 0 for n in numbers), f"every fourth recording is a red circle: {searched}"
    assert "0 problems" in said[1]
    assert "values are degrees and can be flipped" in said[-1]
    assert "0 problems" in said[-1]


def test_the_anchor_on_the_page_about_plugins_works(tmp_path, monkeypatch):
    (block,) = [b for _, b in BLOCK.findall((DOCS / "PLUGINS.md").read_text(encoding="utf-8")) if "MyAnchor" in b]
    (tmp_path / "fake_mine.py").write_text(block, encoding="utf-8")
    (tmp_path / "my_library.py").write_text(
        "import torch\n"
        "def load(name):\n"
        "    model = torch.nn.Linear(8, 384)\n"
        "    return model, lambda text: torch.tensor([[float(ord(c)) for c in text[:8].ljust(8)]]), name\n"
    )
    distribution(tmp_path, "binder-mine", "fake_mine", key="mine")
    with installed(tmp_path, only="mine"):
        space = binder.Binder("mine:small")
        assert space.text(["a dog", "a cat"]).vectors.shape == (2, 384)


@pytest.mark.slow
def test_the_example_is_aligned_and_searched_with_no_change_of_the_core(environment):
    shutil.copytree(
        DOCS / "examples/binder-eeg", environment.folder / "eeg", ignore=shutil.ignore_patterns("*egg-info")
    )
    for command in (
        "binder plugins install -e ./eeg",
        "python -m pytest -q eeg/tests --import-mode=importlib -p no:cacheprovider",
        "python eeg/make_sample.py",
        "binder align eeg eeg/sample/pairs.csv --out runs/eeg --workers 0 --set train.steps=80 --set encoder.width=48",
        "binder index create eeg.idx --encoder runs/eeg",
        "binder index add eeg.idx eeg/sample/*.edf",
    ):
        done = environment.run("bash", "-c", command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for words, rhythm in (("a blue square", "alpha"), ("a red square", "delta")):
        found = environment.run("binder", "search", "eeg.idx", words, "-k", "4").stdout
        assert found.count(f"-{rhythm}.edf") >= 3, found
