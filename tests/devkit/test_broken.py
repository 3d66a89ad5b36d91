"""Plugins broken in every way: each is one clear line, and no other modality minds."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support import distribution, installed, write_toys

import binder
from binder import Encoder, ItemError, PluginError, registry
from binder.cli.verbs.plugins import plugins_command
from binder.readers import guard

GOOD = """
    from binder import EncoderConfig, Modality, hookimpl

    @hookimpl
    def binder_register_modalities():
        return [Modality("sonar", frozenset(), EncoderConfig, build=lambda config, anchor: None)]
"""


@pytest.fixture
def install(tmp_path):
    """install(name=source, ...) -> a context in which these are installed plugins, and no other."""

    def context(requires=None, **sources):
        for name, source in sources.items():
            (tmp_path / f"fake_{name}.py").write_text(textwrap.dedent(source))
            distribution(tmp_path, name, f"fake_{name}")
        if requires:
            metadata = next(tmp_path.glob("*.dist-info")) / "METADATA"
            metadata.write_text(metadata.read_text() + f"Requires-Dist: {requires}\n")
        return installed(tmp_path, only=",".join(sources))

    return context


@pytest.mark.parametrize("requirement", ["modality-binder>=99", "modality_binder <0.0.1", "modality-binder==99.*"])
def test_a_plugin_for_another_version_of_the_core_is_not_even_imported(install, requirement):
    with install(requires=requirement, acme="raise SystemExit('imported')"):
        (own,) = [plugin for plugin in registry.registry().plugins if plugin.name == "acme"]
    assert own.error.startswith("needs modality-binder ")
    assert own.error.endswith("update one of the two")


@pytest.mark.parametrize(
    "requirement", ["modality-binder", "modality-binder>=0.0.1", "modality-binder>=99; extra == 'x'", "numpy>=99"]
)
def test_a_plugin_for_this_version_is_loaded(install, requirement):
    with install(requires=requirement, acme=GOOD):
        assert "sonar" in registry.registry().names()


def test_a_name_that_the_core_does_not_have_yet_says_so(install):
    with install(acme="from binder import BaseOfTheFuture"):
        (own,) = [plugin for plugin in registry.registry().plugins if plugin.name == "acme"]
    assert "cannot import name 'BaseOfTheFuture' from 'binder'" in own.error


def test_a_broken_plugin_of_another_name_is_mentioned_where_its_modality_is_asked_for(install):
    with install(acme="import no_such_module_at_all"), pytest.raises(PluginError) as caught:
        registry.registry().get("sonar")
    said = str(caught.value)
    assert said.startswith(
        "unknown modality 'sonar'; installed: image, text; a plugin that may provide it: acme 1.0 is"
    )
    assert "No module named 'no_such_module_at_all'" in said
    assert "\n" not in said


def test_the_list_shows_what_is_slow_broken_or_taken(install, monkeypatch):
    monkeypatch.setattr("binder.cli.verbs.plugins.SLOW_IMPORT_S", 0.1)
    slow = "import time; time.sleep(0.2)\n" + textwrap.dedent(GOOD).replace("sonar", "lidar")
    with install(one=GOOD, two=GOOD, three=slow, four="def broken(:"):
        said = CliRunner().invoke(plugins_command, ["list"], catch_exceptions=False).output
    lines = said.splitlines()
    assert "slow: its import took 0.2 s, and every command waits for it" in lines[lines.index("three 1.0: lidar") + 1]
    assert lines[lines.index("four 1.0: -") + 1].startswith("  broken: import failed: SyntaxError")
    assert said.count("sonar: also provided by another plugin") == 2


ENCODER = """
    import torch
    from binder import Encoder, EncoderConfig, ItemError, Modality, hookimpl

    class Config(EncoderConfig):
        pass

    class Broken(Encoder):
        def __init__(self, embed_dim):
            super().__init__()
            self.project = torch.nn.Linear(8, embed_dim)

        def preprocess(self, item):
            import numpy as np
            return torch.from_numpy(np.load(item))[None]

        def features(self, batch):
            return batch

        def head(self, features):
            return {output}

    def build(config, anchor):
        return {built}

    def adapt(config, items):
        return {adapted}

    @hookimpl
    def binder_register_modalities():
        return [Modality("sonar", frozenset([".npy"]), Config, build, adapt=adapt)]
"""
WORKS = {"output": "self.project(features)", "built": "Broken(anchor.embed_dim)", "adapted": "config"}


def align(folder, anchor_folder):
    rows = [{"sonar": folder / row["toy"], "text": row["text"]} for row in write_toys(folder, 30, images=False)]
    return binder.align("sonar", rows, anchor=str(anchor_folder), to="text", out=folder / "run", epochs=1)


def test_the_encoder_of_these_tests_works(install, tmp_path, anchor_folder):
    with install(acme=ENCODER.format(**WORKS)):
        align(tmp_path, anchor_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"built": "None"}, "build returned NoneType, expected a binder.Encoder"),
        ({"built": "torch.nn.Linear(8, 8)"}, "build returned Linear, expected a binder.Encoder"),
        ({"built": "1 / 0"}, "build failed: ZeroDivisionError: division by zero"),
        ({"built": "Broken(anchor.embed_dim + 1)"}, "expected (27, 32): (B, the anchor's embed_dim)"),
        ({"output": "self.project(features)[:1]"}, "forward returned shape (1, 32) for a batch of 27"),
        ({"output": "self.project(features).tolist()"}, "forward returned list, expected a tensor (B, 32)"),
        ({"adapted": "None"}, "adapt returned NoneType, expected a Config"),
        ({"adapted": "items[10 ** 6]"}, "adapt failed: IndexError"),
    ],
)
def test_what_is_wrongly_returned_is_one_line_that_names_the_plugin(install, change, message, tmp_path, anchor_folder):
    with install(acme=ENCODER.format(**{**WORKS, **change})), pytest.raises(PluginError) as caught:
        align(tmp_path, anchor_folder)
    assert str(caught.value).startswith("plugin acme 1.0, modality 'sonar': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vectors_that_are_not_finite_are_refused(install, tmp_path, anchor_folder):
    source = ENCODER.format(**{**WORKS, "output": "self.project(features) * (1 if self.training else torch.nan)"})
    with install(acme=source), pytest.raises(PluginError, match=r"'sonar': forward returned numbers that are not fin"):
        align(tmp_path, anchor_folder)
        binder.Binder.of(tmp_path / "run").embed(sonar=tmp_path / "0.npy")


def test_an_exception_of_the_plugin_is_kept_as_the_cause(install, tmp_path, anchor_folder):
    source = ENCODER.format(**{**WORKS, "built": "{}['no']"})
    with install(acme=source), pytest.raises(PluginError) as caught:
        align(tmp_path, anchor_folder)
    assert isinstance(caught.value.__cause__, KeyError)


def test_other_modalities_go_on(install, anchor_folder):
    with install(acme=ENCODER.format(**{**WORKS, "built": "None"})):
        space = binder.Binder(str(anchor_folder))
        assert np.isfinite(space.embed(text="a circle").vectors).all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([[1.0]], "preprocess returned list, expected a tensor (W, ...); please report it to its author"),
        (np.zeros((1, 8)), "preprocess returned ndarray, expected a tensor (W, ...)"),
        (torch.zeros(8), "preprocess returned shape (8,), expected (W, ...) with at least one window"),
        (torch.zeros(0, 8), "preprocess returned shape (0, 8), expected (W, ...) with at least one window"),
        (torch.full((1, 8), torch.nan), "holds numbers that are not finite"),
        (torch.full((1, 8), 1e30), "holds numbers beyond 1e+15"),
    ],
)
def test_windows_of_another_kind_than_promised_cost_their_item(made, message):
    with pytest.raises(ItemError) as caught:
        guard.check_windows(Encoder(), "a.csv", made)
    assert str(caught.value).startswith("a.csv: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (torch.zeros(1, 9), "windows of shape (8,) of torch.float32 and (9,) of torch.float32"),
        (torch.zeros(1, 8).long(), "windows of shape (8,) of torch.float32 and (8,) of torch.int64"),
    ],
)
def test_windows_unlike_those_before_cost_their_item(made, message):
    error = guard.alike(Encoder(), "a.csv", made, torch.zeros(3, 8))
    assert isinstance(error, ItemError)
    assert message in str(error)


def test_windows_as_promised_are_handed_on_and_a_mistake_names_item_and_plugin():
    made = torch.ones(2, 8)
    assert guard.check_windows(Encoder(), "a.csv", made) is made
    assert guard.alike(Encoder(), "a.csv", made, torch.zeros(3, 8)) is made
    assert guard.alike(Encoder(), "a.csv", made, None) is made
    said = str(guard.mistake(Encoder(), "a.csv", KeyError("x\ny")))
    assert said.startswith("a.csv: plugin binder")
    assert "KeyError: 'x\\ny'" in said


def test_the_source_of_a_plugin_changes_with_its_code_only(tmp_path):
    package = tmp_path / "fake_acme"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(GOOD))
    (package / "reading.py").write_text("x = 1\n")
    distribution(tmp_path, "acme", "fake_acme")

    def source():
        with installed(tmp_path, only="acme"):
            return registry.registry().owner("sonar").source()

    before = source()
    (package / "data.bin").write_bytes(b"no code")
    assert source() == before
    (package / "reading.py").write_text("x = 2\n")
    assert source() != before
