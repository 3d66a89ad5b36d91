"""Push and pull, against a stand-in that speaks what is used of the hub's HTTP interface."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import shutil
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

import binder
from binder import AnchorError, RunError
from binder.artifact import hub, run_folder
from binder.artifact.model_card import model_card

pytestmark = pytest.mark.usefixtures("toy")
TOKEN = "hf_test"


@dataclass
class Hub:
    """What the stand-in holds: repository -> its files at the last commit, and every commit before."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    refuse: int = 0  # status of every answer to a write, where not 0
    address: str = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        self.repos[repo] = {**self.repos.get(repo, {}), **files}
        sha = hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()
        self.commits[sha], self.heads[repo] = dict(self.repos[repo]), sha
        return sha


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def answer(self, status: int, value=None, headers=(), body: bytes | None = None) -> None:
        body = json.dumps(value).encode() if body is None else body
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code: str) -> None:
        self.answer(404, {"error": code}, [("X-Error-Code", code), ("X-Error-Message", code)])

    def known(self, repo: str, revision: str) -> str | None:
        """The commit of a revision; answers itself where there is none."""
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo not in self.hub.repos or (repo in self.hub.private and not authorised):
            self.missing("RepoNotFound")
            return None
        sha = self.hub.heads.get(repo) if revision == "main" else revision
        if sha not in self.hub.commits:
            self.missing("RevisionNotFound")
            return None
        return sha

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            if sha := self.known(m[1], m[2] or "main"):
                siblings = [{"rfilename": name} for name in self.hub.commits[sha]]
                self.answer(200, {"id": m[1], "sha": sha, "siblings": siblings, "private": False})
        elif m := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if sha := self.known(m[1], m[2]):
                files = self.hub.commits[sha].items()
                oid = {name: hashlib.sha1(data).hexdigest() for name, data in files}
                self.answer(200, [{"type": "file", "path": n, "size": len(d), "oid": oid[n]} for n, d in files])
        elif m := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if sha := self.known(m[1], m[2]):
                data = self.hub.commits[sha].get(m[3])
                if data is None:
                    self.missing("EntryNotFound")
                    return
                etag = f'"{hashlib.sha1(data).hexdigest()}"'
                self.answer(200, headers=[("ETag", etag), ("X-Repo-Commit", sha)], body=data)
        else:
            self.answer(404, {"error": f"the stand-in does not know {self.path}"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.hub.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" or self.hub.refuse:
            self.answer(self.hub.refuse or 401, {"error": "not allowed"})
            return
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if repo in self.hub.repos:
                self.answer(409, {"error": "exists", "url": f"{self.hub.address}/{repo}"})
                return
            self.hub.commit(repo, {})
            self.hub.private |= {repo} if (asked.get("private") or asked.get("visibility") == "private") else set()
            self.answer(200, {"url": f"{self.hub.address}/{repo}", "id": repo})
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif m := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            names = [f["path"] for f in json.loads(body)["files"]]
            files = [{"path": n, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for n in names]
            self.answer(200, {"files": files})
        elif m := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            sha = self.hub.commit(m[1], {f["path"]: base64.b64decode(f["content"]) for f in files})
            self.answer(200, {"commitUrl": f"{self.hub.address}/{m[1]}/commit/{sha}", "commitOid": sha})
        else:
            self.answer(404, {"error": f"the stand-in does not know {self.path}"})


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The stand-in, running; the library believes that it is the hub."""
    stand_in = Hub()
    handler = type("Bound", (Handler,), {"hub": stand_in})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stand_in.address = f"http://127.0.0.1:{server.server_port}"
    reach(monkeypatch, stand_in.address, tmp_path)
    yield stand_in
    server.shutdown()
    server.server_close()


def reach(monkeypatch, address, tmp_path) -> None:
    """Send the hub's library to an address; `HF_ENDPOINT` does it for a fresh process."""
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def error(call, *args, **options) -> str:
    with pytest.raises(RunError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_pushed_is_pulled_again_and_gives_the_same_vectors(server, run, toys, anchor, tmp_path):
    address = hub.push(run, "hf:me/toy", license="cc-by-4.0")
    assert address == f"{server.address}/me/toy"
    folder = hub.pull("hf:me/toy", tmp_path / "deep" / "pulled")
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "card.json", "config.toml", "encoder.safetensors", "log.jsonl",
    ]  # fmt: skip
    assert (folder / "encoder.safetensors").read_bytes() == (run / "encoder.safetensors").read_bytes()
    item = toys / "0.npy"
    vectors = [binder.Binder(anchor).load(place).toy(item).vectors for place in (run, folder)]
    np.testing.assert_array_equal(*vectors)
    card = json.loads((folder / "card.json").read_text())
    assert card["license"] == "cc-by-4.0"
    before = json.loads((run / "card.json").read_text())
    assert {**card, "license": None, "anchor": None} == {**before, "anchor": None}


def test_neither_data_nor_paths_of_this_machine_are_pushed(server, run, toys, anchor_folder, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "notes.txt").write_text("mine")
    (copy / "state.pt").write_text("old")
    (copy / "config.toml").write_text(f'init = "{run}"\n' + (copy / "config.toml").read_text())
    hub.push(copy, "hf:me/toy")
    assert (copy / "report.html").is_file()
    assert set(server.repos["me/toy"]) == {"README.md", "card.json", "config.toml", "encoder.safetensors", "log.jsonl"}
    for name, data in server.repos["me/toy"].items():
        assert str(anchor_folder).encode() not in data, name
        assert str(tmp_path).encode() not in data, name
    assert json.loads(server.repos["me/toy"]["card.json"])["anchor"] == anchor_folder.name


def test_the_model_card_shows_no_rate_that_no_search_can_miss(run):
    card = run_folder.read_card(run)
    for n_targets, few in ((10, True), (11, False)):
        rows = [{**row, "n_targets": n_targets} for row in card.metrics["retrieval"]]
        text = model_card(card.model_copy(update={"metrics": {**card.metrics, "retrieval": rows}}), "someone/toy")
        assert ("no search can miss" in text) == few
        assert ("| – |" in text) == few


def test_the_model_card_says_what_it_is_and_what_it_reaches(server, run):
    hub.push(run, "hf:me/toy", license="apache-2.0")
    text = server.repos["me/toy"]["README.md"].decode()
    card = json.loads((run / "card.json").read_text())
    head = text.split("---\n")[1]
    assert "license: apache-2.0\n" in head and "library_name: binder\n" in head and "toy]" in head
    for told in ("hf:me/toy", card["space"], card["data"], "108 for training, 12 held out", "toy 1.0", "ridge R@1"):
        assert told in text, told
    row = next(r for r in card["metrics"]["retrieval"] if (r["query"], r["target"]) == ("toy", "text"))
    assert f"| toy → text | trained | {row['n']} | {row['n_targets']} | {row['r1']:.3f} |" in text
    lengths = {line.count("|") for line in text.splitlines() if "→" in line or line.startswith("| ---")}
    assert len(lengths) == 1


def test_pushing_again_updates_and_an_old_revision_can_still_be_pulled(server, run, tmp_path):
    hub.push(run, "hf:me/toy", private=True)
    first = server.heads["me/toy"]
    hub.push(run, "hf:me/toy", license="mit")
    assert server.private == {"me/toy"}
    assert json.loads((hub.pull("hf:me/toy", tmp_path / "new") / "card.json").read_text())["license"] == "mit"
    old = hub.pull(f"hf:me/toy@{first}", tmp_path / "old")
    assert json.loads((old / "card.json").read_text())["license"] is None
    assert "no such revision" in error(hub.pull, "hf:me/toy@v9", tmp_path / "none")


def test_a_run_on_the_hub_is_loaded_by_its_name_and_afterwards_without_the_hub(
    server, run, anchor, toys, monkeypatch, tmp_path
):
    hub.push(run, "hf:me/toy")
    expected = binder.Binder(anchor).load(run).toy(toys / "0.npy").vectors
    for address in (server.address, "http://127.0.0.1:9"):  # where nobody answers
        reach(monkeypatch, address, tmp_path)
        found = binder.Binder(anchor).load(["hf:me/toy"])
        np.testing.assert_array_equal(found.toy(toys / "0.npy").vectors, expected)
        assert found.cards["toy"].modality == "toy"
    with pytest.raises(AnchorError, match="anchor 'tiny'"):  # a folder of the one who pushed
        binder.Binder.of("hf:me/toy")
    assert hub.local(run) == run and hub.local(str(run)) == run


def test_a_folder_that_exists_is_not_pulled_over_and_a_failed_pull_leaves_nothing(server, run, tmp_path):
    hub.push(run, "hf:me/toy")
    (tmp_path / "mine").mkdir()
    assert "exists already" in error(hub.pull, "hf:me/toy", tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())
    before = set(tmp_path.iterdir())
    error(hub.pull, "hf:me/nowhere", tmp_path / "new")
    assert {p for p in tmp_path.iterdir() if p.name != "hub-cache"} == before - {tmp_path / "hub-cache"}


def changed(files: dict[str, bytes], **values) -> dict[str, bytes]:
    return {**files, "card.json": json.dumps({**json.loads(files["card.json"]), **values}).encode()}


def test_what_is_no_aligned_encoder_or_a_newer_one_is_one_clear_line(server, run, tmp_path):
    hub.push(run, "hf:me/toy")
    files = server.repos["me/toy"]
    server.commit("other/model", {"README.md": b"hello", "model.safetensors": bytes(100)})
    server.commit("other/empty", {"model.bin": b"x"})
    server.commit("newer/toy", changed(files, format=99))
    server.commit("torn/toy", {name: data for name, data in files.items() if name != "encoder.safetensors"})
    out = tmp_path / "out"
    assert error(hub.pull, "hf:other/model", out) == "hf:other/model: holds no aligned encoder (no card.json)"
    assert "holds no aligned encoder" in error(hub.pull, "hf:other/empty", out)
    assert not any("model.safetensors" in request for request in server.requests)
    assert "written by a newer binder (format 99); upgrade binder" in error(hub.pull, "hf:newer/toy", out)
    assert "incomplete (no encoder.safetensors)" in error(hub.pull, "hf:torn/toy", out)
    assert not out.exists()


def test_a_missing_or_refused_token_is_one_clear_line(server, run, monkeypatch, tmp_path):
    server.refuse = 403
    assert "the Hub rejects this token (HTTP 403)" in error(hub.push, run, "hf:me/toy")
    server.refuse = 0
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "(HTTP 401)" in error(hub.push, run, "hf:me/toy")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    n = len(server.requests)
    assert "no token for the Hub on this machine; log in with `hf auth login`" in error(hub.push, run, "hf:me/toy")
    assert len(server.requests) == n
    assert not server.repos


def test_a_private_repository_needs_its_token(server, run, monkeypatch, tmp_path):
    hub.push(run, "hf:me/toy", private=True)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    assert "no such repository, or a private one" in error(hub.pull, "hf:me/toy", tmp_path / "out")


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_it_is_one_clear_line(run, monkeypatch, tmp_path, offline):
    from huggingface_hub import constants

    reach(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert "cannot be reached" in error(hub.pull, "hf:me/toy", tmp_path / "out")
    assert "cannot be reached" in error(hub.push, run, "hf:me/toy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["me/toy", "hf:toy", "hf:a/b/c", "hf:", "hf:me/to y", "hf:me/toy@"])
def test_a_name_that_is_none_is_refused(run, tmp_path, name):
    assert "expected hf:ORG/NAME" in error(hub.push, run, name)
    assert "expected hf:ORG/NAME" in error(hub.pull, name, tmp_path / "out")


def test_an_unfinished_run_and_a_strange_license_are_not_pushed(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    assert "license 'my own: terms'" in error(hub.push, copy, "hf:me/toy", license="my own: terms")
    (copy / "encoder.safetensors").unlink()
    assert "missing, so there is nothing to push" in error(hub.push, copy, "hf:me/toy")
    (copy / "card.json").unlink()
    assert "not finished" in error(hub.push, copy, "hf:me/toy")


def test_the_command_line_pushes_and_pulls(server, run, tmp_path, binder):
    out = ""
    for arguments in (["push", run, "hf:me/toy", "--license", "mit"], ["pull", "hf:me/toy", tmp_path / "r"]):
        status, said, err = binder(*arguments)
        assert status == 0, err
        out += said
    assert f"pushed to {server.address}/me/toy" in out
    assert f"the encoder is in {tmp_path / 'r'}" in out
    assert (tmp_path / "r" / "card.json").is_file()


def test_the_earlier_name_of_the_license_still_works(server, run, tmp_path, binder):
    with pytest.warns(FutureWarning, match=r"push\(licence=\) is now license=") as warned:
        hub.push(run, "hf:me/toy", licence="mit")
    assert warned[0].filename == __file__
    status, _out, err = binder("push", run, "hf:me/toy", "--licence=mit")
    assert (status, err) == (0, "warning: --licence is now --license; the next release drops the old name\n")
    pulled = hub.pull("hf:me/toy", tmp_path / "run")
    path = pulled / "card.json"
    earlier = {name.replace("license", "licence"): value for name, value in json.loads(path.read_text()).items()}
    path.write_text(json.dumps({**earlier, "format": 1}))
    card = run_folder.read_card(pulled)
    assert card.license == "mit"
    with pytest.warns(FutureWarning, match=r"Card\.licence is now Card\.license"):
        assert card.licence == "mit"
