"""Anchors of other kinds, as plugins bring them: text only, or with towers for more than pictures and text."""

from __future__ import annotations

import copy
import csv
import json
import pickle

import numpy as np
import pytest
import torch
from support import FAST, distribution, installed, write_csv

import binder
from binder import AnchorError, AnchorKind, ConfigError, ManifestError, PluginError, SpaceError, registry
from binder.anchors import kind
from binder.artifact import run_folder
from binder.testing import AnchorContract


@pytest.fixture(scope="module")
def anchors_site(tmp_path_factory):
    site = tmp_path_factory.mktemp("anchors-site")
    distribution(site, "binder-toy-anchor", "binder_toy_anchor", key="anchors")
    return site


@pytest.fixture
def plugins(anchors_site, toy_site, tmp_path):
    distribution(tmp_path / "shown", "binder-shown", "binder_shown", key="shown")
    with installed(toy_site, anchors_site, tmp_path / "shown", only="toy,anchors,shown"):
        yield registry.registry()


@pytest.fixture
def texts(toys, tmp_path):
    """The toys with their texts, and no pictures."""
    rows = [{"toy": str(toys / row["toy"]), "text": row["text"]} for row in read_rows(toys / "pairs.csv")]
    return write_csv(tmp_path / "texts.csv", rows)


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def r1(rows, query="toy", target="text"):
    return next(row["r1"] for row in rows if (row["query"], row["target"]) == (query, target))


def test_a_text_only_anchor_aligns_evaluates_classifies_and_is_indexed(plugins, texts, tmp_path):
    result = binder.align("toy", texts, anchor="words:0", out=tmp_path / "run", **FAST)
    assert r1(result.retrieval) == 1.0
    assert (result.card.anchor, result.card.trained_against) == ("words:0", ["text"])
    assert json.loads((tmp_path / "run" / "card.json").read_text())["embed_dim"] == 24
    space = binder.Binder.of(tmp_path / "run")
    assert set(space.encoders) == {"text", "toy"}
    rows, problems = space.evaluate(texts)
    assert (r1(rows), problems) == (1.0, [])
    item = read_rows(texts)[0]
    (found,) = space.classify(sorted({row["text"] for row in read_rows(texts)}), toy=item["toy"])
    assert found.label == item["text"]
    index = binder.Index.create(tmp_path / "toys.idx", space)
    index.add(texts)
    again = binder.Index.open(tmp_path / "toys.idx")
    assert again.search(text=item["text"], modalities="toy", k=1)[0].text == item["text"]
    with pytest.raises(PluginError, match="'image'"):
        space.image("a.png")


def test_pairs_are_checked_against_a_text_only_anchor(plugins, texts, tmp_path):
    binder.align("toy", texts, anchor="words:0", out=tmp_path / "run", **FAST)
    report = binder.check_pairs(texts, encoder=tmp_path / "run")
    assert report.judged_by == "the aligned encoder"
    assert binder.check_pairs(texts, anchor="words:0").modality == "toy"


def test_what_needs_a_picture_tower_says_so_before_any_item_is_read(plugins, tmp_path):
    rows = write_csv(tmp_path / "p.csv", [{"shown": "nowhere.png", "text": f"t{i}"} for i in range(4)])
    with pytest.raises(ConfigError, match=r"anchor words:0 has no picture tower .* --set encoder\.trunk=timm:NAME"):
        binder.align("shown", rows, anchor="words:0", to="text", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("image", "anchor words:0 does not encode 'image': expected text"),
        ("both", "anchor words:0 does not encode 'image': expected text"),
        ("text,sound", "anchor words:0 does not encode 'sound'"),
        ("text,", "anchor words:0 does not encode ''"),
    ],
)
def test_a_target_that_the_anchor_does_not_encode_is_one_line(plugins, texts, tmp_path, to, says):
    with pytest.raises(ConfigError, match=says) as caught:
        binder.align("toy", texts, anchor="words:0", to=to, out=tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_modality_of_the_anchors_own_is_aligned_beside_it_under_another_name(plugins, texts, tmp_path):
    with pytest.raises(ConfigError, match=r"anchor omni:0 encodes toy itself; .* --as-new NAME"):
        binder.align("toy", texts, anchor="omni:0", to="text", out=tmp_path / "run")
    options = {"anchor": "omni:0", "as_new": "mine"}
    result = binder.align("toy", texts, to="toy,text", out=tmp_path / "run", **options, **FAST)
    assert (result.card.modality, result.card.kind) == ("mine", "toy")
    assert result.card.trained_against == ["toy", "text"]
    assert r1(result.retrieval, "mine", "toy") > 0.3  # each of 12 items among the others, several of a class
    space = binder.Binder.of(tmp_path / "run")
    item = read_rows(texts)[0]["toy"]
    assert space.mine(item).cosine(space.toy(item)) > 0.3  # it is drawn to the text as well
    rows, _ = space.evaluate(texts)
    assert {(row["query"], row["target"]) for row in rows} >= {("mine", "toy"), ("toy", "text"), ("mine", "text")}
    assert all(row["trained"] for row in rows)
    index = binder.Index.create(tmp_path / "mine.idx", space)
    index.add(mine=[item])
    index.add(toy=[item])
    assert {hit.modality for hit in binder.Index.open(tmp_path / "mine.idx").search(toy=item)} == {"mine", "toy"}
    again = pickle.loads(pickle.dumps(space))
    assert again.mine(item).cosine(space.mine(item)) > 0.999


def test_a_column_of_the_new_name_is_what_is_aligned(plugins, texts, tmp_path):
    rows = [{"mine": row["toy"], "text": row["text"]} for row in read_rows(texts)]
    options = {"to": "text", "as_new": "mine", "anchor": "omni:0"}
    assert r1(binder.align("toy", rows, out=tmp_path / "run", **options, **FAST).retrieval, "mine") == 1.0


@pytest.mark.parametrize(
    ("name", "says"), [("toy", "is a modality already"), ("where", "uses the word"), ("My Own", "lower-case name")]
)
def test_a_new_name_must_be_free(plugins, texts, tmp_path, name, says):
    with pytest.raises(PluginError, match=says):
        binder.align("toy", texts, anchor="omni:0", to="text", as_new=name, out=tmp_path / "run")


def test_an_encoder_of_a_modality_that_the_anchor_encodes_is_not_loaded_over_it(plugins, texts, tmp_path):
    binder.align("toy", texts, anchor="words:0", out=tmp_path / "run", **FAST)
    path = tmp_path / "run" / "card.json"
    space = binder.Binder("omni:0")
    path.write_text(path.read_text().replace(run_folder.read_card(tmp_path / "run").space, space.space))
    with pytest.raises(ConfigError, match="which anchor omni:0 encodes itself"):
        space.load(tmp_path / "run")


def test_a_prompt_changes_texts_and_is_kept_apart_in_the_cache(plugins, texts, tmp_path):
    plain, asked = binder.Binder("words:0"), binder.Binder("words:0", prompt="query")
    assert plain.space == asked.space
    assert plain.text("red").cosine(asked.text("red")) < 0.999
    assert plain.for_queries().text("red").cosine(asked.text("red")) > 0.999
    assert asked.for_queries() is asked
    assert plain.anchor.stored_as("text") != asked.anchor.stored_as("text")
    with pytest.raises(AnchorError, match=r"no prompt 'qeury' \(did you mean 'query'\?\)"):
        binder.Binder("words:0", prompt="qeury")
    result = binder.align("toy", texts, anchor="words:0", prompt="query", out=tmp_path / "run", epochs=1)
    assert result.counts["anchor_encoded"] > 0
    assert binder.align("toy", texts, anchor="words:0", out=tmp_path / "b", epochs=1).counts["anchor_encoded"] > 0
    index = binder.Index.create(tmp_path / "t.idx", plain)
    index.add(text=["red", "green"])
    (hit, *_) = index.search(text="red")
    assert hit.score == pytest.approx(plain.text("red").cosine(asked.text("red")), abs=1e-3)


def test_a_start_from_another_anchor_keeps_the_trunk_and_begins_the_head_anew(plugins, texts, tmp_path, caplog):
    first = binder.align("toy", texts, anchor="words:0", out=tmp_path / "first", **FAST)
    with caplog.at_level("INFO", logger="binder"):
        second = binder.align("toy", texts, anchor="words:1", init=first.out, out=tmp_path / "second", **FAST)
    assert "its head of 2 tensors starts anew" in caplog.text
    assert r1(second.retrieval) == 1.0
    begun = next(line for line in second.card.metrics["baselines"] if line["name"] == "start")
    assert r1(begun["retrieval"]) < 0.6  # where the head of another space was kept, it would say what it said there
    frozen = {**FAST, "sets": [*FAST["sets"], "encoder.frozen=true"]}
    third = binder.align("toy", texts, anchor="words:1", init=first.out, out=tmp_path / "third", **frozen)
    weights = [run_folder.read_weights(result.out) for result in (first, third)]
    assert torch.equal(weights[0]["hidden.weight"], weights[1]["hidden.weight"])
    assert not torch.equal(weights[0]["out.weight"], weights[1]["out.weight"])


def test_an_index_of_another_space_says_how_to_move_it(plugins, tmp_path):
    binder.Index.create(tmp_path / "a.idx", binder.Binder("words:0")).add(text=["red"])
    with pytest.raises(SpaceError, match="binder index reembed"):
        binder.Index.open(tmp_path / "a.idx", binder.Binder("words:1"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("words:x", "expected a number after the colon"),
        ("words:broken", "plugin anchors failed: OSError: no such file"),
        ("no-such-anchor", r"unknown anchor .*models of other libraries have a prefix: words:, omni:"),
    ],
)
def test_an_anchor_that_cannot_be_loaded_is_one_line(plugins, name, says):
    with pytest.raises(AnchorError, match=says) as caught:
        binder.Binder(name)
    assert "\n" not in str(caught.value)


def test_two_plugins_with_one_prefix_are_named(plugins, tmp_path, toy_site, anchors_site, monkeypatch):
    (tmp_path / "fake_rival.py").write_text(
        "from binder import AnchorKind, hookimpl\n"
        "@hookimpl\n"
        "def binder_register_anchors():\n"
        "    return [AnchorKind('words:', 'a rival', print)]\n"
    )
    distribution(tmp_path, "binder-rival", "fake_rival", key="rival")
    with installed(anchors_site, tmp_path, only="anchors,rival"):
        with pytest.raises(AnchorError, match=r"prefix 'words:' is provided by anchors 1\.0 and rival 1\.0"):
            binder.Binder("words:0")
        assert binder.Binder("omni:0").anchor.name == "omni:0"


def test_a_prefix_of_a_plugin_that_is_not_installed_says_how_to_install_it(plugins):
    with pytest.raises(AnchorError, match="binder plugins install transformers"):
        binder.Binder("st:some/model")


@pytest.mark.parametrize("changes", [{"prefix": "Words"}, {"prefix": "a b:"}, {"load": 3}, {"list": 3}])
def test_a_wrong_record_is_refused(changes):
    with pytest.raises(PluginError, match="anchors"):
        kind.check(AnchorKind(**{"prefix": "w:", "summary": "", "load": print, **changes}))


def test_a_tower_that_gives_nonsense_is_named(plugins, monkeypatch):
    space = binder.Binder("words:0")
    monkeypatch.setattr(type(space.encoders["text"]), "head", lambda self, features: features * torch.nan)
    with pytest.raises(binder.BinderError, match="its text tower: forward returned numbers that are not finite"):
        space.text("red")
    with pytest.raises(binder.BinderError, match="its text tower"):
        binder.Binder("words:0", prompt="query").text("red")


def test_the_list_names_prefixes_and_what_is_known(plugins, binder):
    status, out, err = binder("anchors", "list", "--json")
    assert (status, err) == (0, "")
    names = {entry["name"]: entry["prefix"] for entry in json.loads(out)}
    assert names["mini"] is False and names["words:0"] is False
    assert names["words:..."] is True and names["omni:..."] is True


def test_the_command_line_takes_several_targets_and_a_new_name(plugins, texts, tmp_path, binder):
    status, out, err = binder(
        "align", "toy", texts, "--anchor", "omni:0", "--to", "text,toy", "--as-new", "mine", "--epochs", 1,
        "--out", tmp_path / "run", "--workers", 0,
    )  # fmt: skip
    assert status == 0, err
    assert "aligned mine on" in out
    status, out, err = binder("eval", texts, "--encoder", tmp_path / "run", "--json", "--workers", 0)
    assert {row["query"] for row in json.loads(out)["retrieval"]} == {"mine", "toy", "text"}
    status, out, err = binder("align", "toy", texts, "--anchor", "words:0", "--to", "image", "--workers", 0)
    assert (status, out) == (2, "")
    assert "does not encode 'image'" in err


def test_an_anchor_is_pickled_without_weights_and_shared_by_copies(plugins):
    anchor = registry.registry().load_anchor("omni:0")
    assert copy.deepcopy(anchor) is anchor
    other = pickle.loads(pickle.dumps(anchor))
    assert np.array_equal(other.towers["text"].preprocess("red"), anchor.towers["text"].preprocess("red"))
    with pytest.raises(AnchorError, match="a worker process has no weights"):
        _ = other.model
    assert anchor.with_prompt("query").towers["text"].anchor.prompt == "query"
    assert anchor.towers["text"].anchor.prompt is None
    with pytest.raises(AnchorError, match="does not encode image; it encodes text, toy"):
        anchor.tower("image")


def test_a_registry_can_be_handed_in(plugins, texts, tmp_path, monkeypatch):
    """What is installed for this process does not matter then."""
    own = registry.registry()
    with installed(tmp_path, only=""):
        assert registry.registry().names() == ["image", "text"]
        space = binder.Binder("omni:0", registry=own)
        assert space.registry is own
        result = binder.align("toy", texts, anchor="words:0", out=tmp_path / "run", epochs=1, registry=own)
        assert result.card.modality == "toy"
        loaded = binder.Binder("words:0", registry=own).load(result.out)
        assert loaded.evaluate(texts)[0]
        with pytest.raises(AnchorError, match="unknown anchor 'words:0'"):
            binder.Binder.of(result.out)


def test_a_missing_column_of_one_of_several_targets_is_named(plugins, tmp_path, texts):
    rows = [{"toy": row["toy"], "text": row["text"]} for row in read_rows(texts)]
    with pytest.raises(ManifestError, match="no column 'toy'"):
        binder.align("toy", [{"mine": r["toy"], "text": r["text"]} for r in rows], anchor="omni:0", as_new="mine",
                     to="text,toy", out=tmp_path / "run")  # fmt: skip


class TestContract(AnchorContract):
    """The toy's anchor with two towers keeps what every anchor promises."""

    @pytest.fixture(autouse=True)
    def _plugins(self, plugins):
        """The toy's modality is installed."""

    def load(self, tmp_path, seed=0):
        return registry.registry().load_anchor(f"omni:{seed}")

    def items(self, modality, tmp_path):
        if modality == "text":
            return ["two red circles", "a dog", "a much longer text about a house and a tree"]
        for i in range(3):
            np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).normal(size=8))
        return [tmp_path / f"{i}.npy" for i in range(3)]
