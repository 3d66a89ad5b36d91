"""The site of docs/: complete, without dead links, fetching nothing, and saying only what the program takes."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from plugin_env import Environment

import binder
from binder.cli.main import VERBS, cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
WIDTHS = (390, 820, 1400)

pytest.importorskip("material", reason="mkdocs-material is not installed: the site cannot be built")
yaml = pytest.importorskip("yaml")


def hooks() -> ModuleType:
    """docs/hooks.py, as mkdocs imports it."""
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
OUTSIDE: dict[str, Path] = hooks().outside()
PAGES = [*sorted(p for p in DOCS.rglob("*.md") if ".egg-info" not in str(p)), ROOT / "README.md", *OUTSIDE.values()]


def shown(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


def leaves(nav: Any) -> Iterator[str]:
    """The pages that a navigation names."""
    for entry in nav:
        ((_, value),) = entry.items()
        yield from [value] if isinstance(value, str) else leaves(value)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", lambda code: "x" * len(code[0]), FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """Where a link into a page may lead: its headings, as GitHub and the site write them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- the source


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    named = list(leaves(NAV))
    assert len(named) == len(set(named))
    inside = {p.relative_to(DOCS).as_posix() for p in PAGES if p.is_relative_to(DOCS)}
    others = {place for place in OUTSIDE if not place.startswith("plugins/")}  # the hook lists the plugins
    assert set(named) == inside | others


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_relative_links_and_pictures_lead_somewhere_and_to_a_heading_that_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bad = []
    for target in LINK.findall(without_code(text)):
        if re.match("[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = page.parent / place if place else page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            bad.append(target)
    assert bad == []


def test_a_dead_link_would_be_seen() -> None:
    assert LINK.findall(without_code("[a](b.md#c) ![d](e.png) `[f](g)`")) == ["b.md#c", "e.png"]
    assert anchors("# Which one?\n\n## 2026: a, b\n```sh\n# no\n```\n") == {"which-one", "2026-a-b"}


# -- what it says of the program


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `binder ...` in the fenced blocks of a page."""
    for kind, block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines() if kind in ("sh", "console", "") else ():
            line = line.strip().removeprefix("$ ")
            if not re.match(r"([A-Z_]+=\S+ )*(binder|torchrun|\S*python) ", line):
                continue
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if word == "binder" and words[i + 1 :]]
            if starts:
                yield words[starts[0] + 1 :]


def parsed(words: list[str]) -> None:
    """Parse a command as click would, without running it. Raises click.UsageError."""
    command: click.Command = cli
    context = click.Context(cli, info_name="binder")
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-"):
            if words[0] not in {name for p in command.get_params(context) for name in p.opts}:
                raise click.NoSuchOption(words[0])
            words = words[1:]
            continue
        _, found, words = command.resolve_command(context, list(words))
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    if not isinstance(command, click.Group):
        command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_name_verbs_and_options_that_there_are(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        try:
            parsed(words)
        except click.ClickException as error:
            pytest.fail(f"binder {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize(
    "line", ["binder sarch x.idx y", "binder search x.idx y --kk 3", "binder index add", "binder -q"]
)
def test_a_command_that_there_is_not_would_be_seen(line: str) -> None:
    (words,) = commands(f"```sh\n{line}\n```\n")
    with pytest.raises(click.UsageError):
        parsed(words)


def test_a_command_is_found_however_it_is_written() -> None:
    run = "```sh\nA=1 binder search x.idx \\\n  y  # why\n```\n"
    shown = "```console\n$ torchrun -m binder embed x\nbinder: no\n```\n"
    assert list(commands(run + shown)) == [["search", "x.idx", "y"], ["embed", "x"]]


def ends(group: click.Group, names: list[str], before: str = "") -> Iterator[str]:
    """The commands below a group, by all of their words."""
    context = click.Context(group)
    for name in names:
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ends(command, command.list_commands(context), f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_the_page_of_the_command_line_has_every_command_and_no_other() -> None:
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `binder ((?:[a-z]+ )*[a-z]+)(?=[ `])", page, re.MULTILINE)
    assert len(written) == len(set(written))
    assert set(ends(cli, list(VERBS))) <= set(written) <= set(ends(cli, cli.list_commands(click.Context(cli))))


def test_the_messages_on_the_page_of_troubles_are_those_of_the_program() -> None:
    page = (DOCS / "how-to/trouble.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.+?)` \|", page.split("## Messages")[1].split("\n## ")[0], re.MULTILINE)
    assert len(quoted) > 10
    source = "\n".join(p.read_text(encoding="utf-8") for p in Path(binder.__file__).parent.rglob("*.py"))
    source = re.sub(r'"\n\s*f?"', "", source)  # a text that goes on in the next line
    parts = [part.strip(" .") for message in quoted for part in re.split(r"'[^']*'|\.\.\.|\bN\b|^\.csv", message)]
    assert [part for part in parts if part not in source] == []


def test_the_tree_of_the_architecture_is_the_tree() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    tree = page.split("```text\n")[1].split("```")[0].split("\nplugins/")[0]
    there = Path(binder.__file__).parent
    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == {p.parent.name for p in there.glob("*/__init__.py")}
    modules = re.search(r"binder/\n((?:  [a-z_ ]+(?:   .*)?\n)+)", tree)
    assert modules
    assert set(re.sub(r"   .*", "", modules[1]).split()) == {p.stem for p in there.glob("*.py")}
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py|[a-z]+\.py)`", page))
    assert len(named) > 20
    assert [name for name in sorted(named) if not any((top / name).is_file() for top in (there, ROOT))] == []


# -- the site as built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It builds without a warning: a page or a heading that is not there is one."""
    folder: Path = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Fetched(HTMLParser):
    """What a page makes a browser fetch by itself, and what its links name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "link":
            self.sources += [given["href"]] if given.get("rel") not in ("canonical", "next", "prev") else []
        self.sources += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        self.sources += re.findall(r"url\(([^)]+)\)", given.get("style", ""))


def elsewhere(sources: list[str]) -> list[str]:
    return [source for source in sources if re.match(r"\s*['\"]?(https?:)?//", source)]


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    bad = {}
    for path in pages:
        text = path.read_text(encoding="utf-8")
        inline = "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL))
        bad[str(path)] = elsewhere(Fetched(text).sources) + of_style(inline)
    for path in site.rglob("*.css"):
        bad[str(path)] = of_style(path.read_text(encoding="utf-8"))
    assert {name: found for name, found in bad.items() if found} == {}


def of_style(text: str) -> list[str]:
    return elsewhere(re.findall(r"(?:url\(|@import\s+)([^)\s;]+)", text))


def pages_of(site: Path) -> list[Path]:
    """All but the one for addresses that there are not: a server shows it at any place, so its links are absolute."""
    return [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]


def test_what_would_be_fetched_is_seen() -> None:
    page = '<link rel="preconnect" href="https://a"><script src="//b"></script><img srcset="http://c 2x"><a href="https://d">'
    assert elsewhere(Fetched(page).sources) == ["https://a", "//b", "http://c 2x"]
    assert of_style("@import 'https://e'; a { src: url(https://f) } b { src: url(data:x) }") == [
        "'https://e'",
        "https://f",
    ]


def test_links_to_files_of_the_repository_lead_to_pages_of_the_site(site: Path) -> None:
    for page in pages_of(site):
        for link in Fetched(page.read_text(encoding="utf-8")).links:
            place = link.partition("#")[0]
            if place and not re.match("[a-z]+:", place):
                assert (page.parent / place).exists(), f"{page}: {link}"
    assert 'href="plugins/imu/index.html"' in (site / "KNOWN_PLUGINS.html").read_text(encoding="utf-8")
    reference = (site / "REFERENCE.html").read_text(encoding="utf-8")
    assert "<code>float | None</code>" in reference and "\\|" not in reference


@pytest.mark.slow
def test_pages_fit_every_width_say_nothing_to_the_console_and_are_searched_from_a_folder(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        said: list[str] = []
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
            for path in pages_of(site):
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} at {width}"
                wordless = "[...document.querySelectorAll('main img')].filter(e => !e.alt).map(e => e.outerHTML)"
                assert page.evaluate(wordless) == [], path.name
        page.goto((site / "index.html").as_uri())
        page.fill("input[name=query]", "fingerprint")
        page.wait_for_selector(".md-search-result__item a", timeout=20_000)
        assert "concepts.html" in page.eval_on_selector(".md-search-result__list", "e => e.innerHTML")
        browser.close()
    assert said == []


# -- what the pages tell people to do

RUN = ["quickstart.md", *(p for p in leaves(NAV) if p.startswith("how-to/")), "python.md"]
FILE = re.compile(r"# file: (\S+)\n")


def outline(line: str) -> str:
    """A line of output as it is on any machine: numbers, blanks and where the folder lies aside."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", re.sub(r"(?<!\S)(\.\.\.)?/\S*/", "", line)).split())


@pytest.mark.slow
def test_the_quickstart_and_what_follows_run_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    environment = Environment(tmp_path_factory.mktemp("quickstart"))
    said: dict[str, list[str]] = {}
    for page in RUN:
        last = ""
        for kind, block in FENCED.findall((DOCS / page).read_text(encoding="utf-8")):
            named = FILE.match(block)
            if kind == "text":
                there = {outline(line) for line in last.splitlines()}
                shown = [line for line in block.splitlines() if line.strip() != "..."]
                assert [line for line in shown if outline(line) not in there] == [], f"{page}:\n{last}"
            elif kind in ("sh", "python") and named:
                (environment.folder / named[1]).write_text(block[named.end() :], encoding="utf-8")
            elif kind in ("sh", "python"):
                block = block.replace(
                    "torchrun ", "python -m torch.distributed.run "
                )  # the same, where it is no script
                command = (
                    ["bash", "-euo", "pipefail", "-c", block] if kind == "sh" else [environment.python, "-c", block]
                )
                done = environment.run(*command)
                assert done.returncode == 0, f"{page}:\n{block}\n{done.stdout}\n{done.stderr}"
                said.setdefault(page, []).append(done.stdout)
                last = done.stdout + done.stderr
    found, _, asked = said["quickstart.md"]
    assert "red-circle.png" in found.splitlines()[-3]
    for row in (r"00\.csv +red circle", r"01\.csv +blue square", r"02\.csv +green triangle", r"03\.csv +yellow star"):
        assert re.search(row, asked)
    numbers = [int(number) for number in re.findall(r"(\d\d)\.csv", asked)[-3:]]
    assert [number % 4 for number in numbers] == [1, 1, 1], "every fourth recording is a blue square"
    assert "blue-circle.png" in said["how-to/arithmetic.md"][0].splitlines()[1]
    assert re.search(r"01\.csv +blue square", said["how-to/share.md"][0])
