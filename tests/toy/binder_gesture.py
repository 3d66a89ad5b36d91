"""A second modality for tests: the toy under another name."""

from __future__ import annotations

from dataclasses import replace

from binder_toy import TOY

from binder import hookimpl


@hookimpl
def binder_register_modalities():
    return [replace(TOY, name="gesture", suffixes=frozenset())]
