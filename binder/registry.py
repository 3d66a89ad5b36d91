"""Discovery of plugins. One that fails to load is kept with its error and affects no other. Free of torch.

Modalities, kinds of anchors and formats of exports are looked up here.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from binder import hookspecs, portable
from binder.anchors import kind as anchor_kinds
from binder.anchors.kind import AnchorKind
from binder.errors import AnchorError, BinderError, PluginError, kind_and_words, nearest, one_line
from binder.known_plugins import known_plugins
from binder.modality import Modality, check, check_name
from binder.portable import ExportFormat
from binder.readers.guard import guarded

if TYPE_CHECKING:
    import click

    from binder.anchors.base import Anchor

Record = TypeVar("Record")

log = logging.getLogger(__name__)

CORE = "modality-binder"  # the distribution of this package
HOOK = b"binder_register_commands"
BUILTIN = "binder"  # the plugin inside the core: image and text, OpenCLIP's models


@dataclass
class Plugin:
    """An installed plugin: what it provides, or why it is broken."""

    name: str
    version: str
    modalities: list[Modality] = field(default_factory=list)
    anchors: list[AnchorKind] = field(default_factory=list)
    exports: list[ExportFormat] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # known after `Registry.register_commands`
    error: str | None = None  # why it is unusable, in one line
    import_s: float = 0.0  # seconds that importing it took; every command waits for that
    place: Path | None = None  # its source: the folder of a package or the file of a module

    def source(self) -> str:
        """A hash of its code and of the core's version, on both of which the features of an item may depend.

        The version of the plugin is not enough: while it is being developed, the code changes under the same version.
        """
        digest = hashlib.blake2b(f"{_version(CORE)} {self.version}".encode(), digest_size=8)
        if self.place is not None:
            files = sorted(self.place.rglob("*.py")) if self.place.is_dir() else [self.place]
            for path in files:
                digest.update(path.relative_to(self.place.parent).as_posix().encode() + path.read_bytes())
        return digest.hexdigest()


class Registry:
    """All plugins: the modalities of those that load, the errors of the others."""

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint], only: set[str] | None = None) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self._by_key: dict[str, Plugin] = {}  # by its name in pluggy
        import binder.anchors.modalities

        self._add(BUILTIN, _version(CORE), binder.anchors.modalities)
        for entry_point in sorted(entry_points, key=lambda e: (e.name, e.value)):
            if only is None or entry_point.name in only:
                self._load(entry_point)
        if only is not None:
            for name in sorted(only - {plugin.name for plugin in self.plugins}):
                self.plugins.append(Plugin(name, "?", error="named in BINDER_PLUGINS but not installed"))

    def names(self) -> list[str]:
        """The names of the usable modalities, the anchor's own first."""
        return [m.name for p in self.plugins for m in p.modalities if len(self._owners(m.name)) == 1]

    def modalities(self) -> list[Modality]:
        """The usable modalities, in the order of `names`."""
        return [self.get(name) for name in self.names()]

    def get(self, name: str) -> Modality:
        """The modality of that name. Raises PluginError, which says what is wrong or how to install it."""
        owners = self._owners(name)
        if len(owners) == 1:
            return next(m for m in owners[0].modalities if m.name == name)
        if owners:
            both = " and ".join(f"{p.name} {p.version}" for p in owners)
            raise PluginError(f"modality {name!r} is provided by {both}; uninstall one, or choose with BINDER_PLUGINS")
        raise PluginError(self._unknown(name))

    def owner(self, name: str) -> Plugin:
        """The plugin that provides a modality. Raises PluginError as `get` does."""
        self.get(name)
        return self._owners(name)[0]

    def by_suffix(self, suffix: str) -> list[Modality]:
        """The modalities that claim a suffix such as '.wav'."""
        return [m for m in self.modalities() if suffix.lower() in m.suffixes]

    def anchor_kinds(self) -> list[AnchorKind]:
        """All kinds of anchors, the core's own first."""
        return [kind for plugin in self.plugins for kind in plugin.anchors]

    def export_formats(self) -> dict[str, ExportFormat]:
        """The formats of plugins in which an encoder can be exported, by name."""
        return {form.name: form for plugin in self.plugins for form in plugin.exports}

    def load_anchor(self, name: str, device: Any = "cpu") -> Anchor:
        """The anchor of that name, frozen, on `device`. Raises AnchorError; never returns random weights."""
        plugin, kind = self._anchor_kind(name)
        try:
            anchor = kind.load(name, device)
        except BinderError as error:
            others = [other.prefix for other in self.anchor_kinds() if other.prefix]
            if kind.prefix or not others or not isinstance(error, AnchorError):
                raise
            raise AnchorError(f"{error} (models of other libraries have a prefix: {', '.join(others)})") from None
        except Exception as error:
            raise AnchorError(f"anchor {name!r}: plugin {plugin.name} failed: {kind_and_words(error)}") from error
        if plugin.name != BUILTIN:
            anchor.watch()
        return anchor

    def with_name(self, name: str, of: str) -> Registry:
        """The same plugins, and the modality `of` also under a name of one's own. Raises PluginError for a bad name."""
        check_name(name)
        if name in self.names():
            raise PluginError(f"{name!r} is a modality already; choose another name")
        owner = self.owner(of)
        record = replace(self.get(of), name=name, suffixes=frozenset())
        other = copy.copy(self)
        other.plugins = [replace(p, modalities=[*p.modalities, record]) if p is owner else p for p in self.plugins]
        return other

    def _anchor_kind(self, name: str) -> tuple[Plugin, AnchorKind]:
        """The kind of anchor that a name means, by its prefix. Raises AnchorError."""
        found = [(p, kind) for p in self.plugins for kind in p.anchors if kind.prefix and name.startswith(kind.prefix)]
        if len(found) > 1:
            both = " and ".join(f"{plugin.name} {plugin.version}" for plugin, _ in found)
            raise AnchorError(
                f"anchor {name!r}: the prefix {found[0][1].prefix!r} is provided by {both}; uninstall one, or choose "
                "with BINDER_PLUGINS"
            )
        if found:
            return found[0]
        prefix = re.match(r"[a-z][a-z0-9-]*:|", name)
        owners = {p: short for short, known in known_plugins().items() for p in known.anchors}
        if prefix and (short := owners.get(prefix[0])):
            broken = [p for p in self.plugins if p.error and short in p.name]
            if broken:
                raise AnchorError(f"anchor {name!r}: plugin {short} {broken[0].version} is broken: {broken[0].error}")
            raise AnchorError(f"anchor {name!r} needs a plugin: binder plugins install {short} --from PLACE")
        return next((plugin, kind) for plugin in self.plugins for kind in plugin.anchors if not kind.prefix)

    def register_commands(self, cli: click.Group) -> None:
        """Let every plugin add its commands to `cli`. A plugin that fails is logged and does not affect the others."""
        for impl in self._manager.hook.binder_register_commands.get_hookimpls():
            plugin, before = self._by_key[impl.plugin_name], set(cli.commands)
            try:
                impl.function(cli)
            except Exception as error:
                log.warning("plugin %s: its commands could not be added: %s", plugin.name, _one_line(error))
            plugin.commands = [name for name in cli.commands if name not in before]

    def unknown_command(self, name: str) -> str | None:
        """How to get a command of a known plugin; None if there is no such plugin, or if it is installed and works."""
        owner = next((short for short, known in known_plugins().items() if name in known.commands), None)
        found = [plugin for plugin in self.plugins if plugin.name == owner]
        for plugin in found:
            if plugin.error:
                return f"command {name!r}: plugin {owner} {plugin.version} is broken: {plugin.error}"
        if owner is None or found:
            return None
        return f"command {name!r} is not installed; install it with: binder plugins install {owner} --from PLACE"

    def _owners(self, name: str) -> list[Plugin]:
        return [p for p in self.plugins if any(m.name == name for m in p.modalities)]

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        dist = entry_point.dist
        version = dist.version if dist else "?"
        unmet = _unmet(dist)
        if unmet:
            self.plugins.append(Plugin(entry_point.name, version, error=unmet))
            return
        began = time.perf_counter()
        try:
            module = entry_point.load()
        except BaseException as error:  # a plugin may even call sys.exit() when imported
            if isinstance(error, KeyboardInterrupt):
                raise
            self.plugins.append(Plugin(entry_point.name, version, error=f"import failed: {_one_line(error)}"))
            return
        self._add(entry_point.name, version, module, time.perf_counter() - began)

    def _add(self, name: str, version: str, module: ModuleType | Any, import_s: float = 0.0) -> None:
        plugin = Plugin(name, version, import_s=import_s, place=_place(module))
        self.plugins.append(plugin)
        key = f"{name}#{len(self.plugins)}"
        self._by_key[key] = plugin
        try:
            self._manager.register(module, name=key)
            self._manager.check_pending()
            found = _modalities_of(module)
            plugin.anchors = _records_of(module, "anchors", AnchorKind, anchor_kinds.check)
            plugin.exports = _records_of(module, "exports", ExportFormat, portable.check)
            plugin.modalities = found if name == BUILTIN else [guarded(m, f"{name} {version}") for m in found]
        except (Exception, SystemExit) as error:
            plugin.error = _one_line(error)
            if self._manager.is_registered(module):
                self._manager.unregister(module)

    def _unknown(self, name: str) -> str:
        known = [short for short, plugin in known_plugins().items() if not plugin.commands and not plugin.anchors]
        broken = [p for p in self.plugins if p.error and name in p.name]
        if broken:
            return f"modality {name!r}: plugin {broken[0].name} {broken[0].version} is broken: {broken[0].error}"
        if name in known:
            return f"modality {name!r} is not installed; install it with: binder plugins install {name} --from PLACE"
        names = self.names()
        hint = nearest(name, [*names, *known]) or f"; installed: {', '.join(names)}"
        others = "; ".join(f"{p.name} {p.version} is broken: {p.error}" for p in self.plugins if p.error)
        return f"unknown modality {name!r}{hint}" + (f"; a plugin that may provide it: {others}" if others else "")


@cache
def registry() -> Registry:
    """The registry of this process: all installed plugins, or only those in BINDER_PLUGINS=a,b."""
    return Registry(importlib.metadata.entry_points(group=hookspecs.PROJECT), _chosen())


def command_plugins() -> Registry:
    """The plugins that may add commands, recognized by the hook's name in the source of their modules.

    Others are not imported, so that the command line starts fast whatever is installed.
    """
    entry_points = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    return Registry([e for e in entry_points if HOOK in _source_of(e)], _chosen())


def get_modality(name: str) -> Modality:
    """The record of an installed modality. Raises PluginError, which says what is wrong or how to install it."""
    return registry().get(name)


def _chosen() -> set[str] | None:
    """The names in BINDER_PLUGINS=a,b; None, if it is not set, stands for all."""
    only = os.environ.get("BINDER_PLUGINS")
    return None if only is None else {name.strip() for name in only.split(",") if name.strip()}


def _source_of(entry_point: importlib.metadata.EntryPoint) -> bytes:
    """The source of an entry point's module; a stand-in with the hook if it cannot be found."""
    package, _, rest = entry_point.module.partition(".")
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return HOOK
        folder = Path(spec.origin).parent / Path(*rest.split(".")[:-1])
        own = [folder / f"{rest.rpartition('.')[2]}.py"] if rest else [Path(spec.origin)]
        return next(path for path in own if path.is_file()).read_bytes()
    except (ImportError, OSError, ValueError, StopIteration):
        return HOOK


def _modalities_of(module: Any) -> list[Modality]:
    modalities = _records_of(module, "modalities", Modality, check)
    names = [m.name for m in modalities]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"binder_register_modalities returns {min(repeated)!r} twice")
    return modalities


def _records_of(module: Any, what: str, kind: type[Record], check: Callable[[Record], None]) -> list[Record]:
    """What a plugin's hook for modalities, anchors or exports returns, checked."""
    hook = getattr(module, f"binder_register_{what}", None)
    records = list(hook()) if hook is not None else []
    for record in records:
        if not isinstance(record, kind):
            got = type(record).__name__
            raise TypeError(f"binder_register_{what} must return binder.{kind.__name__} records, got {got}")
        check(record)
    return records


def _place(module: ModuleType | Any) -> Path | None:
    """The source of a plugin: the folder of a package, the file of a module; None if it is not a module."""
    file = getattr(module, "__file__", None)
    return (Path(file).parent if hasattr(module, "__path__") else Path(file)) if file else None


def _unmet(dist: importlib.metadata.Distribution | None) -> str | None:
    """Why a plugin's package does not allow this version of the core; None if it does."""
    wanted = [line for line in (dist.requires or [] if dist else []) if line.replace("_", "-").startswith(CORE)]
    if not wanted:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    installed = _version(CORE)
    for line in wanted:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(installed, prereleases=True):
            return f"needs {CORE} {requirement.specifier}, this is {installed}; update one of the two"
    return None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _one_line(error: BaseException) -> str:
    return one_line(error, 300) if isinstance(error, PluginError) else kind_and_words(error)
