"""Files, bytes, text and bare numbers: what is taken, and what is refused before it costs anything."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from support import posix

from binder import ItemError, decode_text, existing_file, read_array, read_bytes
from binder.formats import arrays
from binder.formats.arrays import array_of, from_numpy


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = 2 if version[0] == 1 else 4
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(size, "little") + text + body


def saved(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def zipped(compress: bool = False, **arrays: Any) -> bytes:
    held = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(held, **arrays)
    return held.getvalue()


def reason(call, item) -> str:
    with pytest.raises(ItemError) as caught:
        call(item)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@posix
@pytest.mark.parametrize("call", [existing_file, read_bytes, read_array])
def test_what_is_no_regular_file_is_refused_without_opening_it(call, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "nowhere").symlink_to(tmp_path / "not there")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket")
        assert reason(call, "socket") == "not a file, but a socket"
    for name, why in {
        "pipe": "not a file, but a pipe",
        "link": "not a file, but a pipe",
        "zero": "not a file, but a device",
        "nowhere": "no such file",
        ".": "not a file, but a folder",
    }.items():
        assert reason(call, tmp_path / name) == why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a\0b", "it holds a NUL"),
        ("\ud800.csv", "it holds half of a surrogate pair"),
        ("x" * 5000, "5,000 characters are too many"),
        ("", "a folder"),
        ("~none/here.csv", "no such file"),
    ],
)
def test_what_is_no_path_is_one_line(path, why):
    assert why in reason(existing_file, path)


def test_names_of_bytes_and_names_that_begin_with_a_tilde_are_files(tmp_path):
    odd = os.fsencode(tmp_path) + b"/~caf\xe9.csv"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"1,2")
    assert read_bytes(os.fsdecode(odd)) == b"1,2"
    for entry in os.scandir(os.fsencode(tmp_path)):
        assert read_bytes(entry) == b"1,2"


def test_bytes_come_in_many_forms(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"1,2\n")
    held = io.BytesIO()
    held.write(b"1,2\n")  # and left at its end
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for item in (path, str(path), b"1,2\n", bytearray(b"1,2\n"), memoryview(b"1,2\n"), held, file, raw, file):
            assert read_bytes(item) == b"1,2\n"
        assert file.tell() == 0, "left where it was"
    assert held.tell() == 4


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (io.StringIO("1,2"), "open it in binary mode"),
        (io.BytesIO(), "empty"),
        (b" \n\t ", "empty"),
        (3, "expected a path or bytes, not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_bytes_says_what_it_is(item, why):
    assert why in reason(read_bytes, item)


def test_a_closed_file_and_one_without_end_are_refused(monkeypatch):
    closed = io.BytesIO(b"1")
    closed.close()
    assert "cannot be read" in reason(read_bytes, closed)
    monkeypatch.setattr("binder.formats.content.MAX_BYTES", 1000)

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return b"1" * size

    assert "larger than" in reason(read_bytes, Endless())
    assert read_bytes(io.BytesIO(b"1" * 1000)) == b"1" * 1000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_one_decoder_for_everybody(encoding):
    assert decode_text("°C; m/s²\n".encode(encoding), "x") == "°C; m/s²\n"


def test_what_is_no_text_is_refused():
    assert "UTF-16" in reason(lambda d: decode_text(d, "x"), b"\xff\xfea").replace("utf-16", "UTF-16")
    assert "binary data" in reason(lambda d: decode_text(d, "x"), b"abc\0def")
    assert decode_text(b"a\x81b", "x") == "a\x81b", "the bytes that Windows-1252 leaves open, too"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1" + "0" * 30 + ",6), }"), "bytes are promised"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"), "bytes are promised"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 6), }", bytes(8 * 17)), "144 bytes are promised"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -6), }", bytes(144)), "shape (-3, -6)"),
        (npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"), "an array of shape"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", bytes(24)), "Python objects"),
        (npy("{'descr': '<f8', 'shape': (3,), }"), "not a readable NumPy file"),
        (npy("(" * 100), "not a readable NumPy file"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", version=b"\x09\x00"), "not a readable NumPy"),
        (b"\x93NUMPY", "not a readable NumPy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "not a readable NumPy file"),
    ],
)
def test_headers_of_arrays_that_lie_are_refused(data, why):
    assert why in reason(read_array, data)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(6, dtype=">i2"),
        np.zeros((0, 3)),
        np.float32(7),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("µ", "f8"), ("Ω", "f8", ())][:2]),
    ],
)
def test_arrays_are_what_numpy_reads(array):
    found = from_numpy(saved(np.asarray(array)), "x")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.writeable


def test_arrays_come_in_many_forms():
    values = np.arange(6.0).reshape(2, 3)
    tensor = torch.from_numpy(values)
    for item in (
        values, tensor, tensor.clone().requires_grad_(), tensor.bfloat16(), values.tolist(), saved(values),
        zipped(a=values), zipped(a=values, rate=np.array(50.0)), b"0 1 2\n3 4 5", b"0,1,2\n3,4,5", b"0;1,0;2\n3;4,0;5",
        b"0\t1\t2\n3\t4\t5", "0,1,2\n3,4,5".encode("utf-16"), b"# a comment\n0 1 2\n3 4 5\n",
    ):  # fmt: skip
        np.testing.assert_array_equal(read_array(item), values)
    assert array_of("a path") is None
    assert "cannot be turned into an array" in reason(array_of, [[1], [2, 3]])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped(a=np.ones(3), b=np.ones(3)), "expected one array, found 2: a, b"),
        (zipped(a=np.ones(3))[:-30], "truncated"),
        (zipped(a=np.ones(3)).replace(b"NUMPY", b"numpy"), "npz"),
        (b"PK\x03\x04" + bytes(100), "truncated"),
        (b"PK\x03\x04" + b"PK\x05\x06" + bytes(4) + b"\xff" * 16, "more than 1,000 arrays"),
    ],
)
def test_archives_that_cannot_be_read_say_why(data, why):
    assert why in reason(read_array, data)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is(monkeypatch):
    data = zipped(compress=True, a=np.zeros(1_000_000))
    assert len(data) < 10_000
    assert read_array(data).shape == (1_000_000,)
    monkeypatch.setattr(arrays, "MAX_UNPACKED", 1 << 20)
    assert "unpacks to 7 MiB" in reason(read_array, data)
    held = io.BytesIO()  # one that says less than it unpacks to
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", saved(np.zeros(1_000_000)))
    size = (8_000_128).to_bytes(4, "little")
    lying = held.getvalue().replace(size, (1000).to_bytes(4, "little"))
    assert lying != held.getvalue()
    assert "not a readable" in reason(read_array, lying)
