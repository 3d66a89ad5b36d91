"""`binder plugins new`: a complete package from the templates, with a sample that aligns at once."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

from binder.errors import PluginError, nearest
from binder.kit.kinds import KINDS
from binder.kit.sample import write_sample

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Plan:
    """What to write. Raises PluginError where a name cannot be used."""

    name: str  # of the modality: the manifest's column, the keyword in Python
    kind: str
    suffixes: tuple[str, ...]
    package: str  # what pip installs

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or keyword.iskeyword(self.name):
            raise PluginError(
                f"{self.name!r} cannot be a modality: expected a lower-case name such as {_tamed(self.name)!r}, as it "
                "becomes a column and a Python keyword"
            )
        if self.kind not in KINDS:
            raise PluginError(f"unknown kind {self.kind!r}{nearest(self.kind, KINDS)}: expected {', '.join(KINDS)}")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", self.package):
            raise PluginError(f"{self.package!r} cannot be a package: expected a name such as 'binder-{self.name}'")
        if not self.module.isidentifier() or self.module in sys.stdlib_module_names or self.module == "binder":
            raise PluginError(f"package {self.package!r} would be imported as {self.module!r}, which cannot be")
        for suffix in self.suffixes:
            if not re.fullmatch(r"\.[a-z0-9][a-z0-9._-]*", suffix):
                raise PluginError(f"{suffix!r} is not a file suffix: expected for instance .csv")

    @property
    def module(self) -> str:
        """What Python imports."""
        return re.sub(r"[-.]+", "_", self.package).lower()


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
        "version": _core_version(),
    }
    places = {"test.py": f"tests/test_{plan.name}.py", "__init__.py": f"{plan.module}/__init__.py"}
    found = {f"{plan.module}/py.typed": ""}
    for template in sorted([*(TEMPLATES / "common").iterdir(), *(TEMPLATES / plan.kind).iterdir()]):
        own = template.name.removesuffix(".tmpl")
        place = places.get(own, own if template.parent.name == "common" else f"{plan.module}/{own}")
        found[place] = Template(template.read_text(encoding="utf-8")).substitute(words)
    return found


def _core_version() -> str:
    try:
        return version("modality-binder")
    except PackageNotFoundError:
        return "0.1.0"


def _tamed(name: str) -> str:
    """The nearest name that could be one."""
    tame = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_") or "sensor"
    return f"my_{tame}" if keyword.iskeyword(tame) else tame
