"""A plugin for tests: items are .npy files of shape (8,), or (W, 8) for W windows. Imports no torch."""

from __future__ import annotations

from binder import EncoderConfig, Modality, hookimpl


class ToyConfig(EncoderConfig):
    width: int = 32  # units of the hidden layer
    noise: float = 0.0  # standard deviation of what `augment` adds
    dropout: float = 0.0  # share of hidden units
    nan_after: int = 0  # training steps after which the output is NaN; 0: never
    sqrt_zero: bool = False  # a finite output whose gradient is not
    anchored: bool = False  # preprocessing that depends on the anchor
    frozen: bool = False  # only the head is trained
    tied: bool = False  # two names for one weight, as language models have


def build(config, anchor):
    from binder_toy_encoder import ToyEncoder

    return ToyEncoder(config, anchor)


TOY = Modality(name="toy", suffixes=frozenset({".npy"}), config=ToyConfig, build=build)


@hookimpl
def binder_register_modalities():
    return [TOY]
