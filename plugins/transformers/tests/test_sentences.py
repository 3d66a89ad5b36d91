"""Models of sentence-transformers as anchors."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binder_transformers import sentences
from binder_transformers.sentences import load
from PIL import Image
from safetensors.torch import load_file, save_file

from binder import AnchorError, Binder, ItemError
from binder.testing import AnchorContract

TEXTS = ["a red circle", "a photo of a blue square of red", "square"]


def embedded(tower: Any, items: list[Any]) -> torch.Tensor:
    with torch.inference_mode():
        z: torch.Tensor = tower(torch.cat([tower.preprocess(item) for item in items]))
    return torch.nn.functional.normalize(z)


def of_the_library(folder: Path, items: list[Any], **settings: Any) -> torch.Tensor:
    """What sentence-transformers itself gives."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return torch.nn.functional.normalize(model.encode(items, convert_to_tensor=True, **settings)).clone()


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((40, 50, 3), (90, 30, 3))]


def fails(name: str) -> str:
    with pytest.raises(AnchorError) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("anchor ")
    return str(caught.value)


def changed(path: Path, **values: Any) -> None:
    """Set values of a configuration."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class Contract(AnchorContract):
    kind = "bert"
    options = ""

    @pytest.fixture(autouse=True)
    def _models(self, models):
        self.models = models

    def load(self, tmp_path, seed=0):
        return load(f"st:{self.models(self.kind, seed)}{self.options}")

    def items(self, modality, tmp_path):
        return TEXTS if modality == "text" else pictures()


class TestBert(Contract):
    pass


class TestCut(Contract):
    options = "?dim=8"


class TestStatic(Contract):
    kind = "static"


class TestMultimodal(Contract):
    kind = "multimodal"


class TestRouter(Contract):
    kind = "router"


@pytest.mark.parametrize("kind", ["bert", "static", "multimodal"])
def test_its_vectors_are_those_of_the_library(models, kind):
    anchor = load(f"st:{models(kind)}")
    for modality, tower in anchor.towers.items():
        items = TEXTS if modality == "text" else pictures()
        prompt = {"prompt_name": "document"} if modality == "text" else {}
        want = of_the_library(models(kind), items, **prompt)
        torch.testing.assert_close(embedded(tower, items), want, atol=1e-5, rtol=0)
        assert (want[0] - want[1]).abs().max() > 1e-4


def test_an_anchor_is_found_by_its_prefix(models):
    for name in (f"st:{models('bert')}", f"transformers:{models('clip')}"):
        space = Binder(name)
        z = space.embed(text=TEXTS)
        assert space.anchor.name == name
        want = embedded(space.anchor.tower("text"), TEXTS)
        torch.testing.assert_close(torch.from_numpy(np.array(z.vectors)), want, atol=1e-5, rtol=0)


def test_prompts_are_the_models_and_document_is_the_default(models):
    anchor = load(f"st:{models('bert')}")
    assert anchor.prompts == ("query", "document", "plain")
    found = {name: embedded(anchor.with_prompt(name).tower("text"), TEXTS) for name in anchor.prompts}
    for name, z in found.items():
        torch.testing.assert_close(z, of_the_library(models("bert"), TEXTS, prompt_name=name), atol=1e-5, rtol=0)
    assert torch.equal(embedded(anchor.tower("text"), TEXTS), found["document"])
    assert (found["query"] - found["document"]).abs().max() > 1e-3
    assert (found["plain"] - found["document"]).abs().max() > 1e-3
    assert anchor.with_prompt("query").with_prompt(None).prompt is None
    with pytest.raises(AnchorError, match=r"no prompt 'qery' .did you mean 'query'"):
        anchor.with_prompt("qery")


def test_the_models_own_default_prompt_counts(models, altered):
    folder = altered("bert")
    changed(folder / "config_sentence_transformers.json", default_prompt_name="query")
    anchor = load(f"st:{folder}")
    torch.testing.assert_close(embedded(anchor.tower("text"), TEXTS), of_the_library(folder, TEXTS), atol=1e-5, rtol=0)
    assert anchor.fingerprint != load(f"st:{models('bert')}").fingerprint


def test_prompts_may_be_left_out_of_the_pooling(altered):
    folder = altered("bert")
    changed(folder / "1_Pooling" / "config.json", include_prompt=False)
    got = embedded(load(f"st:{folder}").with_prompt("query").tower("text"), TEXTS)
    torch.testing.assert_close(got, of_the_library(folder, TEXTS, prompt_name="query"), atol=1e-5, rtol=0)


def test_queries_and_documents_take_their_routes(models):
    from sentence_transformers import SentenceTransformer

    anchor = load(f"st:{models('router')}")
    model = SentenceTransformer(str(models("router")), device="cpu")
    for name, encode in (("query", model.encode_query), ("document", model.encode_document)):
        want = torch.nn.functional.normalize(encode(TEXTS, convert_to_tensor=True).clone())
        torch.testing.assert_close(embedded(anchor.with_prompt(name).tower("text"), TEXTS), want, atol=1e-5, rtol=0)


def test_vectors_can_be_cut_and_that_is_another_space(models, caplog):
    name = f"st:{models('bert')}"
    whole = load(name)
    assert not caplog.records
    cut = load(f"{name}?dim=8")
    assert "does not say that it was trained for shorter vectors" in caplog.text
    assert (cut.embed_dim, cut.name) == (8, f"{name}?dim=8")
    want = of_the_library(models("bert"), TEXTS, prompt_name="document", truncate_dim=8)
    torch.testing.assert_close(embedded(cut.tower("text"), TEXTS), want, atol=1e-5, rtol=0)
    half = load(f"{name}?dtype=bfloat16&dim=8")
    assert half.name == f"{name}?dim=8&dtype=bfloat16"
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    assert len({anchor.fingerprint for anchor in (whole, cut, half, load(f"{name}?dim=16"))}) == 4
    assert (embedded(half.tower("text"), TEXTS) * want).sum(1).min() > 0.98


@pytest.mark.parametrize("where", ["card", "config.json", "config_sentence_transformers.json"])
def test_only_lengths_that_a_model_was_trained_for_are_taken(altered, caplog, where):
    folder = altered("bert")
    if where == "card":
        card = '---\ntags:\n- loss:MatryoshkaLoss\n---\n```json\n{\n "matryoshka_dims": [\n  16,\n  8\n ]\n}\n```\n'
        (folder / "README.md").write_text(card)
    elif where == "config.json":
        changed(folder / where, matryoshka_dimensions=[16, 8])
    else:
        changed(folder / where, truncate_dim=8)
        assert load(f"st:{folder}").embed_dim == 8
    assert load(f"st:{folder}?dim=8").embed_dim == 8
    assert load(f"st:{folder}?dim=32").embed_dim == 32
    assert not caplog.records
    assert "dim=12: it was trained to be cut to 8" in fails(f"st:{folder}?dim=12")


def test_texts_are_cut_where_the_model_says(models, caplog):
    anchor = load(f"st:{models('bert')}")
    row = anchor.tower("text").preprocess("a " * 8)  # 12 with the prompt, and what encloses a text
    assert row.shape[-1] == 12
    assert not caplog.records
    assert (anchor.truncates("a " * 8), anchor.truncates("a " * 9)) == (False, True)
    assert not anchor.with_prompt("plain").truncates("a " * 9)
    with caplog.at_level(logging.WARNING):
        anchor.tower("text").preprocess("a " * 9)
    assert "truncated after the anchor's 12 tokens" in caplog.text


def test_half_of_a_batch_padded_changes_no_vector(models):
    for kind in ("bert", "multimodal", "static"):
        tower = load(f"st:{models(kind)}").tower("text")
        alone = torch.cat([embedded(tower, [text]) for text in TEXTS])
        torch.testing.assert_close(embedded(tower, TEXTS), alone, atol=1e-5, rtol=0)


def test_a_text_that_looks_like_a_file_or_an_address_is_read_as_text(models, tmp_path, monkeypatch):
    pictures()[0].save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    tower = load(f"st:{models('multimodal')}").tower("text")
    for text in ("red.png", "https://example.org/red.png", "data:image/png;base64,aGk="):
        assert tower.preprocess(text).dtype == torch.int32


def test_a_text_without_a_known_token_is_a_bad_item(models, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    words = Tokenizer(kinds.BPE({"a": 0, "r": 1, "e": 2, "d": 3}, []))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)], device="cpu").save(str(tmp_path))
    tower = load(f"st:{tmp_path}").tower("text")
    tower.preprocess("a red")
    with pytest.raises(ItemError, match="no token that the anchor knows"):
        tower.preprocess("zzz")


def test_a_model_of_pictures_alone_is_an_anchor(tmp_path):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    anchor = load(f"st:{tmp_path}")
    assert list(anchor.towers) == ["image"]
    want = of_the_library(tmp_path, pictures())
    torch.testing.assert_close(embedded(anchor.tower("image"), pictures()), want, atol=1e-5, rtol=0)
    with pytest.raises(AnchorError, match="does not encode text"):
        anchor.tower("text")


def test_a_tower_in_a_reader_process_needs_no_weights(models):
    for kind in ("bert", "static", "multimodal", "router"):
        anchor = load(f"st:{models(kind)}")
        copy = pickle.loads(pickle.dumps(anchor.tower("text")))
        assert torch.equal(copy.preprocess(TEXTS[1]), anchor.tower("text").preprocess(TEXTS[1]))
        assert sum(p.numel() for p in copy.anchor.reading.module.parameters()) == 0


def test_weights_that_are_missing_are_never_random(altered):
    folder = altered("bert")
    weights = load_file(folder / "model.safetensors")
    pooler = {key: value for key, value in weights.items() if not key.startswith("pooler")}
    save_file(pooler, folder / "model.safetensors", {"format": "pt"})
    anchor, again = load(f"st:{folder}"), load(f"st:{folder}")  # which nothing uses
    assert anchor.checksum() == again.checksum()
    lacking = {key: value for key, value in pooler.items() if "layer.1.attention.self.query.weight" not in key}
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    assert "lack 1 of its weights, among them encoder.layer.1.attention.self.query.weight" in fails(f"st:{folder}")


def test_a_pooler_that_is_used_must_be_there(altered):
    folder = altered("bert")
    way = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    changed(folder / "sentence_bert_config.json", modality_config=way, module_output_name="sentence_embedding")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:1]))
    load(f"st:{folder}")
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("pooler")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert "among them pooler.dense.bias" in fails(f"st:{folder}")


def test_code_of_a_part_is_refused(altered):
    folder = altered("bert")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "mine.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    assert "'mine.Pooling' is code that comes with the model" in fails(f"st:{folder}")


def test_models_of_other_kinds_and_adapters_are_refused(altered):
    folder = altered("bert")
    changed(folder / "config_sentence_transformers.json", model_type="SparseEncoder")
    assert "is a SparseEncoder, not a SentenceTransformer" in fails(f"st:{folder}")
    folder = altered("static")
    (folder / "adapter_config.json").write_text("{}")
    assert "is an adapter to another model" in fails(f"st:{folder}")


def test_a_model_without_its_tokenizer_is_refused(altered):
    folder = altered("bert")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in fails(f"st:{folder}")


@pytest.mark.parametrize("template", [None, "{% for m in messages %}query : {{ m['content'] }} doc{% endfor %}"])
def test_language_models_with_a_chat_template_and_padding_on_the_left(tmp_path, tokenizer, template):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    config = Qwen3Config(**sizes, vocab_size=64, num_key_value_heads=1, head_dim=16, max_position_embeddings=64)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    words = tokenizer(model_max_length=64, padding_side="left")
    words.chat_template = template
    words.save_pretrained(tmp_path)
    anchor = load(f"st:{tmp_path}")
    want = torch.cat([of_the_library(tmp_path, [text]) for text in TEXTS])
    torch.testing.assert_close(embedded(anchor.tower("text"), TEXTS), want, atol=1e-5, rtol=0)
    assert [anchor.truncates("a " * count) for count in (3, 90)] == [False, True]


def test_a_model_that_reads_pictures_at_their_own_size_loses_that_tower_with_a_warning(models, monkeypatch, caplog):
    own_size = lambda self, picture: {"pixel_values": torch.zeros(1, 3, *picture.size)}  # noqa: E731
    monkeypatch.setattr(sentences.SentenceReading, "image", own_size)
    anchor = load(f"st:{models('multimodal')}")
    assert list(anchor.towers) == ["text"]
    assert anchor.image_trunk is None
    assert "reads images at their own size, in varying shapes: left out" in caplog.text


def test_a_plain_model_is_pooled_with_a_warning(models, caplog):
    anchor = load(f"st:{models('bert').parent / 'base'}")
    assert "no model of sentence-transformers; its last states are pooled" in caplog.text
    assert anchor.embed_dim == 32


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("?dim=33", "dim=33: its vectors have 32 dimensions"),
        ("?dim=0", "dim=0: expected a number of dimensions"),
        ("?dim=many", "dim=many: expected a number"),
        ("?dmi=8", "no option 'dmi' (did you mean 'dim'?); options: dim, dtype"),
        ("?", ""),
    ],
)
def test_options_that_cannot_be_are_one_clear_line(models, name, says):
    if says:
        assert says in fails(f"st:{models('bert')}{name}")
    else:
        assert load(f"st:{models('bert')}{name}").name == f"st:{models('bert')}"


def test_what_is_not_downloaded_is_one_clear_line():
    assert "not on this machine, and the hub does not answer" in fails("st:org/model")
    assert "st:sentence-transformers/mini-lm" in fails("st:mini-lm")
