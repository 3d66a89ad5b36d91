"""Lines of text -> the numbers in them, many lines at once. Free of torch.

Shapes: R lines, V numbers in all lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

BLOCK = 1 << 22  # bytes parsed at once, and of the longest line; each takes some hundred bytes of memory
MAX_NUMBERS = 40_000_000  # in memory at once; a mesh of ten million triangles has about as many
SPACE = np.isin(np.arange(256), list(b" \t\n\v\f\r"))
COMMENT, COMMENTS = re.compile(rb"#[^\n]*"), re.compile(rb"(?:#|//)[^\n]*")
# a number that is cut off
CUT = re.compile(
    rb"(?<![^\s])[+-]?(?:\.?|(?:\d+(?:\.\d*)?|\.\d+)e[+-]?|na?|inf?i?n?i?t?)\Z", re.IGNORECASE
)  # half a number
NUMBER = re.compile(rb"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Lines:
    """Numbers in lines of any length."""

    values_V: Floats  # line after line, float64
    counts_R: Ints  # of the numbers in each line

    @property
    def starts_R(self) -> Ints:
        """The index in `values_V` of the first number of each line."""
        starts_R: Ints = np.cumsum(self.counts_R) - self.counts_R
        return starts_R

    def part(self, start: int, stop: int) -> Lines:
        """The lines from `start` to `stop`, exclusive."""
        first, last = (int(self.counts_R[:row].sum()) for row in (start, stop))
        return Lines(self.values_V[first:last], self.counts_R[start:stop])


def plain(data: bytes) -> bytes:
    """Text in a common encoding -> the same in a superset of ASCII, with line feeds. Raises ValueError: not text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16").encode()
    if b"\0" in data:
        raise ValueError("it is not text")
    data = data.removeprefix(b"\xef\xbb\xbf")
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def uncommented(block: bytes, slashes: bool = False) -> bytes:
    """The text without comments that begin with #, or with `slashes` also with //."""
    block = _finite(block)
    found = b"#" in block or (slashes and b"//" in block)
    return (COMMENTS if slashes else COMMENT).sub(b"", block) if found else block


def blocks(data: bytes, start: int = 0) -> Iterator[bytes]:
    """Blocks of complete lines from `start` on, some megabytes each. Raises ValueError for a longer line."""
    while start < len(data):
        stop = start + BLOCK
        if stop < len(data):
            stop = data.rfind(b"\n", start, stop) + 1
            if not stop:
                raise ValueError(f"a line of more than {BLOCK >> 20} MB")
        yield data[start:stop]
        start = stop


def numbers(block: bytes, first_line: int = 1, what: str = "line", blank: bool = False) -> Lines:
    """Lines of numbers separated by white space -> Lines, without empty lines unless `blank`.

    Raises ValueError for anything else; the message has `what` and the line's number, counted from `first_line`.
    """
    chars = np.frombuffer(block, np.uint8)
    space = SPACE[chars]
    first = ~space
    first[1:] &= space[:-1]  # characters that begin a word
    ends = np.flatnonzero(chars == 10)
    if block and not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    upto_R = np.searchsorted(np.flatnonzero(first), ends)
    counts_R = np.diff(upto_R, prepend=0)
    some_R = counts_R > 0
    values = _parsed(block, int(counts_R.sum()))
    if values is None and (cut := CUT.search(block)):
        values = _parsed(block[: cut.start()], int(counts_R.sum()) - 1)
        counts_R[-1] -= 1  # the truncated number does not count
    if values is None:
        raise ValueError(_first_word(block, first_line, what))
    return Lines(values, counts_R if blank else counts_R[some_R])


def all_numbers(data: bytes, start: int = 0) -> Lines:
    """All lines of numbers from `start` on. Raises ValueError for anything else, or for too many numbers."""
    found, held, line = [], 0, data.count(b"\n", 0, start) + 1
    for block in blocks(data, start):
        found.append(numbers(block, line))
        held, line = held + len(found[-1].values_V), line + block.count(b"\n")
        check_count(held)
    return joined(found)


def joined(parts: list[Lines]) -> Lines:
    """The lines of all parts."""
    if not parts:
        return Lines(np.empty(0), np.empty(0, np.int64))
    return Lines(np.concatenate([p.values_V for p in parts]), np.concatenate([p.counts_R for p in parts]))


def check_count(count: int) -> None:
    """Raises ValueError for too many numbers to keep in memory."""
    if count > MAX_NUMBERS:
        raise ValueError(f"more than {MAX_NUMBERS // 1_000_000} million numbers; reduce the number of points first")


def as_integers(values: Floats, what: str) -> Ints:
    """Indices or counts as floats -> int64. Raises ValueError for other numbers."""
    bad = ~(np.abs(values) < 2**53) | (values != np.round(values))
    if bad.any():
        raise ValueError(f"expected {what}, got {values[int(bad.argmax())]:g}")
    return values.astype(np.int64)


def _parsed(block: bytes, count: int) -> Floats | None:
    """The `count` numbers of a text; None where it contains anything else."""
    if count == 0:
        return np.empty(0)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # older versions of NumPy warn instead of raising ValueError
        try:
            values = np.fromstring(_finite(block), sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return values if len(values) == count else None  # differs where two are joined, as in 1-2


def _finite(block: bytes) -> bytes:
    """The text with nan for what some C libraries print: 1.#QNAN, -1.#IND00."""
    return re.sub(rb"-?1\.#\w+", b"nan", block) if b".#" in block else block


def _first_word(block: bytes, first_line: int, what: str) -> str:
    """An error message for the first word that is not a number."""
    for row, text in enumerate(block.split(b"\n")):
        for word in text.split():
            if not NUMBER.fullmatch(word):
                return f"{what} {first_line + row}: expected a number, got {word[:40].decode('latin-1')!r}"
    return f"{what} {first_line} to {first_line + row}: not all are numbers"
