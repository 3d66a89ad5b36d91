"""What a run logs, as TensorBoard's event files.

The format is small and has not changed since 2015: records with their length and checksums around a protocol buffer of
a time, a step and numbers with names. Writing it here needs no package and no thread that could lose what it was given.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from binder.artifact.run_folder import LOG
from binder.errors import RunError
from binder.files import why
from binder.train.follow import Callback

NAME = "tensorboard"  # of the folder in a run folder
VERSION = b"brain.Event:2"


def tensorboard_writer(run: str | Path) -> Callback:
    """A callback of `align` that writes what it logs into RUN/tensorboard, for `tensorboard --logdir`.

    `run` is the run's folder. A run that is resumed goes on there; one that was begun without this callback gets the
    steps of its log first. The callback raises RunError where the folder cannot be written.
    """
    folder = Path(run) / NAME
    path = folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"

    def write(event: dict[str, Any]) -> None:
        try:
            fresh = not folder.exists()
            steps = [event] if event["event"] == "step" else _logged(Path(run) / LOG) if fresh else []
            folder.mkdir(parents=True, exist_ok=True)
            _append(path, (_event(step) for step in steps))
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {why(error)}") from None

    return write


def _logged(log: Path) -> list[dict[str, Any]]:
    """The steps in a run's log."""
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines()) if log.is_file() else []
    return [line for line in lines if line["event"] == "step"]


def _append(path: Path, events: Iterable[bytes]) -> None:
    """Add events to a file of them, which begins with one that names the format."""
    with path.open("ab") as file:
        if not file.tell():
            file.write(_record(_double(1, time.time()) + _bytes(3, VERSION)))
        for event in events:
            file.write(_record(event))


def _event(step: Mapping[str, Any]) -> bytes:
    """A step of the log -> the message `Event`, with a scalar for each of its numbers."""
    numbers = {key: value for key, value in step.items() if key not in ("event", "step")}
    values = [_bytes(1, _bytes(1, key.encode()) + _float(2, value)) for key, value in numbers.items()]
    return _double(1, time.time()) + _varint(2 << 3) + _varint(step["step"]) + _bytes(5, b"".join(values))


def _record(data: bytes) -> bytes:
    """A TFRecord: the length and the data, each followed by its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C (Castagnoli), rotated and shifted so that it may itself be part of what is checked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# Fields of a protocol buffer: number and kind, then the value.


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)
