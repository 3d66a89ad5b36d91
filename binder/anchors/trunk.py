"""Frozen models that encoders build on: the anchor's image tower, or a pretrained model by name.

Names: `timm:NAME` (a model of timm: its own name, `hf-hub:ORG/REPO` or a folder as timm saves it),
`transformers:NAME` (of the hub, or a folder).

Shapes: B batch, F features of the trunk.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from binder.anchors import reach
from binder.anchors.bounds import no_larger_than, weights_in
from binder.devices import random_state_restored
from binder.errors import BinderError, ConfigError, nearest, one_line
from binder.files import read_json, why
from binder.scoped import ProcessWide

Load = Callable[[str], tuple[nn.Module, Callable[[Any], Tensor]]]


class Trunk:
    """A frozen model with its preprocessing: a batch (B, ...), whose rows `transform` makes, -> (B, F).

    A plain class, not a Module, so that its weights stay out of the `state_dict` of an encoder that holds it, and
    copies of the encoder share it. Pickled for worker processes it drops the weights and keeps the preprocessing.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        transform: Callable[[Any], Tensor],
        out_features: int,
        *,
        part: str | tuple[str, ...] = "",  # with what the names of its parameters begin, where the model has others
        fingerprint: str = "",  # of its weights; "" for the anchor's own, which the space's fingerprint covers
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
        """Its frozen weights by name."""
        return {name: p for name, p in self.model.named_parameters() if name.startswith(self.part)}

    def __call__(self, batch: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """(B, ...) -> (B, F); with `weights` in place of its own, where they are given."""
        features: Tensor = functional_call(self.model, dict(weights), (batch,)) if weights else self.model(batch)
        return features

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}

    def __deepcopy__(self, memo: object) -> Trunk:
        return self


def image_trunk(name: str, device: torch.device | str = "cpu") -> Trunk:
    """A pretrained image model by name, whose `transform` makes (3, H, W) of a picture. Raises as `load_trunk` does."""
    return load_trunk(name, {"timm": _timm, "transformers": _transformers}, Image.new("RGB", (32, 32)), device)


def load_trunk(name: str, loaders: Mapping[str, Load], example: Any, device: torch.device | str = "cpu") -> Trunk:
    """The model called LIBRARY:NAME, loaded by what `loaders` has for LIBRARY: NAME -> the model and its preprocessing.

    `example` is an item that the preprocessing takes; the model is tried on it. Raises ConfigError for an unknown
    library or name, missing or incomplete weights, a missing package, and output that is not finite.
    """
    library, _, rest = name.partition(":")
    if library not in loaders or not rest:
        raise ConfigError(f"trunk {name!r}: expected {' or '.join(f'{known}:NAME' for known in loaders)}")
    folder, label = _folder(rest), f"trunk {name!r}"
    quiet = ["transformers"] if library == "transformers" else []
    with loading_model(label, folder, _repository(library, rest), libraries=quiet):
        model, transform = loaders[library](rest)
    with explained(label, ConfigError):
        fingerprint = hash_weights(model.state_dict())
        with torch.inference_mode():
            features = model.eval()(transform(example)[None])
        if features.ndim != 2 or not bool(features.isfinite().all()):
            raise ConfigError(f"{label}: gives no vector of finite numbers")
        out_features = int(features.shape[-1])
    return Trunk(name, model.to(device), transform, out_features, fingerprint=fingerprint)


def load_transformers(name: str) -> nn.Module:
    """A transformers model with all its weights, the pooler's aside. Raises ConfigError where others are missing."""
    from transformers import AutoModel

    model: nn.Module
    model, info = AutoModel.from_pretrained(name, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    if missing:
        raise ConfigError(f"trunk 'transformers:{name}': lacks weights, among them {sorted(missing)[0]}")
    return model


@contextlib.contextmanager
def loading_model(
    name: str,
    folder: Path | None,
    repository: str | None = None,
    *,
    error: type[BinderError] = ConfigError,
    libraries: Sequence[str] = (),
) -> Iterator[None]:
    """Within this, libraries load the model that messages call `name`: from a folder, or from the hub.

    From a folder, no model is made larger than the files of weights in it. Without one, the hub is asked first whether
    it answers and has the `repository`, if the name means one; where it does not answer, only what is cached is used.
    The `libraries` log errors only, the random state is as before afterwards, and whatever is raised becomes an `error`
    of one line.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.nullcontext() if folder else reach.hub(name, repository, error))
        stack.enter_context(explained(name, error))
        for library in libraries:
            stack.enter_context(_quiet(library))
        if folder and "transformers" in libraries:
            stack.enter_context(_no_bars)
        stack.enter_context(loading)
        stack.enter_context(no_larger_than(folder))
        yield


@functools.cache
def _quiet(library: str) -> ProcessWide:
    return ProcessWide(partial(_errors_only, library))


@contextlib.contextmanager
def _errors_only(library: str) -> Iterator[None]:
    """Libraries warn about weights that are left out on purpose."""
    importlib.import_module(library)  # which sets the level of its log
    log = logging.getLogger(library)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    from transformers.utils import logging as library

    settings: Any = library  # some of its functions have no annotations
    shown = settings.is_progress_bar_enabled()
    if shown:
        settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


_no_bars = ProcessWide(_without_bars)  # one that counts tensors, for every model
# libraries fill a model with random weights before they load its own
loading = ProcessWide(lambda: random_state_restored(torch.device("cpu")))


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of weights: their names, shapes, types and values."""
    digest = hashlib.sha256()
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _folder(name: str) -> Path | None:
    """The folder that a trunk's name refers to; None for a name of the library or the hub. Raises ConfigError."""
    path = name.removeprefix("local-dir:")
    try:
        folder = Path(path).expanduser()
        if (folder / "config.json").is_file() and weights_in(folder):
            read_json(folder / "config.json")  # within limits
            return folder.absolute()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody; a damaged configuration
        raise ConfigError(f"trunk {name[:100]!r}: {why(error)}") from None
    if path != name or Path(path).is_absolute():
        raise ConfigError(f"trunk {path}: no config.json with its weights there; if it was moved, give its new path")
    return None


def _repository(library: str, name: str) -> str | None:
    """The repository on the hub that a name refers to; None where only the library knows which."""
    if library == "timm":
        return name.removeprefix("hf-hub:").partition("@")[0] if name.startswith("hf-hub:") else None
    return name


def _timm(name: str) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    import timm
    import timm.data

    folder = _folder(name)
    name = f"local-dir:{folder}" if folder else name
    if ":" not in name and not timm.is_model(name):
        known = nearest(name.partition(".")[0], timm.list_models())
        raise ConfigError(f"trunk 'timm:{name}': no such model of timm{known}")
    model = timm.create_model(name, pretrained=True, num_classes=0)
    data: Any = timm.data  # without type hints
    # the whole picture: by default timm crops its margins, where a drawing has its axes
    transform = data.create_transform(**{**data.resolve_model_data_config(model), "crop_pct": 1.0}, is_training=False)
    return model, partial(of_rgb, transform)


def of_rgb(transform: Callable[[Image.Image], Tensor], picture: Image.Image) -> Tensor:
    """What a transform makes of a picture of any mode."""
    return transform(picture.convert("RGB"))


def _transformers(name: str) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    from transformers import AutoImageProcessor

    model = load_transformers(name)
    image_model = getattr(model, "vision_model", model)
    if hasattr(image_model, "pooler"):
        image_model.pooler = nn.Identity()  # unused, and random where the checkpoint has none
    processors: Any = AutoImageProcessor  # without type hints
    return _Pooled(image_model), partial(_processed, processors.from_pretrained(name))


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    pixels: Tensor = processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"][0]
    return pixels


class _Pooled(nn.Module):
    """A transformers image model with the mean of its last tokens, or of its last feature map, as its output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Tensor:
        last: Tensor = self.model(pixel_values=batch).last_hidden_state
        return last.mean(1) if last.ndim == 3 else last.flatten(2).mean(2)


@contextlib.contextmanager
def explained(name: str, error: type[BinderError]) -> Iterator[None]:
    """Turns anything that a library raises while it loads a model into an `error` of one line."""
    try:
        yield
    except BinderError:
        raise
    except ModuleNotFoundError as caught:
        raise error(f"{name}: needs the package {caught.name}: pip install {caught.name}") from None
    except Exception as caught:  # about hubs, files, configurations: each library raises its own
        reason = f"{type(caught).__name__}: {one_line(caught)}"
        if reach.is_out_of_reach(reason):
            reason = "it is not on this machine, and the hub does not answer"
        raise error(f"{name}: cannot be loaded: {reason}") from None
