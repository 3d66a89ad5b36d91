"""Anchors and trunks that claim too much, are damaged or are not there: one line each, in bounded memory."""

from __future__ import annotations

import gzip
import http.server
import json
import math
import socket
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import one_line

from binder import AnchorError, ConfigError, RunError
from binder.anchors import openclip as anchors
from binder.anchors import trunk
from binder.anchors.bounds import no_larger_than
from binder.artifact import hub
from binder.testing import write_tiny_checkpoint

SEED = 7


@pytest.fixture
def folder(tmp_path):
    return write_tiny_checkpoint(tmp_path / "tiny")


def refused(name) -> str:
    began = time.monotonic()
    with pytest.raises(AnchorError) as caught:
        anchors.load(str(name))
    assert time.monotonic() - began < 20
    return one_line(caught)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("preprocess_cfg.std", [0, 0, 0], "std: 0: pictures are divided by it"),
        ("preprocess_cfg.std", 0, "std: 0: pictures are divided by it"),
        ("preprocess_cfg.mean", "grey", "mean: expected a number"),
        ("preprocess_cfg.mean", [1, 2], "mean: expected a number"),
        ("preprocess_cfg.size", 10**9, "size: 1000000000: expected 1 to 4096"),
        ("preprocess_cfg.interpolation", "magic", "interpolation: 'magic'"),
        ("preprocess_cfg", [], "preprocess_cfg is list"),
        ("model_cfg", None, "model_cfg is missing"),
        ("model_cfg.text_cfg", 3, "text_cfg is int"),
        ("model_cfg.vision_cfg.image_size", -1, "image_size: -1"),
        ("model_cfg.vision_cfg.layers", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.layers", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.vocab_size", 10**12, "a larger model than the file of its weights holds"),
        ("model_cfg.text_cfg.context_length", 10**6, "a larger model than the file of its weights holds"),
        ("model_cfg.vision_cfg.width", 10**6, "could not be loaded"),
        ("model_cfg.embed_dim", 10**10, "a larger model than the file of its weights holds"),
        ("model_cfg.vision_cfg.patch_size", 0, "could not be loaded"),
        ("model_cfg.text_cfg.heads", 0, "could not be loaded"),
        ("model_cfg.nonsense", 1, "could not be loaded"),
        ("model_cfg.text_cfg.tokenizer_kwargs", {"bpe_path": "/etc/passwd"}, "bpe_path"),
    ],
)
def test_what_an_anchor_claims_is_checked_before_it_is_made(folder, place, value, says):
    path = folder / "open_clip_config.json"
    whole = json.loads(path.read_text())
    *way, last = place.split(".")
    inner = whole
    for key in way:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(whole))
    assert says in refused(folder)


def test_hostile_files_of_an_anchor_are_one_line(folder):
    (folder / "card.json").write_text("[" * 50_000)
    assert "card.json: damaged" in refused(folder)
    (folder / "card.json").write_text('{"words": 7}')
    assert "words: expected a list" in refused(folder)
    (folder / "card.json").unlink()
    (folder / "bpe.txt.gz").write_bytes(70 * gzip.compress(bytes(2**20)))
    assert "unpacks to more than 64 MiB" in refused(folder)
    (folder / "bpe.txt.gz").write_bytes(b"\x1f\x8b\x08 no vocabulary")
    assert "bpe.txt.gz: damaged" in refused(folder)
    (folder / "bpe.txt.gz").unlink()
    (folder / "open_clip_config.json").write_text('{"a":' * 50_000)
    assert "open_clip_config.json" in refused(folder)


def test_an_anchor_whose_towers_give_no_numbers_is_refused_when_it_is_loaded(folder):
    weights = load_file(folder / "open_clip_model.safetensors")
    for name, value in (("visual.proj", math.nan), ("token_embedding.weight", math.inf), ("visual.proj", 0.0)):
        save_file({**weights, name: torch.full_like(weights[name], value)}, folder / "open_clip_model.safetensors")
        assert "finite" in refused(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RN50", "is an architecture: name its weights, too, as MODEL/TAG: RN50/openai, RN50/yfcc15m"),
        ("RN50/", "is an architecture"),
        ("/no/such/anchor", "if it was moved, give its new path (--anchor)"),
        ("RN50//no/such/file.pt", "if it was moved, give its new path (--anchor)"),
        ("x" * 5000, "too long"),
        ("a\0b", "anchor"),
        ("hf-hub:a/b/c", "cannot be a repository"),
    ],
)
def test_the_name_of_an_anchor_says_what_is_missing(name, says):
    assert says in refused(name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Linear(10**6, 10**6),
        lambda: torch.nn.Embedding(10**9, 9),
        lambda: torch.arange(10**12),
        lambda: torch.zeros((10**6, 10**6)),
        lambda: [torch.empty(1000) for _ in range(2000)],
    ],
)
def test_nothing_larger_than_the_file_is_made(tmp_path, make):
    small = tmp_path / "w.safetensors"
    small.write_bytes(bytes(10))
    with pytest.raises(ValueError, match="larger model than the file"), no_larger_than(small):
        make()
    with no_larger_than(small):
        torch.nn.Linear(1000, 100)


def test_a_tokenizer_that_is_missing_is_called_so(folder):
    path = folder / "open_clip_config.json"
    whole = json.loads(path.read_text())
    whole["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "some/tokenizer"
    path.write_text(json.dumps(whole))
    said = refused(folder)
    assert "its tokenizer" in said and "weights" not in said


# --- trunks and the hub


def test_a_folder_as_timm_saves_it_is_a_trunk_under_its_plain_name(tmp_path, monkeypatch):
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(SEED)
    model = timm.create_model("test_vit", num_classes=0).eval()
    save_for_hf(model, str(tmp_path / "tower"), safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    made = [trunk.image_trunk(name) for name in ("timm:tower", f"timm:local-dir:{tmp_path / 'tower'}")]
    assert len({one.fingerprint for one in made}) == 1
    assert made[0].fingerprint == trunk.hash_weights(model.state_dict())
    path = tmp_path / "tower" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_args": {"depth": 10**6}}))
    with pytest.raises(ConfigError, match="a larger model than the file"):
        trunk.image_trunk("timm:tower")
    path.write_text("[" * 50_000)
    with pytest.raises(ConfigError) as caught:
        trunk.image_trunk("timm:tower")
    one_line(caught)


class Absent(http.server.BaseHTTPRequestHandler):
    """A hub that has nothing."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(params=["nobody there", "nothing there", "no answer"])
def poor_hub(request, monkeypatch, tmp_path):
    """The hub's library, sent to where nobody listens, where nothing is found, or where nothing is said."""
    from huggingface_hub import constants, hf_api

    from binder.anchors import reach

    silent = socket.create_server(("127.0.0.1", 0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Absent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = {"nobody there": 9, "nothing there": server.server_port, "no answer": silent.getsockname()[1]}[request.param]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(reach, "PATIENCE_S", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield request.param
    server.shutdown()
    server.server_close()
    silent.close()


@pytest.mark.parametrize("name", ["hf-hub:no/such", "ViT-B-32/laion2b_s34b_b79k", "timm:hf-hub:no/such", "hf:no/such"])
def test_a_mistyped_name_of_the_hub_fails_within_seconds(poor_hub, name):
    from huggingface_hub import constants

    load = {"hf": hub.local, "timm": trunk.image_trunk}.get(name.partition(":")[0], anchors.load)
    began = time.monotonic()
    with pytest.raises((AnchorError, ConfigError, RunError)) as caught:
        load(name)
    assert time.monotonic() - began < 10
    said = "no such repository" if poor_hub == "nothing there" else "on this machine"
    assert said in one_line(caught)
    assert constants.HF_HUB_OFFLINE is False  # the next one asks again
