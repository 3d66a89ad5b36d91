"""A space of binder as a module of sentence-transformers: items of its modalities -> unit vectors.

In a saved model the module's folder is that of an aligned encoder, with the name of the anchor beside it.

Shapes: N items, W windows of all of them, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modality import infer_modality
from sentence_transformers.base.modules import InputModule
from torch import Tensor
from torch.nn import functional as F

from binder import Binder, Encoder, RunError

KNOWN = ("text", "image", "audio", "video")  # modalities that sentence-transformers has names for
WEIGHTS, CARD = "encoder.safetensors", "card.json"  # of an aligned encoder, as `binder.Binder.of` reads them


class BinderModule(InputModule):
    """Items -> unit vectors (N, D), by the encoder of a modality and the towers of its anchor.

    An item is {modality: item}; a text; a picture; a path, an array or another object of the aligned modality; or a
    string with the path of a file whose suffix is one of that modality's.
    """

    config_keys: list[str] = ["anchor", "modality", "space"]  # noqa: RUF012  # as the library declares it
    save_in_root = False

    def __init__(self, space: Binder, modality: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # has no annotations
        self.binder, self.modality = space, modality
        self.encoders = torch.nn.ModuleDict(space.encoders)  # those of the anchor have no weights of their own
        self.suffixes = space.registry.get(self._kind()).suffixes if modality in space.cards else frozenset()

    @property
    def modalities(self) -> list[Any]:
        return [name for name in KNOWN if name in self.encoders]

    @property
    def anchor(self) -> str:
        return self.binder.anchor.name

    @property
    def space(self) -> str:
        return self.binder.space

    def get_embedding_dimension(self) -> int:
        return self.binder.anchor.embed_dim

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **more: Any) -> dict[str, Any]:
        """N items -> the windows (W, ...) of each modality among them, and which item each window is of."""
        rows: dict[str, list[tuple[int, Tensor]]] = {}
        for place, given in enumerate(inputs):
            modality, item = self._named(given)
            item = f"{prompt}{item}" if prompt and modality == "text" else item
            rows.setdefault(modality, []).append((place, self._encoder(modality).preprocess(item)))
        features: dict[str, Any] = {}
        for modality, found in rows.items():
            features[f"{modality}/windows"] = torch.cat([windows for _, windows in found])
            places = [place for place, windows in found for _ in range(len(windows))]
            features[f"{modality}/places"] = torch.tensor(places)
        return features

    def forward(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The means of the unit vectors of each item's windows, of length 1 (N, D)."""
        names = [key.removesuffix("/windows") for key in features if key.endswith("/windows")]
        places = torch.cat([features[f"{name}/places"] for name in names])
        if self.binder.anchor.device != places.device:
            self.binder.anchor.to(places.device)
        z_WD = torch.cat([F.normalize(self._encoder(n)(features[f"{n}/windows"]).float(), dim=-1) for n in names])
        total_ND = z_WD.new_zeros(int(places.max()) + 1, z_WD.shape[1]).index_add(0, places, z_WD)
        return {**features, "sentence_embedding": F.normalize(total_ND, dim=-1)}

    def save(self, output_path: str, *args: Any, **more: Any) -> None:
        """Write the encoder as binder does, weights as they are now, and the name of its anchor."""
        self.save_config(output_path)
        card = self.binder.cards.get(self.modality)
        if card is not None:
            weights = self._encoder(self.modality).state_dict()
            own = {key: weight.detach().cpu().contiguous().clone() for key, weight in weights.items()}
            save_file(own, Path(output_path) / WEIGHTS)
            (Path(output_path) / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **more: Any,
    ) -> Self:
        """The module in a folder, or in a repository of the Hub."""
        hub = (subfolder, token, cache_folder, revision, local_files_only)
        place = cls.load_dir_path(model_name_or_path, *hub)
        config = cls.load_config(model_name_or_path, subfolder, None, *hub[1:])
        if place is None or "anchor" not in config:
            raise RunError(f"{model_name_or_path}: has no module of binder")
        run = [place] if (Path(place) / CARD).is_file() else []
        made = Binder.of(run, anchor=config["anchor"], device="cpu")
        if made.space != config["space"]:
            raise RunError(f"{model_name_or_path}: made with another anchor than what {config['anchor']!r} is here")
        return cls(made, config["modality"])

    def _named(self, given: Any) -> tuple[str, Any]:
        """What was given -> its modality and the item."""
        if isinstance(given, dict) and len(given) == 1 and next(iter(given)) in self.encoders:
            return next(iter(given.items()))
        if isinstance(given, str):
            if given.lower().endswith(tuple(self.suffixes)) and _is_file(given):
                return self.modality, given
            return str(infer_modality(given, supported_modalities=self.modalities)), given
        return ("image" if isinstance(given, Image) and "image" in self.encoders else self.modality), given

    def _encoder(self, modality: str) -> Encoder:
        encoder = self.encoders[modality]
        assert isinstance(encoder, Encoder)
        return encoder

    def _kind(self) -> str:
        """The plugin's modality, where this one has a name of its own."""
        card = self.binder.cards[self.modality]
        return card.kind or card.modality


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a long text
        return False


def write(space: Binder, modality: str, folder: Path) -> None:
    """Save an encoder, with its anchor's towers, as a model of sentence-transformers."""
    model = SentenceTransformer(modules=[BinderModule(space, modality)], device=str(space.anchor.device))
    model.save(str(folder), create_model_card=False)


def load(folder: Path) -> Callable[[Any], NDArray[np.float32]]:
    """The function item -> (D,) unit vector of a saved model."""
    model = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")

    def embed(item: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.encode([item], show_progress_bar=False)[0]
        return found

    return embed
