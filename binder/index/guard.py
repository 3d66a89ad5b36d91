"""The store's errors as one line each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from binder.errors import BinderError, StoreError

PANIC = "pyo3_runtime"  # where a Rust panic comes from: by its class it is no Exception
FULL = re.compile(r"No space left on device|\[errno 28\]|os error 28|StorageFull|disk quota", re.IGNORECASE)
FORBIDDEN = re.compile("Permission denied|Read-only file system|os error 13|os error 30", re.IGNORECASE)
GONE = re.compile("not found|No such file|does not exist", re.IGNORECASE)
CONFLICT = re.compile("commit conflict|concurrent (writers|transaction)|retryable|preempted by", re.IGNORECASE)


class Conflict(StoreError):
    """Another process changed the same rows at the same time."""


@contextlib.contextmanager
def guarded(what: str, condition: str | None = None) -> Iterator[None]:
    """Raise StoreError for whatever the store raises inside; `what` is the index, `condition` what the user wrote."""
    try:
        yield
    except BinderError:
        raise
    except (OSError, RuntimeError, ValueError, ArithmeticError) as error:
        raise _translated(what, condition, str(error)) from error
    except BaseException as error:
        if type(error).__module__ != PANIC:
            raise
        raise _translated(what, condition, f"the store failed: {error}") from error


def _translated(what: str, condition: str | None, text: str) -> StoreError:
    short = _short(text)
    if FULL.search(text):
        return StoreError(f"{what}: the disk is full; what was there before is safe, make room and try again")
    if FORBIDDEN.search(text):
        return StoreError(f"{what}: cannot be written or read (permissions)")
    if CONFLICT.search(text):
        return Conflict(f"{what}: another process changes it at the same time; try again ({short})")
    if condition is not None:
        return StoreError(f"condition {condition[:160]!r}: {short}")
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
