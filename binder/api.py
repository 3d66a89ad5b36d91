"""The facade: one anchor's space, the encoders aligned to it, embedding and zero-shot classification.

Shapes: N items, D embed_dim, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from binder import anchor as anchors
from binder import checkpoint, encode, evaluate, hub, manifest, vectors
from binder.alignment import pick_device
from binder.embeddings import Embeddings
from binder.encode import Progress, silent
from binder.encoder import Encoder, Span
from binder.errors import ConfigError, ItemError, PluginError
from binder.manifest import Row
from binder.modality import Item
from binder.plugins import registry


@dataclass(frozen=True)
class Classification:
    """What a zero-shot classifier says of one item."""

    item: str
    label: str  # the most probable one
    score: float  # its probability among the labels given
    scores: dict[str, float]  # of every label, summing to 1


class Binder:
    """The space of one anchor.

    space = binder.Binder("mini").load("runs/gestures")
    z = space.embed(image=["seven.png"])   # Embeddings (1, D); so with every modality that is loaded
    z = space.image("seven.png")           # the same
    """

    def __init__(
        self,
        anchor: str | anchors.Anchor = "mini",
        *,
        device: str = "auto",
        workers: int = 0,
        batch_size: int = 64,
    ) -> None:
        where = pick_device(device)
        self.anchor = anchors.load(anchor, where) if isinstance(anchor, str) else anchor.to(where)
        self.workers, self.batch_size = workers, batch_size
        self.encoders: dict[str, Encoder] = {}
        self.cards: dict[str, checkpoint.Card] = {}
        self.runs: dict[str, str] = {}  # modality -> where its encoder was loaded from
        for modality in registry().modalities():
            if modality.frozen:
                self.encoders[modality.name] = modality.build(modality.config(), self.anchor)

    @classmethod
    def of(
        cls,
        encoders: str | Path | Sequence[str | Path],
        *,
        anchor: str | None = None,
        device: str = "auto",
        workers: int = 0,
    ) -> Binder:
        """The space that these aligned encoders name, with all of them loaded; without any, `anchor` or mini."""
        encoders = [encoders] if isinstance(encoders, str | Path) else encoders
        if anchor is None:
            anchor = checkpoint.read_card(hub.local(encoders[0])).anchor if encoders else "mini"
        return cls(anchor, device=device, workers=workers).load(encoders)

    @property
    def space(self) -> str:
        """The fingerprint of the space."""
        return self.anchor.fingerprint

    def load(self, run: str | Path | Sequence[str | Path]) -> Binder:
        """Add one aligned encoder or several, each by its run folder or as hf:ORG/NAME; returns self.

        Raises SpaceError for one aligned to another anchor, ConfigError for a second one of the same modality.
        """
        for folder in [run] if isinstance(run, str | Path) else run:
            aligned = checkpoint.load(hub.local(folder), self.anchor)
            name = aligned.card.modality
            if name in self.cards:
                raise ConfigError(f"{folder}: an encoder for {name!r} is loaded already")
            self.encoders[name], self.cards[name] = aligned.encoder, aligned.card
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
        """Items of one modality -> their unit vectors and the unreadable ones. Raises PluginError: not loaded.

        With `every_s` an item that has a time axis gives a vector, with its span, for each piece so long.
        """
        if every_s is not None:
            return encode.encode_moments(
                self._encoder(modality),
                items,
                every_s,
                batch_size=self.batch_size,
                strict=strict,
                stage=f"encoding {modality}",
                progress=progress,
            )
        return encode.encode(
            self._encoder(modality),
            items,
            keys=keys,
            batch_size=self.batch_size,
            workers=self.workers,
            strict=strict,
            stage=f"encoding {modality}",
            progress=progress,
        )

    def embed(self, *, every_s: float | None = None, **items: Item | Sequence[Item]) -> Embeddings:
        """One keyword named after a modality, one item or a list -> Embeddings (N, D) in that order.

        With `every_s`, one row for each piece of so many seconds, named FILE#t=START,END (a media fragment, W3C).
        Raises ItemError for the first item that cannot be read.
        """
        modality, values = _one(items)
        encoded = self.encode(modality, values, every_s=every_s, strict=True)
        spans = encoded.spans or [None] * len(encoded.good)
        names = (_name(values[p]) + _fragment(span) for p, span in zip(encoded.good, spans, strict=True))
        return Embeddings(encoded.vectors, self.space, tuple(names), modality)

    def __getattr__(self, name: str) -> Callable[[Item | Sequence[Item]], Embeddings]:
        if name.startswith("_") or name not in registry().names():
            raise AttributeError(f"Binder has no attribute {name!r}, and no installed modality is called so")
        return lambda items: self.embed(**{name: items})  # type: ignore[arg-type]

    def classify(
        self, labels: Sequence[str], template: str | Sequence[str] = "{}", **items: Item | Sequence[Item]
    ) -> list[Classification]:
        """Zero-shot: which of C labels fits each item best, by the cosine to the labels' prompts.

        `template` holds {} where the label goes; several are averaged. Raises ItemError for an unreadable item.
        """
        modality, values = _one(items)
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
        """The same for vectors that are there already."""
        templates = [template] if isinstance(template, str) else list(template)
        classes_CD = evaluate.class_vectors(
            labels, templates, lambda texts: self.encode("text", texts, strict=True).vectors
        )
        card = self.cards.get(modality)
        scale = card.logit_scale if card else self.anchor.logit_scale
        probabilities = evaluate.softmax(scale * z_ND @ classes_CD.T) if len(z_ND) else np.empty((0, len(labels)))
        return [
            Classification(name, labels[int(p.argmax())], float(p.max()), dict(zip(labels, map(float, p), strict=True)))
            for name, p in zip(names, probabilities, strict=True)
        ]

    def evaluate(
        self, pairs: str | Path | Sequence[Row], *, strict: bool = False, progress: Progress = silent
    ) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        """Retrieval between every two modalities of a manifest that this space can encode.

        Returns the rows that `binder eval` prints, and (file:row, reason) of what could not be read.
        """
        rows = manifest.read(pairs, registry().modalities()) if isinstance(pairs, str | Path) else list(pairs)
        present = [name for name in registry().names() if any(name in row.items for row in rows)]
        usable = [name for name in present if name in self.encoders]
        if len(usable) < 2:
            lacking = [name for name in present if name not in self.encoders]
            hint = f"; no encoder loaded for {', '.join(lacking)}" if lacking else ""
            raise ConfigError(f"{pairs if isinstance(pairs, str | Path) else 'rows'}: fewer than two modalities{hint}")
        sides, problems = {}, []
        for name in usable:

            def embed(items: Sequence[Item], keys: Sequence[bytes], name: str = name) -> encode.Encoded:
                return self.encode(name, items, keys=keys, strict=strict, progress=progress)

            sides[name], bad = evaluate.side(evaluate.column(rows, name, strict), embed)
            problems += [(where, str(error)) for where, error in bad]
        return evaluate.retrieval_rows(sides, self.trained_together), problems

    def trained_together(self, a: str, b: str) -> bool:
        """Whether some training saw pairs of these two: the anchor's own, or an encoder against one of the anchor's."""
        if {a, b} == {"image", "text"}:
            return True
        return any(x in self.cards and y in self.cards[x].trained_against for x, y in ((a, b), (b, a)))

    def _encoder(self, modality: str) -> Encoder:
        if modality not in self.encoders:
            registry().get(modality)
            loaded = ", ".join(self.encoders)
            raise PluginError(f"no aligned encoder for {modality!r} is loaded (loaded: {loaded}); give its run folder")
        return self.encoders[modality]


def _one(items: dict[str, Any]) -> tuple[str, list[Item]]:
    if len(items) != 1:
        raise ConfigError(f"give exactly one modality as a keyword, got {', '.join(items) or 'none'}")
    ((modality, values),) = items.items()
    registry().get(modality)
    as_list = list(values) if isinstance(values, list) else [values]
    if not as_list:
        raise ItemError(modality, "an empty list of items")
    inline = registry().get(modality).inline
    return modality, [Path(v) if isinstance(v, str) and not inline else v for v in as_list]


def _fragment(span: Span | None) -> str:
    return f"#t={span.start_s:.12g},{span.end_s:.12g}" if span else ""


def _name(item: Item) -> str:
    return str(item) if isinstance(item, str | Path) else f"<{type(item).__name__}>"
