"""`align` from end to end on a toy world: what it reaches, what it leaves, and what it refuses."""

from __future__ import annotations

import csv
import json
import logging
import shutil

import numpy as np
import pytest
import toy_run
from safetensors.numpy import load_file, save_file
from support import FAST, distribution, installed, write_csv, write_toys

import binder
from binder import (
    AnchorError,
    ConfigError,
    ItemError,
    ManifestError,
    PluginError,
    RunError,
    SpaceError,
    TrainingError,
    config,
    registry,
)
from binder.anchors import openclip as anchors
from binder.artifact import run_folder
from binder.data import cache
from binder.testing import write_tiny_checkpoint
from binder.train import loop

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def align(tmp_path, toys, anchor_folder):
    """align(**what differs) with small defaults: a few epochs on the shared pairs, to text."""

    def call(pairs=toys / "pairs.csv", **options):
        defaults = {"anchor": str(anchor_folder), "to": "text", "out": tmp_path / "run", "epochs": 2}
        return binder.align("toy", pairs, **{**defaults, **options})

    return call


def weights(folder):
    return (folder / "encoder.safetensors").read_bytes()


def score(result, query="toy", target="text"):
    return next(row for row in result.retrieval if (row["query"], row["target"]) == (query, target))


def log_lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_leaves_a_finished_run(align, tmp_path, anchor):
    seen = []
    result = align(**FAST, progress=lambda *a: seen.append(a))
    assert score(result)["r1"] == 1.0 > score(result)["chance_r1"]
    assert score(result)["trained"] and not score(result, target="image")["trained"]
    assert result.counts == {"rows": 120, "train": 108, "val": 12, "skipped": 0, "items": 108, "anchor_encoded": 22}
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "card.json", "config.toml", "encoder.safetensors", "log.jsonl", "report.html",
    ]  # fmt: skip
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["space"] == anchor.fingerprint
    assert (card["modality"], card["plugin"], card["plugin_version"]) == ("toy", "toy", "1.0")
    assert (card["trained_against"], card["n_train"], card["n_val"]) == (["text"], 108, 12)
    assert card["held_out"] == "at random"
    assert card["metrics"]["retrieval"] == result.retrieval
    data, *steps = log_lines(tmp_path / "run")
    assert data == {"event": "data", **result.counts}
    assert [line["step"] for line in steps] == sorted({line["step"] for line in steps})
    assert steps[-1]["step"] == 60
    assert steps[-1]["loss"] < steps[0]["loss"] / 2
    assert seen[-1] == ("training", 60, 60)
    assert {stage for stage, _, _ in seen} == {"encoding text", "reading toy", "encoding image", "training"}


def test_the_resolved_configuration_is_complete_and_makes_the_same_run_again(align, tmp_path, toys):
    align(sets=["train.lr=0.003", "encoder.width=7"], seed=5)
    resolved = config.read_toml(tmp_path / "run" / "config.toml")
    assert resolved["encoder"]["width"] == 7
    assert (resolved["train"]["lr"], resolved["train"]["epochs"], resolved["seed"]) == (0.003, 2, 5)
    del resolved["data"]
    binder.align("toy", toys / "pairs.csv", config=resolved, out=tmp_path / "again")
    assert weights(tmp_path / "again") == weights(tmp_path / "run")


def test_options_override_sets_and_sets_override_the_file(align, tmp_path):
    (tmp_path / "c.toml").write_text("seed = 1\n[train]\nepochs = 5\nlr = 0.1\nema = 0.5\n")
    align(config=tmp_path / "c.toml", sets=["train.lr=0.2", "train.epochs=4"], epochs=3)
    resolved = config.read_toml(tmp_path / "run" / "config.toml")
    assert (resolved["seed"], resolved["train"]["epochs"]) == (1, 3)
    assert (resolved["train"]["lr"], resolved["train"]["ema"]) == (0.2, 0.5)


def test_pictures_alone_train_it_as_well(align):
    result = align(to="image", **FAST)
    assert score(result, target="image")["trained"] and not score(result)["trained"]
    assert score(result, target="image")["r5"] > 0.75  # 5 of 12 by chance; those of one class are much alike
    assert score(result, target="image")["median_rank"] <= 2


def test_both_uses_every_row_that_has_one_or_the_other(align, tmp_path, toys):
    rows = write_toys(tmp_path / "mixed")
    for i, row in enumerate(rows):
        if i % 3:
            del row["text" if i % 3 == 1 else "image"]
    lonely = {"toy": "0.npy"}
    result = align(write_csv(tmp_path / "mixed" / "pairs.csv", [*rows, lonely]), to="both", **FAST)
    assert result.counts["rows"] == 120
    assert result.card.trained_against == ["image", "text"]
    assert score(result)["r1"] > 0.8
    only_text = align(tmp_path / "mixed" / "pairs.csv", to="text", out=tmp_path / "other")
    assert only_text.counts["rows"] == 80


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(align, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        align(out=tmp_path / name, seed=seed, sets=["encoder.noise=0.1", "encoder.dropout=0.2"])
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_what_else_ran_in_the_process_does_not_change_the_weights(align, tmp_path):
    import torch

    align(out=tmp_path / "a", sets=["encoder.noise=0.1", "encoder.dropout=0.2"])
    torch.manual_seed(99)
    np.random.seed(99)
    align(out=tmp_path / "b", sets=["encoder.noise=0.1", "encoder.dropout=0.2"])
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_cold_and_a_warm_cache_give_the_same_weights_and_the_warm_one_encodes_no_anchor_item(align, tmp_path):
    first, second = align(out=tmp_path / "a"), align(out=tmp_path / "b")
    assert first.counts["anchor_encoded"] > 0 == second.counts["anchor_encoded"]
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_partly_warm_cache_gives_the_same_weights(align, tmp_path, toys, monkeypatch):
    whole = align(out=tmp_path / "a")
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path / "other cache"))
    with (toys / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    some = [{**row, "toy": str(toys / row["toy"]), "image": str(toys / row["image"])} for row in rows[5:28]]
    align(write_csv(tmp_path / "some.csv", some), out=tmp_path / "b")
    again = align(out=tmp_path / "c")
    assert 0 < again.counts["anchor_encoded"] < whole.counts["anchor_encoded"]
    assert weights(tmp_path / "a") == weights(tmp_path / "c")


def test_an_edited_plugin_reads_its_items_anew(align, tmp_path, monkeypatch):
    def read():
        return {found.name for found in cache.collections() if found.name.startswith("items-toy")}

    align(out=tmp_path / "a")
    before = read()
    align(out=tmp_path / "b")
    assert len(before) == 1 and read() == before
    monkeypatch.setattr(registry.Plugin, "source", lambda self: "edited")
    align(out=tmp_path / "c")
    assert len(read()) == 2


@pytest.mark.parametrize(("column", "to"), [("text", "text"), ("toy", "text")])
def test_where_there_is_nothing_to_tell_apart_one_line_says_so(align, tmp_path, toys, caplog, column, to):
    with (toys / "pairs.csv").open() as file:
        rows = [{"toy": str(toys / row["toy"]), "text": row["text"]} for row in csv.DictReader(file)][:20]
    rows = [{**row, column: rows[0][column], "n": str(i)} for i, row in enumerate(rows)]
    align(write_csv(tmp_path / "pairs.csv", rows), to=to, out=tmp_path / "out", sets=["train.val_fraction=0"])
    assert caplog.text.count(f"have the same {column}: there is nothing to tell apart") == 1


def test_another_anchor_shares_nothing_in_the_cache(align, tmp_path, monkeypatch):
    sets = ["encoder.anchored=true"]  # an encoder whose preprocessing is its anchor's, as that of frames is
    align(out=tmp_path / "a", sets=sets)
    other = str(write_tiny_checkpoint(tmp_path / "other", seed=1))
    assert align(out=tmp_path / "b", anchor=other, sets=sets).counts["anchor_encoded"] == 22
    monkeypatch.setenv("BINDER_CACHE", str(tmp_path / "empty"))
    align(out=tmp_path / "c", anchor=other, sets=sets)
    assert weights(tmp_path / "b") == weights(tmp_path / "c")


def test_the_anchor_is_unchanged_by_training(anchor_folder, align, monkeypatch):
    loaded = []
    load = anchors.load
    monkeypatch.setattr(anchors, "load", lambda *a: loaded.append(load(*a)) or loaded[-1])
    align(**FAST)
    assert loaded[0].checksum() == load(str(anchor_folder)).checksum()


def test_bad_rows_are_reported_with_file_and_line_and_skipped(align, tmp_path):
    rows = write_toys(tmp_path / "bad", 40)
    (tmp_path / "bad" / "3.npy").unlink()
    (tmp_path / "bad" / "5.npy").write_bytes(b"broken")
    (tmp_path / "bad" / "7.png").write_bytes(b"broken")
    np.save(tmp_path / "bad" / "9.npy", np.zeros(3))
    pairs = write_csv(tmp_path / "bad" / "pairs.csv", rows)
    result = align(pairs, to="image")
    where = {w.removeprefix(f"{pairs}:"): why for w, why in result.skipped}
    assert sorted(where, key=int) == ["5", "7", "9", "11"]
    assert "no such file" in where["5"]
    assert "not a NumPy file" in where["7"]
    assert "not a picture" in where["9"]
    assert "expected 8 numbers" in where["11"]
    assert result.counts["skipped"] == 4
    assert result.counts["train"] + result.counts["val"] == 36


@pytest.mark.parametrize("name", ["3.npy", "5.png"])
@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_strict_stops_at_the_first_bad_item(align, tmp_path, name, damage):
    pairs = write_csv(tmp_path / "bad" / "pairs.csv", write_toys(tmp_path / "bad", 20))
    (tmp_path / "bad" / name).unlink()
    if damage == "broken":
        (tmp_path / "bad" / name).write_bytes(b"broken")
    with pytest.raises(ItemError, match=name):
        align(pairs, to="image", strict=True)
    assert not (tmp_path / "run").exists()


def test_too_few_usable_rows_says_what_was_wrong_first(align, tmp_path):
    rows = write_toys(tmp_path / "bad", 5)
    for i in range(4):
        (tmp_path / "bad" / f"{i}.npy").unlink()
    pairs = write_csv(tmp_path / "bad" / "pairs.csv", rows)
    with pytest.raises(
        ManifestError, match=r"at least 2 are needed; the first problem: .*pairs\.csv:2: .*no such file"
    ):
        align(pairs)


@pytest.mark.parametrize(
    ("cells", "options", "says"),
    [
        ({"toys": "x.npy", "text": "x"}, {}, r"no column 'toy' \(did you mean 'toys'\?\)"),
        ({"toy": "x.npy", "text": "x"}, {"to": "image"}, "no column 'image'.*; what is there is used with --to text"),
        ({"toy": "x.npy", "text": "x"}, {"to": "both"}, "no column 'image'"),
    ],
)
def test_a_manifest_without_a_needed_column_is_refused_before_any_work(align, tmp_path, cells, options, says):
    with pytest.raises(ManifestError, match=says):
        align(write_csv(tmp_path / "p.csv", [cells]), **options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"sets": ["train.epoch=3"]}, ConfigError, r"unknown key 'train\.epoch' \(did you mean 'epochs'\?\)"),
        ({"sets": ["encoder.widht=3"]}, ConfigError, r"encoder: unknown key 'widht' \(did you mean 'width'\?\)"),
        ({"config": {"train": 3}}, ConfigError, "train: "),
        ({"to": "sound"}, ConfigError, "to: "),
        ({"epochs": 0}, ConfigError, "train.epochs: "),
        ({"device": "abacus"}, ConfigError, "device 'abacus'"),
        ({"anchor": "no-such-anchor"}, AnchorError, "unknown anchor"),
        ({"split": "part"}, ManifestError, "no column 'part'"),
        ({"group": "speaker"}, ManifestError, "no column 'speaker'"),
    ],
)
def test_a_bad_option_is_one_clear_line_and_leaves_no_folder(align, tmp_path, options, error, says):
    with pytest.raises(error, match=says) as caught:
        align(**options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_unknown_modalities_and_the_anchors_own_are_refused():
    with pytest.raises(PluginError, match="did you mean 'toy'"):
        binder.align("toyy", "p.csv")
    with pytest.raises(PluginError, match="nothing to align"):
        binder.align("image", "p.csv")


def test_a_folder_that_is_in_use_is_never_written_over(align, tmp_path):
    align()
    before = weights(tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(RunError, match="holds a finished run"):
            align(resume=resume)
    assert weights(tmp_path / "run") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="it is not a run of binder"):
        align(out=tmp_path / "mine")
    with pytest.raises(RunError, match="is a file, not a folder"):
        align(out=tmp_path / "mine" / "thesis.tex")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".config.toml.123").write_text("half-written by a killed process")
    align(out=tmp_path / "empty")


def test_there_is_nothing_to_resume_where_no_run_was_begun(align, tmp_path):
    with pytest.raises(RunError, match="nothing to resume"):
        align(resume=True)
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="not a run of binder"):
        align(resume=True, out=tmp_path / "mine")


def test_a_run_killed_before_its_first_step_is_resumed_from_the_start(align, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("123 on a machine that is gone")
    align(resume=True)
    align(out=tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


class Stop(Exception):
    pass


@pytest.fixture
def stopped(align, tmp_path):
    """A run that was interrupted after 3 of 4 steps, and the options that it had."""
    options = {"sets": ["train.batch_size=64", "train.checkpoint_seconds=0"], "epochs": 2}

    def stop(stage, done, total):
        if stage == "training" and done == 4:
            raise Stop

    with pytest.raises(Stop):
        align(**options, progress=stop)
    assert run_folder.read_state(tmp_path / "run")["step"] == 3
    return options


def test_an_interrupted_run_goes_on_to_the_same_weights(align, tmp_path, stopped):
    with pytest.raises(RunError, match="go on with it by --resume"):
        align(**stopped)
    with pytest.raises(RunError, match=r"not finished; continue with: binder align \.\.\. --resume"):
        run_folder.read_card(tmp_path / "run")
    (tmp_path / "run" / ".state.pt.123").write_bytes(b"half-written by a killed process")
    align(**stopped, resume=True)
    align(**stopped, out=tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert not [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith((".", "state"))]
    left, right = log_lines(tmp_path / "run"), log_lines(tmp_path / "whole")
    assert [line.get("loss") for line in left] == [line.get("loss") for line in right]


def test_a_run_cannot_be_resumed_with_another_configuration(align, stopped):
    with pytest.raises(RunError, match=r"cannot be resumed: train\.lr was 0\.001 and is now 0\.5"):
        align(**{**stopped, "sets": [*stopped["sets"], "train.lr=0.5"]}, resume=True)
    with pytest.raises(RunError, match="seed was 0 and is now 1"):
        align(**stopped, seed=1, resume=True)
    with pytest.raises(RunError, match=r"encoder\.width was 32 and is now 8"):
        align(**{**stopped, "sets": [*stopped["sets"], "encoder.width=8"]}, resume=True)


def test_a_run_cannot_be_resumed_with_other_pairs(align, stopped, tmp_path):
    pairs = write_csv(tmp_path / "fewer" / "pairs.csv", write_toys(tmp_path / "fewer", 60))
    with pytest.raises(RunError, match="the pairs are not those it began with"):
        align(pairs, **stopped, resume=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", bytes(500)])
def test_a_damaged_state_is_one_clear_line(align, stopped, tmp_path, content):
    (tmp_path / "run" / "state.pt").write_bytes(content)
    with pytest.raises(RunError, match=r"state\.pt: damaged .* delete it to start this run again"):
        align(**stopped, resume=True)
    (tmp_path / "run" / "state.pt").unlink()
    align(**stopped, resume=True)


@pytest.mark.parametrize(
    ("key", "says"), [("nan_after=3", "loss is nan at step 4"), ("sqrt_zero=true", "gradient is ")]
)
def test_a_loss_or_gradient_that_is_not_finite_stops_and_keeps_the_last_good_state(align, tmp_path, key, says):
    import torch

    with pytest.raises(TrainingError, match=f"{says}.*last checkpoint is kept.*train.lr"):
        align(sets=["train.batch_size=64", "train.checkpoint_seconds=0", f"encoder.{key}"], epochs=5)
    state = run_folder.read_state(tmp_path / "run")
    assert state["step"] == (3 if key.startswith("nan") else 0)
    assert all(torch.isfinite(t).all() for t in state["encoder"].values())
    assert not (tmp_path / "run" / "card.json").exists()


def test_an_encoder_with_tied_weights_is_saved_and_loaded(align, tmp_path, anchor):
    align(sets=["encoder.tied=true"])
    loaded = run_folder.load(tmp_path / "run", anchor, registry.registry()).encoder
    assert loaded.alias is loaded.out


def test_every_epoch_is_a_new_order_of_all_rows_and_no_step_has_a_lone_row():
    settings = config.AlignConfig(train=config.TrainConfig(batch_size=4))
    steps = [loop._rows_of_step(step, 9, settings).tolist() for step in range(6)]  # 4 + 4 + 1 rows, twice
    for epoch in (steps[:3], steps[3:]):
        assert {row for rows in epoch for row in rows} == set(range(9))
        assert [len(rows) for rows in epoch] == [4, 4, 2]
    assert steps[:3] != steps[3:]
    assert loop._rows_of_step(4, 9, settings).tolist() == steps[4]


def test_minutes_end_a_run_early_with_a_finished_encoder(align, tmp_path):
    result = align(epochs=100_000, minutes=0.01)
    assert result.seconds < 30
    assert log_lines(tmp_path / "run")[0]["event"] == "data"
    assert run_folder.read_card(tmp_path / "run").n_train == 108


def test_a_column_splits_and_a_group_stays_together(align, tmp_path):
    rows = write_toys(tmp_path / "t", 40)
    for i, row in enumerate(rows):
        row.update(part="val" if i < 10 else "train" if i < 30 else "test", speaker=str(i // 10))
    pairs = write_csv(tmp_path / "t" / "pairs.csv", rows)
    counts = align(pairs, split="part").counts
    assert (counts["train"], counts["val"]) == (20, 10)
    counts = align(pairs, group="speaker", out=tmp_path / "other", sets=["train.val_fraction=0.2"]).counts
    assert (counts["train"], counts["val"]) == (30, 10)


@pytest.mark.parametrize("shared", ["image", "toy"])
@pytest.mark.parametrize("to", ["image", "text"])
def test_rows_that_share_a_picture_or_a_recording_are_held_out_together(align, tmp_path, shared, to):
    rows = write_toys(tmp_path / "t", 40)
    for i, row in enumerate(rows):
        original = f"{i // 10}{'.png' if shared == 'image' else '.npy'}"
        shutil.copy(tmp_path / "t" / original, tmp_path / "t" / f"copy {i}")  # another name, the same content
        row.update({shared: f"copy {i}", "text": f"text {i}"})
    counts = align(write_csv(tmp_path / "t" / "pairs.csv", rows), to=to, sets=["train.val_fraction=0.2"]).counts
    assert (counts["train"], counts["val"]) == (30, 10)  # 8 rows, were they apart


def test_without_held_out_rows_there_is_no_table_but_an_encoder(align, tmp_path):
    result = align(sets=["train.val_fraction=0"])
    assert result.retrieval == []
    assert result.counts["val"] == 0
    assert weights(tmp_path / "run")


def test_a_folder_of_classes_and_plain_rows_train_as_well(align, tmp_path):
    rows = write_toys(tmp_path / "t", 40, images=False)
    for row in rows:
        (tmp_path / "classes" / row["text"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "t" / row["toy"], tmp_path / "classes" / row["text"])
    assert align(tmp_path / "classes").counts["rows"] == 40
    arrays = [{"toy": np.load(tmp_path / "t" / row["toy"]), "text": row["text"]} for row in rows]
    result = align(arrays, out=tmp_path / "other", **FAST)
    assert result.counts["rows"] == 40


def test_items_of_several_windows_train_and_are_averaged(align, tmp_path, anchor):
    rows = write_toys(tmp_path / "t", 60, images=False)
    for i, row in enumerate(rows):
        x = np.load(tmp_path / "t" / row["toy"])
        np.save(tmp_path / "t" / row["toy"], np.stack([x + 0.05 * k for k in range(1 + i % 3)]))
    result = align(write_csv(tmp_path / "t" / "pairs.csv", rows), **FAST)
    assert score(result)["r1"] > 0.8
    encoder = run_folder.load(tmp_path / "run", anchor, registry.registry()).encoder
    from binder.data.encode import encode

    assert len(encode(encoder, [tmp_path / "t" / "2.npy"]).vectors) == 1


def test_learning_the_temperature_changes_it_and_the_card_says_so(align, tmp_path):
    fixed = align(out=tmp_path / "a", **FAST)
    learned = align(out=tmp_path / "b", **{**FAST, "sets": [*FAST["sets"], "loss.learn_temperature=true"]})
    assert fixed.card.logit_scale == pytest.approx(20)
    assert learned.card.logit_scale != pytest.approx(20, abs=0.01)
    assert 1 <= learned.card.logit_scale <= 100.01


def test_words_that_the_anchor_never_learned_are_warned_of(align, tmp_path, caplog):
    folder = write_tiny_checkpoint(tmp_path / "small")
    (folder / "card.json").write_text(json.dumps({"words": ["red", "green", "seven"]}))
    with caplog.at_level(logging.WARNING):
        align(anchor=str(folder))
    assert any("never learned 7 of the words (blue, car, cat, dog," in m for m in caplog.messages)


def test_an_encoder_of_another_space_is_refused(run, tmp_path):
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(SpaceError, match="vectors of two spaces cannot be compared"):
        run_folder.load(run, anchors.load(str(other)), registry.registry())


def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"format": 1}',
        '{"format": null}',
        '{"format": [1]}',
        '{"format": 1, "modality": 3}',
    ],
)
def test_a_damaged_card_is_a_run_error_of_one_line(run, tmp_path, anchor, text):
    folder = copied(run, tmp_path)
    (folder / "card.json").write_text(text)
    with pytest.raises(RunError, match=r"card\.json: damaged") as caught:
        run_folder.load(folder, anchor, registry.registry())
    assert "\n" not in str(caught.value)


def test_a_card_of_a_newer_binder_says_so(run, tmp_path, anchor):
    folder = copied(run, tmp_path)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "format": 99, "new": "field"}))
    with pytest.raises(RunError, match=r"newer binder \(format 99\); upgrade binder"):
        run_folder.load(folder, anchor, registry.registry())


def damaged(path, how):
    from safetensors.numpy import save_file

    tensors = load_file(path)
    if how == "gone":
        path.unlink()
    elif how in ("empty", "short"):
        path.write_bytes(path.read_bytes()[: 0 if how == "empty" else -20])
    else:
        first = sorted(tensors)[0]
        tensors[first] = np.zeros((2, 2), np.float32)
        if how == "lacking":
            del tensors[first]
        save_file(tensors, path)


@pytest.mark.parametrize("how", ["gone", "empty", "short", "lacking", "wrong shape"])
def test_damaged_weights_are_a_run_error_of_one_line(run, tmp_path, anchor, how):
    folder = copied(run, tmp_path)
    damaged(folder / "encoder.safetensors", how)
    with pytest.raises(RunError, match=r"encoder\.safetensors: damaged or incomplete") as caught:
        run_folder.load(folder, anchor, registry.registry())
    assert "\n" not in str(caught.value)


def test_weights_of_another_version_of_the_plugin_are_named_as_such(run, tmp_path, anchor):
    folder = copied(run, tmp_path)
    damaged(folder / "encoder.safetensors", "lacking")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "plugin_version": "0.0.9"}))
    with pytest.raises(RunError, match=r"written by toy 0\.0\.9, installed is [\d.]+; install that version"):
        run_folder.load(folder, anchor, registry.registry())


def test_a_folder_without_a_run_says_so(tmp_path, anchor):
    with pytest.raises(RunError, match="no aligned encoder there"):
        run_folder.load(tmp_path, anchor, registry.registry())


def test_an_encoder_whose_plugin_is_gone_says_which(run, anchor):
    with installed(only=""), pytest.raises(PluginError, match="unknown modality 'toy'"):
        run_folder.load(run, anchor, registry.registry())


@pytest.mark.parametrize("what", ["text", "state", "weights"])
def test_a_full_disk_is_one_clear_line_and_what_was_there_stays(fast_processes, tmp_path, what):
    """A limit on the size of files stands for the full disk: it stops the same writes."""
    (tmp_path / "config.toml").write_text("before")
    process = fast_processes.Process(target=toy_run.write_with_a_full_disk, args=(tmp_path, what))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / "said").read_text().startswith(str(tmp_path))
    assert "cannot be written" in (tmp_path / "said").read_text()
    assert (tmp_path / "config.toml").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.toml", "said"]


def test_of_a_frozen_trunk_only_the_head_is_trained_and_the_result_stands_beside_the_untrained_one(align, tmp_path):
    result = align(**{**FAST, "sets": [*FAST["sets"], "encoder.frozen=true", "encoder.width=256"]})
    before, linear = result.card.metrics["baselines"]
    assert (before["name"], before["what"], linear["name"]) == ("untrained", "a random projection", "ridge")
    untrained = next(r for r in before["retrieval"] if (r["query"], r["target"]) == ("toy", "text"))
    assert untrained["r1"] < score(result)["r1"] == 1.0
    assert untrained["n"] == score(result)["n"]
    assert sorted(p.name for p in (cache.root()).iterdir() if "toy" in p.name)[0].startswith("features-toy-")


def test_a_frozen_trunk_and_views_do_not_change_how_a_run_is_resumed(align, tmp_path, monkeypatch):
    options = {"sets": ["encoder.frozen=true", "train.checkpoint_seconds=0.0"], "epochs": 4}
    align(out=tmp_path / "whole", **options)
    real = loop._step

    def stop_at_five(run, *args):
        if run.step == 5:
            raise KeyboardInterrupt
        return real(run, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_step", stop_at_five)
        align(out=tmp_path / "cut", **options)
    result = align(out=tmp_path / "cut", resume=True, **options)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert result.card.metrics == run_folder.read_card(tmp_path / "whole").metrics


def test_it_aligns_to_the_frozen_vectors_of_another_modality(run, toys, toy_site, anchor, tmp_path):
    distribution(tmp_path / "site", "binder-gesture", "binder_gesture", key="gesture")
    with installed(toy_site, tmp_path / "site", only="toy,gesture"):
        rows = [{"gesture": toys / row["toy"], "toy": toys / row["toy"]} for row in read_rows(toys / "pairs.csv")]
        before = (run / "encoder.safetensors").read_bytes()
        options = {"anchor": anchor, "to": "toy", "encoders": run, "out": tmp_path / "gesture", **FAST}
        result = binder.align("gesture", rows, **options)
        assert result.card.trained_against == ["toy"]
        assert score(result, "gesture", "toy")["r1"] > 0.8
        assert (run / "encoder.safetensors").read_bytes() == before
        space = binder.Binder(anchor).load([run, tmp_path / "gesture"])
        item = toys / read_rows(toys / "pairs.csv")[0]["toy"]
        assert space.gesture(item).cosine(space.toy(item)) > 0.8
        with pytest.raises(ConfigError, match=r"anchor .* does not encode 'gesture': expected image, text, both, toy"):
            binder.align("gesture", rows, **{**options, "to": "gesture", "out": tmp_path / "other"})


def test_a_run_may_start_from_the_weights_and_settings_of_another(align, run, tmp_path):
    before = run_folder.read_card(run)
    result = align(init=run, epochs=1, sets=["train.lr=1e-9", "train.ema=0"])
    first, _ = result.card.metrics["baselines"]
    assert (first["name"], first["what"]) == ("start", "the encoder that it starts from")
    assert score(result)["r1"] == 1.0 == next(r for r in first["retrieval"] if r["target"] == "text")["r1"]
    assert result.card.config == before.config
    old, new = load_file(run / "encoder.safetensors"), load_file(tmp_path / "run" / "encoder.safetensors")
    assert all(np.allclose(old[key], new[key], atol=1e-6) for key in old)


def test_what_fits_of_another_run_is_taken_and_the_rest_begins_anew(align, run, tmp_path, caplog):
    width = run_folder.read_card(run).config["width"]
    with caplog.at_level(logging.INFO, "binder"):
        align(init=run, sets=[f"encoder.width={2 * width}", "train.lr=1e-9"])
    assert f"1 of the encoder's 4 tensors start as in {run}" in caplog.text  # the bias of the last layer
    old, new = load_file(run / "encoder.safetensors"), load_file(tmp_path / "run" / "encoder.safetensors")
    assert np.allclose(old["out.bias"], new["out.bias"], atol=1e-6)
    assert new["out.weight"].shape[1] == 2 * old["out.weight"].shape[1]


def test_a_run_cannot_start_from_what_does_not_fit(align, run, tmp_path, toys, toy_site, anchor, monkeypatch):
    with pytest.raises(RunError, match="nowhere: no aligned encoder there"):
        align(init=tmp_path / "nowhere")
    distribution(tmp_path / "site", "binder-gesture", "binder_gesture", key="gesture")
    with installed(toy_site, tmp_path / "site", only="toy,gesture"):
        rows = [{"gesture": toys / row["toy"], "text": row["text"]} for row in read_rows(toys / "pairs.csv")]
        with pytest.raises(ConfigError, match=f"init: {run}: an encoder of toy, expected one of gesture"):
            binder.align("gesture", rows, anchor=anchor, to="text", init=run, out=tmp_path / "gesture")
    other = shutil.copytree(run, tmp_path / "copy")
    save_file({"else": np.zeros(3, np.float32)}, other / "encoder.safetensors")
    with pytest.raises(ConfigError, match="none of its weights fit"):
        align(init=other)
    (other / "encoder.safetensors").write_bytes(b"short")
    with pytest.raises(RunError, match="damaged or incomplete"):
        align(init=other, out=tmp_path / "again")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bank", [16, 1000])
def test_targets_of_other_rows_may_be_negatives_as_well(align, tmp_path, bank):
    options = {**FAST, "sets": [*FAST["sets"], f"loss.bank={bank}"]}
    assert score(align(**options, to="both"))["r1"] == 1.0
    align(**options, to="both", out=tmp_path / "again")
    assert weights(tmp_path / "run") == weights(tmp_path / "again")
    align(**FAST, to="both", out=tmp_path / "without")
    assert weights(tmp_path / "run") != weights(tmp_path / "without")


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_what_was_recorded_last_is_held_out_and_the_card_and_the_page_say_so(align, toys, tmp_path):
    rows = [{**row, "toy": toys / row["toy"], "image": toys / row["image"]} for row in read_rows(toys / "pairs.csv")]
    timed = [{**row, "when": f"2026-03-01T{i // 60:02}:{i % 60:02}"} for i, row in enumerate(rows)]
    result = align(timed[::-1], split="time:when", epochs=1)
    assert result.card.held_out == "the latest by when"
    assert (result.counts["train"], result.counts["val"]) == (108, 12)
    assert "12 held out (the latest by when)" in (tmp_path / "run" / "report.html").read_text()
