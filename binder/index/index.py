"""The index: items and vectors of one space on disk, searched by anything in that space.

Importing this module, opening an index and searching by vector need no torch; encoders are loaded when an item must be
encoded.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder.data.items import listed
from binder.data.sources import collect
from binder.errors import ConfigError, SpaceError, StoreError, renamed
from binder.index import add as adding
from binder.index import maintenance, reembed, search, transfer
from binder.index.add import Added, silent
from binder.index.calibration import NOTE, Kept
from binder.index.hits import Hit
from binder.index.reembed import Moved
from binder.index.store import Record, Store, load_space
from binder.index.table import one_of
from binder.modality import Item
from binder.registry import Registry, registry
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.data.encode import Progress

Location = str | os.PathLike[str]


class Index(contextlib.AbstractContextManager["Index"]):
    """Items of one space, stored on disk.

    index = binder.Index.create("media.idx", space)
    index.add(image="photos/", text=["a beach"], metadata=...)
    index.search(text="rain on a roof", k=10, modalities=["image"], where="license = 'cc'")

    A location is a folder or an object store (s3://bucket/media.idx). Any number of processes can read an index, and
    several can write to it, at the same time. `with Index.open(...) as index:` closes it at the end of the block.
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
        """A new, empty index of that space. Raises StoreError if there is one already, or other files."""
        store = Store(location, storage_options, create=True)
        if store.exists():
            raise StoreError(f"{store.location}: there is already an index; open it, or choose another location")
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
        """An existing index. Raises StoreError if there is none, SpaceError if `space` is another space.

        Without `space`, `load` is called for one when an item must be encoded; by default it loads the anchor and the
        encoders that filled the index.
        """
        return cls(Store(location, storage_options, create=False), space, load)

    def close(self) -> None:
        """Let go of files, connections, memory and encoders. Using the index afterwards raises StoreError."""
        self.store.close()
        self._space = None

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def location(self) -> str:
        return self.store.location

    @property
    def space(self) -> str:
        """The fingerprint of the space."""
        return self.record.space

    def modalities(self) -> list[str]:
        """The modalities that have rows."""
        return self.store.names()

    def __len__(self) -> int:
        return sum(table.count() for table in self.store.tables(None))

    def __repr__(self) -> str:
        tables = [] if self.store.closed else self.store.tables(None)
        counts = ", ".join(f"{t.count()} {t.name}" for t in tables) or ("closed" if self.store.closed else "empty")
        return f"Index({self.location!r}, space {self.space[:8]}: {counts})"

    def add(
        self,
        *sources: str | Path,
        metadata: Any = None,
        names: Sequence[str] | None = None,
        every_s: float | None = None,
        force: bool = False,
        strict: bool = False,
        progress: Progress = silent,
        **items: Any,
    ) -> Added:
        """Add items that are new or have changed. What `progress` has reported is durable; a crash loses the rest.

        One keyword per modality: a folder, a manifest, an item or a list of items; or vectors: Embeddings, an array
        (N, D) of unit length, or an iterator of these, or of pairs (vectors, metadata). `sources` are folders and
        manifests of any modality, and files of vectors (`binder embed`, `export`). `metadata` is for a single modality:
        a mapping of columns, a list of mappings or a data frame, with a row per item. `names` are for items that have
        none. With `every_s`, items with a time axis are added in segments of that many seconds. `force` also encodes
        what looks unchanged. After many calls that add vectors, call `optimize` once.

        Raises the first ItemError if `strict`, else failed items are listed in the result; SpaceError for vectors of
        another space; StoreError if the index cannot be written.
        """
        if (metadata is not None or names is not None) and len(items) + len(sources) != 1:
            raise ConfigError("metadata and names need exactly one modality as a keyword")
        added, began = Added(), time.monotonic()
        options = adding.Options(every_s, force, strict, progress)
        for modality, value in items.items():
            if transfer.are_vectors(value, self.record):
                batches = transfer.batches_of(value, modality, metadata, names, self.record, self._registry)
                added.take(adding.add_vectors(self.store, modality, batches, options))
            else:
                known = self.encoder_space().registry
                own = listed(value, known.get(modality))
                found = collect(own, modality, known) if own else ()
                added.take(adding.add_items(self.store, self.encoder_space(), found, metadata, names, options))
        files = [Path(s) for s in sources if transfer.is_file_of_vectors(Path(s))]
        for path in files:
            for modality, batch in transfer.read(path, self.record):
                added.take(adding.add_vectors(self.store, modality, [batch], options))
        if rest := [s for s in sources if Path(s) not in files]:
            found = collect(rest, None, self.encoder_space().registry, self.encoder_space().encoders)
            added.take(adding.add_items(self.store, self.encoder_space(), found, metadata, names, options))
        spent_s = time.monotonic() - began
        for table in self.store.tables(None):
            maintenance.maintain(table, spent_s=spent_s)
        if added.updated * 10 > len(self):  # the sample behind the calibration may be gone
            self._calibration.put(None)
        return added

    def upsert(self, *sources: str | Path, **more: Any) -> Added:
        """Like `add`, but what looks unchanged is encoded and written again, too."""
        return self.add(*sources, force=True, **more)

    @renamed(to="modalities")
    def delete(self, *, where: str | None = None, modalities: str | Sequence[str] | None = None, **items: Any) -> int:
        """Delete rows by a condition, or items as a keyword per modality: paths, texts or names. Returns how many rows.

        An item is deleted with its segments, a folder with all files below it.
        """
        if (where is None) == (not items):
            raise ConfigError("delete needs a condition (where=), or items as a keyword per modality, not both")
        if where is not None:
            return sum(search.side_by_side(self.store.tables(modalities), lambda table: table.delete(where)))
        deleted = 0
        for modality, value in items.items():
            (table,) = self.store.tables(modality)
            wanted = [value] if isinstance(value, str | Path) or not isinstance(value, Iterable) else list(value)
            deleted += sum(table.delete(one_of("item", names)) for names in search.named(table, wanted))
        return deleted

    @renamed(to="modalities", group="per_item")
    def search(
        self,
        query: Embeddings | Vectors | Sequence[Embeddings | Vectors] | None = None,
        *,
        k: int = 10,
        modalities: str | Sequence[str] | None = None,
        where: str | None = None,
        mode: search.Mode = "vector",
        rank_by: search.RankBy | None = None,
        exact: bool = False,
        per_item: bool = False,
        collapse: float | None = None,
        vectors: bool = False,
        **items: Item | Iterable[Item],
    ) -> list[Any]:
        """The k best hits, best first, for a vector (such as a sum) or for one item as a keyword: a list of `Hit`.

        For several vectors (N, D) or a list of N items, a list of N such lists: the same hits as one by one, in one
        pass over the index. (1, D) is one vector; a list of one item is a list.

        `modalities` are those to search, by default all. `where` is a condition on metadata in SQL, such as
        "license = 'cc' AND seconds < 30". `mode` "text" looks the words of `text=` up in the text and metadata of the
        items; "hybrid" does both and fuses the ranks. `rank_by` "probability" orders hits of several modalities by what
        their cosines mean, "score" by the cosines themselves, which favor the query's own modality; the default is
        probability if all searched modalities are calibrated (see `calibrate`). `exact` compares all vectors one by
        one. `per_item` gives one hit per item, with its segments in `others`; `collapse` (a cosine) one hit for those
        nearer to each other than that. `vectors` includes each hit's vector.

        Raises SpaceError for a vector of another space or not of unit length, StoreError for a condition that cannot
        be read, ConfigError for arguments that do not fit together.
        """
        options = search.Options(
            k, where, mode, rank_by, exact=exact, per_item=per_item, collapse=collapse, vectors=vectors
        )
        tables = self.store.tables(modalities)
        asked = search.queries_of(
            query, items, mode, self.record, lambda **items: self.encoder_space().for_queries().embed(**items)
        )
        found = search.run(tables, asked, options, self._calibration)
        return found[0] if asked.one else found

    @renamed(to="modalities", group="per_item")
    def similar(self, item: str | Path, *, modality: str | None = None, **how: Any) -> list[Hit]:
        """The hits near an item of the index (given by path, text or name), without the item itself.

        Takes the arguments of `search`. Raises StoreError if the item is not in the index.
        """
        k = how.pop("k", 10)
        z, names = search.vector_of(self.store.tables(modality), item)
        found = self.search(Embeddings(z[None], self.space), k=k + len(names), **how)
        return [hit for hit in found if (hit.modality, hit.item) not in names][:k]

    @renamed(to="modalities")
    def near_duplicates(
        self, cosine: float = 0.95, *, modalities: str | Sequence[str] | None = None, progress: Progress = silent
    ) -> list[list[Hit]]:
        """Groups of items of one modality whose vectors are that near to each other, the largest first.

        Compares all pairs: 100,000 items take a minute. A hit's score is its cosine to the first of its group.
        """
        tables = self.store.tables(modalities)
        return [group for table in tables for group in maintenance.near_duplicates(table, cosine, progress)]

    @renamed(keep_s="keep_versions_s")
    def optimize(self, keep_versions_s: float = maintenance.KEEP_S) -> None:
        """Join small files, extend the search indexes, calibrate, delete versions older than so many seconds."""
        self.calibrate()
        for table in self.store.tables(None):
            maintenance.maintain(table, force=True, keep_s=keep_versions_s)

    def calibrate(self, pairs: Iterable[tuple[Embeddings | Vectors, Hit, bool]] | None = None) -> None:
        """Learn from a sample of each modality what cosines mean, for `Hit.probability` and `rank_by`.

        No labels are needed. `pairs` of a query and one of its hits, judged right (True) or wrong, improve it: judge
        the first hits of some queries in every modality, ten or more of each. They remain valid when the index is
        optimized. Modalities with fewer than 20 rows are left out.

        Raises SpaceError for a query of another space, StoreError for a hit of a modality that is not calibrated.
        """
        self._calibration.renew(self.store.tables(None), pairs)

    def info(self) -> dict[str, Any]:
        """What the index holds, as plain values."""
        return maintenance.info(self.store, self.record, self.store.tables(None), self._calibration.now())

    def verify(self, *, files: bool = False, progress: Progress = silent) -> list[str]:
        """Read everything. Returns one line per problem. With `files`, also compares the files with what was added."""
        return maintenance.verify(self.record, self.store.tables(None), files, progress)

    @renamed(to="modalities")
    def export(self, path: str | Path, *, modalities: str | Sequence[str] | None = None) -> int:
        """Write all rows to one .parquet or .arrow file, which `add` reads. Returns how many. Raises StoreError."""
        return transfer.write(Path(path), self.store.tables(modalities), self.record)

    def reembed(
        self,
        out: Location,
        space: Binder,
        *,
        modalities: str | Sequence[str] | None = None,
        strict: bool = False,
        progress: Progress = silent,
        storage_options: Mapping[str, str] | None = None,
    ) -> Moved:
        """Encode the items again in another space, and write them into a new index at `out`; this one is only read.

        The items keep their names, texts, metadata and lengths of segments. Called again with the same `out`, it goes
        on where it was, and takes what is new or has changed. `space` may be that of this index, which makes its
        vectors anew. If this index is calibrated, so is the new one.

        Items whose file is gone or unreadable, that came as vectors with no more than a name, or that `space` cannot
        encode are counted in `left`, and listed in `failed`, the first 10,000 of them; with `strict`, the first raises
        ItemError. Raises StoreError if `out` is this index, or holds anything but an index that was made from it in
        that space.
        """
        tables = self.store.tables(modalities)
        made = Index(reembed.target(self.store, out, space, storage_options), space)
        moved = reembed.move(tables, made.store, space, adding.Options(None, False, strict, progress))
        if self.store.note(NOTE) or made.store.note(NOTE):
            made.calibrate()
        return moved

    def encoder_space(self) -> Binder:
        """The Binder that encodes items: the one given, or one of the anchor and encoders that filled the index.

        Raises StoreError if only vectors were ever added to the index.
        """
        self.store.check_open()
        if self._space is None:
            try:
                loaded = self._load(self.record)
            except SpaceError as error:
                raise SpaceError(f"{error}; {reembed.advice(self.location)}") from None
            self._attach(loaded)
        assert self._space is not None
        return self._space

    @property
    def _registry(self) -> Registry:
        """The plugins of the space; of an index that has not loaded it, those of this process."""
        return self._space.registry if self._space is not None else registry()

    def _attach(self, space: Binder) -> None:
        if space.space != self.record.space:
            raise SpaceError(
                f"{self.location}: its space is {self.record.space[:8]} (anchor {self.record.anchor}), "
                f"not {space.space[:8]} (anchor {space.anchor.name}); they cannot be compared; "
                f"{reembed.advice(self.location, space.anchor.name)}"
            )
        self._space = space
        encoders = {**self.record.encoders, **space.runs}
        if encoders != self.record.encoders or self.record.anchor is None:
            update = {"encoders": encoders, "anchor": self.record.anchor or space.anchor.name}
            self.record = self.record.model_copy(update=update)
            with contextlib.suppress(StoreError):  # a read-only index: then it holds for this object only
                self.store.record = self.record
