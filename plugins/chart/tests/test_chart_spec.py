"""Vega-Lite specs: drawn from their inline data, without access to anything else."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from binder_chart import spec
from binder_chart.picture import picture
from binder_chart.reading import read
from PIL import Image

from binder import ItemError
from binder.testing import huge_png

ROWS = [{"name": name, "value": value} for name, value in (("a", 5), ("b", 9), ("c", 2))]
ENCODING = {"x": {"field": "name", "type": "nominal"}, "y": {"field": "value", "type": "quantitative"}}
BAR: dict[str, Any] = {"data": {"values": ROWS}, "mark": "bar", "encoding": ENCODING}


def calculated(expression: str) -> dict[str, Any]:
    return {"transform": [{"calculate": expression, "as": "z"}]}


def nested(depth: int) -> Any:
    """A text within so many lists."""
    inner: Any = "x"
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listening socket on this machine, in whose queue connections wait."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def visited(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def reaching(url: str) -> dict[str, dict[str, Any]]:
    """Specs that refer to an address in different ways."""
    image = {"type": "image", "url": f"{url}/a.png", "width": 20, "height": 20}
    lookup = {"lookup": "name", "from": {"data": {"url": f"{url}/a.csv"}, "key": "name", "fields": ["value"]}}
    return {
        "data": BAR | {"data": {"url": f"{url}/a.csv"}},
        "image mark": BAR | {"mark": image},
        "image channel": BAR | {"mark": "image", "encoding": ENCODING | {"url": {"value": f"{url}/a.png"}}},
        "image field": BAR | {"mark": "image", "encoding": ENCODING | {"url": {"field": "name", "type": "nominal"}}},
        "lookup": BAR | {"transform": [lookup]},
        "layer": {"layer": [BAR, {"data": {"url": f"{url}/a.csv"}, "mark": "line", "encoding": ENCODING}]},
        "link": BAR | {"encoding": ENCODING | {"href": {"value": url}}},
        "nested": {"hconcat": [{"vconcat": [BAR | {"data": {"url": f"{url}/b.json"}}]}]},
        "file": BAR | {"data": {"url": "file:///etc/hosts"}},
        "relative": BAR | {"data": {"url": "data/a.csv"}},
    }


@pytest.mark.parametrize("how", reaching(""))
def test_an_external_reference_is_rejected_and_not_fetched(how: str, server: socket.socket) -> None:
    with pytest.raises(ItemError, match="external reference"):
        picture(reaching(address(server))[how], 64)
    assert not visited(server)


def test_a_reference_that_passes_the_check_is_rejected_by_the_renderer(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec, "check", lambda name, spec: None)
    with pytest.raises(ItemError, match="not allowed"):
        spec.draw_spec("it", reaching(address(server))["data"])
    for how in ("image mark", "image channel"):  # vl-convert would fetch these, but its process cannot open anything
        with contextlib.suppress(ItemError):
            spec.draw_spec("it", reaching(address(server))[how])
    assert not visited(server)


def test_the_renderer_opens_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "rows.csv").write_text("name,value\na,5\nb,9\n")
    image = {"type": "image", "url": (tmp_path / "red.png").as_uri(), "width": 40, "height": 40}
    monkeypatch.setattr(spec, "check", lambda name, spec: None)
    shown = np.asarray(spec.draw_spec("it", BAR | {"mark": image}), int)
    assert not ((shown[..., 0] > 200) & (shown[..., 1] < 60)).any()
    read, missing = (BAR | {"data": {"url": (tmp_path / name).as_uri()}} for name in ("rows.csv", "missing.csv"))
    assert spec.draw_spec("it", read).tobytes() == spec.draw_spec("it", missing).tobytes()


HOSTILE: dict[str, dict[str, Any]] = {
    "a regular expression without end": BAR | calculated("test(/^(a+)+$/, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!')"),
    "rows that the check cannot see": BAR | calculated("sequ\\u0065nce\t(0, 1e8).length"),
    "many large views": {"hconcat": [BAR | {"width": 4000, "height": 4000}] * 5},
    "a character that XML cannot contain": BAR | {"title": {"text": {"expr": "'a\\u0000b'"}}},
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_spec_that_hangs_crashes_or_grows_does_not_affect_others(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = picture(BAR, 64)
    limited = r"longer than 2 s|crashes|120 MiB|at most 4000"  # memory is limited on Linux only
    with monkeypatch.context() as limits, pytest.raises(ItemError, match=limited) as caught:
        limits.setenv("BINDER_ITEM_S", "2")
        limits.setenv("BINDER_ITEM_MB", "120")
        picture(HOSTILE[how], 64)
    assert "\n" not in str(caught.value)
    assert picture(BAR, 64).tobytes() == before.tobytes()


def test_characters_that_xml_cannot_contain_are_replaced() -> None:
    strange = BAR | {"title": "a\x00\ud800\x1b[1m\ufffe"}
    assert picture(strange, 64).tobytes() == picture(BAR | {"title": "a\ufffd\ufffd\ufffd[1m\ufffd"}, 64).tobytes()


def test_a_spec_in_python_may_contain_arrays_dates_and_missing_values() -> None:
    rows = [{"at": date(2020, month, 1), "value": value} for month, value in ((1, 5.0), (2, float("nan")), (3, 2.0))]
    encoding = {"x": {"field": "at", "type": "temporal"}, "y": {"field": "value", "type": "quantitative"}}
    plain = [{"at": f"2020-0{month}-01", "value": value} for month, value in ((1, 5.0), (2, None), (3, 2.0))]
    form = {"mark": "point", "encoding": encoding}
    expected = picture(form | {"data": {"values": plain}}, 64).tobytes()
    assert picture(form | {"data": {"values": rows}}, 64).tobytes() == expected
    assert picture(BAR | {"data": {"values": np.array(ROWS)}}, 64).tobytes() == picture(BAR, 64).tobytes()


def test_vl_convert_alone_would_fetch_it(server: socket.socket) -> None:
    code = f"import vl_convert; vl_convert.vegalite_to_png({reaching(address(server))['data']!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        server.settimeout(60)
        server.accept()[0].close()
        process.kill()


def test_an_address_in_the_data_is_only_text(server: socket.socket) -> None:
    url = address(server)
    rows = [row | {"url": url, "href": url} for row in ROWS]
    assert picture(BAR | {"data": {"values": rows}}, 64).tobytes() == picture(BAR, 64).tobytes()
    assert not visited(server)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"values": []}}, "without data"),
        ({"data": None}, "without data"),
        ({"mark": "nonsense"}, "Vega-Lite cannot draw it"),
        ({"mark": None}, "Vega-Lite cannot draw it"),
        ({"transform": [{"calculate": "datum.", "as": "x"}]}, "Vega-Lite cannot draw it"),
        ({"data": {"sequence": {"start": 0, "stop": 1e12}}}, "1,000,000,000,000 rows"),
        ({"data": {"sequence": {"start": 0, "stop": 9, "step": 0}}}, "bad sequence"),
        ({"data": {"values": [{"v": 1}] * 50_001}}, "50,001 rows"),
        ({"width": 10**6}, "width 1e\\+06; expected at most 4000"),
        ({"title": nested(200)}, "nested more than 100 levels"),
        ({"title": object()}, "contains object; expected only JSON types"),
        ({"title": "x" * 2**25}, "a spec of 32 MiB; expected at most 16 MiB"),
    ],
)
def test_specs_that_cannot_be_drawn(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        picture(BAR | change, 64)
    assert "\n" not in str(caught.value)


def test_the_content_of_json_decides_between_spec_and_table(tmp_path: Path) -> None:
    for name, content in (("spec", BAR), ("records", ROWS), ("columns", {"mark": ["x", "y"], "value": [1, 2]})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        assert isinstance(read(path), dict) is (name == "spec")


def test_all_kinds_of_views_are_drawn() -> None:
    forms = [
        BAR,
        {
            "data": {"values": ROWS},
            "layer": [{"mark": "bar", "encoding": ENCODING}, {"mark": "rule", "encoding": ENCODING}],
        },
        {"hconcat": [BAR, BAR]},
        {"data": {"values": ROWS}, "facet": {"field": "name"}, "spec": {"mark": "bar", "encoding": ENCODING}},
        {"datasets": {"d": ROWS}, "data": {"name": "d"}, "mark": "bar", "encoding": ENCODING},
        BAR | {"data": {"values": "name,value\na,5\nb,9\nc,2", "format": {"type": "csv"}}},
    ]
    for form in forms:
        before = copy.deepcopy(form)
        assert picture(form, 64).size == (64, 64)
        assert form == before
    assert picture(forms[0], 64).tobytes() == picture(forms[4], 64).tobytes() == picture(forms[5], 64).tobytes()


def test_a_single_view_fills_the_square() -> None:
    small, large = (spec.draw_spec("it", BAR | {"width": side, "height": 20}, 128) for side in (20, 900))
    assert small.tobytes() == large.tobytes()
    assert small.size == (128, 128)


def test_the_same_spec_gives_the_same_bytes() -> None:
    assert picture(BAR, 64).tobytes() == picture(json.dumps(BAR).encode(), 64).tobytes()


def test_an_enormous_picture_is_rejected_before_it_is_decoded() -> None:
    with pytest.raises(ItemError, match="pixels; make it smaller"):
        read(huge_png(50_000, 50_000))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_and_truncated_pictures(form: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8))
    held = io.BytesIO()
    noise.save(held, form)
    assert picture(held.getvalue(), 64).size == (64, 64)
    with pytest.raises(ItemError, match="truncated or damaged"):
        picture(held.getvalue()[: len(held.getvalue()) // 2], 64)
