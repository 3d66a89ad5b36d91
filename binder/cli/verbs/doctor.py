"""`binder doctor`."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import click

from binder.cli import options, output
from binder.cli.verbs.plugins import provided
from binder.registry import CORE, registry

PACKAGES = (
    CORE,
    "torch",
    "torchvision",
    "open_clip_torch",
    "pluggy",
    "pydantic",
    "numpy",
    "pyarrow",
    "lancedb",
)


@click.command("doctor")
@options.as_json
def doctor_command(as_json: bool) -> None:
    """Show versions, devices, plugins and decoders on this machine, for troubleshooting and bug reports."""
    found = registry().plugins
    registry().register_commands(click.Group())  # fills in `Plugin.commands`
    report = {
        "system": {"python": platform.python_version(), "platform": platform.platform()},
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "cache": _cache(),
        "anchors": {"mini": _mini()},
        "plugins": {p.name: f"{p.version}: {p.error or ', '.join(provided(p))}" for p in found},
        "extras": {extra: _extra(extra) for extra in _extras()},
        **{m.name: _diagnose(m.diagnose) for m in registry().modalities() if m.diagnose},
    }
    if as_json:
        output.print_json(report)
        return
    for section, values in report.items():
        output.print_table([section, ""], list(values.items()))
        click.echo()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _extras() -> list[str]:
    """The core's extras, except those for its development."""
    try:
        names = importlib.metadata.metadata(CORE).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(set(names) - {"dev"})


def _extra(name: str) -> str:
    from binder.devkit.installing import packages_of

    missing = " ".join(f'"{package}"' for package in packages_of(name))
    return f"missing: pip install {missing}" if missing else "installed"


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": f"{torch.get_num_threads()} threads"}
    found |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    return found


def _cache() -> dict[str, str]:
    from binder.data import cache

    folder = cache.root()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else 0
    return {
        "folder": str(folder),
        "size": f"{size / 2**20:.0f} MiB of at most {cache.cap_bytes() / 2**30:.0f} GiB",
    }


def _mini() -> str:
    from binder.anchors import openclip
    from binder.errors import BinderError

    try:
        loaded = openclip.load("mini")
    except BinderError as error:
        return f"broken: {error}"
    return f"works, {loaded.embed_dim} dimensions, space {loaded.fingerprint[:8]}"


def _diagnose(ask: Any) -> dict[str, str]:
    try:
        return dict(ask())
    except Exception as error:  # a broken plugin is what this command is to show
        return {"error": f"{type(error).__name__}: {error}"}
