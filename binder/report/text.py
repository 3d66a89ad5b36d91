"""Text from outside made safe to show: invisible characters and those that reorder text are escaped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from binder.index import Hit

MAX_VALUE = 60  # characters of a metadata value

INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, which a terminal obeys
    "\u200b\u2028\u2029\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"  # zero width, or line separators
    "\u202a-\u202e\u2066-\u206f"  # change the direction of the text
    "\ud800-\udfff]"  # lone surrogates, such as bytes of a file name that is not UTF-8
)


def visible(text: object, keep: str = "") -> str:
    """The text with invisible characters escaped, as in \\n, \\x1b, \\u202e, \\udc80; those in `keep` stay."""
    return INVISIBLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), str(text))


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def short(text: str, most: int = 160) -> str:
    """The text as one line of at most so many characters."""
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= most else line[: most - 1] + "…"


def time_of(hit: Hit) -> str:
    """Start and end of a hit's segment in seconds; '' if the hit is a whole item."""
    return "" if hit.start_s is None or hit.end_s is None else f"{hit.start_s:g} - {hit.end_s:g}"


def metadata_of(hit: Hit) -> str:
    """A hit's metadata as one line: long values are cut off, numbers have six digits."""
    return ", ".join(f"{name}: {_value(value)}" for name, value in hit.metadata.items())


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else short(str(value), MAX_VALUE)
