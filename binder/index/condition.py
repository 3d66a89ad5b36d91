"""Conditions on an index's columns: a small part of SQL, read here and handed to the store as what was understood.

    license = 'cc' AND seconds < 30          year IN (2019, 2020) OR NOT ok
    lower(place) LIKE 'os%'                  taken >= date '2024-01-01'

Nothing else reaches the store, whose own language can make rows without end, and whose parser forgets what follows the
first whole expression. Columns are found whatever their capitals; text is in single quotes, "a name" and `a name` are
columns; times compare in UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from binder.errors import StoreError, nearest

LONGEST = 100_000  # characters
DEEPEST = 16  # brackets, functions and signs within each other: the store's own parser ends soon after
SUMS = 32  # + - * / % in all: the store recurses into each
TYPES = ("STRING", "INT", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP")
FUNCTIONS = {  # name: least and most arguments; none makes a value much longer than what it is given
    **dict.fromkeys(("lower", "upper", "length", "abs", "sqrt", "to_timestamp"), (1, 1)),
    **dict.fromkeys(("contains", "starts_with", "ends_with", "strpos", "nullif", "date_part", "date_trunc"), (2, 2)),
    **dict.fromkeys(("coalesce", "greatest", "least"), (1, 16)),
    "round": (1, 2),
    "regexp_like": (2, 2),
}
COMPARISONS = ("=", "==", "!=", "<>", "<", "<=", ">", ">=")
WORDS = frozenset(
    ["AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE", "BETWEEN", "LIKE", "ILIKE", "CAST", "AS", "SELECT"]
)
TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*')|(?P<quoted>"[^"]+"|`[^`]+`)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w))|(?P<word>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|==|[=<>+\-*/%(),])""",
    re.VERBOSE | re.DOTALL,
)


class NoColumn(StoreError):
    """A condition names a column that this table lacks."""


@dataclass(frozen=True)
class Token:
    kind: str  # a group of TOKEN; "end"
    text: str

    def __str__(self) -> str:
        return "its end" if self.kind == "end" else repr(self.text[:40])


def compiled(where: str, columns: Sequence[str]) -> str:
    """A condition over these columns -> the same for the store, all in brackets.

    Raises NoColumn for a column that is not among them; StoreError for whatever else cannot be read, naming the word.
    """
    if not isinstance(where, str):
        raise StoreError(f"condition {where!r:.80}: expected text such as license = 'cc'")
    if len(where) > LONGEST:
        raise StoreError(f"condition {where[:40]!r}...: longer than {LONGEST} characters")
    try:
        return f"({_Reader(list(_tokens(where)), columns).whole()})"
    except _Unread as error:
        kind = NoColumn if error.column else StoreError
        raise kind(f"condition {where[:160]!r}: {error}") from None


class _Unread(Exception):
    def __init__(self, text: str, column: bool = False) -> None:
        super().__init__(text)
        self.column = column


def _tokens(where: str) -> list[Token]:
    if re.search("[\0\ud800-\udfff]", where):
        raise _Unread("it holds a character that no text has (a NUL, half a surrogate pair)")
    found, at = [], 0
    while at < len(where):
        match = TOKEN.match(where, at)
        if match is None:
            sign = where[at]
            raise _Unread(f"a {sign} is never closed" if sign in "'\"`" else f"cannot read {where[at : at + 20]!r}")
        at = match.end()
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match[0]))
    return [*found, Token("end", "")]


@dataclass
class _Reader:
    """Recursive descent over the tokens; every method returns the SQL of what it has read."""

    tokens: list[Token]
    columns: Sequence[str]
    at: int = 0
    depth: int = 0
    sums: int = field(default=0)

    def whole(self) -> str:
        if self.now.kind == "end":
            raise _Unread("it is empty")
        made = self._any_of()
        if self.now.kind != "end":
            raise _Unread(f"expected AND, OR or its end, not {self.now}")
        return made

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def _word(self, *words: str) -> str | None:
        """Step over one of these words or signs, if it is next."""
        text = self.now.text.upper()
        if self.now.kind in ("word", "sign") and text in words:
            self.at += 1
            return text
        return None

    def _need(self, *words: str) -> str:
        found = self._word(*words)
        if found is None:
            raise _Unread(f"expected {' or '.join(words)}, not {self.now}")
        return found

    def _deeper(self, read: Callable[[], str]) -> str:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Unread(f"nested deeper than {DEEPEST}")
        made = read()
        self.depth -= 1
        return made

    def _any_of(self) -> str:
        made = [self._all_of()]
        while self._word("OR"):
            made.append(self._all_of())
        return " OR ".join(made)

    def _all_of(self) -> str:
        made = [self._not()]
        while self._word("AND"):
            made.append(self._not())
        return " AND ".join(made)

    def _not(self) -> str:
        return f"NOT {self._deeper(self._not)}" if self._word("NOT") else self._predicate()

    def _predicate(self) -> str:
        left = self._sum()
        if sign := self._word(*COMPARISONS):
            return f"{left} {'=' if sign == '==' else sign} {self._sum()}"
        if self._word("IS"):
            negated = "NOT " if self._word("NOT") else ""
            return f"{left} IS {negated}{self._need('NULL', 'TRUE', 'FALSE')}"
        negated = "NOT " if self._word("NOT") else ""
        if self._word("IN"):
            self._need("(")
            return f"{left} {negated}IN ({self._list(1, LONGEST)})"
        if self._word("BETWEEN"):
            low, _ = self._sum(), self._need("AND")
            return f"{left} {negated}BETWEEN {low} AND {self._sum()}"
        if like := self._word("LIKE", "ILIKE"):
            return f"{left} {negated}{like} {self._text(f'a pattern in quotes after {like}')}"
        if negated:
            raise _Unread(f"expected IN, BETWEEN or LIKE after NOT, not {self.now}")
        return left

    def _sum(self) -> str:
        made = self._signed()
        while sign := self._word("+", "-", "*", "/", "%"):
            self.sums += 1
            if self.sums > SUMS:
                raise _Unread(f"more than {SUMS} sums and products")
            made += f" {sign} {self._signed()}"
        return made

    def _signed(self) -> str:
        if sign := self._word("-", "+"):
            inner = self._deeper(self._signed)
            return f"(- {inner})" if sign == "-" else inner
        return self._value()

    def _value(self) -> str:
        token = self.now
        if self._word("("):
            made = self._deeper(self._any_of)
            self._need(")")
            return f"({made})"
        if literal := self._word("TRUE", "FALSE", "NULL"):
            return literal
        if self._word("CAST"):
            return self._deeper(self._cast)
        after = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if after.kind == "text" and (kind := self._word("DATE", "TIMESTAMP")):
            return f"{kind} {self._text('a time in quotes')}"
        self.at += 1
        if token.kind == "text":
            return token.text
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "word" and self._word("("):
            return self._deeper(lambda: self._function(token.text))
        if token.kind == "quoted" or (token.kind == "word" and token.text.upper() not in WORDS):
            return self._column(token.text[1:-1] if token.kind == "quoted" else token.text)
        raise _Unread(f"expected a column or a value, not {token}")

    def _cast(self) -> str:
        self._need("(")
        made, _, kind, _ = self._any_of(), self._need("AS"), self._need(*TYPES), self._need(")")
        return f"CAST({made} AS {kind})"

    def _function(self, name: str) -> str:
        if name.lower() not in FUNCTIONS:
            close = nearest(name.lower(), FUNCTIONS) or f"; there are {', '.join(sorted(FUNCTIONS))}"
            raise _Unread(f"no function {name!r}{close}")
        return f"{name.lower()}({self._list(*FUNCTIONS[name.lower()], of=name)})"

    def _list(self, least: int, most: int, of: str = "IN") -> str:
        """What stands between commas up to the closing bracket, the opening one read already."""
        made = [self._sum()]
        while self._word(","):
            made.append(self._sum())
        self._need(")")
        if not least <= len(made) <= most:
            raise _Unread(f"{of} takes {least if least == most else f'{least} to {most}'} values, not {len(made)}")
        return ", ".join(made)

    def _text(self, what: str) -> str:
        token = self.now
        if token.kind != "text":
            raise _Unread(f"expected {what}, not {token}")
        self.at += 1
        return token.text

    def _column(self, name: str) -> str:
        """By its name, or the one that differs only in capitals."""
        found = name if name in self.columns else next((c for c in self.columns if c.lower() == name.lower()), None)
        if found is None:
            close = nearest(name.lower(), [column.lower() for column in self.columns])
            known = close or f"; columns: {', '.join(self.columns)}"
            raise _Unread(f"no column {name!r}{known}", column=True)
        return f"`{found}`"


def _number(digits: str) -> str:
    number = float(digits)
    if math.isinf(number):
        raise _Unread(f"the number {digits[:20]} is too large")
    return digits if number < 2**53 else repr(number)
