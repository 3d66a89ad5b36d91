"""Wheels in a folder or on a page of links: found by name, downloaded and checked before the file is passed to pip.

pip is never given a bare name of this project's packages: on an index, anybody may have taken it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import Request, url2pathname, urlopen

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from binder.errors import PluginError, nearest, one_line
from binder.known_plugins import known_plugins
from binder.registry import CORE

TIMEOUT_S = 60  # without receiving a byte
MAX_PAGE = 16 << 20  # bytes
MAX_WHEEL = 1 << 28  # bytes
MAX_METADATA = 1 << 20  # bytes
PYTHON = ".".join(map(str, sys.version_info[:3]))
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Wheel:
    """A wheel as described by the name of its file, and where to get it."""

    address: str  # a path or URL, without a fragment
    sha256: str  # as stated by the page, or ""
    distribution: str  # its normalized name
    version: Version
    tags: frozenset[Tag]  # Pythons and platforms it is for


def find(distribution: str, place: str, work: Path) -> Path:
    """The newest suitable wheel of a distribution in a folder, on a page of links, or at the URL itself -> the file.

    It fits this Python and the installed packages of this project; pre-releases are the last choice. From a URL it is
    downloaded to `work`. Raises PluginError if there is none, or if it is not what its name says.
    """
    own = canonicalize_name(distribution)
    offered = _offered(place)
    wheels = [wheel for wheel in offered if wheel.distribution == own]
    if not wheels:
        raise PluginError(f"no wheel of {distribution} in {place}{_instead(distribution, offered)}")
    wheels.sort(key=lambda wheel: (not wheel.version.is_prerelease, wheel.version), reverse=True)
    here = frozenset(sys_tags())
    reasons = []
    for wheel in (wheel for wheel in wheels if not here.isdisjoint(wheel.tags)):
        path = _fetched(wheel, work)
        metadata = checked(path)
        name = str(metadata["Name"])
        if canonicalize_name(name) != own:
            raise PluginError(f"{wheel.address}: its metadata says {name[:100]!r}, not {distribution}")
        reason = misfit(metadata)
        if not reason:
            return path
        reasons.append(f"{distribution} {wheel.version} {reason}")
    raise PluginError(reasons[0] if reasons else f"no wheel of {distribution} in {place} is for Python {PYTHON} here")


def fetch(address: str, work: Path) -> Path:
    """The path or URL of a wheel -> the file, checked, and downloaded to `work` from a URL. Raises PluginError."""
    wheel = _wheel(address)
    if wheel is None:
        raise PluginError(f"{address}: not the file name of a wheel, such as binder_x-1.0-py3-none-any.whl")
    path = _fetched(wheel, work)
    reason = misfit(checked(path))
    if reason:
        raise PluginError(f"{wheel.distribution} {wheel.version} {reason}")
    return path


def checked(path: Path) -> Message:
    """A wheel's metadata. Raises PluginError if it is not a wheel or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            (info,) = [i for i in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", i.filename)]
            if info.file_size > MAX_METADATA:
                raise PluginError(f"{path.name}: its metadata is larger than {MAX_METADATA >> 20} MiB")
            return BytesParser().parsebytes(archive.read(info))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise PluginError(f"{path.name}: not a wheel, or a damaged one: {one_line(error)}") from None


def misfit(metadata: Message) -> str | None:
    """Why a package does not fit this Python and the installed packages of this project; None if it fits."""
    try:
        python = SpecifierSet(str(metadata["Requires-Python"] or ""))
    except InvalidSpecifier:
        return "has invalid metadata"
    if not python.contains(PYTHON, prereleases=True):
        return f"needs Python {python}, this is {PYTHON}"
    return unmet(str(line) for line in metadata.get_all("Requires-Dist", []))


def unmet(requirements: Iterable[str]) -> str | None:
    """The first requirement on a package of this project that is not met; pip would look for it on an index."""
    for line in requirements:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            return f"has an invalid requirement: {line[:100]!r}"
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if not applies or not is_own(wanted.name):
            continue
        installed = version(wanted.name)
        shown = f"needs {wanted.name} {wanted.url or wanted.specifier}".rstrip()
        if installed is None:
            return f"{shown}, which is not installed; install that first"
        if wanted.url or not wanted.specifier.contains(installed, prereleases=True):
            return f"{shown}, this is {installed}; update one of the two"
    return None


def is_own(distribution: str) -> bool:
    """Whether a distribution belongs to this project: the core or a known plugin."""
    names = (CORE, *(plugin.distribution for plugin in known_plugins().values()))
    return canonicalize_name(distribution) in {canonicalize_name(name) for name in names}


def version(distribution: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _offered(place: str) -> list[Wheel]:
    """All wheels in a folder or on a page. Raises PluginError if it cannot be read."""
    if place.lower().startswith("file:"):
        place = url2pathname(_split(place).path)
    if "://" not in place:
        folder = Path(place)
        if not folder.is_dir() and not folder.is_file():
            raise PluginError(f"--from {place}: no such folder; expected a folder or a URL of wheels")
        paths = sorted(folder.glob("*.whl")) if folder.is_dir() else [folder]
        return [wheel for wheel in map(_wheel, map(str, paths)) if wheel]
    if _split(place).path.endswith(".whl"):
        return [wheel for wheel in [_wheel(place)] if wheel]
    body, base = _read(place)
    page = _Links()
    page.feed(body.decode("utf-8", "replace"))
    wheels = (_linked(base, link) for link in page.found)
    return [wheel for wheel in wheels if wheel and wheel.address.startswith(("https:", "http:"))]


def _instead(name: str, offered: list[Wheel]) -> str:
    """What to say where no wheel has that name: which one has a plugin that is called so, or else what is there."""
    others = sorted({wheel.distribution for wheel in offered})
    for wheel in offered:
        if name in _plugins(wheel):
            return f"; the plugin {name} is in the wheel of {wheel.distribution}: install it by that name"
    there = f"; it has {', '.join(others)[:300]}" if others else "; it has none at all"
    return nearest(name, [*known_plugins(), *others]) or there


def _plugins(wheel: Wheel) -> set[str]:
    """The names of the plugins in a wheel; none where it is not on this machine, or damaged."""
    try:
        found = list(importlib.metadata.distributions(path=[wheel.address]))  # which can look into a wheel
        return {entry_point.name for one in found for entry_point in one.entry_points.select(group="binder")}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return set()


def _linked(base: str, link: str) -> Wheel | None:
    try:
        return _wheel(urljoin(base, link))
    except (ValueError, PluginError):  # some other link of the page
        return None


def _wheel(address: str) -> Wheel | None:
    """A wheel by its path or URL, whose fragment may be a hash; None if that does not name a wheel."""
    remote = "://" in address
    address, _, fragment = address.partition("#") if remote else (address, "", "")
    name = unquote(_split(address).path).rpartition("/")[2] if remote else Path(address).name
    try:
        distribution, number, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        return None
    if not re.fullmatch(r"[\w.+!-]+", name):  # becomes a file name here
        return None
    found = re.search(r"(?:^|&)sha256=([0-9a-fA-F]{64})(?:&|$)", fragment)
    return Wheel(address, found[1].lower() if found else "", distribution, number, tags)


def _fetched(wheel: Wheel, work: Path) -> Path:
    if wheel.address.lower().startswith("file:"):
        path = Path(url2pathname(_split(wheel.address).path))
    elif "://" in wheel.address:
        path = work / unquote(_split(wheel.address).path).rpartition("/")[2]
        path.write_bytes(_read(wheel.address, MAX_WHEEL)[0])
    else:
        return Path(wheel.address).resolve()
    if not path.is_file():
        raise PluginError(f"{wheel.address}: no such file")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if wheel.sha256 and got != wheel.sha256:
        raise PluginError(f"{wheel.address}: not the expected file: its SHA-256 is {got}, expected {wheel.sha256}")
    return path


def _read(url: str, most: int = MAX_PAGE) -> tuple[bytes, str]:
    """The content of a URL, and the final URL after redirects. Raises PluginError."""
    _secure(url)
    try:
        with urlopen(Request(url, headers={"User-Agent": "binder"}), timeout=TIMEOUT_S) as answer:
            _secure(answer.url)
            body: bytes = answer.read(most + 1)
            base: str = answer.url
    except (OSError, HTTPException, ValueError) as error:
        raise PluginError(f"{url}: {one_line(error)}") from None
    if len(body) > most:
        raise PluginError(f"{url}: larger than {most >> 20} MiB")
    return body, base


def _secure(url: str) -> None:
    parts = _split(url)
    if parts.scheme.lower() != "https" and not (parts.scheme.lower() == "http" and parts.hostname in LOCAL):
        raise PluginError(f"{url}: expected https://, or a folder with the wheels, since what is installed will be run")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise PluginError(f"{url}: not a URL: {error}") from None


class _Links(HTMLParser):
    """The targets of a page's links, except those marked as withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href") and "data-yanked" not in given:
            self.found.append(given["href"] or "")
