"""The preview of a video, a contact sheet, and what `binder doctor` prints about decoders. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binder import Item

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, ROWS = 3, 2
WIDTH = 320  # pixels of the sheet
GAP = 2  # pixels between frames
TALLEST = 2.0  # largest height by width of a cell
DECODERS = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mjpeg", "prores", "gif")


def preview(item: Item) -> Image:
    """Path, bytes or frames -> six evenly spaced frames in reading order. Raises ItemError."""
    from PIL import Image, ImageOps

    from binder_video.reading import open_clip
    from binder_video.sampling import even

    with open_clip(item) as clip:
        frames = clip.at(even(0.0, clip.duration_s, COLUMNS * ROWS))
        first = next(frames)
        wide = (WIDTH - GAP * (COLUMNS - 1)) // COLUMNS
        cell = (wide, max(1, round(wide * min(TALLEST, first.height / first.width))))
        sheet = Image.new("RGB", (WIDTH, ROWS * cell[1] + (ROWS - 1) * GAP), "white")
        for i, frame in enumerate([first, *frames]):
            row, column = divmod(i, COLUMNS)
            small = ImageOps.pad(frame, cell, color="white")
            sheet.paste(small, (column * (cell[0] + GAP), row * (cell[1] + GAP)))
    return sheet


def diagnose() -> dict[str, str]:
    """Versions and decoders, for `binder doctor`."""
    from importlib.metadata import version

    import av
    import PIL

    found: dict[str, str] = {"PyAV": version("av"), "Pillow": PIL.__version__}
    found["libavcodec"] = ".".join(str(number) for number in av.library_versions["libavcodec"])
    found["decodes"] = ", ".join(name for name in DECODERS if name in av.codecs_available)
    return found
