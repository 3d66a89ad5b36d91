"""The demo's report: one self-contained page with sounds, spectrograms, nearest pictures and captions."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from binder.checkpoint import write_text
from binder.plugins import registry


@dataclass(frozen=True)
class Example:
    """One spoken query and what it found: (item, cosine, whether it is right), best first."""

    sound: Path
    said: str
    voice: str
    heard: bool  # whether a training voice ever said this combination
    pictures: list[tuple[Path, float, bool]]
    captions: list[tuple[str, float, bool]]


def write_report(path: Path, metrics: dict[str, Any], examples: list[Example]) -> None:
    """Render the page to `path`, everything embedded, nothing fetched."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cells = {(row["query"], row["target"]): row for row in metrics["retrieval"]}
    page = environment.get_template("report.html").render(
        metrics=metrics,
        names=list(dict.fromkeys(row["query"] for row in metrics["retrieval"])),
        cells=cells,
        unheard={(row["query"], row["target"]): row for row in metrics["retrieval_unheard"]},
        examples=[_shown(example) for example in examples],
    )
    write_text(path, page)


def _shown(example: Example) -> dict[str, Any]:
    preview = registry().get("audio").preview
    assert preview is not None
    return {
        "said": example.said,
        "voice": example.voice,
        "heard": example.heard,
        "sound": _data_url("audio/wav", example.sound.read_bytes()),
        "spectrogram": _png(preview(example.sound)),
        "pictures": [(_png(Image.open(p)), score, right) for p, score, right in example.pictures],
        "captions": example.captions,
    }


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return _data_url("image/png", buffer.getvalue())


def _data_url(media: str, data: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"
