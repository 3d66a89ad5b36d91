"""Conditions on an index's columns: a small part of SQL, parsed here and passed to LanceDB as what was understood.

    license = 'cc' AND seconds < 30          year IN (2019, 2020) OR NOT ok
    lower(place) LIKE 'os%'                  taken >= date '2024-01-01'

Nothing else reaches LanceDB, whose own language can create endless rows, and whose parser ignores what follows the
first complete expression. Column names ignore case; text is in single quotes, "a name" and `a name` are columns; times
compare in UTC.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from binder.errors import StoreError, nearest

MAX_LENGTH = 100_000  # characters
MAX_DEPTH = 16  # of nested brackets, functions and signs: LanceDB's own parser stops soon after
MAX_SUMS = 32  # + - * / % in total: LanceDB recurses into each
TYPES = ("STRING", "INT", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP")
FUNCTIONS = {  # name: minimum and maximum number of arguments; no result is much longer than the arguments
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
    """The condition names a column that the table lacks."""


@dataclass(frozen=True)
class Token:
    kind: str  # a group of TOKEN; "end"
    text: str

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text[:40])


def compiled(where: str, columns: Sequence[str]) -> str:
    """A condition over these columns -> the same for LanceDB, in brackets.

    Raises NoColumn for a column that is not among them; StoreError, naming the word, for everything else.
    """
    if not isinstance(where, str):
        raise StoreError(f"condition {where!r:.80}: expected text such as license = 'cc'")
    if len(where) > MAX_LENGTH:
        raise StoreError(f"condition {where[:40]!r}...: longer than {MAX_LENGTH} characters")
    try:
        return f"({_Reader(list(_tokens(where)), columns).whole()})"
    except _Invalid as error:
        kind = NoColumn if error.column else StoreError
        raise kind(f"condition {where[:160]!r}: {error}") from None


class _Invalid(Exception):
    def __init__(self, text: str, column: bool = False) -> None:
        super().__init__(text)
        self.column = column


def _tokens(where: str) -> list[Token]:
    if re.search("[\0\ud800-\udfff]", where):
        raise _Invalid("it contains an invalid character (a NUL, an unpaired surrogate)")
    found, at = [], 0
    while at < len(where):
        match = TOKEN.match(where, at)
        if match is None:
            sign = where[at]
            raise _Invalid(f"a {sign} is never closed" if sign in "'\"`" else f"cannot read {where[at : at + 20]!r}")
        at = match.end()
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(Token(kind, match[0]))
    return [*found, Token("end", "")]


@dataclass
class _Reader:
    """Recursive descent over the tokens; every method returns the SQL of what it has parsed."""

    tokens: list[Token]
    columns: Sequence[str]
    at: int = 0
    depth: int = 0
    sums: int = field(default=0)

    def whole(self) -> str:
        if self.now.kind == "end":
            raise _Invalid("it is empty")
        made = self._any_of()
        if self.now.kind != "end":
            raise _Invalid(f"expected AND, OR or the end, not {self.now}")
        return made

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def _word(self, *words: str) -> str | None:
        """Consume the next token if it is one of these words or signs."""
        text = self.now.text.upper()
        if self.now.kind in ("word", "sign") and text in words:
            self.at += 1
            return text
        return None

    def _need(self, *words: str) -> str:
        found = self._word(*words)
        if found is None:
            raise _Invalid(f"expected {' or '.join(words)}, not {self.now}")
        return found

    def _deeper(self, read: Callable[[], str]) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Invalid(f"nested deeper than {MAX_DEPTH}")
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
            return f"{left} {negated}IN ({self._list(1, MAX_LENGTH)})"
        if self._word("BETWEEN"):
            low, _ = self._sum(), self._need("AND")
            return f"{left} {negated}BETWEEN {low} AND {self._sum()}"
        if like := self._word("LIKE", "ILIKE"):
            return f"{left} {negated}{like} {self._text(f'a pattern in quotes after {like}')}"
        if negated:
            raise _Invalid(f"expected IN, BETWEEN or LIKE after NOT, not {self.now}")
        return left

    def _sum(self) -> str:
        made = self._signed()
        while sign := self._word("+", "-", "*", "/", "%"):
            self.sums += 1
            if self.sums > MAX_SUMS:
                raise _Invalid(f"more than {MAX_SUMS} sums and products")
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
        raise _Invalid(f"expected a column or a value, not {token}")

    def _cast(self) -> str:
        self._need("(")
        made, _, kind, _ = self._any_of(), self._need("AS"), self._need(*TYPES), self._need(")")
        return f"CAST({made} AS {kind})"

    def _function(self, name: str) -> str:
        if name.lower() not in FUNCTIONS:
            close = nearest(name.lower(), FUNCTIONS) or f"; there are {', '.join(sorted(FUNCTIONS))}"
            raise _Invalid(f"no function {name!r}{close}")
        return f"{name.lower()}({self._list(*FUNCTIONS[name.lower()], of=name)})"

    def _list(self, least: int, most: int, of: str = "IN") -> str:
        """Values between commas, up to the closing bracket; the opening one has been consumed."""
        made = [self._sum()]
        while self._word(","):
            made.append(self._sum())
        self._need(")")
        if not least <= len(made) <= most:
            raise _Invalid(f"{of} takes {least if least == most else f'{least} to {most}'} values, not {len(made)}")
        return ", ".join(made)

    def _text(self, what: str) -> str:
        token = self.now
        if token.kind != "text":
            raise _Invalid(f"expected {what}, not {token}")
        self.at += 1
        return token.text

    def _column(self, name: str) -> str:
        """By its name, or one that differs only in case."""
        found = name if name in self.columns else next((c for c in self.columns if c.lower() == name.lower()), None)
        if found is None:
            close = nearest(name.lower(), [column.lower() for column in self.columns])
            known = close or f"; columns: {', '.join(self.columns)}"
            raise _Invalid(f"no column {name!r}{known}", column=True)
        return f"`{found}`"


def _number(digits: str) -> str:
    number = float(digits)
    if math.isinf(number):
        raise _Invalid(f"the number {digits[:20]} is too large")
    return digits if number < 2**53 else repr(number)
