"""A made-up sample in `sample/`: four rhythms of the brain, each paired with a picture that the anchor `mini` knows.

python make_sample.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

RATE, SECONDS = 128, 4  # Hz, s
# the slowest rhythm goes with deep sleep, the fastest with attention; each is given a coloured square here
RHYTHMS = {"delta": (2.0, "red"), "theta": (6.0, "green"), "alpha": (10.0, "blue"), "beta": (20.0, "yellow")}
PER_RHYTHM = 12
DIGITAL, PHYSICAL = 32767, 200  # the range of the numbers in the file, and what it stands for in microvolts


def edf(values: np.ndarray, labels: tuple[str, ...] = ("EEG C3", "EEG C4"), rate: int = RATE) -> bytes:
    """(S, C) in microvolts -> a file with records of one second."""
    seconds, signals = len(values) // rate, values.shape[1]
    widths = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    texts = ("0", "X", "X", "01.01.25", "00.00.00", 256 * (1 + signals), "", seconds, 1, signals)
    head = "".join(f"{text!s:{width}}" for width, text in zip(widths, texts, strict=True))
    for width, parts in (
        (16, labels),
        *((w, [t] * signals) for w, t in ((80, ""), (8, "uV"), (8, -PHYSICAL), (8, PHYSICAL), (8, -DIGITAL))),
        *((w, [t] * signals) for w, t in ((8, DIGITAL), (80, ""), (8, rate), (32, ""))),
    ):
        head += "".join(f"{part!s:{width}}" for part in parts)
    digital = np.clip(values / PHYSICAL * DIGITAL, -DIGITAL, DIGITAL).astype("<i2")
    return head.encode("ascii") + digital.reshape(seconds, rate, signals).transpose(0, 2, 1).tobytes()


def brain(hz: float, rng: np.random.Generator) -> np.ndarray:
    """(S, 2) microvolts: a rhythm that waxes and wanes on slow noise."""
    t = np.arange(RATE * SECONDS) / RATE
    noise = np.cumsum(rng.normal(size=(len(t), 2)), axis=0)
    noise -= np.linspace(noise[0], noise[-1], len(t))
    swell = 20 + 10 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * t + rng.uniform(0, 6))
    wave = swell * np.sin(2 * np.pi * hz * rng.uniform(0.93, 1.07) * t + rng.uniform(0, 6))
    return wave[:, None] * rng.uniform(0.7, 1.3, 2) + 1.5 * noise


def square(colour: str, rng: np.random.Generator) -> Image.Image:
    """No two pictures are alike, so that some can be held out."""
    shade = int(rng.integers(195, 250))
    page = Image.new("RGB", (64, 64), (shade, shade, shade))
    size = int(rng.integers(24, 44))
    x, y = rng.integers(2, 62 - size, 2)
    ImageDraw.Draw(page).rectangle((x, y, x + size, y + size), fill=colour)
    return page


def main(folder: Path = Path(__file__).parent / "sample") -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["eeg", "image", "label"])
        for i in range(PER_RHYTHM * len(RHYTHMS)):
            rhythm = list(RHYTHMS)[i % len(RHYTHMS)]
            hz, colour = RHYTHMS[rhythm]
            (folder / f"{i:02}-{rhythm}.edf").write_bytes(edf(brain(hz, rng)))
            square(colour, rng).save(folder / f"{i:02}.png")
            table.writerow([f"{i:02}-{rhythm}.edf", f"{i:02}.png", rhythm])


if __name__ == "__main__":
    main()
