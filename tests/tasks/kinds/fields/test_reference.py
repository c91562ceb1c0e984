"""What real fields are measured with."""

import json

import pytest
import xarray as xr

from tasks.kinds.fields.metrics import make_reference
from tasks.kinds.fields.settings import FieldEvaluation
from tests.support.fields import config, prepare, temperature, write


@pytest.mark.parametrize(("members", "most", "block"), [(1, 2000, 10), (3, 2000, 30), (3, 240, 12), (3, 60, 10)])
def test_blocks_hold_all_members_of_their_times_as_far_as_twenty_blocks_remain(members, most, block, tmp_path):
    every = [temperature(120, freq="D", seed=seed) for seed in range(members)]
    data = xr.concat(every, "number").assign_coords(number=range(members)).transpose("time", "number", ...)
    prepare(write(tmp_path / "data", data), config(gap="0h", test_share=0.5, members="number"), tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    make_reference(tmp_path / "prepared", tmp_path / "reference", FieldEvaluation(resamples=20, most=most), "weather")
    made = json.loads((tmp_path / "reference" / "train.json").read_text())
    assert made["config"]["block"] == block
