"""Small good items of every modality, made anew from a seed: what the hostile ones are made from and stand beside."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = ["red", "blue", "green", "yellow", "black", "orange"]


def image(rng: np.random.Generator, n: int) -> Image.Image:
    small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    small[2:4, 2:4] = np.asarray(Image.new("RGB", (1, 1), COLORS[n % len(COLORS)]))
    return Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, form: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **how)
    return buffer.getvalue()


def numpy_file(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def sound(rng: np.random.Generator, n: int, form: str = "WAV") -> bytes:
    import soundfile

    time_S = np.arange(4000) / 8000
    samples = 0.5 * np.sin(2 * np.pi * (200 + 60 * n) * time_S) + 0.01 * rng.normal(size=4000)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format=form)
    return buffer.getvalue()


def film(rng: np.random.Generator, n: int) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(np.asarray(image(rng, n)), 4 * i, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def table(rng: np.random.Generator, n: int) -> bytes:
    return b"month,sales\n" + b"".join(b"%d,%d\n" % (i, rng.integers(1, 99)) for i in range(1, 8))


def spec(rng: np.random.Generator, n: int) -> bytes:
    values = [{"a": f"x{i}", "b": int(rng.integers(1, 50))} for i in range(5)]
    encoding = {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}}
    return json.dumps({"data": {"values": values}, "mark": "bar", "encoding": encoding}).encode()


def motion(rng: np.random.Generator, n: int) -> bytes:
    head = "time_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z\n"
    values = rng.normal(size=(100, 6)) + [0, 0, 9.8, 0, 0, 0] + np.sin(np.arange(100) / (3 + n))[:, None]
    return (
        head + "".join(f"{i / 50}," + ",".join(f"{v:.4f}" for v in row) + "\n" for i, row in enumerate(values))
    ).encode()


def grid(rng: np.random.Generator, n: int) -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return (1000 + 20 * x + 10 * n * y + rng.integers(0, 5, (48, 64))).astype(np.uint16)


def cloud(rng: np.random.Generator, n: int) -> np.ndarray:
    points = rng.normal(size=(200, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * [1, 1, 0.3 + 0.2 * n]


def ply(rng: np.random.Generator, n: int) -> bytes:
    head = (
        "ply\nformat ascii 1.0\nelement vertex 200\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    return (head + "".join("{:.4f} {:.4f} {:.4f}\n".format(*p) for p in cloud(rng, n))).encode()


def lines_of(points: np.ndarray) -> bytes:
    return "".join("{:.4f} {:.4f} {:.4f}\n".format(*p) for p in points).encode()


Make = Callable[[np.random.Generator, int], bytes]

GOOD: dict[str, dict[str, Make]] = {  # modality -> suffix -> how a file is made
    "image": {
        ".png": lambda r, n: saved(image(r, n), "PNG"),
        ".jpg": lambda r, n: saved(image(r, n), "JPEG"),
        ".gif": lambda r, n: saved(image(r, n), "GIF"),
        ".tif": lambda r, n: saved(image(r, n), "TIFF"),
        ".webp": lambda r, n: saved(image(r, n), "WEBP"),
        ".bmp": lambda r, n: saved(image(r, n), "BMP"),
    },
    "audio": {
        ".wav": sound,
        ".flac": lambda r, n: sound(r, n, "FLAC"),
        ".ogg": lambda r, n: sound(r, n, "OGG"),
        ".mp3": lambda r, n: sound(r, n, "MP3"),
        ".aiff": lambda r, n: sound(r, n, "AIFF"),
    },
    "video": {".mp4": film, ".gif": lambda r, n: saved(image(r, n), "GIF")},
    "chart": {".csv": table, ".json": spec, ".png": lambda r, n: saved(image(r, n), "PNG")},
    "imu": {".csv": motion, ".npy": lambda r, n: numpy_file(r.normal(size=(100, 6)))},
    "depth": {
        ".png": lambda r, n: saved(Image.fromarray(grid(r, n)), "PNG"),
        ".tif": lambda r, n: saved(Image.fromarray(grid(r, n)), "TIFF"),
        ".npy": lambda r, n: numpy_file(grid(r, n)),
    },
    "thermal": {
        ".png": lambda r, n: saved(Image.fromarray(grid(r, n)), "PNG"),
        ".npy": lambda r, n: numpy_file(grid(r, n)),
        ".csv": lambda r, n: "\n".join(",".join(map(str, row)) for row in grid(r, n)[:12, :16] / 50).encode(),
    },
    "pointcloud": {
        ".ply": ply,
        ".xyz": lambda r, n: lines_of(cloud(r, n)),
        ".npy": lambda r, n: numpy_file(cloud(r, n)),
        ".obj": lambda r, n: b"".join(b"v " + line + b"\n" for line in lines_of(cloud(r, n)).splitlines()),
        ".off": lambda r, n: b"OFF\n200 0 0\n" + lines_of(cloud(r, n)),
    },
}
SETTINGS = {"depth": ["encoder.units=mm"], "imu": ["encoder.file_rate_hz=50"]}


def write_pairs(folder: Path, modality: str, seed: int = 0, rows: int = 8) -> Path:
    """pairs.csv of good items of the modality and pictures, and the items beside it; returns it."""
    rng = np.random.default_rng(seed)
    (folder / "items").mkdir(parents=True)
    suffix, make = next(iter(GOOD[modality].items()))
    lines = [f"{modality},image,text"]
    for n in range(rows):
        (folder / "items" / f"{n}{suffix}").write_bytes(make(rng, n))
        image(rng, n).save(folder / f"{n}.png")
        lines.append(f"items/{n}{suffix},{n}.png,a {COLORS[n % len(COLORS)]} circle {n}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"
