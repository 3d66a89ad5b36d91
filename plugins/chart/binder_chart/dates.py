"""Text -> points in time, one format for a whole column."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

NAMED = re.compile(
    r"\b(year|years|yr|date|time|season|fy|jahr|datum|année|annee|an|año|ano|anno|rok|år|год|годы|дата|سنة|السنة|عام|"
    r"تاريخ|سال|वर्ष|साल|年|年份|年度|年月|日期|日付|연도|년도|날짜|ปี|שנה)(?!\w)",
    re.I,
)
Floats = NDArray[np.float64]

FIRST_YEAR, LAST_YEAR = 1500, 2150  # what is taken for a year where the column's name does not tell
WIDEST_STEP = 25  # years between two rows of such a column
SAMPLE = 5_000  # cells examined to choose the format
PROBE = 10  # cells on which a format is tried before it parses the sample

QUARTERS = (  # (pattern, group of the quarter or half, group of the year, months in one)
    (re.compile(r"Q([1-4])[ /'’\-.]*(\d{4}|\d{2})", re.I), 1, 2, 3),
    (re.compile(r"(\d{4})[ /\-.]?Q([1-4])", re.I), 2, 1, 3),
    (re.compile(r"([1-4])Q[ /'’\-.]*(\d{4}|\d{2})", re.I), 1, 2, 3),
    (re.compile(r"([1-4])(?:st|nd|rd|th) quarter (?:of )?(\d{4})", re.I), 1, 2, 3),
    (re.compile(r"[HS]([12])[ /'’\-.]*(\d{4}|\d{2})", re.I), 1, 2, 6),
    (re.compile(r"(\d{4})[ /\-.]?[HS]([12])", re.I), 2, 1, 6),
)
SEASON = re.compile(r"(?:FY ?)?(\d{4})(?:[/\-–](?:\d\d)?(\d\d))?", re.I)  # 2019, FY 2019, 2019/20, 2019-2020
SHORT = re.compile(r"['’](\d\d)|(?:FY ?)?(\d\d)[/\-–](\d\d)", re.I)  # '19, 19/20, FY 19/20
ASIAN = re.compile(r"(\d{4}) ?[年년](?: ?(\d{1,2}) ?[月월](?: ?(\d{1,2}) ?[日일])?)?")  # 2020年1月31日
CENTURY = 70  # from here on, two digits mean the twentieth century

CALENDAR = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FORMATS = (
    *CALENDAR, *(f"{day} {clock}" for day in CALENDAR for clock in ("%H:%M", "%H:%M:%S")),
    "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%Y", "%d-%b-%y",
    "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%b '%y", "%B '%y", "%b %y", "%Y-%m", "%Y/%m", "%m/%Y", "%Y %b", "%b", "%B",
    "%H:%M", "%H:%M:%S",
)  # fmt: skip


def years(texts: Sequence[str], name: str, first: bool) -> Floats | None:
    """(N,) texts such as 2019 or 2019/20 -> days since year 1; None where they may just as well be numbers.

    They are years if the column's name says so, or if it is the first column and they rise or fall in small steps.
    """
    texts = [_long(text) for text in texts]
    found = [SEASON.fullmatch(text) for text in texts]
    if not all(found):
        return None
    values = np.array([int(match[1]) for match in found if match])
    ends = [int(match[2]) if match and match[2] else None for match in found]
    if any(end not in (None, (start + 1) % 100) for start, end in zip(values.tolist(), ends, strict=True)):
        return None  # 2019-07 is a month
    steps = np.diff(values)
    orderly = first and (np.all(steps > 0) or np.all(steps < 0)) and np.all(np.abs(steps) <= WIDEST_STEP)
    plausible = np.all((values >= FIRST_YEAR) & (values <= LAST_YEAR))
    written = any("/" in text or "-" in text or text.upper().startswith("FY") for text in texts)
    if not plausible or not (orderly or written or NAMED.search(name)):
        return None
    return np.array([datetime(value, 1, 1).toordinal() for value in values.tolist()], np.float64)


def _long(text: str) -> str:
    """'19 -> FY2019, 19/20 -> FY2019/20 (the prefix marks it as a year); other texts unchanged."""
    found = SHORT.fullmatch(text)
    if not found:
        return text
    end = f"/{found[3]}" if found[3] else ""
    return f"FY{_full(int(found[1] or found[2]))}{end}"


def _full(year: int) -> int:
    """A year of two or four digits -> of four digits."""
    return year if year > 99 else year + (1900 if year >= CENTURY else 2000)


def days(texts: Sequence[str], enough: float = 1.0) -> Floats | None:
    """(N,) texts -> days since year 1, NaN where not a time; None where less than the share `enough` are times.

    One format for the whole column. If 03/04/2020 is ambiguous, the reading in which the rows are in order is taken,
    otherwise the month comes first.
    """
    if sum(any(letter.isdigit() for letter in text) or text[:3] in MONTHS for text in texts) < enough * len(texts):
        return None  # names
    sample = texts[:: len(texts) // SAMPLE + 1]
    probe = sample[:: max(1, len(sample) // PROBE)]
    readings = []
    for parse in (_iso, _quarter, _asian, *(_by(pattern) for pattern in FORMATS)):
        misses = (text for text in probe if parse(text) is None)
        if len(list(islice(misses, int((1 - enough) * len(probe)) + 1))) > (1 - enough) * len(probe):
            continue
        values = _parsed(parse, sample)
        if np.isfinite(values).sum() >= enough * len(sample):
            readings.append((parse, values))
    if not readings:
        return None
    most = max(np.isfinite(values).sum() for _, values in readings)
    readings = [(parse, values) for parse, values in readings if np.isfinite(values).sum() == most]
    parse, values = next((reading for reading in readings if _in_order(reading[1])), readings[0])
    values = values if len(sample) == len(texts) else _parsed(parse, texts)
    return values if np.isfinite(values).sum() >= enough * len(texts) else None


def _parsed(parse: Callable[[str], float | None], texts: Sequence[str]) -> Floats:
    """(N,) texts -> days; each different text is parsed once."""
    known = {text: parse(text) for text in set(texts)}
    return np.array([known[text] for text in texts], np.float64)  # None is NaN


def _in_order(values: Floats) -> bool:
    steps = np.diff(values[np.isfinite(values)])
    return bool(np.all(steps >= 0) or np.all(steps <= 0))


def _iso(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _day(found)


def _quarter(text: str) -> float | None:
    for pattern, part, year, months in QUARTERS:
        if found := pattern.fullmatch(text):
            full = _full(int(found[year]))
            if 1 <= full <= 9999:
                return float(datetime(full, 1 + months * (int(found[part]) - 1), 1).toordinal())
    return None


def _asian(text: str) -> float | None:
    if not (found := ASIAN.fullmatch(text)):
        return None
    year, month, day = (int(part or 1) for part in found.groups())
    try:
        return float(datetime(year, month, day).toordinal())
    except ValueError:
        return None


def _by(pattern: str) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        try:
            return _day(datetime.strptime(text.replace("’", "'"), pattern))
        except ValueError:
            return None

    return parse


def _day(moment: datetime) -> float:
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    return moment.toordinal() + seconds / 86_400
