"""What mkdocs does not do by itself: pages that lie outside docs/, and links that lead there.

The README of every plugin, the changelog and CONTRIBUTING.md are pages of the site, and stay where they are read on
their own. A link to a file of the repository leads to its page, a link to a folder to the README in it, and a link to
the README of the repository to the home page. What has no page is left as it is, and a strict build stops there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s#]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"`[^`\n]*`")


def outside() -> dict[str, Path]:
    """Pages that lie outside docs/: their place on the site -> the file."""
    readmes = {f"plugins/{path.parent.name}/README.md": path for path in sorted(ROOT.glob("plugins/*/README.md"))}
    return {name: ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md")} | readmes


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The README of every plugin, in the navigation under Plugins."""
    assert config.nav is not None
    (section,) = (entry["Plugins"] for entry in config.nav if "Plugins" in entry)
    listed = {place for entry in section for place in entry.values()}
    new = [place for place in outside() if place.startswith("plugins/") and place not in listed]
    section += [{place.split("/")[1]: place} for place in new]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that lie outside docs/, as if they were in it."""
    for place, path in outside().items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links that lead to pages of the site; tables as GitHub reads them."""
    place = page.file.src_uri
    parts = FENCE.split(markdown)
    parts[::2] = [_tables(_links(text, place)) for text in parts[::2]]
    return "".join(parts)


def _links(text: str, place: str) -> str:
    source = outside().get(place, ROOT / "docs" / place)

    def lead(match: re.Match[str]) -> str:
        target = page_of(source.parent / match[2])
        return match[0] if target is None else match[1] + posixpath.relpath(target, posixpath.dirname(place)) + match[3]

    return LINK.sub(lead, text)


def page_of(path: Path) -> str | None:
    """The place on the site of a file of the repository, or of a folder's README; None where it has none."""
    path = path.resolve()
    path = path / "README.md" if path.is_dir() else path
    if path == ROOT / "README.md":
        return "index.md"
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    return next((place for place, file in outside().items() if file == path), None)


def _tables(text: str) -> str:
    r"""A bar within code in a table's cell is written `\|` for GitHub; Python-Markdown would show the backslash."""
    lines = text.split("\n")
    return "\n".join(
        CELL.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line for line in lines
    )
