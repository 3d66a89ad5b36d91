"""Digits and signs of other scripts -> those of ASCII, by which numbers and dates are parsed."""

from __future__ import annotations

import unicodedata

DECIMAL = "٫"  # U+066B, the Arabic decimal mark, unambiguous
GROUPS = "٬"  # U+066C, the Arabic thousands separator, unambiguous
FULLWIDTH = range(0xFF01, 0xFF5F)  # ASCII characters as wide as Chinese ones
MINUS = "‐‑‒–−﹣"  # hyphens and dashes that mean minus; the longer ones between words do not
INVISIBLE = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"


class _Plain(dict[int, str | None]):
    """Code point -> its replacement, computed on first use."""

    def __missing__(self, code: int) -> str | None:
        letter = chr(code)
        self[code] = str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
        return self[code]


_plain = _Plain(
    {code: chr(code - 0xFEE0) for code in FULLWIDTH}
    | dict.fromkeys(map(ord, INVISIBLE))
    | dict.fromkeys(map(ord, MINUS), "-")
    | {ord(GROUPS): "’", ord("٪"): "%", ord("؉"): "‰", ord("،"): ","}
    | {ord("￥"): "¥", ord("￡"): "£", ord("￦"): "₩"}
)


def ascii_digits(text: str) -> str:
    """The text with digits of any script as 0-9, percent and minus signs as % and -, without direction marks.

    "١٬٢٣٤٫٥" becomes "1’234٫5"; characters that are not decimal digits (², ①, Ⅳ, 三) stay.
    """
    return text if text.isascii() else text.translate(_plain)
