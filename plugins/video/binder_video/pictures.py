"""A decoded frame -> the picture that a player shows: upright, RGB, square pixels, on white. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from binder import one_line

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

# The signs of a display matrix [[a, b], [c, d]] -> Pillow's name of the operation.
TURNS = {
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (-1, 0, 0, -1): "ROTATE_180",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, 1, -1, 0): "ROTATE_270",
    (0, -1, -1, 0): "TRANSVERSE",
    (0, -1, 1, 0): "ROTATE_90",
}
MAX_PIXELS = 8192 * 4320  # of a frame: decoding and converting it takes half a gigabyte
MAX_ALPHA_PIXELS = 4096 * 4096  # of a frame with transparency, which takes three times the memory
MAX_ELONGATED = 100  # ratio of the longer to the shorter side; the towers resize by the shorter one
MAX_ASPECT = 10.0  # ratio of a pixel's sides; a larger one is taken for an error in the file
SQUARE = 0.02  # pixels whose aspect ratio differs from 1 by no more than this are taken for square


def size_problem(width: int, height: int, alpha: bool = False) -> str:
    """What is wrong with frames of this size; empty where nothing is. `alpha`: they have transparency."""
    if width < 1 or height < 1:
        return f"frames of {width} x {height} pixels"
    most = MAX_ALPHA_PIXELS if alpha else MAX_PIXELS
    if width * height > most:
        return f"frames of {width} x {height} pixels; expected at most {most / 1e6:.0f} million"
    if max(width, height) > MAX_ELONGATED * min(width, height):
        return f"frames of {width} x {height} pixels; expected no side {MAX_ELONGATED} times as long as the other"
    return ""


def picture(frame: av.VideoFrame, aspect: float = 1.0) -> Image:
    """A frame -> RGB picture; `aspect` is the width of a pixel by its height. Raises ValueError: see `size_problem`."""
    from PIL import Image

    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        aspect = 1.0
    alpha = any(component.is_alpha for component in frame.format.components)
    scaled = round(frame.width * aspect)
    if why := size_problem(frame.width, frame.height, alpha) or size_problem(scaled, frame.height):
        raise ValueError(why)
    if alpha:
        image = on_white(Image.fromarray(frame.to_ndarray(format="rgba", threads=1)))
    else:
        image = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))  # takes a fifth of the time of `to_image`
    if abs(aspect - 1) > SQUARE:
        image = image.resize((max(1, scaled), image.height), Image.Resampling.BICUBIC)
    turn = _turn(frame)
    return image.transpose(Image.Transpose[turn]) if turn else image


def on_white(image: Image) -> Image:
    """RGBA -> RGB on a white background."""
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _turn(frame: av.VideoFrame) -> str | None:
    """Pillow's name of the rotation or flip in the frame's display matrix (ISO/IEC 14496-12, 6.2.2), if any.

    Only quarter turns are supported.
    """
    if "DISPLAYMATRIX" not in frame.side_data:
        return None
    matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)  # type: ignore[typeddict-item]  # PyAV's annotation lacks the key
    a, b, c, d = (int(sign) for sign in np.sign(matrix[[0, 1, 3, 4]]))
    return TURNS.get((a, b, c, d))


def reason(error: BaseException) -> str:
    """The message of a library's exception, as one line of bounded length."""
    return one_line(error).removesuffix(":")
