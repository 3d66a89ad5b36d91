"""Radiometric JPEGs: those that contain the measurements beside the picture rendered from them. Free of torch.

FLIR's layout as documented by ExifTool: numbered APP1 segments "FLIR" form an FFF file of records, one of which has the
counts and one the camera's constants. Shapes: H height, W width.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ItemError, read_raster
from binder_thermal.config import KELVIN

Floats = NDArray[np.floating[Any]]

START = b"\xff\xd8\xff"  # of a JPEG
APP1, APP2, APP3, APP4, SCAN = 0xE1, 0xE2, 0xE3, 0xE4, 0xDA  # markers of segments; SCAN: the picture data follow
FLIR, FFF = b"FLIR\0", b"FFF\0"
RAW, CAMERA = 0x01, 0x20  # types of records
OTHERS = (b"Meta", b"META", b"Stim", b"_JPSJPS_", START)  # other known uses of APP3
SENSOR = 8192  # bytes from which an APP3 of unknown use is taken for sensor data
TAIL = 4096  # bytes after the picture that are searched for a maker's mark
EXPORT = "export it as 16-bit TIFF or CSV, or set encoder.drawn to read the rendered picture"


@dataclass(frozen=True)
class Measured:
    """The measurements of a sensor."""

    values_HW: Floats  # degC, or counts; more is hotter
    celsius: bool


def measured(data: bytes, name: str) -> Measured | None:
    """The measurements in a radiometric JPEG of FLIR or in an FFF file; None for any other data.

    Raises ItemError: they are incomplete, or in the format of a maker that is not public.
    """
    if data.startswith(FFF):
        return _of_fff(data, name)
    if not data.startswith(START):
        return None
    segments, tail = _segments(data)
    flir = [body for marker, body in segments if marker == APP1 and body.startswith(FLIR)]
    if flir:
        return _of_fff(_joined(flir, name), name)
    maker = _maker(segments, data[tail:])
    if maker:
        raise ItemError(
            name, f"a radiometric JPEG of {maker}, whose measurements only its own software can read: {EXPORT}"
        )
    return None


def _segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Marker and content of each complete segment before the picture data, and the offset of those."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == SCAN or size < 2 or at + 2 + size > len(data):
            break
        found.append((marker, data[at + 4 : at + 2 + size]))
        at += 2 + size
    return found, at


def _joined(bodies: list[bytes], name: str) -> bytes:
    """The content of FLIR's segments, ordered by their numbers. Raises ItemError where one is missing."""
    parts = {body[6]: body[8:] for body in bodies if len(body) > 8}
    last = max((body[7] for body in bodies if len(body) > 8), default=0)
    if sorted(parts) != list(range(last + 1)):
        raise _incomplete(name, f"there are {len(parts)} of {last + 1} segments")
    return b"".join(parts[i] for i in range(last + 1))


def _incomplete(name: str, why: str) -> ItemError:
    return ItemError(name, f"a radiometric JPEG whose record is incomplete ({why}): {EXPORT}")


def _of_fff(fff: bytes, name: str) -> Measured:
    """An FFF file -> its measurements, in degC if it has the camera's constants. Raises ItemError."""
    records = _records(fff, name)
    if RAW not in records:
        raise _incomplete(name, "it has no counts")
    counts_HW = _counts(records[RAW], name).astype(np.float64)
    constants = _constants(records.get(CAMERA, b""))
    if constants is None:
        return Measured(counts_HW, celsius=False)
    return Measured(_celsius(counts_HW, *constants), celsius=True)


def _records(fff: bytes, name: str) -> dict[int, bytes]:
    """Type -> content of the first record of that type. Raises ItemError for a bad directory."""
    if not fff.startswith(FFF) or len(fff) < 64:
        raise _incomplete(name, "it does not begin like FLIR's")
    order = next((o for o in "><" if 100 <= struct.unpack_from(f"{o}I", fff, 0x14)[0] < 200), None)
    if order is None:
        raise _incomplete(name, "no version in its header")
    start, count = struct.unpack_from(f"{order}II", fff, 0x18)
    if start + 32 * count > len(fff):
        raise _incomplete(name, f"its directory of {count} records exceeds the data")
    found: dict[int, bytes] = {}
    for i in range(count):
        kind, offset, size = struct.unpack_from(f"{order}H10xII", fff, start + 32 * i)
        if kind in (RAW, CAMERA) and kind not in found:
            if offset + size > len(fff):
                raise _incomplete(name, f"there are {len(fff)} of {offset + size} bytes")
            found[kind] = fff[offset : offset + size]
    return found


def _order(record: bytes) -> str:
    """The byte order of a record, by its first number, which is small."""
    return "<" if int.from_bytes(record[:2], "little") < 0x100 else ">"


def _counts(record: bytes, name: str) -> NDArray[Any]:
    """The record of counts -> (H, W), from bare numbers or a PNG. Raises ItemError."""
    if len(record) < 32:
        raise _incomplete(name, "it has no counts")
    order = _order(record)
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    body = record[32:]
    if body.startswith(b"\x89PNG"):
        try:
            values = read_raster(body).values
        except ItemError as error:
            raise _incomplete(name, f"its PNG: {error.reason}") from None
        if values.shape != (height, width):
            raise _incomplete(name, f"a PNG of shape {values.shape}, expected {(height, width)}")
        return _smoother(values.astype(np.uint16))
    if not width or not height or len(body) < 2 * width * height:
        raise _incomplete(name, f"{len(body)} bytes for {width} x {height} counts of 2 bytes")
    return np.frombuffer(body, f"{order}u2", width * height).reshape(height, width)


def _smoother(values_HW: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The values with their bytes swapped, as most of these cameras write PNG, or not: whichever is smoother.

    In the wrong order the lowest bits, which are noise, become the highest.
    """
    swapped_HW = values_HW.byteswap()
    rough = [float(np.abs(np.diff(v.astype(np.int32), axis=1)).mean()) for v in (swapped_HW, values_HW)]
    return swapped_HW if rough[0] <= rough[1] else values_HW


def _constants(record: bytes) -> tuple[float, ...] | None:
    """Emissivity, reflected temperature (K) and Planck's R1, B, F, O, R2 of the camera; None if there are none."""
    if len(record) < 0x310:
        return None
    order = _order(record)
    emissivity, reflected = (struct.unpack_from(f"{order}f", record, at)[0] for at in (0x20, 0x28))
    r1, b, f = struct.unpack_from(f"{order}fff", record, 0x58)
    o, r2 = struct.unpack_from(f"{order}if", record, 0x308)
    constants = (emissivity, reflected, r1, b, f, float(o), r2)
    sane = all(np.isfinite(constants)) and 0 < emissivity <= 1 and 50 < reflected < 5000 and min(r1, b, r2) > 0
    return constants if sane else None


def _celsius(
    counts_HW: Floats, emissivity: float, reflected: float, r1: float, b: float, f: float, o: float, r2: float
) -> Floats:
    """Counts -> degC of a surface with `emissivity` that reflects surroundings of `reflected` K, ignoring the air.

    NaN where no temperature gives so few counts.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mirrored = r1 / (r2 * (np.exp(b / reflected) - f)) - o
        own_HW = (counts_HW - (1 - emissivity) * mirrored) / emissivity
        kelvin_HW = b / np.log(r1 / (r2 * (own_HW + o)) + f)
    return np.where(np.isfinite(kelvin_HW) & (kelvin_HW > 0), kelvin_HW - KELVIN, np.nan)


def _maker(segments: list[tuple[int, bytes]], rest: bytes) -> str | None:
    """The maker of a radiometric JPEG in a format that is not public; None for an ordinary JPEG."""
    app1 = b"".join(body for marker, body in segments if marker == APP1)
    app3 = [body for marker, body in segments if marker == APP3 and not body.startswith(OTHERS)]
    app4 = [body for marker, body in segments if marker == APP4]
    if any(marker == APP2 and body[4:9] == b"IJPEG" for marker, body in segments):
        return "InfiRay"
    if any(body.startswith((b"\xaa\x55", b"DJI")) or body[32:34] == b"\xaa\x55" for body in app4):
        return "DJI"
    if (app3 or app4) and (b"DJI" in app1 or b"drone-dji" in app1):
        return "DJI"
    if sum(map(len, app3)) >= SENSOR:
        return "an unknown maker"
    end = rest.rfind(b"\xff\xd9")
    return "Hikmicro" if end >= 0 and b"HDRI" in rest[rest.find(b"\xff\xd9") :][:TAIL] else None
