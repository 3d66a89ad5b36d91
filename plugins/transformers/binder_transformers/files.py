"""The files of a model, which may come from anywhere: downloaded, checked before anything is built, and hashed."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from binder import AnchorError, loading_model, one_line
from binder_transformers.names import Name

# what is read of a repository: never code; weights in the older format only where there are no others
READ = ["*.json", "*.txt", "*.model", "*.jinja", "README.md", "model.safetensors", "*/model.safetensors"]
READ += ["model-*-of-*.safetensors", "*/model-*-of-*.safetensors"]
OLDER = ["pytorch_model*.bin", "*/pytorch_model*.bin"]
UNREAD = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*", "coreml/*"]  # the same model for other libraries
MARKS = ("config.json", "modules.json")  # at least one is in the folder of a model
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
OLD_WEIGHTS = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")  # opened for tensors only: no code in them is run
OTHERS = re.compile(r"onnx|openvino|coreml|checkpoint-.*|\..*")  # folders
MOST = 20 * 2**20  # bytes of a configuration
# in configurations: what changes where the same model is saved again
NOISE = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "architectures",
    "__version__",
}
VOCABULARY = re.compile(
    r"tokenizer.*|vocab.*|special_tokens_map|added_tokens|generation_config|.*\.index|trainer_state"
)
VOCABULARIES = re.compile(r"tokenizer\.json|.*vocab.*|.*\.model|.*\.spm")
BYTES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")  # which need no vocabulary


def folder_of(name: Name) -> Path:
    """The folder with the model's files, downloaded first where it is on the hub. Raises AnchorError."""
    label = f"anchor {str(name)!r}"
    folder = name.folder
    if folder is None:
        from huggingface_hub import snapshot_download

        with loading_model(label, None, name.place, error=AnchorError):
            folder = Path(snapshot_download(name.place, allow_patterns=READ, ignore_patterns=UNREAD))
            if not any(True for _ in weights(folder)):
                snapshot_download(name.place, allow_patterns=[*READ, *OLDER], ignore_patterns=UNREAD)
    check(folder, label)
    return folder


def check(folder: Path, label: str) -> None:
    """Raises AnchorError for a folder that is no model, or one without weights."""
    if not any((folder / mark).is_file() for mark in MARKS):
        raise AnchorError(f"{label}: no model there: neither {' nor '.join(MARKS)} is in {folder}")
    for path in configurations(folder):
        configuration(path, label)
    if (folder / "adapter_config.json").is_file():
        raise AnchorError(f"{label}: is an adapter to another model; merge the two and save them as one")
    if not any(True for _ in weights(folder)):
        raise AnchorError(f"{label}: no weights are among its files: expected model.safetensors or pytorch_model.bin")


def weights(folder: Path) -> Iterator[Path]:
    """The files of weights, in a fixed order: safetensors, and of a folder without them those of the older format."""
    found = [path for path in sorted(folder.rglob("*")) if _counts(path, folder) and path.is_file()]
    new = {path.parent for path in found if WEIGHTS.fullmatch(path.name)}
    return (p for p in found if (WEIGHTS if p.parent in new else OLD_WEIGHTS).fullmatch(p.name))


def configurations(folder: Path) -> Iterator[Path]:
    """The JSON files that say how the model is built and what it is given, its vocabulary aside."""
    found = [path for path in sorted(folder.rglob("*.json")) if _counts(path, folder)]
    return (path for path in found if not VOCABULARY.fullmatch(path.stem))


def configuration(path: Path, label: str) -> Any:
    """The values in a JSON file; {} where there is none. Raises AnchorError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"more than {MOST // 2**20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AnchorError(f"{label}: {path.name} is damaged: {one_line(error, 100)}") from None


def require_vocabulary(folder: Path, label: str, tokenizer: Any) -> None:
    """Raises AnchorError for a tokenizer without its files, in whose place transformers makes one that is empty."""
    if type(tokenizer).__name__ in BYTES:
        return
    found = [path for path in folder.rglob("*") if VOCABULARIES.fullmatch(path.name) and _counts(path, folder)]
    if not found:
        raise AnchorError(f"{label}: its tokenizer is not among its files (tokenizer.json, vocab.txt ...)")


def fingerprint(folder: Path, label: str, more: list[Any]) -> str:
    """A hash of the weights and configurations as they are in the files, and of `more`.

    Of the files, not of the model in memory: libraries rename their modules from version to version, and the space
    stays the same.
    """
    digest = hashlib.sha256(json.dumps(more, sort_keys=True).encode())
    for path in configurations(folder):
        values = _without_noise(configuration(path, label))
        digest.update(json.dumps([path.relative_to(folder).as_posix(), values], sort_keys=True).encode())
    for where, key, tensor in _tensors(folder):
        digest.update(json.dumps([where, key, list(tensor.shape), str(tensor.dtype)]).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:32]


def trained_dimensions(folder: Path, label: str) -> set[int]:
    """The lengths to which the model says that its vectors can be cut; empty where it says nothing."""
    found: set[int] = set()
    for name in ("config.json", "config_sentence_transformers.json"):
        values = configuration(folder / name, label)
        for key in ("matryoshka_dims", "matryoshka_dimensions", "truncate_dim"):
            said = values.get(key) if isinstance(values, dict) else None
            found |= {n for n in (said if isinstance(said, list) else [said]) if isinstance(n, int)}
    card = folder / "README.md"
    if card.is_file() and card.stat().st_size < MOST:
        text = card.read_text(encoding="utf-8", errors="replace")
        for listed in re.findall(r"matryoshka_dim(?:ension)?s\W{1,4}\[([\d,\s]{1,400})\]", text):
            found |= {int(n) for n in listed.replace(",", " ").split()}
    return found


def _tensors(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """(folder, name, tensor) of all weights, one at a time and ordered by name, however they lie in files."""
    files = list(weights(folder))
    for parent in sorted({path.parent for path in files}):
        where = parent.relative_to(folder).as_posix()
        opened = [_opened(path) for path in files if path.parent == parent]
        named = sorted((key, number) for number, (keys, _) in enumerate(opened) for key in keys)
        for key, number in named:
            yield where, key, opened[number][1](key)


def _opened(path: Path) -> tuple[list[str], Callable[[str], Any]]:
    """The names of the tensors in a file, and what reads one of them."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        file: Any = safe_open(path, "pt")
        return list(file.keys()), file.get_tensor
    import torch

    held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return [key for key, value in held.items() if isinstance(value, torch.Tensor)], held.__getitem__


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def _without_noise(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_noise(value) for key, value in values.items() if key not in NOISE}
    return [_without_noise(value) for value in values] if isinstance(values, list) else values


def _counts(path: Path, folder: Path) -> bool:
    """Whether a file is the model's, and not of a copy for another library, of an earlier state or hidden."""
    return not any(OTHERS.fullmatch(part) for part in path.relative_to(folder).parts[:-1])
