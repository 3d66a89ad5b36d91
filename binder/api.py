"""`Binder`: one anchor's space with the encoders aligned to it, for embedding, classification and evaluation.

Shapes: N items, D embed_dim, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from binder import readers
from binder.anchors.base import Anchor
from binder.anchors.trunk import Trunk
from binder.artifact import hub, run_folder, whole
from binder.data import encode, manifest
from binder.data.columns import column_of, encoded_side
from binder.data.encode import Progress, silent
from binder.data.items import listed
from binder.data.manifest import Row
from binder.devices import pick_device
from binder.encoder import Encoder
from binder.errors import ConfigError, ManifestError, PluginError, SpaceError
from binder.evaluation import zero_shot
from binder.evaluation.retrieval import comparable, retrieval_rows
from binder.evaluation.zero_shot import Classification
from binder.modality import Item
from binder.registry import Registry
from binder.registry import registry as installed
from binder.space import vectors
from binder.space.embeddings import Embeddings
from binder.space.segments import fragment


class Binder:
    """The space of one anchor, with the encoders that are loaded into it.

    space = binder.Binder("mini").load("runs/gestures")
    z = space.embed(image=["seven.png"])   # Embeddings (1, D); likewise for every loaded modality
    z = space.image("seven.png")           # the same
    """

    def __init__(
        self,
        anchor: str | Anchor = "mini",
        *,
        prompt: str | None = None,
        device: str = "auto",
        workers: int = 0,
        batch_size: int = 64,
        registry: Registry | None = None,
    ) -> None:
        """The space of an anchor: its name, or one that is loaded already.

        `prompt` names the instruction that texts are given, of an anchor that has such; `registry` holds the plugins,
        by default all that are installed.
        """
        readers.check_workers(workers)
        if workers:
            readers.warm(["binder.anchors.openclip", "open_clip"])  # in parallel with this process
        where = pick_device(device)
        self.registry = registry or installed()
        self._own_plugins = self.registry is not installed()
        self._own_anchor = not isinstance(anchor, str)
        loaded = self.registry.load_anchor(anchor, where) if isinstance(anchor, str) else anchor.to(where)
        self.anchor: Anchor = loaded if prompt is None else loaded.with_prompt(prompt)
        self.workers, self.batch_size = workers, batch_size
        self._towers = dict(self.anchor.towers)
        self.encoders: dict[str, Encoder] = dict(self._towers)
        self.cards: dict[str, run_folder.Card] = {}
        self.trunk: str | None = None
        self.runs: dict[str, str] = {}  # modality -> where its encoder was loaded from
        self._loaded: dict[str, tuple[str | None, int]] = {}  # modality -> its trunk's new location, version of weights

    @classmethod
    def of(
        cls,
        encoders: str | Path | Sequence[str | Path],
        *,
        anchor: str | None = None,
        prompt: str | None = None,
        trunk: str | None = None,
        device: str = "auto",
        workers: int = 0,
    ) -> Binder:
        """The space of these aligned encoders, with all of them loaded; without any, the space of `anchor` or mini.

        `anchor` and `trunk` are the new locations of those that the encoders were trained with, if they were moved;
        `prompt` names the anchor's instruction for texts.
        """
        encoders = [encoders] if isinstance(encoders, str | Path) else encoders
        if anchor is None:
            anchor = run_folder.read_card(hub.local(encoders[0])).anchor if encoders else "mini"
        return cls(anchor, prompt=prompt, device=device, workers=workers).load(encoders, trunk=trunk)

    def __repr__(self) -> str:
        own = [f"{name} from {self.runs.get(name, 'memory')}" for name in self.encoders if name not in self._towers]
        loaded = f"; loaded: {', '.join(own)}" if own else ""
        towers = ", ".join(self._towers)
        return f"Binder(anchor {self.anchor.name}, space {self.space[:8]}: {towers}{loaded}; on {self.device})"

    def __reduce__(self) -> Any:
        """Pickles the names of the anchor and of the run folders, not the weights.

        Raises ConfigError for what these do not bring back: an anchor or an encoder made in memory, an encoder whose
        weights were changed, plugins that were handed in.
        """
        if self._own_plugins:
            raise ConfigError("a Binder cannot be pickled: its plugins were handed in, not installed (registry=)")
        own = {name: encoder for name, encoder in self.encoders.items() if self._towers.get(name) is not encoder}
        whole.check_encoders(own, self.runs, {name: version for name, (_, version) in self._loaded.items()})
        if self._own_anchor:
            whole.check_anchor(self.anchor, self.registry)
        runs = [(folder, self._loaded[name][0]) for name, folder in self.runs.items()]
        how: dict[str, Any] = {"prompt": self.anchor.prompt, "device": str(self.device)}
        how |= {"workers": self.workers, "batch_size": self.batch_size}
        return _unpickled, (self.anchor.name, self.space, runs, how)

    def for_queries(self) -> Binder:
        """The same space, whose texts are encoded as what is asked, where the anchor makes a difference."""
        anchor = self.anchor.for_queries()
        if anchor is self.anchor:
            return self
        other = object.__new__(Binder)  # `copy` would load everything again
        towers = dict(anchor.towers)
        other.__dict__.update(self.__dict__, anchor=anchor, encoders={**self.encoders, **towers}, _towers=towers)
        return other

    def to(self, device: str | torch.device) -> Binder:
        """Move the anchor and all encoders, in place, to 'cpu', 'cuda', 'cuda:1', 'mps' or 'auto'; returns self.

        An anchor or encoder that another Binder shares moves there, too. Raises ConfigError where it is not available.
        """
        where = pick_device(str(device))
        versions = {name: whole.version(encoder) for name, encoder in self.encoders.items()}
        self.anchor = self.anchor.to(where)
        for encoder in self.encoders.values():
            encoder.to(where)
            for held in [value for module in encoder.modules() for value in vars(module).values()]:
                if isinstance(held, Trunk | Anchor):  # no Modules, so that they stay out of the encoder's weights
                    held.model.to(where)
        for name, (trunk, version) in self._loaded.items():  # moving is no change
            moved = whole.version(self.encoders[name]) - versions[name]
            self._loaded[name] = trunk, version + moved
        return self

    @property
    def device(self) -> torch.device:
        """Where the anchor and the encoders are."""
        return self.anchor.device

    @property
    def space(self) -> str:
        """The fingerprint of the space."""
        return self.anchor.fingerprint

    def load(self, run: str | Path | Sequence[str | Path], *, trunk: str | None = None) -> Binder:
        """Load one or several aligned encoders, each given by its run folder or as hf:ORG/NAME; returns self.

        `trunk` is the new location of the encoders' pretrained trunk, if it was moved.

        Raises SpaceError for an encoder aligned to another anchor, ConfigError for a second one of the same modality.
        """
        for folder in [run] if isinstance(run, str | Path) else run:
            aligned = run_folder.load(hub.local(folder), self.anchor, self.registry, trunk=trunk)
            name = aligned.card.modality
            if name in self.cards:
                raise ConfigError(f"{folder}: an encoder for {name!r} is loaded already")
            if name in self.encoders:
                raise ConfigError(
                    f"{folder}: an encoder for {name!r}, which anchor {self.anchor.name} encodes itself; align one "
                    "beside it under a name of its own (--as-new)"
                )
            if aligned.card.kind:
                self.registry = self.registry.with_name(name, aligned.card.kind)
            self.encoders[name], self.cards[name] = aligned.encoder, aligned.card
            self.trunk = trunk or self.trunk
            self._loaded[name] = trunk, whole.version(aligned.encoder)
            self.runs[name] = str(folder) if str(folder).startswith(hub.PREFIX) else str(Path(folder).absolute())
        return self

    def encode(
        self,
        modality: str,
        items: Sequence[Item],
        *,
        keys: Sequence[bytes] | None = None,
        every_s: float | None = None,
        strict: bool = False,
        progress: Progress = silent,
    ) -> encode.Encoded:
        """Items of one modality -> unit vectors of those that can be read, and the errors of the others.

        With `every_s`, an item with a time axis is cut into segments of this length, each with a vector and a span.
        Raises PluginError if no encoder of that modality is loaded.
        """
        self._warn_unknown_words(modality, items)
        encoder, how = self._encoder(modality), {"batch_size": self.batch_size, "workers": self.workers}
        told: dict[str, Any] = {**how, "strict": strict, "stage": f"encoding {modality}", "progress": progress}
        if every_s is not None:
            encoded = encode.encode_segments(encoder, items, every_s, **told)
        else:
            encoded = encode.encode(encoder, items, keys=keys, **told)
        if not encoded.good:
            encoded.vectors = np.empty((0, self.anchor.embed_dim), np.float32)
        return encoded

    def embed(self, *, every_s: float | None = None, **items: Item | Iterable[Item]) -> Embeddings:
        """One keyword, the name of a modality, with one or several items -> Embeddings (N, D) in that order.

        An item is a path, a text, bytes, an open file, an array or whatever else the modality reads; several items are
        any collection of these: a list, a column of a data frame, a generator, a stack of pictures. None give (0, D).

        With `every_s`, there is a row per segment of so many seconds, named FILE#t=START,END (a W3C media fragment).
        Raises ItemError for the first item that cannot be read.
        """
        modality, values = self._one(items)
        encoded = self.encode(modality, values, every_s=every_s, strict=True)
        names = [_name(values[p]) for p in encoded.good]
        if encoded.spans:
            segments = [fragment(span.start_s, span.end_s) if span else "" for span in encoded.spans]
            names = [name + segment for name, segment in zip(names, segments, strict=True)]
        return Embeddings(encoded.vectors, self.space, tuple(names), modality, self.anchor.name)

    def __getattr__(self, name: str) -> Callable[[Item | Sequence[Item]], Embeddings]:
        if name.startswith("_") or name not in (self.__dict__.get("registry") or installed()).names():
            raise AttributeError(f"Binder has no attribute {name!r}, and there is no installed modality of that name")
        return lambda items: self.embed(**{name: items})  # type: ignore[arg-type]

    def classify(
        self, labels: Sequence[str], template: str | Sequence[str] = "{}", **items: Item | Sequence[Item]
    ) -> list[Classification]:
        """Zero-shot classification: which of C labels fits each item best, by cosine to the labels' prompts.

        `template` is the prompt with {} in place of the label; several are averaged. Raises ItemError for an item that
        cannot be read.
        """
        modality, values = self._one(items)
        z_ND = self.encode(modality, values, strict=True).vectors
        return self.classify_vectors(z_ND, [_name(v) for v in values], modality, labels, template)

    def classify_vectors(
        self,
        z_ND: vectors.Vectors,
        names: Sequence[str],
        modality: str,
        labels: Sequence[str],
        template: str | Sequence[str] = "{}",
    ) -> list[Classification]:
        """The same for vectors that are already computed."""
        templates = [template] if isinstance(template, str) else list(template)
        classes_CD = zero_shot.class_vectors(
            labels, templates, lambda texts: self.encode("text", texts, strict=True).vectors
        )
        zero_shot.warn_same_labels(labels, classes_CD, self.anchor.name)
        card = self.cards.get(modality)
        scale = card.logit_scale if card else self.anchor.logit_scale
        return zero_shot.classified(z_ND, names, labels, classes_CD, scale)

    def evaluate(
        self,
        pairs: str | Path | Iterable[Row | Mapping[str, Any]],
        *,
        modality: str | None = None,
        strict: bool = False,
        progress: Progress = silent,
    ) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        """Retrieval between every two modalities of a manifest that this space can encode.

        `pairs` is a manifest, a folder with a subfolder per class (of `modality`, if suffixes do not say), or rows as
        mappings. Returns the rows that `binder eval` prints, and (file:row, reason) of items that could not be read.
        Raises ManifestError if there is nothing to compare.
        """
        known = self.registry.modalities()
        if isinstance(pairs, str | Path):
            rows, name = manifest.read(pairs, known, modality, strict), str(pairs)
        else:
            given = list(pairs)
            ours = [row for row in given if isinstance(row, Row)]
            rows, name = ours or manifest.read([row for row in given if not isinstance(row, Row)], known), "rows"
        for own, card in self.cards.items():
            if card.kind:
                rows = manifest.with_name(rows, own, card.kind)
        usable = comparable(rows, name, self.registry.names(), self.encoders)
        sides, problems = {}, []
        for own in usable:

            def embed(items: Sequence[Item], keys: Sequence[bytes], own: str = own) -> encode.Encoded:
                return self.encode(own, items, keys=keys, strict=strict, progress=progress)

            sides[own], bad = encoded_side(column_of(rows, own, strict), embed)
            problems += [(where, str(error)) for where, error in bad]
        found = retrieval_rows(sides, self.trained_together)
        if not found:
            why = f"; the first problem: {': '.join(problems[0])}" if problems else ": no row has two of them"
            raise ManifestError(f"{name}: nothing to compare among {len(rows)} rows of {', '.join(usable)}{why}")
        return found, problems

    def trained_together(self, a: str, b: str) -> bool:
        """Whether pairs of these two modalities were trained on: by the anchor, or by one of the loaded encoders."""
        if {a, b} <= set(self.anchor.towers):
            return True
        return any(x in self.cards and y in self.cards[x].trained_against for x, y in ((a, b), (b, a)))

    def _warn_unknown_words(self, modality: str, items: Sequence[Item]) -> None:
        """Warn about words in texts that the anchor does not know."""
        kind = self.registry.get(modality)
        if kind.inline and modality in self.anchor.towers:
            self.anchor.warn_unknown([item for item in items if isinstance(item, str)])

    def _one(self, items: dict[str, Any]) -> tuple[str, list[Item]]:
        """The only modality of the keywords, and its items as a list."""
        if len(items) != 1:
            raise ConfigError(f"give exactly one modality as a keyword, got {', '.join(items) or 'none'}")
        ((modality, values),) = items.items()
        return modality, listed(values, self.registry.get(modality))

    def _encoder(self, modality: str) -> Encoder:
        if modality not in self.encoders:
            self.registry.get(modality)
            loaded = ", ".join(self.encoders)
            raise PluginError(f"no aligned encoder for {modality!r} is loaded (loaded: {loaded}); give its run folder")
        return self.encoders[modality]


def _unpickled(anchor: str, space: str, runs: Sequence[tuple[str, str | None]], how: dict[str, Any]) -> Binder:
    """Rebuild a pickled Binder. Raises SpaceError where the anchor's name means another model now."""
    made = Binder(anchor, **how)
    if made.space != space:
        raise SpaceError(f"pickled in space {space[:8]}, but anchor {anchor!r} is of space {made.space[:8]} here")
    for run, trunk in runs:
        made.load(run, trunk=trunk)
    return made


def _name(item: Item) -> str:
    return str(item) if isinstance(item, str | Path) else f"<{type(item).__name__}>"
