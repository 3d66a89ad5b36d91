"""Temperatures as text, as exported by the software of camera makers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from binder_thermal import ThermalConfig
from binder_thermal.reading import read

from binder import ItemError

CELSIUS = (18 + np.add.outer(np.arange(12) / 4, np.arange(16) ** 2 / 40)).round(2)


def lines(separator: str = ",", comma: bool = False, values: np.ndarray = CELSIUS, end: str = "") -> list[str]:
    rows = [separator.join(f"{value:.2f}" for value in row) + end for row in values]
    return [row.replace(".", ",") for row in rows] if comma else rows


def counted(separator: str, corner: str, start: int = 0) -> list[str]:
    head = separator.join([corner, *(str(start + i) for i in range(16))])
    return [head, *(f"{start + i}{separator}{row}" for i, row in enumerate(lines(separator)))]


WAYS: dict[str, list[str]] = {
    "commas": lines(),
    "semicolons": lines(";"),
    "tabs": lines("\t"),
    "blanks": lines(" "),
    "decimal commas": lines(";", comma=True),
    "tabs and decimal commas": lines("\t", comma=True),
    "quoted decimal commas": ['"' + row.replace(";", '","') + '"' for row in lines(";", comma=True)],
    "separators at the ends": lines(";", end=";"),
    "a preamble": ["File: IR_0001.jpg", "Emissivity: 0,95", "Date;12.03.2024", "", *lines(";", comma=True)],
    "a footer": [*lines(), "", "Min,18.0,Max,26.4"],
    "counted": counted(",", ""),
    "counted from one": counted(";", "Y\\X", 1),
    "names": [",".join(["", *(f"x{i}" for i in range(16))]), *(f"y{i},{row}" for i, row in enumerate(lines()))],
    "names above": [",".join(f"x{i}" for i in range(16)), *lines()],
    "counted above without a corner": [",".join(str(i) for i in range(16)), *lines()],
    "a unit above": ["Temperature [°C]", *lines()],
    "units in the cells": [",".join(f"{value:.2f} °C" for value in row) for row in CELSIUS],
    "fahrenheit": ["Unit: °F", *lines(values=CELSIUS * 1.8 + 32)],
    "fahrenheit in the cells": [",".join(f"{value * 1.8 + 32:.2f}F" for value in row) for row in CELSIUS],
    "kelvin": ["Values in Kelvin", *lines(values=CELSIUS + 273.15)],
}


@pytest.mark.parametrize("way", WAYS)
def test_all_formats_give_the_same_temperatures(way: str, tmp_path: Path) -> None:
    text = "\r\n".join(WAYS[way]) + "\r\n"
    path = tmp_path / "a.csv"
    for data in (text.encode(), text.encode("cp1252"), text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode()):
        path.write_bytes(data)
        for item in (path, data):
            found = read(item, ThermalConfig(low_c=0))  # `low_c` is accepted: they are temperatures
            np.testing.assert_allclose(found, CELSIUS, atol=0.011)


def test_empty_cells_are_not_measured() -> None:
    rows = [row.split(",") for row in lines()]
    rows[2][3], rows[4][5], rows[11][0] = "", "NaN", "---"
    found = read("\n".join(map(",".join, rows)).encode(), ThermalConfig())
    assert np.argwhere(np.isnan(found)).tolist() == [[2, 3], [4, 5], [11, 0]]


def test_the_unit_of_the_values_can_be_set() -> None:
    data = "\n".join(lines(values=(CELSIUS + 273.15) * 100)).encode()
    found = read(data, ThermalConfig(kelvin_per_step=0.01))
    np.testing.assert_allclose(found, CELSIUS, atol=0.011)
    with pytest.raises(ItemError, match="the median temperature would be"):
        read(data, ThermalConfig())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_one_array(save: Callable[..., None]) -> None:
    held = io.BytesIO()
    save(held, temperature=CELSIUS, emissivity=0.95)
    np.testing.assert_array_equal(read(held.getvalue(), ThermalConfig()), CELSIUS)
    with pytest.raises(ItemError, match="npz"):
        read(held.getvalue()[:200], ThermalConfig())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join([*lines()[:6], "20.1,20.2,20.3"]), "line 7 has 3 numbers; expected 16: the matrix is truncated"),
        ("\n".join([*lines()[:6], lines()[6].replace("20", "warm"), *lines()[7:]]), "expected a number, got"),
        ("\n".join([*lines(), "", "frame 2", *lines()]), "several matrices in one file (line 15)"),
        ("1,2\n3,4\n", "text without a matrix of numbers"),
        ("name,label\na,b\n" * 20, "text without a matrix of numbers"),
        ("\n".join(["20 °C,21 °F,22 °C,23 °C"] * 5), "several units: C, F"),
        ("1,2,3,4\n" * 20_000, "20,000 lines of text: too many rows for a picture"),
        ("# " + "x" * 100_000, "text without a matrix of numbers"),
        ("\n".join(",".join(["nan"] * 9) for _ in range(9)), "text without a matrix"),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        read(text.encode(), ThermalConfig())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_much_text_is_rejected() -> None:
    with pytest.raises(ItemError, match="more than 16 MiB of text"):
        read(b"20.1,20.2,20.3,20.4\n" * (1 << 21), ThermalConfig())
