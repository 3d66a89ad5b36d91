"""What `binder demo` left, encoded again for the benchmarks that take its folder; nothing is written there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from binder_playground.demo import data, run
from binder_playground.demo.arithmetic import Words
from binder_playground.demo.data import Gallery

from binder import Binder


@dataclass(frozen=True)
class Finished:
    """The items that were held out, the pictures and videos that sums change, the words for colors; with vectors."""

    galleries: list[Gallery]
    operands: list[Gallery]
    words: dict[str, Words]  # modality -> color -> (T, D), a row per take


def opened(folder: Path, work: Path) -> Finished:
    """The held-out items are drawn again in `work` with the demo's seed. Exits where the folder holds no such demo."""
    try:
        seed = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["seed"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"{folder}: no finished demo ({error}); make one with: binder demo --out {folder}") from None
    space = Binder("mini")
    for name in data.BOUND:
        space.load(folder / "runs" / name)
    galleries = data.embed(space, data.galleries(work, seed))
    return Finished(galleries, run.operands(space, work, seed), run.words_of(space, work))
