"""`binder demo`: speech, video and charts are aligned to pictures only, then everything is searched for everything.

The items themselves are drawn and spoken by the modules one level up.
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, out of how much


def silent(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""
