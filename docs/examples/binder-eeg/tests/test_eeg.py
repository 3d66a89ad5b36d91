"""What every encoder promises (`EncoderContract`), and what is special to EDF."""

import sys
from pathlib import Path

import numpy as np
import pytest
from binder_eeg import EEG, EegConfig, read

from binder import ItemError
from binder.testing import EncoderContract

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_sample import brain, edf


def waves(hz=10.0, seed=0):
    return brain(hz, np.random.default_rng(seed))


class TestContract(EncoderContract):
    modality = EEG
    config = {"width": 32, "layers": 1}  # noqa: RUF012  # small, so that the tests are fast

    def items(self, tmp_path):
        (tmp_path / "slow.edf").write_bytes(edf(waves(2.0)))
        return [tmp_path / "slow.edf", edf(waves(20.0)), edf(waves(6.0), rate=64)]

    def broken(self, tmp_path):
        return [edf(waves())[:300], edf(waves())[:-1], b"0       " + bytes(500), None, 3.5]


def test_values_are_microvolts():
    series = read(edf(waves()), EegConfig())
    np.testing.assert_allclose(series.values, waves(), atol=0.01)
    assert series.rate_hz == 128


def test_channels_are_chosen_by_their_labels():
    three = edf(np.column_stack([waves(), waves(seed=1)[:, :1]]), ("EEG C4", "EOG left", "EEG C3"))
    found = read(three, EegConfig(channels=("C3", "C4"))).values
    np.testing.assert_allclose(found, np.column_stack([waves(seed=1)[:, 0], waves()[:, 0]]), atol=0.01)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (edf(waves(), ("EEG C3", "EEG Cz")), r"no signal C4 \(set encoder.channels\); found: C3, Cz"),
        (edf(waves())[:-2], "cut off: 1023 of 1024 samples"),
        (b"not an edf file" * 40, "not an EDF file"),
    ],
)
def test_what_is_wrong_is_said(item, message):
    with pytest.raises(ItemError, match=message):
        read(item, EegConfig())
