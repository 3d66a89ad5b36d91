"""Text from outside as it may be shown: what nobody would see, or turns the rest round, stands there as escapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binder.index import Hit

LONGEST = 60  # letters of a value of the metadata

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: a terminal obeys them
    "\u200b\u2028\u2029\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"  # nothing is drawn, or a line ends
    "\u202a-\u202e\u2066-\u206f"  # turn the order of the letters round
    "\ud800-\udfff]"  # half surrogate pairs: bytes of a file name that is no UTF-8, for instance
)


def visible(text: object, keep: str = "") -> str:
    """The same text with \\n, \\x1b, \\u202e, \\udc80 for what nobody would see; the letters in `keep` stay."""
    return UNSEEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), str(text))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def short(text: str, longest: int = 160) -> str:
    """In one line of at most so many letters."""
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= longest else line[: longest - 1] + "…"


def time_of(hit: Hit) -> str:
    """Where in its item a hit lies, in seconds; '' where it is the whole of it."""
    return "" if hit.start_s is None or hit.end_s is None else f"{hit.start_s:g} - {hit.end_s:g}"


def metadata_of(hit: Hit) -> str:
    """Each value short, numbers with six digits."""
    return ", ".join(f"{name}: {_value(value)}" for name, value in hit.metadata.items())


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else short(str(value), LONGEST)
