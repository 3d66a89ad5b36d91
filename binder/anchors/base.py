"""What an anchor is: a frozen model with a tower for each modality that it encodes itself.

Shapes: B batch, D embed_dim.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch

from binder.anchors.trunk import Trunk, hash_weights
from binder.encoder import Encoder
from binder.errors import AnchorError, nearest
from binder.modality import Item
from binder.readers.guard import watch

log = logging.getLogger(__name__)

WORD = re.compile(r"[^\W\d_]+|[^\w\s!-~]+")  # letters of any script, or symbols outside ASCII
LOGIT_SCALE = 100.0  # of models that were trained without one; what CLIP's training ends at


class Anchor:
    """A frozen model to whose space everything is aligned. Derive from it for another library's models.

    `towers` has a frozen encoder for each modality that the model encodes itself. A tower's `preprocess` turns an item
    into what the model takes, as the model's authors do; its vectors need not be of unit length.

    A plain class, not a Module, so that its weights stay out of the `state_dict` of an encoder that holds it. Pickled
    for reader processes it drops the weights and keeps the preprocessing.
    """

    known_words: Mapping[str, Any] | Sequence[str] = ()  # the whole vocabulary, where the model knows few words
    prompts: Sequence[str] = ()  # names of the instructions that its texts can be given
    watched: bool = False  # whether what the towers return is checked
    prompt: str | None = None  # the one that they are given; None: the model's default

    def __init__(self, name: str, model: torch.nn.Module, *, embed_dim: int, fingerprint: str) -> None:
        self.name = name
        self.embed_dim = embed_dim
        self.fingerprint = fingerprint  # names the space: of weights, architecture, preprocessing, vocabulary
        self._model: torch.nn.Module | None = model.eval().requires_grad_(False)
        self._warned: set[str] = set()  # unknown words that were reported

    @property
    def model(self) -> torch.nn.Module:
        """The frozen weights. Raises AnchorError in a reader process, which has none."""
        if self._model is None:
            raise AnchorError(f"anchor {self.name}: a worker process has no weights; only `preprocess` runs there")
        return self._model

    @property
    def towers(self) -> Mapping[str, Encoder]:
        """Modality -> its frozen encoder, item -> (D,)."""
        raise NotImplementedError

    @property
    def image_trunk(self) -> Trunk | None:
        """The picture tower for encoders that build on it: (B, ...) -> (B, D), not normalized; None without one."""
        return None

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    @property
    def logit_scale(self) -> float:
        """The factor on cosines with which the model was trained."""
        return LOGIT_SCALE

    def to(self, device: str | torch.device) -> Self:
        self.model.to(device)
        return self

    def tower(self, modality: str) -> Encoder:
        """The frozen encoder of a modality. Raises AnchorError where the anchor does not encode it."""
        towers = self.towers
        if modality not in towers:
            raise AnchorError(f"anchor {self.name} does not encode {modality}; it encodes {', '.join(towers)}")
        return towers[modality]

    def with_prompt(self, prompt: str | None) -> Self:
        """The same anchor, its texts given the prompt of that name. Raises AnchorError where there is none."""
        if prompt is not None and prompt not in self.prompts:
            known = f"{nearest(prompt, self.prompts)}; its prompts: {', '.join(self.prompts)}" if self.prompts else ""
            raise AnchorError(f"anchor {self.name} has no prompt {prompt!r}{known or '; it has none at all'}")
        other = object.__new__(type(self))  # `copy` would leave the weights behind, as for a worker
        other.__dict__.update(self.__dict__, prompt=prompt)
        other.__dict__.pop("towers", None)  # where it is a cached property: they belong to the copied anchor
        if self.watched:
            other.watch()
        return other

    def watch(self) -> None:
        """From now on, check what each tower returns; what is wrong is said of the tower."""
        self.watched = True
        for modality, tower in self.towers.items():
            watch(tower, f"anchor {self.name}, its {modality} tower", self.embed_dim)

    def for_queries(self) -> Self:
        """The same anchor, as it encodes what is asked: with its prompt "query", unless another one was chosen."""
        return self.with_prompt("query") if self.prompt is None and "query" in self.prompts else self

    def stored_as(self, modality: str) -> str:
        """The name under which vectors of a modality are cached: of the space, and of the prompt where one is used."""
        prompt = f"-{self.prompt}" if self.prompt and modality == "text" else ""
        return f"vectors-{modality}-{self.fingerprint}{prompt}"

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than what the model reads of it."""
        return False

    def unknown_words(self, texts: Sequence[str]) -> list[str]:
        """Words outside `known_words`; [] where the model has no such list."""
        if not self.known_words:
            return []
        return sorted({w for t in texts for w in WORD.findall(t.lower())} - set(self.known_words))

    def warn_unknown(self, texts: Sequence[str]) -> None:
        """Warn, once per word, of words that the model never learned."""
        unknown = [word for word in self.unknown_words(texts) if word not in self._warned]
        self._warned.update(unknown)
        if unknown:
            some = ", ".join(word[:40] for word in unknown[:8]) + (" ..." if len(unknown) > 8 else "")
            log.warning(
                "anchor %s never learned %d of the words (%s): it can tell texts apart, but does not know what these "
                "words mean. For real words use a pretrained anchor, such as ViT-B-32/laion2b_s34b_b79k",
                self.name,
                len(unknown),
                some,
            )

    def checksum(self) -> str:
        """The hash of the weights as they are now, to verify that training left them alone."""
        return hash_weights(self.model.state_dict())

    def try_out(self, examples: Mapping[str, Item]) -> None:
        """Encode an example of each modality. Raises ValueError where a tower returns no usable vector."""
        if not all(bool(weight.isfinite().all()) for weight in self.model.state_dict().values()):
            raise ValueError("its weights hold numbers that are not finite")
        for name, item in examples.items():
            tower = self.tower(name)
            with torch.inference_mode():
                z = tower(tower.preprocess(item).to(self.device))
            if z.shape != (1, self.embed_dim) or not bool(z.isfinite().all()) or not bool(z.any()):
                raise ValueError(f"its {name} tower gives no vector of {self.embed_dim} finite numbers")
        if not math.isfinite(self.logit_scale):
            raise ValueError("its logit scale is not finite")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def __deepcopy__(self, memo: object) -> Self:
        return self  # frozen, so copies of an encoder can share it
