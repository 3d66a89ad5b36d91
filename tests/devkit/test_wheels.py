"""Wheels found in a folder or on a page: the newest that fits, checked; and no name of ours is asked of an index."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from plugin_env import Environment

import binder
from binder import PluginError
from binder.devkit import installing, wheels

FITS = "modality-binder>=0.0.1"


def write_wheel(
    folder: Path, version: str, *requires: str, name: str = "binder-hum", tags: str = "py3-none-any"
) -> Path:
    """A wheel that pip can install: one module, an entry point, metadata."""
    own = name.replace("-", "_")
    path = folder / f"{own}-{version}-{tags}.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{own}/__init__.py", f"VERSION = {version!r}\ndef binder_register_modalities(): return []\n")
        archive.writestr(f"{own}-{version}.dist-info/METADATA", metadata)
        archive.writestr(
            f"{own}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n"
        )
        archive.writestr(f"{own}-{version}.dist-info/entry_points.txt", f"[binder]\nhum = {own}\n")
        archive.writestr(f"{own}-{version}.dist-info/RECORD", "")
    return path


class Server:
    """A folder over HTTP on this machine; `asked` are the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        asked: list[str] = []
        self.asked = asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def place(tmp_path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def server(place):
    found = Server(place)
    yield found
    found.http.shutdown()
    found.http.server_close()


def test_the_newest_that_fits_the_core_is_taken(place, work):
    write_wheel(place, "0.9.0", "modality-binder<0.0.1")
    right = write_wheel(place, "0.10.0", FITS)
    write_wheel(place, "0.11.0", "modality-binder>=99")
    write_wheel(place, "0.12.0rc1", FITS)
    write_wheel(place, "0.13.0", FITS, tags="py2-none-any")
    write_wheel(place, "7.0", FITS, name="binder-hum-more")
    (place / "not a wheel.whl").write_bytes(b"")
    assert wheels.find("Binder.Hum", str(place), work) == right
    assert wheels.find("binder-hum", place.as_uri(), work) == right


def test_a_pre_release_is_taken_where_there_is_nothing_else(place, work):
    assert wheels.find("binder-hum", str(write_wheel(place, "0.12.0rc1", FITS)), work).name.startswith(
        "binder_hum-0.12"
    )


@pytest.mark.parametrize(
    ("requires", "tags", "message"),
    [
        (["modality-binder>=99"], "py3-none-any", f"needs modality-binder >=99, this is {binder.__version__}; update"),
        (["binder-nothing", "binder-audio>=99"], "py3-none-any", "needs binder-audio >=99, "),
        (["numpy", "oh no!"], "py3-none-any", "binder-hum 1.0 has an invalid requirement: 'oh no!'"),
        ([FITS], "cp27-none-any", "no wheel of binder-hum in "),
        ([FITS + "\nRequires-Python: >=9"], "py3-none-any", "binder-hum 1.0 needs Python >=9, this is 3."),
        ([FITS + "\nRequires-Python: new"], "py3-none-any", "binder-hum 1.0 has invalid metadata"),
    ],
)
def test_a_wheel_that_does_not_fit_says_why(requires, tags, message, place, work):
    write_wheel(place, "1.0", *requires, tags=tags)
    with pytest.raises(PluginError) as caught:
        wheels.find("binder-hum", str(place), work)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_reason_is_the_newest_ones(place, work):
    for version in ("1.9", "1.10", "1.2"):
        write_wheel(place, version, "modality-binder>=99")
    with pytest.raises(PluginError, match=r"^binder-hum 1\.10 needs"):
        wheels.find("binder-hum", str(place), work)


def test_what_is_not_in_the_place_says_what_is(place, work):
    with pytest.raises(PluginError, match=r"no wheel of binder-hum in .*; it has none at all"):
        wheels.find("binder-hum", str(place), work)
    write_wheel(place, "1.0", name="acme-other")
    with pytest.raises(PluginError, match=r"no wheel of binder-hum in .*; it has acme-other"):
        wheels.find("binder-hum", str(place), work)
    write_wheel(place, "1.0", name="binder-humm")
    for given, close in (("binder-hum", "binder-humm"), ("adio", "audio")):
        with pytest.raises(PluginError, match=rf"no wheel of {given} in .* \(did you mean '{close}'\?\)"):
            wheels.find(given, str(place), work)
    with pytest.raises(PluginError, match="no such folder; expected a folder or a URL of wheels"):
        wheels.find("binder-hum", str(place / "gone"), work)


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_wheel_or_one_of_another_name_is_refused(damage, place, work):
    path = write_wheel(place, "1.0", FITS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage is None else damage)
    with pytest.raises(PluginError, match="not a wheel, or a damaged one"):
        wheels.find("binder-hum", str(place), work)
    write_wheel(place, "1.0", FITS, name="binder-evil").replace(path)
    with pytest.raises(PluginError, match="its metadata says 'binder-evil', not binder-hum"):
        wheels.find("binder-hum", str(place), work)


def test_a_page_of_links_is_followed_with_hashes(place, work, server):
    wheel = write_wheel(place, "1.0", FITS)
    newer = write_wheel(place, "2.0", FITS)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page = f'<a href="{wheel.name}#sha256={digest}">1</a> <a data-yanked href="{newer.name}">2</a> <a>3</a> <a href="http://[">6</a>'
    (place / "index.html").write_text(page + f'<a href="file://{newer}">4</a><a href="ftp://x/{newer.name}">5</a>')
    found = wheels.find("binder-hum", f"{server.url}/", work)
    assert found == work / wheel.name
    assert found.read_bytes() == wheel.read_bytes()
    (place / "index.html").write_text(page.replace(digest, "0" * 64))
    with pytest.raises(PluginError, match=f"not the expected file: its SHA-256 is {digest}, expected 0000"):
        wheels.find("binder-hum", f"{server.url}/index.html", work)


def test_a_listing_of_a_server_and_a_wheels_own_url_will_do(place, work, server):
    wheel = write_wheel(place, "1.0", FITS)
    for address in (server.url, f"{server.url}/{wheel.name}"):
        assert wheels.find("binder-hum", address, work).read_bytes() == wheel.read_bytes()
    assert wheels.fetch(f"{server.url}/{wheel.name}", work).read_bytes() == wheel.read_bytes()
    with pytest.raises(PluginError, match="SHA-256"):
        wheels.fetch(f"{server.url}/{wheel.name}#sha256={'0' * 64}", work)


def test_a_wheel_is_found_by_its_project_and_who_names_the_plugin_is_told_so(place, work, server):
    """The name of a plugin is that of its entry point, which need not be the project's."""
    write_wheel(place, "1.0", FITS, name="acme-bees")
    (place / "acme_damaged-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    (place / "acme_empty-1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(PluginError, match=r"; the plugin hum is in the wheel of acme-bees: install it by that name$"):
        wheels.find("hum", str(place), work)
    with pytest.raises(PluginError, match=r"; it has acme-bees, acme-damaged, acme-empty$"):
        wheels.find("swarm", str(place), work)
    with pytest.raises(PluginError, match=r"; it has acme-bees$"):  # what is elsewhere is not fetched to look into it
        wheels.find("hum", f"{server.url}/acme_bees-1.0-py3-none-any.whl", work)
    assert wheels.find("acme-bees", str(place), work).name == "acme_bees-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{url}/gone/", "HTTP Error 404: File not found"),
        ("http://127.0.0.1:1/", "Connection refused"),
        ("http://example.org/", "expected https://, or a folder with the wheels"),
        ("ftp://127.0.0.1/binder_hum-1.0-py3-none-any.whl", "expected https://, or a folder with the wheels"),
        ("https://[/", "https://[/: not a URL"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(address, message, work, server):
    with pytest.raises(PluginError) as caught:
        wheels.find("binder-hum", address.format(url=server.url), work)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_more_is_read_than_a_wheel_may_have(place, work, server, monkeypatch):
    wheel = write_wheel(place, "1.0", FITS)
    monkeypatch.setattr(wheels, "MAX_PAGE", 100)
    with pytest.raises(PluginError, match="larger than 0 MiB"):
        wheels._read(f"{server.url}/{wheel.name}", 100)


@pytest.mark.slow
def test_an_index_is_asked_for_what_others_make_and_never_for_what_is_ours(place, tmp_path, server):
    """With an index at hand that answers, so that a name of ours would be taken from it."""
    there = Environment(tmp_path)
    fake = place / "simple"
    for name, version in (("acme-helper", "1.0"), ("binder-hum", "99"), ("modality-binder", "99")):
        (fake / name).mkdir(parents=True)
        write_wheel(fake / name, version, name=name)
    own = place / "own"
    own.mkdir()
    write_wheel(own, "1.0", f"modality-binder=={binder.__version__}", "acme-helper")
    for given in (["binder-hum", "--from", f"{server.url}/own/"], ["binder-hum", "--from", own]):
        index = ["env", "-u", "PIP_NO_INDEX", f"PIP_INDEX_URL={server.url}/simple", "PIP_CONFIG_FILE=/dev/null"]
        done = there.run(*index, "binder", "plugins", "install", *given)
        assert done.returncode == 0, done.stderr
        assert there.run("python", "-c", "import binder_hum, acme_helper; print(binder_hum.VERSION)").stdout == "1.0\n"
        there.run("binder", "plugins", "uninstall", "binder-hum")
    asked = {path for path in server.asked if path.startswith("/simple/")}
    assert any(path.startswith("/simple/acme-helper/") for path in asked)
    assert not [path for path in asked if "binder" in path]
    assert installing.source("imu", server.url) == server.url
