"""Digits and signs of other scripts -> the ones that numbers and dates are parsed by."""

from __future__ import annotations

import unicodedata

DECIMAL = "٫"  # U+066B, before the fraction and nothing else
GROUPS = "٬"  # U+066C, between thousands and nothing else
FULLWIDTH = range(0xFF01, 0xFF5F)  # a second ASCII, as wide as a Chinese character
MINUS = "‐‑‒–−﹣"  # hyphens and dashes that stand for it; the longer ones between words do not
INVISIBLE = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"


class _Plain(dict[int, str | None]):
    """Code point -> what stands for it, found out when it is first met."""

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
    """The same with the digits of any script as 0-9, their percent and minus signs as % and -, no marks of direction.

    "١٬٢٣٤٫٥" becomes "1’234٫5"; what is no decimal digit (², ①, Ⅳ, 三) stays as it is.
    """
    return text if text.isascii() else text.translate(_plain)
