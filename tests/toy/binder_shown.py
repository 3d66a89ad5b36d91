"""A plugin for tests: pictures, seen through an image tower. Imports no torch."""

from __future__ import annotations

from binder import ItemError, PictureConfig, hookimpl, picture_modality


def show(item, config):
    from PIL import Image

    try:
        with Image.open(item) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise ItemError(item, f"no picture: {error}") from None


SHOWN = picture_modality("shown", set(), PictureConfig, show)


@hookimpl
def binder_register_modalities():
    return [SHOWN]
