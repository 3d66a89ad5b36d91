"""What there is in the playground and how people describe it: names, concepts, captions. Imports no torch.

A `Concept` is what a picture shows. Blank fields ("", 0 or -1) are open: a drawing picks a value, a caption does not
mention them. So a caption is a concept, too: it is true of a picture where every field that it fills agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np

KINDS = ("scene", "motion", "digit", "chart", "solid")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon", "arrow", "diamond")
COUNTS = (1, 2, 3, 4, 5)
POSITIONS = ("left", "right", "top", "bottom", "centre")
SIZES = ("small", "big")
MOTIONS = ("left", "right", "up", "down", "growing", "spinning")
DIGITS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
STYLES = ("printed", "handwritten")
CHART_TYPES = ("line", "bar", "pie", "scatter", "area")
TRENDS = ("rising", "falling", "flat", "peak", "valley")
SOLIDS = (
    "sphere", "cube", "cylinder", "cone", "torus", "pyramid", "prism", "octahedron", "dodecahedron", "capsule",
    "egg", "hemisphere", "tube", "spring", "knot", "stairs", "arch", "table", "chair", "mug",
)  # fmt: skip
SOLID_COLORS = (*COLORS, "grey")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLURALS = {shape: shape + ("es" if shape.endswith("s") else "s") for shape in SHAPES}
TURNLESS = ("circle", "ring")  # shapes that look the same when rotated


@dataclass(frozen=True)
class Concept:
    """What a picture shows, or what a caption states. Blank fields are open."""

    kind: str = ""  # one of KINDS
    color: str = ""
    shape: str = ""
    count: int = 0
    position: str = ""  # where the group of shapes is
    size: str = ""  # how big each shape is
    motion: str = ""
    digit: int = -1
    style: str = ""  # of a digit: printed or handwritten
    chart: str = ""
    trend: str = ""
    solid: str = ""

    @property
    def key(self) -> str:
        """A stable name such as "scene/red-circle-3", "digit/7", "chart/line-rising"."""
        values = [getattr(self, field.name) for field in fields(self)[1:]]
        said = [str(value) for value, field in zip(values, fields(self)[1:], strict=True) if value != field.default]
        return f"{self.kind}/{'-'.join(said)}"

    def true_of(self, other: Concept) -> bool:
        """Whether every field filled here has the same value in `other`."""
        pairs = ((getattr(self, f.name), getattr(other, f.name), f.default) for f in fields(self))
        return all(mine == theirs for mine, theirs, blank in pairs if mine != blank)


def concepts(kind: str) -> list[Concept]:
    """All concepts of one kind in a fixed order: 500 scenes, 580 motions, 10 digits, 25 charts, 20 solids."""
    if kind == "scene":
        return [Concept(kind, color=c, shape=s, count=n) for c in COLORS for s in SHAPES for n in COUNTS]
    if kind == "motion":
        every = [Concept(kind, color=c, shape=s, motion=m) for c in COLORS for s in SHAPES for m in MOTIONS]
        return [c for c in every if not (c.motion == "spinning" and c.shape in TURNLESS)]
    if kind == "digit":
        return [Concept(kind, digit=d) for d in DIGITS]
    if kind == "chart":
        return [Concept(kind, chart=c, trend=t) for c in CHART_TYPES for t in TRENDS]
    if kind == "solid":
        return [Concept(kind, solid=s) for s in SOLIDS]
    raise ValueError(f"unknown kind {kind!r}; one of {', '.join(KINDS)}")


def words() -> dict[str, Concept]:
    """Every word that matters in a caption, with the concept that the word alone states."""
    claims = {name: Concept("digit", digit=d) for d, name in enumerate(NUMBERS)}
    claims |= {c: Concept(color=c) for c in SOLID_COLORS}
    claims |= {s: Concept(shape=s) for s in SHAPES}
    claims |= {plural: Concept(shape=s) for s, plural in PLURALS.items()}
    claims |= {m: Concept("motion", motion=m) for m in MOTIONS}
    claims |= {c: Concept("chart", chart=c) for c in CHART_TYPES}
    claims |= {t: Concept("chart", trend=t) for t in TRENDS}
    return claims | {s: Concept("solid", solid=s) for s in SOLIDS}


def named(key: str) -> Concept:
    """The concept with that key. Raises KeyError."""
    return _by_key()[key]


@cache
def _by_key() -> dict[str, Concept]:
    return {c.key: c for c in (*(c for kind in KINDS for c in concepts(kind)), *words().values())}


def instances(concept: Concept) -> list[Concept]:
    """The complete concepts of which the given one is true: "red" -> all scenes of red shapes."""
    kind = concept.kind or ("solid" if concept.color in SOLID_COLORS[len(COLORS) :] else "scene")
    whole = concepts(kind)
    if concept in whole:
        return [concept]
    if kind == "solid" and concept.color:
        whole = [replace(c, color=concept.color) for c in whole]
    return [c for c in whole if concept.true_of(c)]


def caption(concept: Concept) -> str:
    """The canonical caption, as one would say it: "three red circles", "a rising line chart", "the digit seven"."""
    return _CAPTIONS[concept.kind](concept)


def article(words: str) -> str:
    """The words with "a" or "an" in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _scene_caption(c: Concept) -> str:
    return f"{NUMBERS[c.count]} {c.color} {c.shape if c.count == 1 else PLURALS[c.shape]}"


def _motion_caption(c: Concept) -> str:
    thing = f"{c.color} {c.shape}"
    return (
        article(f"{c.motion} {thing}") if c.motion in ("growing", "spinning") else f"{article(thing)} moving {c.motion}"
    )


def _digit_caption(c: Concept) -> str:
    return f"the digit {NUMBERS[c.digit]}"


def _chart_caption(c: Concept) -> str:
    if c.trend in ("peak", "valley"):
        return f"{article(c.chart)} chart with a {c.trend}"
    return f"{article(c.trend)} {c.chart} chart"


def _solid_caption(c: Concept) -> str:
    return c.solid if c.solid == "stairs" and not c.color else article(f"{c.color} {c.solid}".strip())


_CAPTIONS: dict[str, Callable[[Concept], str]] = {
    "scene": _scene_caption,
    "motion": _motion_caption,
    "digit": _digit_caption,
    "chart": _chart_caption,
    "solid": _solid_caption,
}


def wording(concept: Concept, rng: np.random.Generator) -> str:
    """A random wording that is true of the concept; it may leave something out ("red circles")."""
    return phrase(concept, rng)[0]


def phrase(concept: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    """A random wording and what it states: the concept, with whatever the wording leaves out blank."""
    return _PHRASES[concept.kind](concept, rng)


def detailed(concept: Concept, rng: np.random.Generator) -> Concept:
    """Fill some open fields at random, as a drawing will show them: position, size, style, the color of a solid."""
    if concept.kind == "scene":
        position = concept.position or (_pick(rng, POSITIONS) if rng.random() < 0.3 else "")
        size = concept.size or (_pick(rng, SIZES) if rng.random() < 0.4 else "")
        return replace(concept, position=position, size=size)
    if concept.kind == "digit":
        return replace(concept, style=concept.style or _pick(rng, STYLES))
    if concept.kind == "solid":
        return replace(concept, color=concept.color or ("grey" if rng.random() < 0.3 else _pick(rng, COLORS)))
    return concept


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


_FRAMES = (
    "{}", "{}", "a picture of {}", "a photo of {}", "an image of {}", "a drawing of {}", "this is {}",
    "there is {}", "i see {}", "here is {}", "it shows {}", "{} on a background",
)  # fmt: skip


def _framed(words: str, rng: np.random.Generator, plural: bool = False) -> str:
    frame = _pick(rng, _FRAMES)
    if plural:
        frame = frame.replace("this is", "these are").replace("there is", "there are").replace("here is", "here are")
    return frame.format(words)


def _phrase_scene(c: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    many = c.count > 1
    noun = PLURALS[c.shape] if many else c.shape
    part = rng.random()
    if part < 0.05:
        return c.color, Concept(color=c.color)
    if part < 0.10:
        return _pick(rng, (c.shape, PLURALS[c.shape])), Concept(shape=c.shape)
    if part < 0.13:
        things = _pick(rng, ("shapes", "things", "objects"))
        word = _pick(rng, (NUMBERS[c.count], str(c.count)))
        return f"{word} {things if many else things[:-1]}", Concept("scene", count=c.count)
    if part < 0.19:
        words = f"{c.color} {PLURALS[c.shape]}"
        return _framed(words, rng, plural=True), Concept("scene", color=c.color, shape=c.shape)
    if part < 0.23:
        return f"{NUMBERS[c.count]} {noun}", Concept("scene", shape=c.shape, count=c.count)
    said = Concept("scene", color=c.color, shape=c.shape, count=c.count)
    if c.size and rng.random() < 0.4:
        said = replace(said, size=c.size)
    if c.position and rng.random() < 0.5:
        said = replace(said, position=c.position)
    number = _pick(rng, (NUMBERS[c.count], str(c.count)) if many else ("one", "1", "a", "a", "a single"))
    rest = " ".join(word for word in (said.size, c.color, noun) if word)
    words = article(rest) if number == "a" else f"{number} {rest}"
    if said.position:
        where = {
            "left": "on the left",
            "right": "on the right",
            "top": "at the top",
            "bottom": "at the bottom",
        }
        words += " " + where.get(said.position, "in the centre" if rng.random() < 0.5 else "in the middle")
    return _framed(words, rng, plural=many), said


def _phrase_motion(c: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    said = Concept("motion", color=c.color, shape=c.shape, motion=c.motion)
    part = rng.random()
    if part < 0.05:
        return c.motion if c.motion in ("growing", "spinning") else f"moving {c.motion}", Concept(
            "motion", motion=c.motion
        )
    if part < 0.15:
        said = replace(said, color="")
    elif part < 0.20:
        said = replace(said, shape="")
    thing = f"{said.color} {said.shape or 'thing'}".strip()
    if c.motion == "growing":
        words = _pick(rng, (article(f"growing {thing}"), f"{article(thing)} growing", f"{article(thing)} that grows"))
    elif c.motion == "spinning":
        words = _pick(rng, (article(f"spinning {thing}"), f"{article(thing)} spinning", f"{article(thing)} that spins"))
    else:
        way = {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards"}[c.motion]
        ends = (
            f"moving {c.motion}",
            f"moving {c.motion}",
            f"moving {way}",
            f"that moves {c.motion}",
            f"going {c.motion}",
        )
        words = f"{article(thing)} {_pick(rng, ends)}"
    return _framed(words, rng), said


def _phrase_digit(c: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    word, said = NUMBERS[c.digit], Concept("digit", digit=c.digit)
    if c.style and rng.random() < 0.3:
        style = _pick(rng, (c.style, "hand-written" if c.style == "handwritten" else "typed"))
        words = _pick(
            rng, (article(f"{style} {word}"), article(f"{style} digit {word}"), article(f"{style} {c.digit}"))
        )
        return _framed(words, rng), replace(said, style=c.style)
    ways = (
        f"the digit {word}", f"the digit {word}", f"the number {word}", f"the digit {c.digit}", f"the number {c.digit}",
        word, str(c.digit), f"digit {word}", f"number {word}", article(word), f"the figure {word}",
    )  # fmt: skip
    return _framed(_pick(rng, ways), rng), said


_TREND_VERBS = {
    "rising": ("rises", "goes up"),
    "falling": ("falls", "goes down"),
    "flat": ("stays flat", "is flat"),
}
_TREND_ADJECTIVES = {
    "rising": ("rising", "increasing", "growing"),
    "falling": ("falling", "decreasing"),
    "flat": ("flat", "constant"),
}


def _phrase_chart(c: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    said = Concept("chart", chart=c.chart, trend=c.trend)
    name = {
        "line": ("line chart", "line graph", "line plot"),
        "bar": ("bar chart", "bar graph", "bar plot"),
    }.get(c.chart, (f"{c.chart} chart", f"{c.chart} plot" if c.chart != "pie" else "pie chart"))
    part, noun = rng.random(), _pick(rng, name)
    if part < 0.08:
        return _framed(article(noun), rng), replace(said, trend="")
    if part < 0.14:
        noun, said = _pick(rng, ("chart", "graph", "plot")), replace(said, chart="")
    if c.trend in ("peak", "valley"):
        other = "a peak in the middle" if c.trend == "peak" else "a dip"
        words = f"{article(noun)} with {_pick(rng, (f'a {c.trend}', f'a {c.trend}', other))}"
    elif rng.random() < 0.3:
        words = f"{article(noun)} that {_pick(rng, _TREND_VERBS[c.trend])}"
    else:
        words = article(f"{_pick(rng, _TREND_ADJECTIVES[c.trend])} {noun}")
    return _framed(words, rng), said


def _phrase_solid(c: Concept, rng: np.random.Generator) -> tuple[str, Concept]:
    said = Concept("solid", solid=c.solid)
    if c.color and rng.random() < 0.4:
        said = replace(said, color=c.color)
    if rng.random() < 0.08:
        return c.solid, Concept("solid", solid=c.solid)
    words = caption(said)
    frame = _pick(rng, ("{}", "a 3d render of {}", "a rendering of {}", "a 3d model of {}", "a solid {}"))
    if frame == "a solid {}":
        return f"a solid {said.color} {c.solid}".replace("  ", " "), said
    return (_framed(words, rng) if frame == "{}" else frame.format(words)), said


_PHRASES: dict[str, Callable[[Concept, np.random.Generator], tuple[str, Concept]]] = {
    "scene": _phrase_scene,
    "motion": _phrase_motion,
    "digit": _phrase_digit,
    "chart": _phrase_chart,
    "solid": _phrase_solid,
}
