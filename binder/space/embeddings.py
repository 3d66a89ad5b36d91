"""Vectors that carry their space and the terms they were summed from, and arithmetic on them. No torch.

Shapes: N rows, M rows of another, K concepts, D embed_dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from binder.errors import SpaceError
from binder.space import vectors as geometry
from binder.space.vectors import Vectors


@dataclass(frozen=True, eq=False)
class Part:
    """A term of a sum."""

    weight: float
    vectors: Vectors  # (N, D) or (1, D), unit length
    items: tuple[str, ...]  # what each row is, or () where it is not known


class Embeddings:
    """Unit vectors (N, D) of one space, which add, subtract and scale; vectors of different spaces do not mix.

    A sum keeps its terms: each is a unit vector times a weight, and only the total is normalized, so that
    `a + b - 0.5 * c` equals `vectors.compose([(1, a), (1, b), (-0.5, c)])` however it is parenthesized. One row
    broadcasts over many. Raises SpaceError for anything but rows of length 1.
    """

    __array_ufunc__ = None  # `array + embeddings` comes to __radd__; NumPy would drop the space

    def __init__(
        self,
        vectors: Any,  # (N, D)
        space: str,  # the anchor's fingerprint
        items: Sequence[str] = (),  # what each row is, to be shown
        modality: str | None = None,
        anchor: str | None = None,  # its name, by which a Binder loads it
    ) -> None:
        z = np.asarray(vectors, dtype=np.float32)
        if z.ndim != 2 or not np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-3):
            raise SpaceError(
                f"expected (N, D) vectors of length 1, got shape {z.shape}; see binder.space.vectors.normalize"
            )
        if len(items) not in (0, len(z)):
            raise SpaceError(f"{len(items)} names for {len(z)} vectors")
        self.space, self.modality, self.anchor = space, modality, anchor
        self.parts: tuple[Part, ...] = (Part(1.0, z, tuple(items)),)
        self._vectors: Vectors | None = z

    @classmethod
    def load(cls, path: str | Path, *, modality: str | None = None) -> Embeddings:
        """The vectors in a file that `save`, `binder embed` or, as .parquet, `binder index export` wrote.

        With `modality`, only those; without, the result has a modality where all rows have the same. Raises
        ManifestError for a file that is missing, damaged or another one, SpaceError where it names no space.
        """
        from binder.space import saved

        return cls(*saved.read(Path(path), modality))

    @classmethod
    def concat(cls, several: Iterable[Embeddings]) -> Embeddings:
        """Embeddings (N, D), (M, D), ... of one space -> (N + M + ..., D), sums as the vectors that they come to.

        The rows have names where all of them had. Raises SpaceError for several spaces, and for none at all.
        """
        given = list(several)
        if not given:
            raise SpaceError("nothing to concatenate: give at least one Embeddings")
        for other in given:
            given[0]._same_space(other)
        held = [z for z in given if len(z)] or given[:1]
        items = [item for z in held for item in z.items]
        z_ND = np.concatenate([z.vectors for z in held])
        kinds, anchors = {z.modality for z in held}, [z.anchor for z in given if z.anchor]
        kind = kinds.pop() if len(kinds) == 1 else None
        return cls(
            z_ND, given[0].space, items if len(items) == len(z_ND) else (), kind, anchors[0] if anchors else None
        )

    def save(self, path: str | Path) -> None:
        """Write vectors, items, modality and space to a .parquet, .csv, .jsonl or .npz, as `binder embed` does.

        `load` reads it, and `binder index add`. Raises ConfigError for another suffix, RunError where it cannot be
        written.
        """
        from binder.space import saved

        saved.write(Path(path), self.vectors, self._row_names(), self.space, self.modality, self.anchor)

    def to_pandas(self) -> Any:
        """A pandas data frame with the columns of the file: item, modality, of segments start_s and end_s, and vector.

        `attrs` has the space and the anchor. Raises ConfigError where pandas is not installed.
        """
        from binder.space import saved

        return saved.frame(self.vectors, self._row_names(), self.space, self.modality, self.anchor)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self), int(self.parts[0].vectors.shape[1])

    @property
    def vectors(self) -> Vectors:
        """(N, D), unit length. Raises SpaceError where the terms cancel out."""
        if self._vectors is None:
            self._vectors = geometry.compose([(part.weight, part.vectors) for part in self.parts])
        return self._vectors

    @property
    def items(self) -> tuple[str, ...]:
        """What each row is, to be shown: ("beach.jpg + waves.wav - 0.5 * people",); () where a term has no name."""
        if len(self.parts) == 1 and self.parts[0].weight == 1:
            return self.parts[0].items
        if not all(part.items for part in self.parts):
            return ()
        columns = [part.items * len(self) if len(part.items) == 1 else part.items for part in self.parts]
        weights = [part.weight for part in self.parts]
        return tuple(_formula(weights, names) for names in zip(*columns, strict=True))

    def __len__(self) -> int:
        return max(len(part.vectors) for part in self.parts)

    def __getitem__(self, index: int | slice | Sequence[int]) -> Embeddings:
        rows = np.atleast_1d(np.arange(len(self))[index])
        return self._of([_taken(part, rows) if len(part.vectors) == len(self) else part for part in self.parts])

    def __iter__(self) -> Iterator[Embeddings]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A copy, which may be written to; with `copy=False` the vectors themselves, ValueError for another dtype."""
        if copy is False and dtype is not None and np.dtype(dtype) != self.vectors.dtype:
            raise ValueError(f"a copy is needed to make {np.dtype(dtype)} of {self.vectors.dtype}")
        return self.vectors if copy is False else np.array(self.vectors, dtype=dtype)

    def __dlpack__(self, **how: Any) -> Any:
        """For `torch.as_tensor`, which would take a sequence of Embeddings for a list of lists otherwise."""
        return np.asarray(self).__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU

    def __add__(self, other: Embeddings) -> Embeddings:
        return self._sum(other, 1.0)

    def __sub__(self, other: Embeddings) -> Embeddings:
        return self._sum(other, -1.0)

    def __radd__(self, other: object) -> Embeddings:
        if isinstance(other, int) and other == 0:  # the start value of `sum`
            return self
        return self._unsupported(other)

    def __rsub__(self, other: object) -> Embeddings:
        return self._unsupported(other)

    def __mul__(self, weight: float) -> Embeddings:
        """Sets its weight in later sums; by itself it keeps its direction, or reverses it for a negative weight."""
        if not isinstance(weight, Real):
            return self._unsupported(weight)
        if not math.isfinite(weight):
            raise SpaceError(f"a weight of {weight} leaves no direction")
        return self._of([Part(float(weight) * p.weight, p.vectors, p.items) for p in self.parts])

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Embeddings:
        if not isinstance(divisor, Real) or divisor == 0:
            raise SpaceError(f"cannot divide a direction by {divisor!r}")
        return self * (1 / float(divisor))

    def __neg__(self) -> Embeddings:
        return self * -1.0

    def mean(self) -> Embeddings:
        """(N, D) -> (1, D): the direction of the rows' mean. Raises SpaceError where they cancel out."""
        if not len(self):
            raise SpaceError("no vectors, so no mean")
        z = geometry.normalize(self.vectors.mean(0, keepdims=True))
        items = self.items if len(self) == 1 else (f"mean({_listed(self.items)})",) if self.items else ()
        return Embeddings(z, self.space, items, self.modality, self.anchor)

    def slerp(self, other: Embeddings, t: float) -> Embeddings:
        """The point at t (0..1) of the great circle to `other`. Raises SpaceError for opposite vectors."""
        self._fits(other)
        z = geometry.slerp(self.vectors, other.vectors, t)
        items = self._named(other, f"slerp({{}}, {{}}, {t:g})", len(z))
        return Embeddings(z, self.space, items, anchor=self.anchor)

    def project_out(self, concept: Embeddings) -> Embeddings:
        """(N, D) -> (N, D): the K directions of `concept` (K, D) removed, so that the result is orthogonal to each.

        Removing "gender" leaves a vector that says nothing about gender, where subtracting it would ask for the
        opposite. Raises SpaceError where nothing is left.
        """
        self._same_space(concept)
        z = geometry.project_out(self.vectors, concept.vectors)
        items = tuple(f"{item} without {_listed(concept.items)}" for item in self.items) if concept.items else ()
        return Embeddings(z, self.space, items, self.modality, self.anchor)

    def cosine(self, other: Embeddings) -> np.ndarray:
        """(N, D) and (M, D) of one space -> (N, M) cosines. Raises SpaceError for another space."""
        self._same_space(other)
        return self.vectors @ other.vectors.T

    def __repr__(self) -> str:
        items = self.items
        shown = ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
        kind = f" of {self.modality}" if self.modality else ""
        return f"Embeddings({len(self)} x {self.shape[1]}{kind}, space {self.space[:8]}: {shown})"

    def _sum(self, other: Embeddings, sign: float) -> Embeddings:
        if not isinstance(other, Embeddings):
            return self._unsupported(other)
        self._fits(other)
        signed = [Part(sign * p.weight, p.vectors, p.items) for p in other.parts]
        total = Embeddings._of(self, [*self.parts, *signed])
        total.modality = None
        if any(part.weight for part in total.parts):
            _ = total.vectors  # raises here, at the sum, where its terms cancel out
        return total

    def _of(self, parts: Sequence[Part]) -> Embeddings:
        made = object.__new__(Embeddings)
        made.space, made.modality, made.anchor, made.parts = self.space, self.modality, self.anchor, tuple(parts)
        made._vectors = parts[0].vectors if len(parts) == 1 and parts[0].weight == 1 else None
        return made

    def _row_names(self) -> Sequence[str]:
        return self.items or [""] * len(self)

    def _unsupported(self, other: object) -> Embeddings:
        """What an operator returns for another type. Raises SpaceError for an array, whose space is not known."""
        if isinstance(other, np.ndarray):
            raise SpaceError("an array does not say which space it is in; if in this one: Embeddings(array, space)")
        answer: Embeddings = NotImplemented
        return answer

    def _same_space(self, other: Embeddings) -> None:
        if self.space != other.space:
            raise SpaceError(f"space {self.space[:8]} and space {other.space[:8]} cannot be compared")

    def _fits(self, other: Embeddings) -> None:
        self._same_space(other)
        if len(self) != len(other) and 1 not in (len(self), len(other)):
            raise SpaceError(f"cannot combine {len(self)} with {len(other)} vectors: expected equal numbers, or one")

    def _named(self, other: Embeddings, form: str, n: int) -> tuple[str, ...]:
        left, right = (x.items * n if len(x) == 1 else x.items for x in (self, other))
        return tuple(form.format(a, b) for a, b in zip(left, right, strict=True)) if left and right else ()


def _taken(part: Part, rows: np.ndarray) -> Part:
    return Part(part.weight, part.vectors[rows], tuple(part.items[i] for i in rows if part.items))


def _formula(weights: Sequence[float], names: Sequence[str]) -> str:
    text = ""
    for weight, name in zip(weights, names, strict=True):
        sign = "-" if weight < 0 else "+"
        text += f" {sign} " if text else "-" if weight < 0 else ""
        text += name if abs(weight) == 1 else f"{abs(weight):g} * {name}"
    return text


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{len(items)} items"
