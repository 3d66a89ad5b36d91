"""`binder plugins new`: a complete package from templates, with a sample that can be aligned right away."""

from __future__ import annotations

import importlib.metadata
import keyword
import re
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from packaging.version import Version

from binder.devkit import wheels
from binder.devkit.kinds import KINDS
from binder.devkit.sample import write_sample
from binder.errors import PluginError, nearest
from binder.modality import RESERVED, check_name
from binder.registry import CORE

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Plan:
    """What to write. Raises PluginError for an unusable name."""

    name: str  # of the modality: the manifest's column and the keyword in Python
    kind: str
    suffixes: tuple[str, ...]
    package: str  # the distribution that pip installs

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
        except PluginError as error:
            raise PluginError(f"{error}, perhaps {_usable(self.name)!r}") from None
        if self.kind not in KINDS:
            raise PluginError(f"unknown kind {self.kind!r}{nearest(self.kind, KINDS)}: expected {', '.join(KINDS)}")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", self.package):
            raise PluginError(f"{self.package!r} cannot be a package: expected a name such as 'binder-{self.name}'")
        if not self.module.isidentifier() or keyword.iskeyword(self.module):
            raise PluginError(
                f"package {self.package!r} would be imported as {self.module!r}, which is not a valid name"
            )
        if self.module == "binder" or self.module in sys.stdlib_module_names or self._is_taken():
            raise PluginError(f"package {self.package!r} is already taken; choose another name")
        for suffix in self.suffixes:
            if not re.fullmatch(r"\.[a-z0-9][a-z0-9._-]*", suffix):
                raise PluginError(f"{suffix!r} is not a file suffix: expected for example .csv")

    @property
    def module(self) -> str:
        """The package's name in Python."""
        return re.sub(r"[-.]+", "_", self.package).lower()

    def _is_taken(self) -> bool:
        """Whether the name belongs to an installed package that is not a plugin, or to one of this project."""
        plugins = {one.dist.name for one in importlib.metadata.entry_points(group="binder") if one.dist is not None}
        named = {self.package} if wheels.version(self.package) else set()
        found = named | set(importlib.metadata.packages_distributions().get(self.module, ()))
        return wheels.is_own(self.package) or bool(found - plugins)


def suffixes_of(text: str) -> tuple[str, ...]:
    """'.csv, TSV' -> ('.csv', '.tsv')."""
    parts = [part.lower() for part in re.split(r"[,\s]+", text) if part]
    return tuple(dict.fromkeys(part if part.startswith(".") else f".{part}" for part in parts))


def write_plugin(plan: Plan, folder: Path, taken: Sequence[str] = ()) -> list[Path]:
    """Write the package to `folder`, which must not exist -> its files. `taken` are the names of installed modalities.

    Raises PluginError and then leaves nothing behind: the package is written to a temporary folder and renamed.
    """
    if plan.name in taken:
        raise PluginError(f"modality {plan.name!r} is already installed; choose another name (`binder plugins list`)")
    if folder.exists():
        raise PluginError(f"{folder} exists already; choose another folder, or remove it")
    beside = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    try:
        for target, text in _files(plan).items():
            path = beside / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        write_sample(beside / "sample", plan.kind, plan.name, plan.suffixes[0] if plan.suffixes else "")
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.rename(folder)
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _files(plan: Plan) -> dict[str, str]:
    """Path in the package -> text of the file."""
    kind = KINDS[plan.kind]
    words = {
        "name": plan.name,
        "package": plan.package,
        "module": plan.module,
        "camel": "".join(part.capitalize() for part in plan.name.split("_")),
        "constant": plan.name.upper(),
        "title": plan.name.replace("_", " ").capitalize(),
        "suffixes": "{" + ", ".join(f'"{suffix}"' for suffix in plan.suffixes) + "}" if plan.suffixes else "()",
        "shown_suffixes": ", ".join(plan.suffixes) or "none: items are never guessed from a file's name",
        "what": kind.what,
        "sample": kind.sample,
        "bounds": _bounds(),
    }
    places = {"test.py": f"tests/test_{plan.name}.py", "__init__.py": f"{plan.module}/__init__.py"}
    found = {f"{plan.module}/py.typed": ""}
    for template in sorted([*(TEMPLATES / "common").iterdir(), *(TEMPLATES / plan.kind).iterdir()]):
        own = template.name.removesuffix(".tmpl")
        place = places.get(own, own if template.parent.name == "common" else f"{plan.module}/{own}")
        found[place] = Template(template.read_text(encoding="utf-8")).substitute(words)
    return found


def _bounds() -> str:
    """The versions of the core that a plugin written with this version works with: '>=0.2,<0.3'.

    Until 1.0 a new minor version may break plugins, from then on only a new major one.
    """
    installed = wheels.version(CORE)
    if installed is None:
        return ""
    now = Version(installed)
    first, after = (f"0.{now.minor}", f"0.{now.minor + 1}") if now.major == 0 else (f"{now.major}", f"{now.major + 1}")
    return f">={first},<{after}"


def _usable(name: str) -> str:
    """The most similar usable name."""
    usable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")[:30] or "sensor"
    return f"my_{usable}" if keyword.iskeyword(usable) or usable in RESERVED else usable
