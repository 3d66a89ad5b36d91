"""Texts as tokens: the byte pair encoding of CLIP (Sennrich et al. 2016), with its vocabulary as data.

Shapes: L tokens.
"""

from __future__ import annotations

import functools
import html
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG_WORD = re.compile(r"\S{513,}")
MAX_WORD, MAX_TEXT = 512, 20_000  # characters given to the tokenizer: its time can grow with their square
WHOLE = re.compile(r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d", re.IGNORECASE)
SAME_KIND = re.compile(r"a+|1|\.+")  # letters, one digit, other signs: see `kinds`


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[np.int64]:
    """A text -> (1, L) tokens. Raises ValueError."""
    if not item.strip():
        raise ValueError("empty text")
    tokens, ranks, letters = vocabulary(settings["folder"])
    text = cleaned(shortened(item))
    if settings["lower"]:
        text = text.lower()
    found = [tokens["<start_of_text>"]]
    for word in words(text):
        if word in tokens and WHOLE.fullmatch(word) and word[0] == "<":
            found.append(tokens[word])
        else:
            found += [tokens[part] for part in merged("".join(letters[byte] for byte in word.encode()), ranks)]
    length: int = settings["length"]
    row = np.zeros((1, length), np.int64)
    found = [*found[: length - 1], tokens["<end_of_text>"]]
    row[0, : len(found)] = found
    return row


def shortened(text: str) -> str:
    """A text that a tokenizer can be given: its longest words and its end cut off."""
    return LONG_WORD.sub(lambda word: word[0][:MAX_WORD], text[:MAX_TEXT])


def cleaned(text: str) -> str:
    """A text with broken characters repaired, entities of HTML replaced, and single blanks."""
    if not text.isascii() or "&" in text or not "".join(text.split()).isprintable():
        import ftfy  # which changes nothing in other texts

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def words(text: str) -> Iterator[str]:
    """The parts of a text that are encoded one by one."""
    kinds = "".join({"L": "a", "N": "1", "Z": " "}.get(unicodedata.category(c)[0], ".") for c in text)
    at = 0
    while at < len(text):
        part = WHOLE.match(text, at) or SAME_KIND.match(kinds, at)
        end = part.end() if part else at + 1
        if part:
            yield text[at:end]
        at = end


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The letters of a word -> its tokens: the pair that was learned first is joined, as long as there is one."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        best = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return parts


@functools.cache
def vocabulary(folder: str) -> tuple[dict[str, int], dict[tuple[str, str], int], list[str]]:
    """Token -> its number, pair of tokens -> when it was learned, and the letter for each of the 256 bytes."""
    data = json.loads((Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))
    tokens = {token: number for number, token in enumerate(data["tokens"])}
    merges = [tuple(pair.split(" ")) for pair in data["merges"]]
    return tokens, {(a, b): rank for rank, (a, b) in enumerate(merges)}, data["letters"]
