"""What an index says of itself: kept in a table of its own, so that a folder and an object store hold it alike."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from binder.config import Config, validate
from binder.errors import ConfigError, StoreError
from binder.files import parse_json

if TYPE_CHECKING:
    from binder.api import Binder

FORMAT = 1


class Record(Config):
    """The space of an index and what encodes into it."""

    format: int = FORMAT
    space: str  # the anchor's fingerprint
    anchor: str | None = None  # its name; None where only vectors were ever given
    embed_dim: int
    encoders: dict[str, str] = Field(default_factory=dict)  # modality -> run folder of its encoder
    binder_version: str = ""
    created: str = ""  # ISO 8601, UTC

    @classmethod
    def new(cls, space: str, embed_dim: int, anchor: str | None = None) -> Record:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        version = importlib.metadata.version("modality-binder")
        return cls(space=space, embed_dim=embed_dim, anchor=anchor, binder_version=version, created=now)


def parse(text: str, where: str) -> Record:
    """Raises StoreError for what is damaged or was written by a newer binder."""
    try:
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__}, where keys and values are expected")
        newer = values.get("format")
        if isinstance(newer, int) and newer > FORMAT:
            raise StoreError(f"{where}: an index of a newer binder (format {newer}); upgrade binder")
        return validate(Record, values, where)
    except (ValueError, ConfigError) as error:
        raise StoreError(f"{where}: its record is damaged: {error}") from None


def load_space(
    record: Record,
    *,
    encoders: Sequence[str | Path] = (),
    anchor: str | None = None,
    trunk: str | None = None,
    device: str = "auto",
    workers: int = 0,
) -> Binder:
    """The Binder that encodes for an index: its anchor and encoders; those in `encoders` take the place of its own.

    `anchor` and `trunk` say where those are, if they have been moved.

    Raises StoreError where the index only ever got vectors.
    """
    if record.anchor is None:
        raise StoreError("the index was made of vectors alone; open it with space=Binder(...) to encode items")
    from binder.api import Binder
    from binder.artifact import hub
    from binder.artifact.run_folder import read_card

    newer = {read_card(hub.local(run)).modality: str(run) for run in encoders}
    runs = list((record.encoders | newer).values())
    return Binder.of(runs, anchor=anchor or record.anchor, trunk=trunk, device=device, workers=workers)
