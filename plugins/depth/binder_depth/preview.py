"""What people see of a depth map, and what `binder doctor` says of what reads it. Free of torch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from binder import Item
from binder_depth.config import DepthConfig

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 320  # pixels
# whatever the numbers are, they are taken for distances: their form has no scale
ANY = DepthConfig(units="m", divisor=1000, min_m=0, max_m=1e30)


def preview(item: Item) -> Image:
    """Its form, lit from one side; nearer is brighter. A disparity, which a file does not say, is inside out.

    Raises ItemError.
    """
    from binder_depth.drawing import draw
    from binder_depth.reading import read

    drawn = draw(read(item, ANY), ANY, SIZE)
    drawn.thumbnail((SIZE, SIZE))
    return drawn


def diagnose() -> dict[str, str]:
    """What reads which format, for `binder doctor`."""
    try:
        exr = f"OpenEXR {version('OpenEXR')}"
    except PackageNotFoundError:
        exr = "not installed: pip install 'binder-depth[exr]'"
    return {"png, tiff": f"Pillow {version('pillow')}", "npy": f"NumPy {version('numpy')}", "exr": exr}
