"""A plugin for tests: anchors of its own. `words:SEED` encodes text only, `omni:SEED` text and the toy's items."""

from __future__ import annotations

from binder import AnchorKind, hookimpl


def load_words(name, device):
    from binder_toy_anchor_model import ToyAnchor

    return ToyAnchor(name, ("text",)).to(device)


def load_omni(name, device):
    from binder_toy_anchor_model import ToyAnchor

    return ToyAnchor(name, ("text", "toy")).to(device)


@hookimpl
def binder_register_anchors():
    return [
        AnchorKind("words:", "words:SEED, text only", load_words, lambda: [("words:0", "the first")]),
        AnchorKind("omni:", "omni:SEED, text and toys", load_omni),
    ]
