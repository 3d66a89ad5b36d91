"""Checks the sizes in the header of an audio file against the bytes that are there. Free of NumPy.

libsndfile does not report a truncated file: it reads what is there and stops.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

from binder import ItemError

MAX_CHUNKS = 10_000  # of one file
SPARE = 64  # bytes of samples that may be missing: some programs include the header in the size
# Programs that write to a pipe do not know the size; they leave 0 there, or about the largest value.
UNKNOWN_NEAR = (1 << 31, 1 << 32)
UNKNOWN_WITHIN = 4_096  # bytes from those values
OGG_PAGE = 65_307  # bytes, largest size of a page
LAST_PAGE, UNFINISHED = 4, 255  # flag of an Ogg page; length of a segment whose packet continues in the next one
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MPEG_IN_WAV = (0x50, 0x55)  # format codes of WAV


class _Chunk(NamedTuple):
    name: bytes
    start: int  # offset of its content
    size: int  # bytes of content, as the chunk states
    field: int  # offset of the field that states it


@dataclass(frozen=True)
class _Layout:
    """How a family of formats lays out its chunks."""

    first: int  # offset of the first chunk
    samples: bytes  # prefix of the name of the chunk with the samples
    name: int = 4  # bytes of a name
    size: str = "<I"  # struct format of the size field
    included: int = 0  # bytes of the chunk's header that its size includes
    align: int = 2  # bytes to which chunks are padded
    unused: int = 0  # bytes of content before the samples


_LAYOUTS = {
    b"RIFF": _Layout(12, b"data"),
    b"RIFX": _Layout(12, b"data", size=">I"),
    b"RF64": _Layout(12, b"data"),
    b"BW64": _Layout(12, b"data"),
    b"FORM": _Layout(12, b"SSND", size=">I", unused=8),
    b"riff": _Layout(40, b"data", name=16, size="<Q", included=24, align=8),
    b"caff": _Layout(8, b"data", size=">Q", align=1, unused=4),
}


def kind(file: BinaryIO) -> bytes:
    """The first four bytes, which name the format; b"MPEG" for MPEG audio, also in a WAV; b"ID3 " for an ID3 tag."""
    file.seek(0)
    head = file.read(64)
    if head[:3] == b"ID3":
        return b"ID3 "
    if head[:4] == b"RIFF" and head[12:16] == b"fmt " and int.from_bytes(head[20:22], "little") in MPEG_IN_WAV:
        return b"MPEG"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:  # a frame of mp3 or AAC
        return b"MPEG"
    if head[:4] == b"fLaC" and len(head) > 25 and not (head[21] & 15 or any(head[22:26])):
        return b"flac"  # of unknown length: libsndfile cannot read it
    return head[:4]


def checked(file: BinaryIO, name: str) -> BinaryIO:
    """A file -> the same, with the size filled in where the header leaves it open. Raises ItemError if truncated."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    magic = file.read(4)
    if magic == b"OggS":
        file = _ogg(file, size, name)
    elif magic[:3] == b"ID3" or magic[:1] == b"\xff":
        if _mp3_is_cut_off(file, size):
            raise ItemError(name, "truncated: the file is shorter than its header says")
    else:
        chunk, wide = _samples(file, size, magic, name)
        if chunk is not None:
            file = _with_known_size(file, size, chunk, wide, _LAYOUTS.get(magic), name)
    file.seek(0)
    return file


def _with_known_size(
    file: BinaryIO, size: int, chunk: _Chunk, wide: str, layout: _Layout | None, name: str
) -> BinaryIO:
    """The file with the size of its samples filled in if it is open. Raises ItemError if samples are missing."""
    unused = layout.unused if layout else 0
    there = size - chunk.start
    nothing = chunk.size <= unused
    if nothing and there > unused and not (layout and _only_chunks(file, size, chunk, layout)):
        known = min(there + (layout.included if layout else 0), (1 << 8 * struct.calcsize(wide)) - 1)
        return _overlaid(file, chunk.field, struct.pack(wide, known))
    if not nothing and chunk.size > there + SPARE and not _unknown(chunk.size):
        missing = f"the header says {chunk.size:,} bytes of samples, but there are {max(0, there):,}"
        raise ItemError(name, f"truncated: {missing}")
    return file


def _unknown(size: int) -> bool:
    """Whether a stated size means that the writer did not know it."""
    return size >= 1 << 62 or any(abs(size - near) <= UNKNOWN_WITHIN for near in UNKNOWN_NEAR)


def _samples(file: BinaryIO, size: int, magic: bytes, name: str) -> tuple[_Chunk | None, str]:
    """The chunk that contains the samples, and the struct format of its size."""
    if magic == b".snd":
        head = file.read(8)
        if len(head) < 8:
            return None, ""
        start, length = struct.unpack(">II", head)
        return _Chunk(magic, start, length, field=8), ">I"
    layout = _LAYOUTS.get(magic)
    if layout is None:
        return None, ""
    wide: tuple[int, int] | None = None  # the size of the samples in 64 bits, and the offset of that field
    for chunk in _chunks(file, size, layout, name):
        if chunk.name == b"ds64" and chunk.size >= 16:
            file.seek(chunk.start + 8)
            wide = int.from_bytes(file.read(8), "little"), chunk.start + 8
        if chunk.name.startswith(layout.samples):
            if wide and chunk.size == (1 << 32) - 1:
                return chunk._replace(size=wide[0], field=wide[1]), "<Q"
            return chunk, layout.size
    return None, ""


def _chunks(file: BinaryIO, size: int, layout: _Layout, name: str, at: int | None = None) -> Iterator[_Chunk]:
    """The chunks from offset `at` on whose headers lie in the file. Raises ItemError if there are too many."""
    at = layout.first if at is None else at
    width = struct.calcsize(layout.size)
    for _ in range(MAX_CHUNKS):
        if at + layout.name + width > size:
            return
        file.seek(at)
        head = file.read(layout.name + width)
        if len(head) < layout.name + width:
            return
        length = max(0, struct.unpack(layout.size, head[layout.name :])[0] - layout.included)
        chunk = _Chunk(head[: layout.name], at + len(head), length, at + layout.name)
        yield chunk
        at = chunk.start + -(-length // layout.align) * layout.align
    raise ItemError(name, f"more than {MAX_CHUNKS:,} chunks")


def _only_chunks(file: BinaryIO, size: int, samples: _Chunk, layout: _Layout) -> bool:
    """Whether an empty chunk of samples is followed by nothing but other chunks, up to the end of the file."""
    end = samples.start + samples.size
    try:
        for chunk in _chunks(file, size, layout, "", end):
            end = chunk.start + chunk.size
            if end > size or not (chunk.name[:4].isascii() and chunk.name[:4].decode("ascii").isprintable()):
                return False
    except ItemError:
        return False
    return size - end < 8


def _ogg(file: BinaryIO, size: int, name: str) -> BinaryIO:
    """The file with the last-page flag set, so that decoders end where that page says.

    Many recorders do not set it, though the recording is complete. Raises ItemError where the file ends within a page,
    or with a page whose last packet is to be continued.
    """
    file.seek(max(0, size - 2 * OGG_PAGE))
    tail = file.read()
    begin = max(0, tail.rfind(b"OggS"))
    page = tail[begin:]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    length = 27 + len(segments) + sum(segments)
    rest = page[length:]
    if not segments or len(segments) < page[26] or len(page) < length or (rest and b"OggS".startswith(rest)):
        raise ItemError(name, "truncated: the last page of the Ogg file is incomplete")
    if page[5] & LAST_PAGE:
        return file
    if segments[-1] == UNFINISHED:
        raise ItemError(name, "truncated: the last packet of the Ogg file is incomplete")
    marked = bytearray(page[:length])
    marked[5] |= LAST_PAGE
    marked[22:26] = bytes(4)
    marked[22:26] = _ogg_checksum(bytes(marked)).to_bytes(4, "little")
    return _overlaid(file, size - len(tail) + begin, bytes(marked[:27]))


def _ogg_checksum(page: bytes) -> int:
    """The CRC of RFC 3533: zlib's polynomial with the bits of each byte mirrored and without inversions."""
    mirrored = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _mp3_is_cut_off(file: BinaryIO, size: int) -> bool:
    """Whether the file has fewer bytes than its Xing header states (most encoders write one)."""
    file.seek(0)
    tag = file.read(10)
    first = 0
    if tag[:3] == b"ID3" and len(tag) == 10:  # titles and cover pictures come before the first frame
        first = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
        if first > size:
            return True
    file.seek(first)
    frame = file.read(200)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0 or len(frame) < place + 16:
        return False
    flags = frame[place + 7]
    counted = place + (12 if flags & 1 else 8)
    return bool(flags & 2) and first + int.from_bytes(frame[counted : counted + 4], "big") > size * 1.01


class View(io.RawIOBase):
    """A file with some bytes replaced on reading, and in which seeking before the start is no error."""

    def __init__(self, file: BinaryIO, at: int = 0, instead: bytes = b"") -> None:
        self.file, self.at, self.instead = file, at, instead
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.file.tell(), io.SEEK_END: self.size}[whence]
        return self.file.seek(max(0, base + offset))

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base class takes any buffer
        start = self.file.tell()
        data = bytearray(self.file.read(len(buffer)))
        first, end = max(start, self.at), min(start + len(data), self.at + len(self.instead))
        if first < end:
            data[first - start : end - start] = self.instead[first - self.at : end - self.at]
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)


def _overlaid(file: BinaryIO, at: int, instead: bytes) -> BinaryIO:
    """The file with the bytes from offset `at` on replaced."""
    return cast(BinaryIO, View(file, at, instead))
