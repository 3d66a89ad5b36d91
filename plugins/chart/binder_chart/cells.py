"""The meaning of the cells of a column: numbers with units, points in time, or names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from binder_chart.dates import Floats, days, years
from binder_chart.digits import DECIMAL, ascii_digits

ColumnKind = Literal["number", "time", "category", "empty"]
Decimals = Literal[".", ","]

MISSING = frozenset({
    "", "-", "--", "–", "—", ".", "..", "...", "…", "n/a", "na", "n.a.", "nan", "nat", "<na>", "null", "none", "nil",
    "#n/a", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!",
})  # fmt: skip
SAMPLE = 5_000  # cells examined to find the decimal mark
LONGEST = 200  # characters of a cell that are read
LONGEST_INTEGER = 4_000  # bits: still fast to write as text, and far beyond a float
ENOUGH = 0.8  # share of the filled cells that must be numbers (or times); the others are taken for missing
FACTORS = {
    "k": 1e3, "thousand": 1e3, "M": 1e6, "mn": 1e6, "mio": 1e6, "million": 1e6, "millions": 1e6,
    "bn": 1e9, "billion": 1e9, "billions": 1e9, "tn": 1e12, "trillion": 1e12,
}  # fmt: skip
CURRENCY = r"[€$£¥₹₽₩₺]|R\$|(?:US|AU|CA|HK)\$|USD|EUR|GBP|CHF|JPY|CNY|INR"
NUMBER = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[-+]?)\s*(?P<front>{CURRENCY})?\s*(?P<inner>[-+]?)\s*"
    rf"(?P<digits>[0-9](?:[0-9.,'’{DECIMAL}]| (?=[0-9]{{3}}))*|[.,{DECIMAL}][0-9]+)(?P<exponent>[eE][-+]?[0-9]{{1,3}})?"
    rf"\s*(?P<unit>{CURRENCY}|[%‰]|[^\W\d_][^\s0-9,.;:()\-+]{{0,11}}|°[CF]?)?\s*(?P<close>\))?[*†‡]{{0,3}}"
)
GROUPED = re.compile(r"\d{1,3}(?:([ ,.'’])\d{3})(?:\1\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}|\d+|", re.ASCII)


@dataclass(frozen=True)
class Column:
    """One column of N cells."""

    name: str
    kind: ColumnKind
    values: Floats  # (N,) float64: numbers, days since year 1, or NaN where missing and for names
    texts: tuple[str, ...]  # (N,) the cells as written, "" where missing
    unit: str = ""  # of numbers: "%", "€", "kg", or "" if there is none


def understand(name: str, cells: Sequence[Any], decimals: Decimals = ".", *, first: bool = False) -> Column:
    """The cells of a column -> their meaning. `decimals` decides where a column alone is ambiguous ("1,234").

    Cells may be text or Python's numbers and dates. `first` marks the first column of a table, in which whole numbers
    such as 2019 are years whatever the name of the column.
    """
    texts = tuple(_text(cell) for cell in cells)
    filled = [i for i, text in enumerate(texts) if text]
    values = np.full(len(texts), np.nan)
    if not filled:
        return Column(name, "empty", values, texts)
    plain = [ascii_digits(texts[i]) for i in filled]
    times = _times(name, [cells[i] for i in filled], plain, first)
    if times is not None:
        values[filled] = times
        return Column(name, "time", values, texts)
    found, unit = _numbers([cells[i] for i in filled], plain, decimals)
    if found is not None:
        values[filled] = found
        return Column(name, "number", values, texts, unit)
    return Column(name, "category", values, texts)


def decimals_of(texts: Sequence[str], otherwise: Decimals) -> Decimals:
    """The decimal mark, by the majority of the numbers that are unambiguous; `otherwise` where that is a tie."""
    votes: Counter[Decimals] = Counter()
    for text in texts[:: len(texts) // SAMPLE + 1]:
        found = NUMBER.fullmatch(ascii_digits(" ".join(text[:LONGEST].split())))
        mark = _decimal_mark(found["digits"]) if found else None
        if mark:
            votes[mark] += 1
    return otherwise if votes["."] == votes[","] else max(votes, key=lambda mark: votes[mark])


def is_number(text: str) -> bool:
    """Whether a cell is a number with either decimal mark."""
    plain = ascii_digits(" ".join(text[:LONGEST].split()))
    return any(_number(plain, mark) is not None for mark in (".", ","))


def _text(cell: Any) -> str:
    """A cell as text on one line, "" where missing."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, int) and cell.bit_length() > LONGEST_INTEGER:
        return ""  # neither drawable nor quickly written as text
    text = " ".join(str(cell)[:LONGEST].split())
    return "" if text.lower() in MISSING else text


def _times(name: str, cells: Sequence[Any], texts: Sequence[str], first: bool) -> Floats | None:
    """(N,) days since year 1; None where the cells are not times."""
    if all(isinstance(cell, date | datetime | time) for cell in cells):
        return days([cell.isoformat() for cell in cells])
    if any(isinstance(cell, float | Decimal | bool) for cell in cells):
        return None
    plain = [text.rstrip("*†‡ ") for text in texts]
    found = years(plain, name, first)
    return days(plain, ENOUGH) if found is None else found


def _numbers(cells: Sequence[Any], texts: Sequence[str], decimals: Decimals) -> tuple[Floats | None, str]:
    """((N,) values, unit); (None, "") where too few cells are numbers, or their units differ."""
    if all(isinstance(cell, int | float | Decimal | np.number) and not isinstance(cell, bool) for cell in cells):
        return np.array([_finite(cell) for cell in cells]), ""
    mark = decimals_of(texts, decimals)
    known = {text: _number(text, mark) for text in set(texts)}
    parsed = [known[text] for text in texts]
    if sum(p is not None for p in parsed) < ENOUGH * len(texts):
        return None, ""
    units = Counter(p[1] for p in parsed if p is not None and p[1])
    if len(units) > 1:
        return None, ""
    return np.array([math.nan if p is None else p[0] for p in parsed]), next(iter(units), "")


def _number(text: str, mark: Decimals) -> tuple[float, str] | None:
    """ "1.234,5 €" -> (1234.5, "€") for the decimal mark ","; None for what is not a number. Knows the digits 0-9."""
    if text.isascii() and (text if mark == "," else text.replace(".", "", 1)).isdigit():
        return float(text), ""  # the common case
    found = NUMBER.fullmatch(text)
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    whole, _, fraction = found["digits"].partition(DECIMAL if DECIMAL in found["digits"] else mark)
    if not GROUPED.fullmatch(whole) or not (fraction.isdigit() or not fraction):
        return None
    value = float(f"{re.sub(r'[^0-9]', '', whole) or '0'}.{fraction or '0'}{found['exponent'] or ''}")
    if found["open"] or {found["sign"], found["inner"]} & {"-"}:
        value = -value
    unit = found["unit"] or ""
    factor = FACTORS.get(unit) or FACTORS.get(unit.lower() if unit != "m" else "", 0.0)
    if factor:
        value, unit = value * factor, ""
    return (value, found["front"] or unit) if math.isfinite(value) else None


def _finite(value: Any) -> float:
    """A number of any type -> float; NaN where it is not finite or too large."""
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _decimal_mark(digits: str) -> Decimals | None:
    """The decimal mark where the digits are unambiguous; "1,234" is ambiguous."""
    marks = re.findall(r"[.,]", digits)
    if not marks or DECIMAL in digits:
        return None
    last: Decimals = "." if marks[-1] == "." else ","
    other: Decimals = "," if last == "." else "."
    if len(set(marks)) == 2:
        return last
    if len(marks) > 1:
        return other
    before, after = digits.split(last)
    plain = re.sub(r"\D", "", before)
    return None if len(after) == 3 and 1 <= len(plain) <= 3 and plain[0] != "0" else last
