"""The Python facade: embedding, arithmetic within one space, zero-shot classification, tables."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support import NAMES, write_csv, write_toys

import binder
from binder import Binder, ConfigError, Embeddings, ItemError, ManifestError, PluginError, RunError, SpaceError
from binder.data.encode import encode
from binder.registry import registry
from binder.space import vectors
from binder.testing import write_tiny_checkpoint

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def space(run, anchor):
    return Binder(anchor).load(run)


def some(n, seed=0, space="s", **more):
    z = vectors.normalize(np.random.default_rng(seed).normal(size=(n, 6)))
    return Embeddings(z, space, tuple(f"{seed}.{i}" for i in range(n)), **more)


def test_sums_and_differences_are_directions_of_unit_length():
    a, b, c = some(3), some(3, 1), some(3, 2)
    z = a.vectors + b.vectors
    np.testing.assert_allclose((a + b).vectors, z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-6)
    z = a.vectors - b.vectors
    np.testing.assert_allclose((a - b).vectors, z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm((a + b - c).vectors, axis=1), 1, atol=1e-6)
    assert (a - b).items == ("0.0 - 1.0", "0.1 - 1.1", "0.2 - 1.2")


def test_one_vector_combines_with_many_from_either_side():
    many, one = some(3), some(1, 1)
    np.testing.assert_allclose((many + one).vectors, (one + many).vectors, atol=1e-6)
    np.testing.assert_allclose((many - one)[2].vectors, (many[2] - one).vectors, atol=1e-6)
    assert (one + many).items == ("1.0 + 0.0", "1.0 + 0.1", "1.0 + 0.2")
    with pytest.raises(SpaceError, match="cannot combine 3 with 2"):
        many + some(2)


def test_another_space_is_refused_in_every_operation():
    a, b = some(2), some(2, 1, space="other")
    for combine in (lambda: a + b, lambda: a - b, lambda: a.cosine(b)):
        with pytest.raises(SpaceError, match="space s and space other cannot be compared"):
            combine()


def test_a_vector_minus_itself_has_no_direction():
    with pytest.raises(SpaceError, match="no direction"):
        some(2) - some(2)


def test_other_types_do_not_combine():
    with pytest.raises(TypeError):
        some(2) + 1


@pytest.mark.parametrize(
    "z", [np.ones((2, 6)), np.zeros((2, 6)), np.full((1, 6), np.nan), np.ones(6) / np.sqrt(6), 20 * np.eye(6)]
)
def test_vectors_that_are_not_rows_of_length_one_are_refused(z):
    with pytest.raises(SpaceError, match=r"expected \(N, D\) vectors of length 1"):
        Embeddings(z, "s")


def test_embeddings_are_sequences_of_embeddings_and_arrays():
    z = some(4, modality="toy")
    assert len(z) == 4
    assert [row.items for row in z] == [("0.0",), ("0.1",), ("0.2",), ("0.3",)]
    assert z[-1].items == ("0.3",)
    assert z[1:3].items == ("0.1", "0.2")
    assert z[[2, 0]].items == ("0.2", "0.0")
    assert z[0].modality == "toy"
    np.testing.assert_array_equal(np.asarray(z), z.vectors)
    np.asarray(z)[:] = 0
    assert np.linalg.norm(z.vectors) > 1  # an array of it is a copy
    np.testing.assert_allclose(z.cosine(z[:2]), z.vectors @ z.vectors[:2].T)
    assert "4 x 6 of toy" in repr(z)
    with pytest.raises(IndexError):
        z[4]


def test_embeddings_without_names_can_be_indexed_and_added():
    z = Embeddings(some(3).vectors, "s")
    assert z[1].items == ()
    assert len(z + z[0]) == 3


def test_embed_keeps_the_order_and_repeats(space, toys, run, anchor):
    paths = [toys / "5.npy", toys / "1.npy", toys / "5.npy"]
    z = space.embed(toy=[str(p) for p in paths])
    assert z.items == tuple(map(str, paths))
    assert (z.space, z.modality) == (anchor.fingerprint, "toy")
    want = encode(binder.artifact.run_folder.load(run, anchor, registry()).encoder, paths).vectors
    np.testing.assert_allclose(z.vectors, want, atol=1e-6)
    np.testing.assert_array_equal(z.vectors[0], z.vectors[2])
    for one in (space.toy(paths[1]), space.embed(toy=np.load(paths[1])), space.toy([paths[1]])):
        np.testing.assert_allclose(one.vectors, want[1:2], atol=1e-6)


def test_embedding_twice_gives_the_same_bytes(space, toys):
    paths = [toys / f"{i}.npy" for i in range(20)]
    assert space.embed(toy=paths).vectors.tobytes() == space.embed(toy=paths).vectors.tobytes()


def test_the_anchors_own_modalities_need_no_run(anchor, toys):
    space = Binder(anchor)
    z = space.image(toys / "0.png") + space.text("red") - space.text("blue")
    assert z.vectors.shape == (1, 32)
    with pytest.raises(PluginError, match="no aligned encoder for 'toy' is loaded"):
        space.embed(toy=toys / "0.npy")


def test_bad_calls_of_embed_are_clear(space, toys, tmp_path):
    with pytest.raises(ConfigError, match="exactly one modality as a keyword, got none"):
        space.embed()
    with pytest.raises(ConfigError, match="got toy, text"):
        space.embed(toy=toys / "0.npy", text="x")
    with pytest.raises(PluginError, match="did you mean 'toy'"):
        space.embed(toys=toys / "0.npy")
    with pytest.raises(ItemError, match=r"none\.npy: no such file"):
        space.embed(toy=[toys / "0.npy", tmp_path / "none.npy"])
    with pytest.raises(AttributeError, match="no attribute 'tyo'"):
        space.tyo(toys / "0.npy")


def test_of_finds_the_anchor_that_the_encoder_names(run, anchor, toys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ([run], run, str(run)):
        space = Binder.of(given)
        assert space.space == anchor.fingerprint
        assert list(space.cards) == ["toy"]


def test_a_run_trained_with_a_relative_anchor_works_from_any_folder(toys, anchor_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(anchor_folder.parent)
    binder.align("toy", toys / "pairs.csv", anchor=anchor_folder.name, to="text", epochs=1, out=tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert len(Binder.of("run").toy(toys / "0.npy")) == 1


def test_a_run_of_another_space_and_a_second_one_of_the_same_modality_are_refused(space, run, tmp_path):
    with pytest.raises(ConfigError, match="an encoder for 'toy' is loaded already"):
        space.load(run)
    other = Binder(str(write_tiny_checkpoint(tmp_path / "other", seed=1)))
    with pytest.raises(SpaceError, match="cannot be compared"):
        other.load(run)
    with pytest.raises(RunError, match="no aligned encoder there"):
        other.load(tmp_path)


def test_classify_gives_the_most_probable_label_and_all_probabilities(space, toys):
    results = space.classify(NAMES, toy=[toys / f"{i}.npy" for i in range(10)])
    assert [r.label for r in results] == NAMES
    for r in results:
        assert sum(r.scores.values()) == pytest.approx(1, abs=1e-5)
        assert r.score == max(r.scores.values()) == r.scores[r.label]
        assert list(r.scores) == NAMES


def test_classify_equals_its_twin_with_several_templates(space, toys, anchor, run):
    templates = ["a {}", "{} twice"]
    (result,) = space.classify(NAMES[:3], templates, toy=toys / "1.npy")
    z = space.toy(toys / "1.npy").vectors[0]
    logits = []
    for label in NAMES[:3]:
        prompts = [space.text(t.format(label)).vectors[0] for t in templates]
        mean = sum(prompts) / 2
        logits.append(space.cards["toy"].logit_scale * float(z @ mean) / float(np.linalg.norm(mean)))
    exp = np.exp(np.array(logits) - max(logits))
    np.testing.assert_allclose(list(result.scores.values()), exp / exp.sum(), atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "template", "says"),
    [
        ([], "{}", "labels must be given and must differ"),
        (["a", "a"], "{}", "labels must be given and must differ"),
        (["a", "b"], "a photo", "needs {} once"),
        (["a", "b"], ["{}", "{} {}"], "needs {} once"),
        (["a", "b"], [], "at least one template"),
    ],
)
def test_bad_labels_and_templates_are_refused(space, toys, labels, template, says):
    with pytest.raises(ConfigError, match=says):
        space.classify(labels, template, toy=toys / "0.npy")


def twin_table(space, rows, query, target):
    """R@1 and mAP of a small table by sorting: a query's matches are the targets of all rows with the same query."""
    matches = {}
    for row in rows:
        matches.setdefault(row[query], set()).add(row[target])
    targets = sorted({row[target] for row in rows})
    r1, precisions = [], []
    for item, right in matches.items():
        z = getattr(space, query)(item).vectors[0]
        scores = {t: float(getattr(space, target)(t).vectors[0] @ z) for t in targets}
        order = sorted(targets, key=lambda t: -scores[t])
        places = [i + 1 for i, t in enumerate(order) if t in right]
        r1.append(places[0] == 1)
        precisions.append(np.mean([(i + 1) / place for i, place in enumerate(places)]))
    return np.mean(r1), np.mean(precisions), len(matches), len(targets)


def test_evaluate_equals_its_twin_and_says_what_was_trained(space, tmp_path):
    rows = write_toys(tmp_path, 14, classes=7)
    rows.append({"toy": "0.npy", "text": "sky", "image": "3.png"})  # a second match of a toy
    table, problems = space.evaluate(write_csv(tmp_path / "pairs.csv", rows))
    assert problems == []
    full = [{**r, "toy": str(tmp_path / r["toy"]), "image": str(tmp_path / r["image"])} for r in rows]
    assert {(r["query"], r["target"]): r["trained"] for r in table} == {
        ("toy", "text"): True, ("text", "toy"): True,
        ("image", "text"): True, ("text", "image"): True,
        ("toy", "image"): False, ("image", "toy"): False,
    }  # fmt: skip
    for row in table:
        r1, precision, n, n_targets = twin_table(space, full, row["query"], row["target"])
        assert (row["n"], row["n_targets"]) == (n, n_targets)
        assert (row["r1"], row["map"]) == (pytest.approx(r1), pytest.approx(precision))


def test_evaluate_reports_bad_items_and_strict_stops(space, tmp_path):
    pairs = write_csv(tmp_path / "pairs.csv", write_toys(tmp_path, 8))
    (tmp_path / "2.npy").unlink()
    (tmp_path / "4.png").write_bytes(b"broken")
    table, problems = space.evaluate(pairs)
    assert sorted(where for where, _ in problems) == [f"{pairs}:4", f"{pairs}:6"]
    assert next(r for r in table if (r["query"], r["target"]) == ("toy", "text"))["n"] == 7
    for name in ("4.png", "2.npy"):  # modality by modality, pictures first
        with pytest.raises(ItemError, match=name):
            space.evaluate(pairs, strict=True)
        shutil.copy(tmp_path / ("3.npy" if name == "2.npy" else "3.png"), tmp_path / name)
    assert space.evaluate(pairs, strict=True)[1] == []


def test_evaluate_needs_two_modalities_that_it_can_encode(anchor, space, toys, tmp_path):
    pairs = write_csv(tmp_path / "pairs.csv", [{"toy": str(toys / "0.npy"), "text": "red"}])
    with pytest.raises(ConfigError, match="fewer than two modalities; no encoder loaded for toy"):
        Binder(anchor).evaluate(pairs)
    with pytest.raises(ManifestError, match="no such file"):
        space.evaluate(tmp_path / "none.csv")
    assert len(space.evaluate(pairs)[0]) == 2


def test_embedding_leaves_nothing_in_the_cache(space, toys, cache_folder):
    space.embed(text=NAMES)
    space.embed(toy=toys / "0.npy")
    assert not list(cache_folder.iterdir())
