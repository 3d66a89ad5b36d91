"""The core's own kind of anchor: OpenCLIP models.

Names: `mini` (shipped), `MODEL/TAG` (any pretrained OpenCLIP model), `MODEL/FILE` (a checkpoint of a known
architecture), `hf-hub:ORG/REPO`, or a folder in OpenCLIP's layout (`open_clip_config.json` beside the weights, and
`bpe.txt.gz` if it has its own vocabulary).

Shapes: B batch, L tokens, D embed_dim.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from binder.anchors import folder as anchor_folder
from binder.anchors import reach
from binder.anchors.base import Anchor
from binder.anchors.bounds import no_larger_than, weights_in
from binder.anchors.towers import ImageTower, TextTower
from binder.anchors.trunk import Trunk, hash_weights, loading
from binder.encoder import Encoder
from binder.errors import AnchorError, kind_and_words, nearest
from binder.files import is_file, why

SHIPPED = Path(__file__).parent  # holds a folder for each shipped anchor


class OpenClipAnchor(Anchor):
    """A frozen CLIP: two towers, their preprocessing, and the fingerprint of their space."""

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        preprocess: dict[str, Any],  # OpenCLIP's preprocess_cfg: size, mean, std, interpolation, resize_mode
        tokenizer: Any,
        card: dict[str, Any] | None = None,  # says which words it knows
    ) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        short = tokenizer(["a"])
        with torch.inference_mode():
            clip: Any = model.eval()
            embed_dim = int(clip.encode_text(short).shape[-1])
        super().__init__(name, model, embed_dim=embed_dim, fingerprint=_fingerprint(model, preprocess, tokenizer))
        self.transform = image_transform_v2(PreprocessCfg(**preprocess), is_train=False)  # PIL -> (3, H, W) float
        self.tokenizer = tokenizer  # list of str -> (B, L) int64
        self.padding = int(short[0, -1])  # the last token of a text that does not fill the context
        self.known_words = (card or {}).get("words") or ()

    @property
    def _clip(self) -> Any:
        """The model with the methods and parameters of a CLIP, which have no type hints."""
        return self.model

    @cached_property
    def towers(self) -> Mapping[str, Encoder]:
        return {"image": ImageTower(self), "text": TextTower(self)}

    @property
    def image_trunk(self) -> Trunk:
        """The image tower, for encoders that build on it: (B, 3, H, W) -> (B, D), not normalized."""
        return Trunk(self.name, _ImageSide(self.model), self.transform, self.embed_dim, part="model.visual.")

    @property
    def logit_scale(self) -> float:
        return float(self._clip.logit_scale.exp())

    def truncates(self, text: str) -> bool:
        return int(self.tokenizer([text])[0, -1]) != self.padding

    def encode_image(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalized."""
        z_BD: Tensor = self._clip.encode_image(batch)
        return z_BD

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, L) -> (B, D), not normalized."""
        z_BD: Tensor = self._clip.encode_text(tokens)
        return z_BD


class _ImageSide(torch.nn.Module):
    """The model with `encode_image` as its forward pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Tensor:
        z_BD: Tensor = self.model.encode_image(batch)
        return z_BD


def load(name: str = "mini", device: str | torch.device = "cpu") -> OpenClipAnchor:
    """The anchor called `name`, frozen, on `device`. Raises AnchorError; never returns random weights.

    Both towers are tried out, so that a broken one fails here and not in the middle of the work.
    """
    import open_clip

    model_name, pretrained, folder = _resolve(name)
    file = Path(pretrained) if pretrained and is_file(Path(pretrained)) else None
    if folder is not None:
        anchor_folder.check(folder)
        if folder.parent != SHIPPED:
            name = str(folder.resolve())  # so that an encoder's card finds it from any working directory
    elif file is not None:
        name = f"{model_name}/{file.resolve()}"
    bpe = folder / anchor_folder.VOCABULARY if folder else None
    own = {"bpe_path": str(bpe)} if bpe and bpe.is_file() else {}
    with _hub(name, model_name, pretrained) if folder is None and file is None else contextlib.nullcontext():
        limit = no_larger_than(weights_in(folder) if folder else file)
        with _explained(name, "weights"), limit, loading:
            model = open_clip.create_model(model_name, pretrained=pretrained, require_pretrained=True)
            preprocess = open_clip.get_model_preprocess_cfg(model)
        with _explained(name, "tokenizer"):
            tokenizer = open_clip.get_tokenizer(model_name, **own)
    with _explained(name, "towers"):
        anchor = OpenClipAnchor(name, model, preprocess, tokenizer, anchor_folder.card(folder))
        anchor.try_out({"image": Image.new("RGB", (64, 48)), "text": "a"})
    return anchor.to(device)


def available() -> list[tuple[str, str]]:
    """(name, description) of every anchor known by name: those that are shipped, then OpenCLIP's pretrained ones."""
    import open_clip

    shipped = [(p.name, (anchor_folder.card(p) or {}).get("description", "shipped, works offline")) for p in _shipped()]
    return shipped + [(f"{m}/{tag}", "OpenCLIP pretrained, downloaded once") for m, tag in open_clip.list_pretrained()]


def _resolve(name: str) -> tuple[str, str | None, Path | None]:
    """Name -> (OpenCLIP's model name, pretrained tag or file, local folder)."""
    import open_clip

    shipped = {p.name: p for p in _shipped()}
    try:
        folder = shipped.get(name, Path(name).expanduser())
        if folder.is_dir():
            return f"local-dir:{folder}", None, folder
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, ~nobody
        raise AnchorError(f"anchor {name[:100]!r}: {why(error)}") from None
    if name.startswith("hf-hub:"):
        return name, None, None
    if folder.is_absolute():
        raise AnchorError(f"anchor {name!r}: no such folder; if it was moved, give its new path (--anchor)")
    architecture, _, rest = name.partition("/")
    architectures = open_clip.list_models()
    if architecture not in architectures:
        hint = nearest(name, [*shipped, *architectures])
        raise AnchorError(
            f"unknown anchor {name!r}{hint}: expected {', '.join(shipped)}, MODEL/TAG as `binder anchors list` "
            "shows them, MODEL/CHECKPOINT_FILE, hf-hub:ORG/REPO or a folder"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not rest:
        known = ", ".join(f"{architecture}/{tag}" for tag in tags) or f"{architecture}/CHECKPOINT_FILE"
        raise AnchorError(f"anchor {name!r} is an architecture: name its weights, too, as MODEL/TAG: {known}")
    if rest not in tags and not is_file(Path(rest)):
        moved = "; if it was moved, give its new path (--anchor)" if Path(rest).is_absolute() else ""
        raise AnchorError(
            f"anchor {name!r}: {rest!r} is neither a file nor a pretrained tag of {architecture}"
            f"{moved or nearest(rest, tags) or '; tags: ' + (', '.join(tags) or 'none')}"
        )
    return architecture, rest, None


def _hub(name: str, model_name: str, tag: str | None) -> contextlib.AbstractContextManager[None]:
    """`reach.hub` for the repository from which an anchor is downloaded."""
    import open_clip

    repo: str | None = model_name.removeprefix("hf-hub:")
    if tag is not None:
        repo = (open_clip.get_pretrained_cfg(model_name, tag) or {}).get("hf_hub", "").strip("/") or None
    elif "@" in model_name:  # a revision
        repo = None
    return reach.hub(f"anchor {name!r}", repo, AnchorError)


def _shipped() -> list[Path]:
    return sorted(p.parent for p in SHIPPED.glob("*/open_clip_config.json"))


@contextlib.contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Turns anything that is raised while a part of an anchor is loaded into an AnchorError."""
    try:
        yield
    except AnchorError:
        raise
    except Exception as error:
        raise AnchorError(f"anchor {name!r} could not be loaded: {_reason(error, what)}") from error


def _reason(error: Exception, what: str) -> str:
    if reach.is_out_of_reach(str(error)):
        are = "is" if what == "tokenizer" else "are"
        return (
            f"its {what} {are} not on this machine and could not be downloaded; "
            "offline, use 'mini', a local folder or MODEL/CHECKPOINT_FILE"
        )
    part = f"its {what}: " if what != "weights" else ""
    return part + kind_and_words(error)


def _fingerprint(model: torch.nn.Module, preprocess: dict[str, Any], tokenizer: Any) -> str:
    """A name for the space: a hash of weights, architecture, preprocessing and vocabulary."""
    digest = hashlib.sha256(hash_weights(model.state_dict()).encode())
    digest.update(json.dumps(_functions(model)).encode())
    digest.update(json.dumps(preprocess, sort_keys=True, default=list).encode())
    probe = ["a photo of two red circles", "Ünïcode 0123, snake_case!"]  # different vocabularies split it differently
    digest.update(tokenizer(probe).numpy().tobytes())
    return digest.hexdigest()[:32]


def _functions(model: torch.nn.Module) -> list[list[str]]:
    """What the weights do not determine: the number of heads and the kind of activation, per module."""
    found = []
    for name, module in model.named_modules():
        heads = getattr(module, "num_heads", None)
        if heads is not None or "ELU" in type(module).__name__.upper():
            found.append([name, str(heads or type(module).__name__)])
    return found
