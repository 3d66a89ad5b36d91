"""What binder changes of the whole process is back afterwards, whatever fails and however threads overlap."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import process_state

from binder import Binder, ConfigError, ItemError, isolated, read_array, read_image, read_raster, readers
from binder.anchors import openclip, reach
from binder.formats.picture import decoding, no_stderr
from binder.scoped import ProcessWide, no_warnings


class Setting:
    """A global setting, and the changes that were made to it."""

    def __init__(self) -> None:
        self.value, self.made = "usual", 0

    @contextmanager
    def changed(self) -> Any:
        before, self.value, self.made = self.value, "changed", self.made + 1
        try:
            yield
        finally:
            self.value = before


def overlapping(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> Callable[[], None]:
    """Enters both, each in a thread of its own, and leaves the first one; what is returned leaves the second."""
    leave = [threading.Event(), threading.Event()]
    inside = [threading.Event(), threading.Event()]

    def stay(number: int, context: AbstractContextManager[None]) -> None:
        with context:
            inside[number].set()
            assert leave[number].wait(10)

    threads = [threading.Thread(target=stay, args=pair) for pair in enumerate((first, second))]
    for thread, event in zip(threads, inside, strict=True):
        thread.start()
        assert event.wait(10)
    leave[0].set()
    threads[0].join(10)

    def last() -> None:
        leave[1].set()
        threads[1].join(10)

    return last


def test_a_setting_stays_changed_while_one_thread_is_inside_and_then_is_as_before():
    setting = Setting()
    scope = ProcessWide(setting.changed)
    last = overlapping(scope, scope)
    assert (setting.value, setting.made) == ("changed", 1)
    last()
    assert setting.value == "usual"
    with scope, scope:
        assert (setting.value, setting.made) == ("changed", 2)
    assert setting.value == "usual"


def test_overlapping_threads_without_it_leave_a_setting_changed():
    setting = Setting()
    overlapping(setting.changed(), setting.changed())()
    assert setting.value == "changed", "else ProcessWide is not needed"


def test_a_setting_is_back_after_an_error_inside_and_after_one_in_changing_it():
    setting, broken = Setting(), True

    @contextmanager
    def change() -> Any:
        if broken:
            raise OSError
        with setting.changed():
            yield

    scope = ProcessWide(change)
    with suppress(OSError), scope:
        raise AssertionError("entered")
    broken = False
    with suppress(KeyError), scope:
        assert setting.value == "changed"
        raise KeyError
    assert setting.value == "usual"


@pytest.mark.parametrize("scope", [no_warnings, no_stderr, "decoding"])
def test_threads_that_decode_at_once_leave_the_process_as_it_was(scope, capfd):
    before = process_state()
    make = (lambda: decoding("x")) if scope == "decoding" else lambda: scope
    last = overlapping(make(), make())
    assert process_state() != before
    last()
    assert process_state() == before
    os.write(2, b"still heard")
    assert capfd.readouterr().err == "still heard"


def files() -> dict[str, bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))
    made = {}
    for form, options in (("PNG", {}), ("JPEG", {}), ("TIFF", {"compression": "tiff_lzw"}), ("GIF", {})):
        held = io.BytesIO()
        picture.save(held, form, **options)
        made[form] = held.getvalue()
    held = io.BytesIO()
    np.save(held, np.eye(9))
    made["npy"] = held.getvalue()
    made["text"] = b"1 2 3\n4 5 6\n" * 20
    with suppress(ImportError):
        import pillow_heif

        held = io.BytesIO()
        pillow_heif.from_pillow(picture).save(held)
        made["HEIC"] = held.getvalue()
    with suppress(ImportError):
        import OpenEXR

        header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
        held = io.BytesIO()
        OpenEXR.File(header, {"Z": np.eye(9, dtype=np.float32)}).write(held)
        made["EXR"] = held.getvalue()
    return made


@pytest.mark.parametrize("form", sorted(files()))
def test_reading_a_file_leaves_the_process_as_it_was_whole_or_damaged(form):
    data = files()[form]
    middle = len(data) // 2
    before = process_state()
    for read in (read_image, read_raster, read_array):
        for damaged in (data, data[:middle], data[:middle] + b"\xff" * 60 + data[middle + 60 :], data[:40]):
            with suppress(ItemError):
                read(damaged)
            assert process_state() == before


@pytest.mark.parametrize("name", ["mini", "no such anchor"])
def test_loading_an_anchor_leaves_the_process_as_it_was(name):
    openclip.load()  # importing its libraries sets what they want
    before = process_state()
    with suppress(Exception):
        openclip.load(name)
    assert process_state() == before


def test_threads_for_which_the_hub_does_not_answer_leave_it_online(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(reach, "_status", lambda repo: 0)
    last = overlapping(reach.hub("a", "me/a", ConfigError), reach.hub("b", "me/b", ConfigError))
    assert constants.HF_HUB_OFFLINE is True
    last()
    assert constants.HF_HUB_OFFLINE is False
    monkeypatch.setattr(reach, "_status", lambda repo: 200)
    with reach.hub("a", "me/a", ConfigError):
        assert constants.HF_HUB_OFFLINE is False


def doubled(value):
    if value == "crash":
        os.abort()
    return value * 2


def test_reader_processes_leave_the_process_as_it_was():
    before = process_state()
    assert isolated(doubled, 2, item="x") == 4
    with pytest.raises(ItemError):
        isolated(doubled, "crash", item="x")
    found = list(readers.run(doubled, [1, "crash", 3], 2, str))
    assert (found[0], found[2]) == (2, 6) and isinstance(found[1], ItemError)
    assert process_state() == before


def test_encoding_leaves_the_process_as_it_was():
    space = Binder()
    pictures = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    space.embed(image=pictures)  # importing its libraries sets what they want
    before = process_state()
    assert len(space.embed(image=pictures)) == len(space.embed(text=["a red circle", "a blue one"])) == 2
    with pytest.raises(ItemError):
        space.embed(image=[b"no picture"])
    assert process_state() == before
