"""The calibration as an index keeps it: read when another process renewed it, renewed, dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from binder.errors import StoreError
from binder.index import calibration as calibrating
from binder.index.calibration import Calibration
from binder.index.given import one_vector
from binder.index.hits import Hit
from binder.index.store import Store
from binder.index.table import Table
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

Judged = Iterable[tuple[Embeddings | Vectors, Hit, bool]]


class Kept:
    """The calibration of one open index."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: tuple[int | None, Calibration | None] = (None, None)  # as of which version of the notes

    def now(self) -> Calibration | None:
        """What is kept now, by any process. Raises StoreError where it is damaged."""
        version = self._store.notes_version()
        if version != self._read[0]:
            text = self._store.note(calibrating.NOTE)
            self._read = version, calibrating.parse(text, self._store.location) if text else None
        return self._read[1]

    def put(self, calibration: Calibration | None) -> None:
        text = "" if calibration is None else calibrating.dumped(calibration)
        if text != (self._store.note(calibrating.NOTE) or ""):
            self._store.set_note(calibrating.NOTE, text)

    def renew(self, tables: Sequence[Table], pairs: Judged | None) -> None:
        """Sample the tables anew; see `Index.calibrate`."""
        old = None
        with contextlib.suppress(StoreError):  # a damaged one is renewed
            old = self.now()
        new = calibrating.fitted(tables)
        if new is None:
            self.put(None)
            return
        judged = []
        for query, hit, right in pairs or ():
            if hit.modality not in new.nulls:
                raise StoreError(f"{self._store.location}: too few rows of {hit.modality} to calibrate it")
            modality = query.modality if isinstance(query, Embeddings) else None
            judged.append((one_vector(query, self._store.record), modality, hit.modality, hit.score, bool(right)))
        self.put(calibrating.refined(new, judged) if judged else calibrating.renewed(new, old))

    def orders(self, rank_by: str | None, tables: Sequence[Table], calibration: Calibration | None) -> bool:
        """Whether the hits of these tables are ordered by probability. Raises StoreError where they cannot be."""
        lacking = [table.name for table in tables if calibration is None or not calibration.covers(table)]
        if rank_by == "probability" and lacking:
            raise StoreError(
                f"{self._store.location}: {', '.join(lacking)} not calibrated, or changed since; "
                "call optimize (binder index optimize), or rank by score"
            )
        return not lacking and (rank_by == "probability" or (rank_by is None and len(tables) > 1))
