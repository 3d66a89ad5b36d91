"""An item that is a file -> its bytes and its name. Free of torch."""

from __future__ import annotations

from pathlib import Path

from binder.errors import ItemError
from binder.modality import Item, name_of

MOST_BYTES = 1 << 30  # of a file; more is no single item


def content(item: Item, expected: str, advice: str) -> tuple[bytes, str]:
    """Path or bytes -> its bytes, and its name for messages.

    Raises ItemError: there is no such file, it is empty, larger than a gigabyte (`advice` says what to do then), or
    the item is neither; `expected` says what else it may be.
    """
    name = name_of(item)
    if isinstance(item, bytes):
        data = item
    elif isinstance(item, str | Path):
        try:
            if Path(item).stat().st_size > MOST_BYTES:
                raise ItemError(name, f"larger than 1 GiB; {advice}")
            data = Path(item).read_bytes()
        except FileNotFoundError:
            raise ItemError(name, "no such file") from None
        except OSError as error:
            raise ItemError(name, f"cannot be read: {error.strerror}") from None
    else:
        raise ItemError(name, f"expected a path, bytes{expected}, not {type(item).__name__}")
    if not data.strip():
        raise ItemError(name, "empty")
    return data, name
