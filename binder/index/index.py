"""The index: items and vectors of one space on disk, searched by anything of that space.

Importing it, opening one and searching by vector need no torch; encoders are loaded when an item must be encoded.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from binder.data.sources import Found, collect, listed
from binder.errors import ConfigError, SpaceError, StoreError, renamed
from binder.index import add as adding
from binder.index import given, inspection, transfer
from binder.index.add import Added
from binder.index.hits import Hit, without_vector
from binder.index.kept import Kept
from binder.index.record import Record, load_space
from binder.index.searching import Query, run, side_by_side
from binder.index.store import Store
from binder.index.table import one_of
from binder.index.upkeep import KEEP_S, maintain
from binder.modality import Item
from binder.registry import registry
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.data.encode import Progress

Mode = Literal["vector", "text", "hybrid"]
RankBy = Literal["score", "probability"]
Location = str | os.PathLike[str]


def _silent(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


class Index:
    """Items of one space, kept on disk.

    index = binder.Index.create("media.idx", space)
    index.add(image="photos/", text=["a beach"], metadata=...)
    index.search(text="rain on a roof", k=10, modalities=["image"], where="license = 'cc'")

    A location is a folder, or an object store (s3://bucket/media.idx). Any number of processes may read it, and several
    write it, at the same time.
    """

    def __init__(
        self, store: Store, space: Binder | None = None, load: Callable[[Record], Binder] | None = None
    ) -> None:
        self.store = store
        self.record = store.record
        self._load = load or load_space
        self._space: Binder | None = None
        self._calibration = Kept(store)
        if space is not None:
            self._attach(space)

    @classmethod
    def create(
        cls, location: Location, space: Binder | Embeddings, *, storage_options: Mapping[str, str] | None = None
    ) -> Index:
        """A new, empty index of that space. Raises StoreError where there is one, or other files."""
        store = Store(location, storage_options, create=True)
        if store.exists():
            raise StoreError(f"{store.location}: there is an index already; choose another place, or open it")
        if isinstance(space, Embeddings):
            store.record = Record.new(space.space, space.vectors.shape[1])
            return cls(store)
        store.record = Record.new(space.space, space.anchor.embed_dim, space.anchor.name)
        return cls(store, space)

    @classmethod
    def open(
        cls,
        location: Location,
        space: Binder | None = None,
        *,
        load: Callable[[Record], Binder] | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> Index:
        """An index that is there. Raises StoreError where there is none, SpaceError where `space` is another.

        Without `space`, `load` gives it when an item must be encoded: by default the anchor and the encoders that
        filled the index.
        """
        return cls(Store(location, storage_options, create=False), space, load)

    @property
    def location(self) -> str:
        return self.store.location

    @property
    def space(self) -> str:
        """The fingerprint of the space."""
        return self.record.space

    def modalities(self) -> list[str]:
        """Those of which there are rows."""
        return self.store.names()

    def __len__(self) -> int:
        return sum(table.count() for table in self.store.tables(None))

    def __repr__(self) -> str:
        counts = ", ".join(f"{table.count()} {table.name}" for table in self.store.tables(None)) or "empty"
        return f"Index({self.location!r}, space {self.space[:8]}: {counts})"

    def add(
        self,
        *sources: str | Path,
        metadata: Any = None,
        names: Sequence[str] | None = None,
        every_s: float | None = None,
        force: bool = False,
        strict: bool = False,
        progress: Progress = _silent,
        **items: Any,
    ) -> Added:
        """Add items, whatever is new or has changed: what was reported to `progress` is safe, a crash loses the rest.

        A keyword per modality: a folder, a manifest, an item or a list of items; or vectors: Embeddings, an array
        (N, D) of unit length, or an iterator of these, or of pairs with metadata. `sources` are folders and manifests
        of any modality, and files of vectors (`binder embed`, `export`). `metadata` goes with a single modality: a
        mapping of columns, a list of mappings or a data frame, a row for each item. `names` are for items that have
        none. With `every_s`, items with a time axis are added in pieces so long. `force` encodes what looks unchanged,
        too. After many calls that add vectors, `optimize` once.

        Raises the first ItemError if `strict`, else failed items are listed in the result; SpaceError for vectors of
        another space; StoreError where the index cannot be written.
        """
        if (metadata is not None or names is not None) and len(items) + len(sources) != 1:
            raise ConfigError("metadata and names need exactly one modality as a keyword")
        added, began = Added(), time.monotonic()
        how: dict[str, Any] = {"every_s": every_s, "force": force, "strict": strict, "progress": progress}
        for modality, value in items.items():
            if given.are_vectors(value, self.record):
                batches = given.vector_batches(value, modality, metadata, names, self.record)
                added.take(adding.add_vectors(self.store, modality, batches, force=force, progress=progress))
            else:
                given_items = listed(value, registry().get(modality).inline)
                added.take(self._encoded(collect(given_items, modality), metadata, names, **how))
        files = [Path(s) for s in sources if transfer.is_vectors(Path(s))]
        for path in files:
            for modality, batch in transfer.read(path, self.record):
                added.take(adding.add_vectors(self.store, modality, [batch], force=force, progress=progress))
        if rest := [s for s in sources if Path(s) not in files]:
            added.take(self._encoded(collect(rest, None, self.encoder_space().encoders), metadata, names, **how))
        spent_s = time.monotonic() - began
        for table in self.store.tables(None):
            maintain(table, spent_s=spent_s)
        if added.updated * 10 > len(self):  # other vectors of the same items: what was sampled is there no longer
            self._calibration.put(None)
        return added

    def upsert(self, *sources: str | Path, **more: Any) -> Added:
        """As `add`, but what looks unchanged is encoded and written again, too."""
        return self.add(*sources, force=True, **more)

    @renamed(to="modalities")
    def delete(self, *, where: str | None = None, modalities: str | Sequence[str] | None = None, **items: Any) -> int:
        """Delete by condition, or items by a keyword per modality: paths, texts or names. Returns how many rows.

        Pieces go with their item; a folder's path takes all files below it.
        """
        if (where is None) == (not items):
            raise ConfigError("delete needs a condition (where=), or items as a keyword per modality, not both")
        if where is not None:
            return sum(side_by_side(self.store.tables(modalities), lambda table: table.delete(where)))
        deleted = 0
        for modality, value in items.items():
            (table,) = self.store.tables(modality)
            listed = [value] if isinstance(value, str | Path) or not isinstance(value, Iterable) else list(value)
            deleted += sum(table.delete(one_of("item", some)) for some in inspection.named(table, listed))
        return deleted

    @renamed(to="modalities", group="per_item")
    def search(
        self,
        query: Embeddings | Vectors | None = None,
        *,
        k: int = 10,
        modalities: str | Sequence[str] | None = None,
        where: str | None = None,
        mode: Mode = "vector",
        rank_by: RankBy | None = None,
        exact: bool = False,
        per_item: bool = False,
        collapse: float | None = None,
        vectors: bool = False,
        **items: Item,
    ) -> list[Hit]:
        """The k best hits, best first, for a vector (a sum, for instance) or for one item as a keyword.

        `modalities` are those searched, all by default; `where` is a condition on metadata in SQL, as
        "license = 'cc' AND seconds < 30". `mode` "text" looks the words of `text=` up in what is written beside the
        items, "hybrid" does both and fuses the ranks. `rank_by` "probability" orders the hits of several modalities by
        what their cosines mean, "score" by the cosines themselves, which prefer the query's own modality; by default
        the former where all that are searched are calibrated (see `calibrate`). `exact` compares all vectors one by
        one. `per_item` gives one hit per item with its pieces in `others`; `collapse` (a cosine) one hit of those that
        lie nearer to each other. `vectors` puts each hit's vector into it.

        Raises SpaceError for a vector of another space or not of unit length, StoreError for a condition that cannot
        be read, ConfigError for anything else that does not fit together.
        """
        given.check_search(k, mode, rank_by)
        words = given.words_of(mode, query, items)
        z_D = None if mode == "text" else self._query(query, items if query is None or mode == "vector" else {})
        modality = query.modality if isinstance(query, Embeddings) else next(iter(items)) if query is None else None
        tables, calibration = self.store.tables(modalities), None if mode == "text" else self._calibration.now()
        asked = Query(
            z_D,
            words,
            where,
            exact,
            vectors or collapse is not None,
            modality,
            calibration,
            self._calibration.orders(rank_by, tables, calibration),
        )
        hits = run(tables, asked, k, group=per_item, collapse=collapse)
        return hits if vectors or not asked.vectors else [without_vector(hit) for hit in hits]

    @renamed(to="modalities", group="per_item")
    def similar(self, item: str | Path, *, modality: str | None = None, **how: Any) -> list[Hit]:
        """What lies near an item of the index (by its path, text or name), which itself is left out.

        Takes what `search` takes. Raises StoreError where the index does not hold it.
        """
        k = how.pop("k", 10)
        z, names = inspection.vector_of(self.store.tables(modality), item)
        found = self.search(Embeddings(z[None], self.space), k=k + len(names), **how)
        return [hit for hit in found if (hit.modality, hit.item) not in names][:k]

    @renamed(to="modalities")
    def near_duplicates(
        self, cosine: float = 0.95, *, modalities: str | Sequence[str] | None = None, progress: Progress = _silent
    ) -> list[list[Hit]]:
        """Groups of items of one modality whose vectors lie that near to each other, the largest first.

        Compares all with all: 100,000 items take a minute. A hit's score is its cosine to the first of its group.
        """
        from binder.index.duplicates import groups

        return [group for table in self.store.tables(modalities) for group in groups(table, cosine, progress)]

    @renamed(keep_s="keep_versions_s")
    def optimize(self, keep_versions_s: float = KEEP_S) -> None:
        """Put small files together, extend the indexes, calibrate, delete versions older than so many seconds."""
        self.calibrate()
        for table in self.store.tables(None):
            maintain(table, force=True, keep_s=keep_versions_s)

    def calibrate(self, pairs: Iterable[tuple[Embeddings | Vectors, Hit, bool]] | None = None) -> None:
        """Learn what cosines mean from a sample of each modality, for `Hit.probability` and `rank_by`.

        It needs no label. `pairs` of a query and a hit that it found, judged right (True) or wrong, make it better:
        judge the first hits of some queries in every modality, ten or more of each. They stay in force when the index
        is optimized. Modalities of fewer than 20 rows are left out.

        Raises SpaceError for a query of another space, StoreError for a hit of a modality that is not calibrated.
        """
        self._calibration.renew(self.store.tables(None), pairs)

    def info(self) -> dict[str, Any]:
        """What the index holds, as plain values."""
        return inspection.info(self.store, self.record, self.store.tables(None), self._calibration.now())

    def verify(self, *, files: bool = False, progress: Progress = _silent) -> list[str]:
        """Read everything; what is wrong, one line each, [] where nothing is. With `files`, also their contents."""
        return inspection.verify(self.record, self.store.tables(None), files, progress)

    @renamed(to="modalities")
    def export(self, path: str | Path, *, modalities: str | Sequence[str] | None = None) -> int:
        """All rows as one .parquet or .arrow file, which `add` reads again; returns how many. Raises StoreError."""
        return transfer.write(Path(path), self.store.tables(modalities), self.record)

    def encoder_space(self) -> Binder:
        """The Binder that encodes items: the one given, or the anchor and encoders that filled the index.

        Raises StoreError where the index only ever got vectors.
        """
        if self._space is None:
            self._attach(self._load(self.record))
        assert self._space is not None
        return self._space

    def _attach(self, space: Binder) -> None:
        if space.space != self.record.space:
            raise SpaceError(
                f"{self.location}: of space {self.record.space[:8]} (anchor {self.record.anchor}), "
                f"not of {space.space[:8]} (anchor {space.anchor.name}); they cannot be compared"
            )
        self._space = space
        encoders = {**self.record.encoders, **space.runs}
        if encoders != self.record.encoders or self.record.anchor is None:
            update = {"encoders": encoders, "anchor": self.record.anchor or space.anchor.name}
            self.record = self.record.model_copy(update=update)
            with contextlib.suppress(StoreError):  # of an index that may only be read it is known for now
                self.store.record = self.record

    def _encoded(self, found: Iterable[Found], metadata: Any, names: Sequence[str] | None, **how: Any) -> Added:
        said = given.with_metadata(list(found), metadata, self.store)
        return adding.add_items(self.store, self.encoder_space(), said, names, **how)

    def _query(self, query: Embeddings | Vectors | None, items: Mapping[str, Item]) -> Vectors:
        given.check_query(query, items)
        return given.one_vector(self.encoder_space().embed(**items) if query is None else query, self.record)
