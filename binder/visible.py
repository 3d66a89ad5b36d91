"""Text from outside as it may be shown: what nobody would see, or turns the rest round, stands there as escapes."""

from __future__ import annotations

import re

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
