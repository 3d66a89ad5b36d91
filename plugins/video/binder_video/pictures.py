"""One decoded frame -> the picture that a player shows: upright, in RGB, square pixels, on white. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

# The signs of a display matrix [[a, b], [c, d]] -> what it does, as Pillow calls it.
TURNS = {
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (-1, 0, 0, -1): "ROTATE_180",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, 1, -1, 0): "ROTATE_270",
    (0, -1, -1, 0): "TRANSVERSE",
    (0, -1, 1, 0): "ROTATE_90",
}
MOST_PIXELS = 8192 * 4320  # of a frame: half a gigabyte is needed to decode it and make a picture of it
MOST_LAYERED = 4096 * 4096  # of one with transparency, which takes three times as much
MOST_OBLONG = 100  # times that one side may be longer than the other: the towers scale by the shorter one
MOST_ASPECT = 10.0  # width of a pixel by its height, or the other way round, that is believed
SQUARE = 0.02  # share by which pixels may be wider than high and still count as square


def refusal(width: int, height: int, layered: bool = False) -> str:
    """Why there is no picture of so many pixels; empty where there is. `layered`: it has transparency."""
    if width < 1 or height < 1:
        return f"frames of {width} x {height} pixels"
    most = MOST_LAYERED if layered else MOST_PIXELS
    if width * height > most:
        return f"frames of {width} x {height} pixels; expected at most {most / 1e6:.0f} million"
    if max(width, height) > MOST_OBLONG * min(width, height):
        return f"frames of {width} x {height} pixels; expected no side {MOST_OBLONG} times as long as the other"
    return ""


def picture(frame: av.VideoFrame, aspect: float = 1.0) -> Image:
    """A frame as an RGB picture; `aspect` is the width of its pixels by their height. Raises ValueError: `refusal`."""
    from PIL import Image

    if not 1 / MOST_ASPECT <= aspect <= MOST_ASPECT:
        aspect = 1.0
    layered = any(component.is_alpha for component in frame.format.components)
    if why := refusal(frame.width, frame.height, layered) or refusal(round(frame.width * aspect), frame.height):
        raise ValueError(why)
    if layered:
        image = on_white(Image.fromarray(frame.to_ndarray(format="rgba", threads=1)))
    else:
        image = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))  # a fifth of the time of `to_image`
    if abs(aspect - 1) > SQUARE:
        image = image.resize((max(1, round(image.width * aspect)), image.height), Image.Resampling.BICUBIC)
    turn = _turn(frame)
    return image.transpose(Image.Transpose[turn]) if turn else image


def on_white(image: Image) -> Image:
    """RGBA -> RGB: what is transparent shows white, as on a page."""
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _turn(frame: av.VideoFrame) -> str | None:
    """How the camera was held, from the frame's display matrix (ISO/IEC 14496-12, 6.2.2); quarter turns only."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return None
    matrix = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)  # type: ignore[typeddict-item]
    a, b, c, d = (int(sign) for sign in np.sign(matrix[[0, 1, 3, 4]]))
    return TURNS.get((a, b, c, d))


def reason(error: BaseException) -> str:
    """What an exception of a library says, in a line of bounded length."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return text.removesuffix(":")[:160] or type(error).__name__
