"""`binder plugins new`: a complete package from the templates, with a sample that aligns at once."""

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
    """What to write. Raises PluginError where a name cannot be used."""

    name: str  # of the modality: the manifest's column, the keyword in Python
    kind: str
    suffixes: tuple[str, ...]
    package: str  # what pip installs

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
        except PluginError as error:
            raise PluginError(f"{error}, perhaps {_tamed(self.name)!r}") from None
        if self.kind not in KINDS:
            raise PluginError(f"unknown kind {self.kind!r}{nearest(self.kind, KINDS)}: expected {', '.join(KINDS)}")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", self.package):
            raise PluginError(f"{self.package!r} cannot be a package: expected a name such as 'binder-{self.name}'")
        if not self.module.isidentifier() or keyword.iskeyword(self.module):
            raise PluginError(f"package {self.package!r} would be imported as {self.module!r}, which cannot be")
        if self.module == "binder" or self.module in sys.stdlib_module_names or self._is_anothers():
            raise PluginError(f"package {self.package!r} is there already; choose another name")
        for suffix in self.suffixes:
            if not re.fullmatch(r"\.[a-z0-9][a-z0-9._-]*", suffix):
                raise PluginError(f"{suffix!r} is not a file suffix: expected for instance .csv")

    @property
    def module(self) -> str:
        """What Python imports."""
        return re.sub(r"[-.]+", "_", self.package).lower()

    def _is_anothers(self) -> bool:
        """Whether an installed package that is no plugin, or one of this project's own, has the name already."""
        plugins = {one.dist.name for one in importlib.metadata.entry_points(group="binder") if one.dist is not None}
        named = {self.package} if wheels.version(self.package) else set()
        found = named | set(importlib.metadata.packages_distributions().get(self.module, ()))
        return wheels.is_own(self.package) or bool(found - plugins)


def suffixes_of(text: str) -> tuple[str, ...]:
    """'.csv, TSV' -> ('.csv', '.tsv')."""
    parts = [part.lower() for part in re.split(r"[,\s]+", text) if part]
    return tuple(dict.fromkeys(part if part.startswith(".") else f".{part}" for part in parts))


def write_plugin(plan: Plan, folder: Path, taken: Sequence[str] = ()) -> list[Path]:
    """The package in `folder`, which must not exist; returns its files. `taken` are names of modalities in use.

    Raises PluginError, and then leaves nothing behind: the package is written beside and renamed.
    """
    if plan.name in taken:
        raise PluginError(f"modality {plan.name!r} is there already; choose another name (`binder plugins list`)")
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
    """Path in the package -> its text."""
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
    """The versions of the core that a plugin written with this one may be used with: '>=0.2,<0.3'.

    Until 1.0 a minor version may change what plugins stand on, from then on a major one.
    """
    installed = wheels.version(CORE)
    if installed is None:
        return ""
    now = Version(installed)
    first, after = (f"0.{now.minor}", f"0.{now.minor + 1}") if now.major == 0 else (f"{now.major}", f"{now.major + 1}")
    return f">={first},<{after}"


def _tamed(name: str) -> str:
    """The nearest name that could be one."""
    tame = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")[:30] or "sensor"
    return f"my_{tame}" if keyword.iskeyword(tame) or tame in RESERVED else tame
