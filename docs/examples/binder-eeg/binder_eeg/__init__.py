"""Brain waves for binder: recordings in EDF. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from binder import Item, ItemError, Modality, Series, SeriesConfig, hookimpl, read_bytes, series_modality

HEADER = 256  # bytes, and as many again for each signal
FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # bytes of a signal's: label, ..., physical and digital range, ..., samples


class EegConfig(SeriesConfig):
    """What a user may set, with units. The base has more: the rate, the window, how large the encoder is."""

    channels: tuple[str, ...] = ("C3", "C4")  # labels of the signals in the files, in microvolts


def read(item: Item, config: EegConfig) -> Series:
    """An EDF file, or its bytes -> its samples (S, C) in microvolts. Raises ItemError.

    Kemp et al. 1992, https://www.edfplus.info/specs/edf.html. Signals of one rate, records without gaps.
    """
    data = read_bytes(item)
    try:
        signals = int(data[252:256])
        count, seconds = int(data[236:244]), float(data[244:252])
        columns = _columns(data[HEADER : HEADER * (1 + signals)], signals)
        samples = [int(text) for text in columns[8]]
        low, high, least, most = (np.array(columns[i], np.float64) for i in (3, 4, 5, 6))
    except (ValueError, UnicodeDecodeError, IndexError) as error:
        raise ItemError(item, f"not an EDF file: {error}") from None
    labels = [label.removeprefix("EEG ").strip() for label in columns[0]]
    missing = [channel for channel in config.channels if channel not in labels]
    if missing:
        raise ItemError(item, f"no signal {', '.join(missing)} (set encoder.channels); found: {', '.join(labels)}")
    places = [labels.index(channel) for channel in config.channels]
    if len({samples[i] for i in places}) > 1 or not seconds > 0:
        raise ItemError(item, "its signals have different rates; choose such of one rate with encoder.channels")
    body = data[HEADER * (1 + signals) :]
    records = np.frombuffer(body[: min(len(body) // 2, count * sum(samples)) * 2], "<i2")
    if not count > 0 or records.size != count * sum(samples):
        raise ItemError(item, f"cut off: {records.size} of {count * sum(samples)} samples")
    starts = np.cumsum([0, *samples])
    digital = [records.reshape(count, -1)[:, starts[i] : starts[i + 1]].ravel() for i in places]
    scale = [(high[i] - low[i]) / (most[i] - least[i]) for i in places]  # microvolts a step
    values = [(row - least[i]) * factor + low[i] for row, i, factor in zip(digital, places, scale, strict=True)]
    return Series(np.stack(values, axis=1), rate_hz=samples[places[0]] / seconds)


def _columns(header: bytes, signals: int) -> list[list[str]]:
    """The signals' part of the header: of each field its text for each signal."""
    text, start, found = header.decode("ascii"), 0, []
    for width in FIELDS:
        found.append([text[start + i * width : start + (i + 1) * width].strip() for i in range(signals)])
        start += width * signals
    return found


EEG = series_modality("eeg", {".edf"}, EegConfig, read)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [EEG]
