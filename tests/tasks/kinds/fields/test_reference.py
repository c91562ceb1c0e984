"""What real fields are measured with."""

import json

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.fields.store import FieldStore
from levy_core.metrics.fields import summary
from tasks.kinds.fields.metrics import FieldMetrics, make_reference
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


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_training_period_is_measured_without_the_cells_that_the_held_out_one_lacks(share, tmp_path):
    """It scores what samples would that are its fields."""
    data = temperature(400, (52.0, 51.0, 50.0), tuple(map(float, range(8))), freq="D")
    data["t2m"] = 280 + (data.t2m - 280) * np.repeat([0.2, 1], 4).astype(np.float32)
    data.t2m.attrs["units"] = "K"
    missing = np.random.default_rng(1).random((200, 3, 4)) < share
    data.t2m.values[200:, :, 4:][missing] = np.nan
    settings = config(gap="0h", test_share=0.5, max_missing=0.5)
    prepare(write(tmp_path / "data", data), settings, tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    make_reference(tmp_path / "prepared", tmp_path / "reference", FieldEvaluation(resamples=20), "weather")
    ceiling = json.loads((tmp_path / "reference" / "ceiling.json").read_text())
    train = FieldStore.open(tmp_path / "prepared" / "fields.zarr", "train")
    metrics = FieldMetrics(tmp_path / "reference")
    row = metrics.measure_held_out(train[np.arange(len(train))], train.labels)
    assert ceiling == {name: pytest.approx(row[name], rel=1e-5) if value else value for name, value in ceiling.items()}


def test_forecasts_by_the_season_are_judged_in_the_cells_that_are_pooled_in_both_periods(tmp_path, monkeypatch):
    """Of large fields more cells are pooled of the shorter period; with all cells pooled the scores of independent cells are about the same."""
    data = temperature(600, (52.0, 51.0, 50.0), tuple(map(float, range(40))), freq="D")
    prepare(write(tmp_path / "data", data), config(season="season", test_share=0.3), tmp_path / "prepared")
    generated = np.random.default_rng(0).standard_normal((80, 1, 3, 40)).astype(np.float32)
    rows = []
    for name, fewest in (("all", 1000), ("some", 20)):
        monkeypatch.setattr(summary, "POOLED", 100 * 100)
        monkeypatch.setattr(summary, "FIELDS", 100)
        monkeypatch.setattr(summary, "FEWEST", fewest)
        (tmp_path / name).mkdir()
        make_reference(tmp_path / "prepared", tmp_path / name, FieldEvaluation(resamples=20), "weather")
        metrics = FieldMetrics(tmp_path / name)
        rows.append(metrics.measure(generated, metrics.samples.labels("training", 0, 80)))
    pooled = [metrics.references[period].frame.pooled for period in ("test", "train")]
    assert len(pooled[0]) > len(pooled[1])
    whole, part = rows
    assert part["crps/t2m"] == pytest.approx(whole["crps/t2m"], rel=0.1)
    assert part["crps_skill/t2m"] == pytest.approx(whole["crps_skill/t2m"], abs=0.03)


@pytest.mark.parametrize("climatology", ["none", "day"])
def test_without_a_season_samples_forecast_any_field_and_training_fields_do_it_without_skill(climatology, tmp_path):
    """Training fields are as good a forecast as themselves; of half the spread, real values rank outside of them: 37 % beyond the middle of the
    largest of 19. 24 cells with 19 members each: a rank has 5 ± 1 %, so that a right reliability index is 0.16 ± 0.03."""
    data = temperature(800, (52.0, 51.0, 50.0), tuple(map(float, range(8))), freq="D")
    prepare(
        write(tmp_path / "data", data), config(climatology=climatology, gap="0h", test_share=0.5), tmp_path / "prepared"
    )
    (tmp_path / "reference").mkdir()
    make_reference(tmp_path / "prepared", tmp_path / "reference", FieldEvaluation(resamples=20), "weather")
    metrics, train = (
        FieldMetrics(tmp_path / "reference"),
        FieldStore.open(tmp_path / "prepared" / "fields.zarr", "train"),
    )
    rows = np.linspace(0, len(train) - 1, 200).round().astype(int)
    fields, labels = train[rows], metrics.samples.labels("training", 0, 200)
    own = metrics.measure(fields, labels)
    assert own["crps_skill/t2m"] == pytest.approx(0, abs=1e-5)  # the same 200 fields, float32
    assert own["reliability/t2m"] < 0.3
    narrow = metrics.measure(fields * 0.5, labels)
    assert narrow["crps_skill/t2m"] < -0.05
    assert narrow["reliability/t2m"] > 0.4
    counts = metrics.rank_histograms(fields * 0.5, labels)["t2m"]
    assert counts[[0, -1]].sum() > 0.25 * counts.sum()


ROUND = {"latitude": (60.0, 0.0, -60.0), "longitude": tuple(map(float, range(0, 360, 45)))}


@pytest.mark.parametrize("where", ["globe", "places"])
def test_references_of_before_scales_were_those_of_the_globe_and_of_places_are_made_again(where, tmp_path):
    data = temperature(200, **ROUND, freq="D")
    if where == "places":
        data = data.stack(place=("latitude", "longitude")).reset_index("place")
    prepare(write(tmp_path / "data", data), config(gap="0h", test_share=0.5), tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    make_reference(tmp_path / "prepared", tmp_path / "reference", FieldEvaluation(resamples=20), "weather")
    metrics = FieldMetrics(tmp_path / "reference")
    train = FieldStore.open(tmp_path / "prepared" / "fields.zarr", "train")
    row = metrics.measure_held_out(train[np.arange(len(train))], train.labels)
    assert ("spectrum_error/test/t2m" in row) == (where == "globe")
    assert np.isfinite(row["distance/test"])
    for path in (tmp_path / "reference").glob("t*.safetensors"):
        write_tensors(path, {name: its for name, its in read_tensors(path).items() if name != where})
    with pytest.raises(
        LevyError, match="of before scales were those of the globe and of places: run the reference stage"
    ):
        FieldMetrics(tmp_path / "reference")
