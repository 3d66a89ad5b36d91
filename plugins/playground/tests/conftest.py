"""What every test stands on: a cache of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path_factory.mktemp("cache")))
