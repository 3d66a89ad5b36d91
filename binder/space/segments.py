"""How a segment of an item is named: ITEM#t=START,END in seconds (W3C Media Fragments 1.0, to the millisecond)."""

from __future__ import annotations

import re

SEGMENT = re.compile(r"(?s)(.+)#t=(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)")


def fragment(start_s: float | None, end_s: float | None) -> str:
    """'#t=2,4' for a segment, '' for a whole item."""
    if start_s is None or end_s is None:
        return ""
    return "#t=" + ",".join(f"{second:.3f}".rstrip("0").rstrip(".") for second in (start_s, end_s))


def parted(name: str) -> tuple[str, tuple[float, float] | None]:
    """'a.wav#t=2,4' -> ('a.wav', (2.0, 4.0)); a name without a fragment as `fragment` writes it -> (name, None)."""
    found = SEGMENT.fullmatch(name)
    if found is None:
        return name, None
    span = float(found[2]), float(found[3])
    return (found[1], span) if found[1] + fragment(*span) == name else (name, None)
