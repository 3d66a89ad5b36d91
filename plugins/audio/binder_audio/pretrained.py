"""Loading the weights that are shipped with the plugin (`pretrain` is the recipe by which they were made)."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from binder import ConfigError
from binder_audio.config import AudioConfig

SPEECH = Path(__file__).parent / "speech.safetensors"


def load(trunk: nn.Module, config: AudioConfig, path: Path = SPEECH) -> None:
    """Load the weights in `path` into `trunk`. Raises ConfigError where they are for another shape."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        shape = json.loads(file.metadata()["card"])["shape"]
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  # not a dict
    different = [f"{key} = {value}" for key, value in shape.items() if getattr(config, key) != value]
    if different:
        needed = ", ".join(different)
        raise ConfigError(f'trunk = "speech" needs {needed}; for another shape set trunk = "none"')
    trunk.load_state_dict(weights)
