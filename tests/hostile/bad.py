"""Hostile and broken items of every modality, from a seed: damage of good files, and headers that promise or lie."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from good import GOOD, cloud, grid, image, numpy_file, saved
from PIL import Image

MIB = 2**20


def damaged(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """What disks, transfers and people do to a file."""
    for share in (0.0, 0.01, 0.3, 0.8, 0.99):
        yield f"cut at {share:.0%}", data[: int(share * len(data))]
    yield "cut in the head", data[:7]
    for n in range(3):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 12):
            broken[place] = rng.integers(0, 256)
        yield f"flipped {n}", bytes(broken)
    head = bytearray(data)
    head[4:40] = rng.bytes(36)
    yield "flipped head", bytes(head)
    yield "large numbers in the head", data[:4] + b"\xff" * 24 + data[28:]
    yield "zeros", bytes(len(data))
    yield "garbage", rng.bytes(2000)
    yield "twice", data * 2
    yield "a text", "no such thing\0, \ud83d".encode("utf-8", "surrogatepass") * 40
    yield "a pickle", b"\x80\x04\x95" + b"cos\nsystem\n(S'false'\ntR."
    yield "zipped", gzip.compress(data)


def npy_claiming(shape: str, descr: str = "<f8", body: bytes = b"\0" * 800) -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + body


def npys() -> Iterator[tuple[str, bytes]]:
    yield "claims much", npy_claiming("(40000, 40000, 6)")
    yield "claims more than there are numbers", npy_claiming("(4611686018427387904, 6)")
    yield "claims a negative size", npy_claiming("(-5, 6)")
    yield "claims an odd type", npy_claiming("(10,)", "|O")
    yield "claims text", npy_claiming("(10,)", "<U1000000000")
    yield "a shape without end", npy_claiming("(" + "1," * 20_000 + ")")
    yield "a shape as a call", npy_claiming("__import__('os').abort()")
    yield "not finite", numpy_file(np.full((100, 6), np.nan))
    yield "huge numbers", numpy_file(np.full((100, 6), 1e300))
    yield "one number", numpy_file(np.array(3.0))
    yield "complex", numpy_file(np.ones((10, 6), complex))
    yield "long", numpy_file(np.zeros((4, 4_000_000), np.float32))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, kind: int = 6, depth: int = 8, body: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def pictures() -> Iterator[tuple[str, bytes]]:
    yield "claims 60000 pixels a side", png_claiming(60_000, 60_000)
    yield "claims 13000 pixels a side", png_claiming(13_000, 13_000, body=bytes(13_000 * 4 + 1) * 300)
    yield "claims nothing", png_claiming(0, 0)
    yield "a long text", png_claiming(8, 8).replace(b"IDAT", b"zTXt", 1)
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(300 * MIB), 9))
    good = saved(Image.new("RGB", (32, 32)), "PNG")
    yield "a text that unpacks to much", good[:33] + text + good[33:]
    many = saved(Image.new("L", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))] * 400)
    yield "many pages", many
    yield "bmp lies", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file closefile\n"


def sounds() -> Iterator[tuple[str, bytes]]:
    def riff(rate: int, body: bytes, channels: int = 1, bits: int = 16, claimed: int | None = None) -> bytes:
        size, frame = len(body) if claimed is None else claimed, channels * bits // 8
        form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
        head = b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + b"WAVEfmt \x10\0\0\0"
        return head + form + b"data" + struct.pack("<I", size) + body

    noise = np.random.default_rng(0).integers(-9999, 9999, 40_000).astype("<i2").tobytes()
    yield "8 Hz", riff(8, noise)
    yield "1 Hz", riff(1, noise)
    yield "0 Hz", riff(0, noise)
    yield "4 GHz", riff(2**32 - 1, noise)
    yield "claims 3 GB", riff(8000, noise, claimed=3 * 2**30)
    yield "65535 channels", riff(8000, noise, channels=65_535)
    yield "no channels", riff(8000, noise, channels=0)
    yield "200 bits", riff(8000, noise, bits=200)
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 8000, 1, format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros(8000 * 60, np.int16))
    yield "an hour of silence", buffer.getvalue()
    yield "ID3 of much", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + noise


def tables() -> Iterator[tuple[str, bytes]]:
    yield "a million columns", b",".join(b"%d" % i for i in range(1_000_000)) + b"\n" + b"1," * 999_999 + b"1\n"
    yield "comments", b"# nothing\n" * 1_000_000
    yield "one line", b"1" * 10_000_000
    yield "quotes", b'"' * 1_000_000
    yield "integers", b"time_s,acc_x\n" + b"1," + b"9" * 5000 + b"\n"
    yield (
        "clock jumps",
        b"time_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z\n"
        + b"".join(b"%f,1,2,3,4,5,6\n" % (i * 0.02 if i < 50 else 1.7e9 + i) for i in range(100)),
    )
    yield (
        "nanoseconds",
        b"time_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z\n"
        + b"".join(b"%d,1,2,3,4,5,6\n" % (1_700_000_000_000_000_000 + i * 20_000_000) for i in range(100)),
    )
    yield "foreign letters", "a°,m/s²\n1,2\n3,4\n".encode("cp1252")
    yield "markup", b"[bold]x[/],[/red]\n[link=file:///etc/passwd],1\n$\\frac{1}{,2\n"
    yield "control characters", b"a\x1b[31m,b\x07\n1,2\n\x00,3\n"
    yield "numbers beyond", b"x,y\n1e308,1e308\n-1e308,1e309\nnan,inf\n"


def parquet(rows: int, column: str) -> bytes:
    import pyarrow
    import pyarrow.parquet

    same = pyarrow.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [1.0])
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({column: same}), sink, compression="zstd")
    return sink.getvalue()


def specs() -> Iterator[tuple[str, bytes]]:
    data = {"data": {"values": [{"a": "x", "b": 1}]}, "mark": "bar"}
    by = {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}}

    def one(**change: object) -> bytes:
        return json.dumps({**data, "encoding": by, **change}).encode()

    yield "a nul", one(title="a\0b")
    yield "axis values", one(encoding={**by, "y": {**by["y"], "axis": {"values": {"signal": "sequence(1e9)"}}}})
    yield "tab in a call", one(transform=[{"calculate": "sequence\t(0, 1e9)", "as": "c"}])
    yield "escaped call", one(transform=[{"calculate": "\\u0073equence(0, 1e9)", "as": "c"}])
    yield "regex", one(transform=[{"calculate": "test(/^(a+)+$/, '" + "a" * 40 + "!')", "as": "c"}])
    yield "pad", one(transform=[{"calculate": "pad('x', 1e9)", "as": "c"}])
    yield "ticks", one(encoding={**by, "y": {**by["y"], "axis": {"tickCount": 1e9}}})
    yield "quantile", one(transform=[{"quantile": "b", "step": 1e-9}])
    yield "density", one(transform=[{"density": "b", "steps": 1e9}])
    yield "width", one(width={"expr": "1e9"})
    yield "size", one(width=1e9, height=1e9)
    yield "url", one(data={"url": "file:///etc/passwd"})
    yield "http", one(data={"url": "http://127.0.0.1:9/x.csv"})
    yield "deep", b'{"layer":[' * 5000 + b"{}" + b"]}" * 5000
    yield "many rows", one(data={"sequence": {"start": 0, "stop": 1e9, "step": 1}})


def points() -> Iterator[tuple[str, bytes]]:
    body = cloud(np.random.default_rng(0), 1)
    text = "".join("{:.3f} {:.3f} {:.3f}\n".format(*p) for p in body).encode()

    def ply(form: str, count: int, data: bytes) -> bytes:
        axes = "".join(f"property float {axis}\n" for axis in "xyz")
        return f"ply\nformat {form} 1.0\nelement vertex {count}\n{axes}end_header\n".encode() + data

    yield "ply claims more", ply("ascii", 400, text)
    yield "ply claims much", ply("ascii", 2_000_000_000, text)
    yield "ply binary claims much", ply("binary_little_endian", 2_000_000_000, body.astype("<f4").tobytes())
    yield "ply claims less than nothing", ply("ascii", -3, text)
    for form in ("ascii", "binary", "binary_compressed"):
        head = (
            "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 300000000\nHEIGHT 1\n"
        )
        yield (
            f"pcd {form}",
            (head + f"HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 300000000\nDATA {form}\n").encode() + bytes(64),
        )
    yield "obj of groups", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n" + b"".join(b"g %d\nf 1 2 3\n" % i for i in range(30_000))
    yield "obj names a missing vertex", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 900000000\n"
    yield "off claims much", b"OFF\n900000000 900000000 0\n" + text
    yield "stl claims much", bytes(80) + struct.pack("<I", 2**31) + bytes(50)
    yield "all in one place", b"1 1 1\n" * 100
    yield "comments", b"# x\n" * 1_000_000
    yield "nan", text.replace(b"0.", b"nan ", 50)


def zipped_array() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", numpy_file(np.zeros((1, 1))) + bytes(400 * MIB))
    return buffer.getvalue()


def rasters() -> Iterator[tuple[str, bytes]]:
    yield from pictures()
    yield "npz that unpacks to much", zipped_array()
    yield "flat", saved(Image.fromarray(np.full((40, 40), 7, np.uint16)), "PNG")
    yield "nothing measured", saved(Image.fromarray(np.zeros((40, 40), np.uint16)), "PNG")
    yield "sideways", saved(Image.fromarray(grid(np.random.default_rng(0), 1).astype(np.uint8)), "JPEG")
    yield "pfm lies", b"Pf\n100000 100000\n-1.0\n" + bytes(100)
    yield "pgm lies", b"P5\n100000 100000\n65535\n" + bytes(100)


OWN = {  # suffix -> what else is made of it
    "image": [(".png", pictures)],
    "audio": [(".wav", sounds)],
    "video": [(".mp4", sounds), (".gif", pictures)],
    "chart": [(".json", specs), (".csv", tables), (".png", pictures)],
    "imu": [(".csv", tables), (".npy", npys)],
    "depth": [(".png", rasters), (".npy", npys)],
    "thermal": [(".png", rasters), (".npy", npys), (".csv", tables)],
    "pointcloud": [(".ply", points), (".npy", npys)],
}
SNIFFED = {"obj": ".obj", "off": ".off", "stl": ".stl", "pcd": ".pcd", "npz": ".npz", "pfm": ".pfm", "pgm": ".pgm"}
NAMES = ["[bold]x[/bold]", "[/x]", "a\nb", "\x1b[31mred", "~x", "-x", "ü " + "x" * 200, "a,b;'\"", "$HOME", "%s{0}"]


def write_hostile(folder: Path, modality: str, seed: int = 0) -> int:
    """Fill a folder with hostile items of the modality; returns how many."""
    rng, count = np.random.default_rng(seed), 0

    def put(what: str, suffix: str, data: bytes) -> None:
        nonlocal count
        count += 1
        (folder / f"{count:03} {what.replace('/', ' ')}{suffix}").write_bytes(data)

    for suffix, make in GOOD[modality].items():
        for what, data in damaged(make(rng, 1), rng):
            put(what, suffix, data)
    for suffix, several in OWN[modality]:
        for what, data in several():
            put(what, SNIFFED.get(what.split()[0], suffix), data)
    suffix, make = next(iter(GOOD[modality].items()))
    if ".parquet" in _suffixes(modality):
        put("more rows than bytes", ".parquet", parquet(5_000_000, "acc_x"))
    for name in NAMES:
        put(name, suffix, b"broken")
    os.mkfifo(folder / f"pipe{suffix}")
    (folder / f"zero{suffix}").symlink_to("/dev/zero")
    (folder / f"nothing{suffix}").symlink_to(folder / "is not there")
    (folder / f"circle{suffix}").symlink_to(folder / f"circle{suffix}")
    (folder / f"folder{suffix}").mkdir()
    with open(os.fsencode(folder) + b"/\xff\xfe" + suffix.encode(), "wb") as file:  # noqa: PTH123 - no UTF-8
        file.write(b"broken")
    with (folder / f"sparse{suffix}").open("wb") as file:
        file.truncate(2**40)
    image(rng, 0).save(folder / "note.webp") if modality != "image" else None
    return count + 6


def _suffixes(modality: str) -> frozenset[str]:
    from binder.registry import registry

    return registry().get(modality).suffixes
