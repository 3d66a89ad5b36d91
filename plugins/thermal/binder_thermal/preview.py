"""What people see of a thermal picture, and what `binder doctor` says of what reads it. Free of torch."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from binder import Item
from binder_thermal.config import PALETTES, ThermalConfig

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = (32, 320)  # pixels, of the shorter side at least and of the longer at most
COLOURED = "inferno"  # even in brightness, so that it is read without colours too


def preview(item: Item) -> Image:
    """From its own coldest (dark) to its own hottest (bright), in false colours. Raises ItemError."""
    import numpy as np
    from PIL import Image as images

    from binder_thermal.palettes import colours
    from binder_thermal.reading import read

    level_HW = read(item, ThermalConfig())
    drawn = images.fromarray(colours(COLOURED)[(255 * level_HW).round().astype(int)].round().astype(np.uint8))
    factor = max(1, -(-SIZE[0] // min(drawn.size)))
    drawn = drawn.resize((drawn.width * factor, drawn.height * factor), images.Resampling.NEAREST)
    drawn.thumbnail((SIZE[1], SIZE[1]))
    return drawn


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    return {
        "png, tiff, jpeg": f"Pillow {version('pillow')}",
        "npy": f"NumPy {version('numpy')}",
        "false colours": ", ".join(PALETTES),
    }
