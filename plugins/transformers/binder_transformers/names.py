"""Names of anchors, `st:ORG/MODEL?dim=256&dtype=bfloat16` or with a folder -> where the model is, and its options."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binder import AnchorError, one_line

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Name:
    """What the name of an anchor says."""

    prefix: str
    place: str  # ORG/MODEL, or an absolute folder
    options: Mapping[str, Any]  # those given

    @property
    def folder(self) -> Path | None:
        return Path(self.place) if Path(self.place).is_absolute() else None

    @property
    def dtype(self) -> str:
        return str(self.options.get("dtype", DTYPES[0]))

    @property
    def dim(self) -> int | None:
        return self.options.get("dim")

    def __str__(self) -> str:
        """The name by which the anchor is found from any working directory."""
        chosen = "&".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.prefix}{self.place}" + (f"?{chosen}" if chosen else "")


def parse(name: str, prefix: str, known: Mapping[str, Callable[[str], Any]]) -> Name:
    """Raises AnchorError for an option that is not `known`, a bad value, and a folder that is not there."""
    rest = name.removeprefix(prefix)
    options: dict[str, Any] = {}
    try:
        place, folder = rest, Path(rest).expanduser()
        if not folder.is_dir():
            place, _, chosen = rest.partition("?")
            folder = Path(place).expanduser()
            options = _options(name, chosen, known) if chosen else {}
        if folder.is_dir() and place:
            return Name(prefix, str(folder.resolve()), options)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody
        raise AnchorError(
            f"anchor {name[:100]!r}: {getattr(error, 'strerror', None) or one_line(error, 100)}"
        ) from None
    if folder.is_absolute() or place.startswith("."):
        raise AnchorError(f"anchor {name[:200]!r}: no such folder; if it was moved, give its new path (--anchor)")
    if not place:
        raise AnchorError(f"anchor {name!r}: expected {prefix}ORG/MODEL or {prefix}FOLDER")
    return Name(prefix, place, options)


def dtype(value: str) -> str:
    """One of the names of number formats. Raises ValueError."""
    if value not in DTYPES:
        raise ValueError(f"expected {', '.join(DTYPES)}")
    return value


def dim(value: str) -> int:
    """A number of dimensions. Raises ValueError."""
    if not value.isdecimal() or not 0 < int(value) < 10**6:
        raise ValueError("expected a number of dimensions, such as 256")
    return int(value)


def _options(name: str, chosen: str, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in chosen.split("&"):
        key, _, value = part.partition("=")
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise AnchorError(f"anchor {name[:200]!r}: no option {key[:40]!r}{hint}; options: {', '.join(known)}")
        if key in found:
            raise AnchorError(f"anchor {name[:200]!r}: {key} is given twice")
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise AnchorError(f"anchor {name[:200]!r}: {key}={value[:40]}: {error}") from None
    return found
