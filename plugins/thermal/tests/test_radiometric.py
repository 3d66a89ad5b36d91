"""Radiometric JPEGs of FLIR, written here, and of other makers."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from binder_thermal import THERMAL, ThermalConfig
from binder_thermal.reading import read
from PIL import Image

from binder import ItemError
from binder.testing import tiny_anchor

R1, B, F, OFFSET, R2 = 21106.77, 1501.0, 1.0, -7340, 0.012545258  # of a common camera
REFLECTED_K = 293.15
HEIGHT, WIDTH = 48, 64


def degrees() -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return 20 + 15 * np.exp(-4 * (x**2 + y**2)) + 3 * y


def counts(celsius: np.ndarray, emissivity: float = 1.0) -> np.ndarray:
    """(H, W) degC -> the counts of the sensor."""

    def radiation(kelvin: np.ndarray | float) -> np.ndarray:
        return R1 / (R2 * (np.exp(B / kelvin) - F)) - OFFSET

    seen = emissivity * radiation(celsius + 273.15) + (1 - emissivity) * radiation(REFLECTED_K)
    return seen.round().astype(np.uint16)


def raw_record(values: np.ndarray, kind: str, order: str = "<") -> bytes:
    head = struct.pack(f"{order}HHH", 2, values.shape[1], values.shape[0]).ljust(32, b"\0")
    if kind == "raw":
        return head + values.astype(f"{order}u2").tobytes()
    held = io.BytesIO()
    Image.fromarray(values.byteswap() if kind == "swapped png" else values).save(held, "PNG")
    return head + held.getvalue()


def camera_record(emissivity: float = 1.0, order: str = "<") -> bytes:
    record = bytearray(0x400)
    struct.pack_into(f"{order}H", record, 0, 2)
    struct.pack_into(f"{order}f", record, 0x20, emissivity)
    struct.pack_into(f"{order}f", record, 0x28, REFLECTED_K)
    struct.pack_into(f"{order}fff", record, 0x58, R1, B, F)
    struct.pack_into(f"{order}if", record, 0x308, OFFSET, R2)
    return bytes(record)


def fff(records: dict[int, bytes], order: str = ">") -> bytes:
    start = 64 + 32 * len(records)
    directory, body = b"", b""
    for kind, record in records.items():
        directory += struct.pack(f"{order}H10xII8x", kind, start + len(body), len(record)).ljust(32, b"\0")
        body += record
    head = b"FFF\0" + b"a camera".ljust(16, b"\0") + struct.pack(f"{order}III", 101, 64, len(records))
    return head.ljust(64, b"\0") + directory + body


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments: bytes, tail: bytes = b"") -> bytes:
    """A JPEG whose picture differs from the measurements in the segments."""
    held = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH), 90, np.uint8)).save(held, "JPEG")
    data = held.getvalue()
    return data[:2] + b"".join(segments) + data[2:] + tail


def flir(data: bytes, size: int = 2500) -> list[bytes]:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return [segment(0xE1, b"FLIR\0\1" + bytes([i, len(parts) - 1]) + part) for i, part in enumerate(parts)]


@pytest.mark.parametrize("emissivity", [1.0, 0.85])
@pytest.mark.parametrize("kind", ["raw", "png", "swapped png"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_temperatures_are_read(kind: str, order: str, emissivity: float, tmp_path: Path) -> None:
    records = {1: raw_record(counts(degrees(), emissivity), kind, order), 0x20: camera_record(emissivity, order)}
    data = jpeg(*flir(fff(records, order)))
    (tmp_path / "a.jpg").write_bytes(data)
    for item in (data, tmp_path / "a.jpg"):
        np.testing.assert_allclose(read(item, ThermalConfig()), degrees(), atol=0.05)
    np.testing.assert_allclose(read(fff(records, order), ThermalConfig()), degrees(), atol=0.05)


def test_segments_may_come_in_any_order() -> None:
    parts = flir(fff({1: raw_record(counts(degrees()), "raw"), 0x20: camera_record()}))
    assert len(parts) > 2
    np.testing.assert_allclose(read(jpeg(*parts[::-1]), ThermalConfig()), degrees(), atol=0.05)


def test_no_setting_is_needed_and_a_range_is_in_degrees() -> None:
    data = jpeg(*flir(fff({1: raw_record(counts(degrees()), "raw"), 0x20: camera_record()})))
    settings = ThermalConfig(kelvin_per_step=0.01, low_c=0, high_c=50)  # for files that state no unit
    np.testing.assert_allclose(read(data, settings), degrees(), atol=0.05)
    encoder = THERMAL.build(ThermalConfig(low_c=0, high_c=50), tiny_anchor())
    assert encoder.preprocess(data).shape == encoder.preprocess(jpeg(*flir(fff(
        {1: raw_record(counts(degrees()), "png"), 0x20: camera_record()})))).shape  # fmt: skip


def test_without_the_cameras_constants_they_are_counts() -> None:
    data = jpeg(*flir(fff({1: raw_record(counts(degrees()), "raw")})))
    np.testing.assert_array_equal(read(data, ThermalConfig()), counts(degrees()))
    with pytest.raises(ItemError, match="its temperatures are unknown"):
        read(data, ThermalConfig(low_c=0))


def test_the_rendered_picture_is_read_on_request() -> None:
    data = jpeg(*flir(fff({1: raw_record(counts(degrees()), "raw")})))
    assert (read(data, ThermalConfig(drawn=True)) == 90).all()
    assert (read(jpeg(), ThermalConfig()) == 90).all()  # an ordinary JPEG


def whole() -> bytes:
    return fff({1: raw_record(counts(degrees()), "raw"), 0x20: camera_record()})


LIES = {
    "a segment is missing": (flir(whole())[:2], "there are 2 of 3 segments"),
    "no header": (flir(b"FFF\0" + bytes(200)), "no version in its header"),
    "another beginning": (flir(b"XXXX" + bytes(200)), "does not begin"),
    "cut off": (flir(whole()[:3000]), "there are 3000 of 6304 bytes"),
    "a directory of billions": (
        flir(whole()[:0x1C] + b"\xff\xff\xff\xff" + whole()[0x20:]),
        "its directory of 4294967295 records exceeds the data",
    ),
    "no counts": (flir(fff({0x20: camera_record()})), "it has no counts"),
    "counts of a huge size": (
        flir(fff({1: struct.pack("<HHH", 2, 65535, 65535).ljust(5000, b"\0")})),
        "4968 bytes for 65535 x 65535 counts",
    ),
    "of no size": (flir(fff({1: bytes(5000)})), "0 x 0 counts"),
    "a short record": (flir(fff({1: bytes(5)})), "it has no counts"),
    "a damaged png": (flir(fff({1: raw_record(counts(degrees()), "png")[:900]})), "its PNG"),
    "a png of another size": (
        flir(fff({1: struct.pack("<HHH", 2, 9, 9) + raw_record(counts(degrees()), "png")[6:]})),
        "expected (9, 9)",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_incomplete_records_are_reported_in_one_line(lie: str) -> None:
    segments, message = LIES[lie]
    with pytest.raises(ItemError, match="radiometric JPEG whose record is incomplete") as caught:
        read(jpeg(*segments), ThermalConfig())
    assert message in caught.value.reason
    assert "export it as 16-bit TIFF" in caught.value.reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "maker"),
    [
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<drone-dji:x>"), segment(0xE3, bytes(40000))), "DJI"),
        (jpeg(segment(0xE3, bytes(40000)), segment(0xE4, b"\xaa\x55\x12\x06" + bytes(90))), "DJI"),
        (jpeg(segment(0xE2, b"\1\0\0\0IJPEG\0" + bytes(90))), "InfiRay"),
        (jpeg(segment(0xE3, b"\1\2" * 20000)), "an unknown maker"),
        (jpeg(tail=b"HDRI" + bytes(500)), "Hikmicro"),
    ],
)
def test_other_makers_are_named_and_their_rendered_picture_needs_a_setting(data: bytes, maker: str) -> None:
    with pytest.raises(ItemError, match=f"a radiometric JPEG of {maker}.*encoder.drawn"):
        read(data, ThermalConfig())
    assert (read(data, ThermalConfig(drawn=True)) == 90).all()


@pytest.mark.parametrize("body", [b"Meta\0\0" + bytes(9000), b"\xff\xd8\xff" + bytes(9000), b"JPS?"])
def test_segments_of_ordinary_pictures_are_not_measurements(body: bytes) -> None:
    assert (read(jpeg(segment(0xE3, body), segment(0xE1, b"Exif\0\0")), ThermalConfig()) == 90).all()


def test_a_damaged_file_is_either_read_or_reported_in_one_line() -> None:
    rng = np.random.default_rng(0)
    good = np.frombuffer(jpeg(*flir(whole())), np.uint8)
    for _ in range(60):
        data = good.copy()
        places = rng.integers(0, 400, 4)
        data[places] = rng.integers(0, 256, 4)
        try:
            assert read(data.tobytes(), ThermalConfig()).ndim == 2
        except ItemError as error:
            assert "\n" not in str(error)
