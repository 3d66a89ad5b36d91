"""The store's errors as one line each, and conditions that it reads to their end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from binder.errors import BinderError, StoreError

QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
FULL = re.compile(r"No space left on device|\[errno 28\]|os error 28|StorageFull|disk quota", re.IGNORECASE)
FORBIDDEN = re.compile("Permission denied|Read-only file system|os error 13|os error 30", re.IGNORECASE)
GONE = re.compile("not found|No such file|does not exist", re.IGNORECASE)
CONFLICT = re.compile("commit conflict|concurrent (writers|transaction)|retryable|preempted by", re.IGNORECASE)


class NoColumn(StoreError):
    """A condition names a column that this table lacks."""


class Conflict(StoreError):
    """Another process changed the same rows at the same time."""


@contextlib.contextmanager
def guarded(what: str, condition: str | None = None) -> Iterator[None]:
    """Raise StoreError for whatever the store raises inside; `what` is the index, `condition` what the user wrote."""
    try:
        yield
    except BinderError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise _translated(what, condition, str(error)) from error


def condition_of(where: str) -> str:
    """A condition in brackets, so that the store reads all of it. Raises StoreError where it would leave them.

    By itself the store stops at the end of the first whole expression and forgets the rest.
    """
    depth = 0
    for sign in re.sub(r"[^()]", "", QUOTED.sub("", where)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            break
    if depth or not where.strip():
        raise StoreError(f"condition {where!r}: {'its brackets do not match' if where.strip() else 'it is empty'}")
    return f"({where}\n)"


def _translated(what: str, condition: str | None, text: str) -> StoreError:
    short = _short(text)
    if FULL.search(text):
        return StoreError(f"{what}: the disk is full; what was there before is safe, make room and try again")
    if FORBIDDEN.search(text):
        return StoreError(f"{what}: cannot be written or read (permissions)")
    if CONFLICT.search(text):
        return Conflict(f"{what}: another process changes it at the same time; try again ({short})")
    if condition is not None and "No field named" in text:
        return NoColumn(f"condition {condition!r}: {short}")
    if condition is not None:
        return StoreError(f"condition {condition!r}: {short}")
    if GONE.search(text):
        return StoreError(f"{what}: files of it are gone ({short})")
    return StoreError(f"{what}: {short}")


def _short(text: str) -> str:
    """The store's message without its own source file and line, in one line."""
    line = " ".join(text.split()).removeprefix("Invalid input, ")
    line = re.sub(r"SELECT 1 FROM t WHERE \(.*?\) \(", "(", line)
    line = re.sub(r", (?:/[\w.-]+)+\.rs:\d+:\d+.*$", "", line)
    line = re.sub(r"Valid fields are (.*?)\.?$", lambda m: f"columns: {_public(m[1])}", line)
    line = re.sub(r"Schema error: No field named (.+?)\. columns:", r"no column \1; columns:", line)
    return line[:240]


def _public(fields: str) -> str:
    names = [name.strip(" `.") for name in fields.split(",")]
    return ", ".join(name for name in names if name and not name.startswith("_") and name != "vector")
