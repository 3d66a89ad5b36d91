"""The limit on what a configuration can make a library allocate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from binder import ConfigError, loading_model
from binder.anchors.bounds import no_larger_than

WHOLE = 3_000_000  # bytes of weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model-1-of-2.safetensors", "below/model-2-of-2.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(WHOLE // 2))
    return tmp_path


def test_the_files_of_a_folder_count_together(folder: Path) -> None:
    with no_larger_than(folder):
        torch.empty(WHOLE)
    with pytest.raises(ValueError, match="larger model than the file"), no_larger_than(folder / "below"):
        torch.empty(WHOLE)


def test_a_draft_may_hold_shared_weights_several_times_but_not_without_end(folder: Path) -> None:
    with no_larger_than(folder), torch.device("meta"):
        drafts = [torch.nn.Embedding(1000, WHOLE // 1000) for _ in range(3)]
    assert all(draft.weight.is_meta for draft in drafts)
    with pytest.raises(ValueError, match="larger model than the file"), no_larger_than(folder), torch.device("meta"):
        for _ in range(20):
            torch.nn.Embedding(1000, WHOLE // 1000)


def test_what_a_draft_becomes_in_memory_counts(folder: Path) -> None:
    draft = torch.empty(2 * WHOLE, device="meta")
    with no_larger_than(folder):
        torch.empty_like(draft)
    with pytest.raises(ValueError, match="larger model than the file"), no_larger_than(folder):
        torch.empty_like(draft, device="cpu")


def test_loading_a_model_words_what_a_library_raises_and_restores_the_random_state(folder: Path) -> None:
    before = torch.random.get_rng_state()
    larger = "^mine: cannot be loaded: ValueError: its configuration describes a larger"
    with pytest.raises(ConfigError, match=larger), loading_model("mine", folder):
        torch.randn(3)
        torch.empty(10 * WHOLE)
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(ConfigError, match="needs the package no_such"), loading_model("mine", folder):
        import no_such  # noqa: F401
