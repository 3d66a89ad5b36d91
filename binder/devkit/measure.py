"""A pytest plugin that writes the outcome of each test and the speed of the tested encoders as JSON.

Used by `binder plugins check`, which passes the file's name in BINDER_KIT_REPORT.
"""

from __future__ import annotations

import inspect
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binder.testing import EncoderContract

ITEMS = 32  # timed; repeated if the test has fewer
REPEATS = 3  # of each timing, of which the median is reported

outcomes: list[dict[str, str]] = []
contracts: dict[str, type[EncoderContract]] = {}  # modality -> its first test class


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        cls = getattr(item, "cls", None)
        if isinstance(cls, type) and issubclass(cls, EncoderContract):
            contracts.setdefault(cls.modality.name, cls)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        entry = {"test": report.nodeid, "outcome": report.outcome, "why": _why(report)}
        outcomes.append(entry)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.outcome == "failed":
        outcomes.append({"test": report.nodeid, "outcome": "failed", "why": _last_line(str(report.longrepr))})


def pytest_sessionfinish(session: pytest.Session) -> None:
    facts: dict[str, Any] = {}
    for name, cls in contracts.items():
        try:
            facts[name] = measure(cls)
        except Exception as error:  # a bug of the plugin, which its tests report
            facts[name] = {"error": f"{type(error).__name__}: {error}".replace("\n", " ")[:300]}
    Path(os.environ["BINDER_KIT_REPORT"]).write_text(json.dumps({"tests": outcomes, "facts": facts}))


def measure(cls: type[EncoderContract]) -> dict[str, Any]:
    """The size and speed of the encoder with the default configuration and anchor, on the CPU."""
    import torch

    from binder.anchors import openclip

    kind = cls.modality
    with tempfile.TemporaryDirectory() as folder:
        items = list(cls().items(Path(folder)))
        config = kind.config()
        if kind.adapt is not None:
            config = kind.adapt(config, items)
        encoder = kind.build(config, openclip.load("mini")).eval()
        items = (items * ITEMS)[:ITEMS]
        read_s = _median(lambda: [encoder.preprocess(item) for item in items]) / ITEMS
        windows = torch.cat([encoder.preprocess(item) for item in items])
        with torch.inference_mode():
            embed_s = _median(lambda: encoder(windows)) / len(windows)
        step_s = _median(lambda: _step(encoder, windows[:ITEMS])) / min(ITEMS, len(windows))
    sizes = [(p.numel(), p.requires_grad) for p in encoder.parameters()]
    return {
        "parameters": sum(n for n, _ in sizes),
        "trained_parameters": sum(n for n, trained in sizes if trained),
        "frozen_trunk": encoder.frozen_trunk,
        "window_shape": list(windows.shape[1:]),
        "window_kib": round(windows[0].numel() * windows.element_size() / 1024, 1),
        "read_ms": round(1000 * read_s, 2),
        "windows_per_second": round(1 / embed_s),
        "trained_windows_per_second": round(1 / step_s),
        "threads": torch.get_num_threads(),
    }


def _step(encoder: Any, windows: Any) -> None:
    """A training step without the optimizer: forward and backward."""
    import torch

    batch = windows if encoder.frozen_trunk else encoder.augment(windows, torch.Generator().manual_seed(0))
    encoder.train()
    encoder(batch).square().sum().backward()
    encoder.zero_grad()
    encoder.eval()


def _median(work: Callable[[], object]) -> float:
    """Median time in seconds, without a first run to warm up."""
    work()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _why(report: pytest.TestReport) -> str:
    if report.outcome == "passed":
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return " ".join(crash.message.split())[:300]
    return _last_line(inspect.cleandoc(str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip()[:300] if lines else ""
