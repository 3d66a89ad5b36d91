"""What `binder demo` left, encoded again for the benchmarks that take its folder; nothing is written there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from binder import Binder
from binder.playground import demo, demo_data
from binder.playground.demo_data import Gallery
from binder.space.vectors import Vectors


@dataclass(frozen=True)
class Finished:
    """The items that were held out, the pictures and videos that sums change, the words for colours; with vectors."""

    galleries: list[Gallery]
    operands: list[Gallery]
    words: dict[str, dict[str, Vectors]]  # modality -> colour -> (D,), or (T, D) for several takes


def opened(folder: Path, work: Path) -> Finished:
    """The held-out items are drawn again in `work` with the demo's seed. Exits where the folder holds no such demo."""
    try:
        seed = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["seed"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"{folder}: no finished demo ({error}); make one with: binder demo --out {folder}") from None
    space = Binder("mini")
    for name in demo_data.BOUND:
        space.load(folder / "runs" / name)
    galleries = demo.embed(space, demo_data.galleries(work, seed))
    return Finished(galleries, demo.operands(space, work, seed), demo.words_of(space, work))
