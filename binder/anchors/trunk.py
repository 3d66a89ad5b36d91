"""A frozen model that encoders build on: the anchor's image tower, or a pretrained image model by its name.

Names: `timm:NAME` (a model of timm: its own name, `hf-hub:ORG/REPO` or a folder as timm saves it),
`transformers:NAME` (of the hub, or a folder).

Shapes: B batch, F features of the trunk.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from binder.anchors import reach
from binder.anchors.bounds import no_larger_than, weights_in
from binder.errors import ConfigError, nearest, one_line
from binder.files import read_json, why

Load = Callable[[str], tuple[nn.Module, Callable[[Any], Tensor]]]


class Trunk:
    """A model with its preprocessing and nothing to train: one batch (B, ...) as `transform` makes its rows -> (B, F).

    A plain class on purpose: an encoder that holds one does not get its weights into its own `state_dict`, and a copied
    encoder shares it. Pickled (for worker processes) it leaves the weights behind and keeps what `preprocess` needs.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        transform: Callable[[Any], Tensor],
        out_features: int,
        *,
        part: str = "",  # prefix of the parameters that belong to it, where the model has others
        fingerprint: str = "",  # of its weights; "" where whoever holds it answers for them, as the anchor's space does
    ) -> None:
        self.name, self.transform, self.out_features = name, transform, out_features
        self.part, self.fingerprint = part, fingerprint
        self._model: nn.Module | None = model.eval().requires_grad_(False)

    @property
    def model(self) -> nn.Module:
        if self._model is None:
            raise RuntimeError(f"{self.name}: a worker process has no weights; only `preprocess` runs there")
        return self._model

    def weights(self) -> dict[str, Tensor]:
        """Its frozen weights by their names."""
        return {name: p for name, p in self.model.named_parameters() if name.startswith(self.part)}

    def __call__(self, batch: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B, ...) -> (B, F); with `weights`, as if they stood in place of its own."""
        return functional_call(self.model, dict(weights), (batch,)) if weights else self.model(batch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def __deepcopy__(self, memo: object) -> Trunk:
        return self


def image_trunk(name: str, device: torch.device | str = "cpu") -> Trunk:
    """A pretrained image model by name; its `transform` takes pictures -> (3, H, W). Raises as `load_trunk`."""
    return load_trunk(name, {"timm": _timm, "transformers": _transformers}, Image.new("RGB", (32, 32)), device)


def load_trunk(name: str, loaders: Mapping[str, Load], example: Any, device: torch.device | str = "cpu") -> Trunk:
    """LIBRARY:NAME as `loaders[LIBRARY](NAME)` gives it: a model, and what makes a row of its batch of an `example`.

    Raises ConfigError: an unknown library or name, weights that cannot be had or are not whole, a missing package, a
    model that gives no finite numbers.
    """
    library, _, rest = name.partition(":")
    if library not in loaders or not rest:
        raise ConfigError(f"trunk {name!r}: expected {' or '.join(f'{known}:NAME' for known in loaders)}")
    folder = _folder(rest)
    repository = _repository(library, rest)
    fetched = contextlib.nullcontext() if folder else reach.hub(f"trunk {name!r}", repository, ConfigError)
    with fetched, _explained(name):
        with no_larger_than(weights_in(folder) if folder else None):
            model, transform = loaders[library](rest)
        fingerprint = hash_weights(model.state_dict())
        with torch.inference_mode():
            features = model.eval()(transform(example)[None])
        if features.ndim != 2 or not bool(features.isfinite().all()):
            raise ConfigError(f"trunk {name!r}: gives no vector of finite numbers")
        out_features = int(features.shape[-1])
    return Trunk(name, model.to(device), transform, out_features, fingerprint=fingerprint)


def load_transformers(name: str) -> nn.Module:
    """A model of transformers with all of its weights but the pooler's. Raises ConfigError where others are missing."""
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(name, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    if missing:
        raise ConfigError(f"trunk 'transformers:{name}': lacks weights, among them {sorted(missing)[0]}")
    return model


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """A name for weights by their content."""
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _folder(name: str) -> Path | None:
    """The folder that a trunk's name is of; None for one that a library or the hub knows. Raises ConfigError."""
    path = name.removeprefix("local-dir:")
    try:
        folder = Path(path).expanduser()
        if (folder / "config.json").is_file() and weights_in(folder):
            read_json(folder / "config.json")  # within limits
            return folder.absolute()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody; a damaged configuration
        raise ConfigError(f"trunk {name[:100]!r}: {why(error)}") from None
    if path != name or Path(path).is_absolute():
        raise ConfigError(f"trunk {path}: no config.json with its weights there; if it has moved, name the new place")
    return None


def _repository(library: str, name: str) -> str | None:
    """The repository of the hub that a name is of; None where the library itself knows which."""
    if library == "timm":
        return name.removeprefix("hf-hub:").partition("@")[0] if name.startswith("hf-hub:") else None
    return name


def _timm(name: str) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    folder = _folder(name)
    name = f"local-dir:{folder}" if folder else name
    if ":" not in name and not timm.is_model(name):
        known = nearest(name.partition(".")[0], timm.list_models())
        raise ConfigError(f"trunk 'timm:{name}': no such model of timm{known}")
    model = timm.create_model(name, pretrained=True, num_classes=0)
    # all of the picture: by default timm cuts off its margins, where the axes of a drawing are
    transform = create_transform(**{**resolve_model_data_config(model), "crop_pct": 1.0}, is_training=False)
    return model, partial(_of_rgb, transform)


def _of_rgb(transform: Callable[[Image.Image], Tensor], picture: Image.Image) -> Tensor:
    return transform(picture.convert("RGB"))


def _transformers(name: str) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    from transformers import AutoImageProcessor

    model = load_transformers(name)
    image_model = getattr(model, "vision_model", model)
    if hasattr(image_model, "pooler"):
        image_model.pooler = nn.Identity()  # not used, and random in a checkpoint without one
    return _Pooled(image_model), partial(_processed, AutoImageProcessor.from_pretrained(name))


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    return processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]


class _Pooled(nn.Module):
    """An image model of transformers -> the mean of its last tokens, or of its last map of features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Tensor:
        last = self.model(pixel_values=batch).last_hidden_state
        return last.mean(1) if last.ndim == 3 else last.flatten(2).mean(2)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Every way in which a library fails to load a model as one line, and nothing that it logs beside."""
    noisy = logging.getLogger("transformers")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        yield
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigError(f"trunk {name!r}: needs the package {error.name}: pip install {error.name}") from None
    except Exception as error:  # hubs, files, configurations: each library has its own
        said = one_line(error)
        if re.search("connect|offline|locate the file", said, re.IGNORECASE):
            said = "it is not on this machine, and the hub does not answer"
        raise ConfigError(f"trunk {name!r}: cannot be loaded: {type(error).__name__}: {said}") from None
    finally:
        noisy.setLevel(level)
