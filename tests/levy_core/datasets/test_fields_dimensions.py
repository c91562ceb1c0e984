"""Dimensions beside time and space, as files of ERA5, CMIP and forecasts have them: chosen, merged, or told."""

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.opening import open_fields
from tests.support.fields import T2M, config, prepare, temperature, write


def ensemble(members=(0, 1, 2), name="number", n=48, **changes):
    """Members that differ by 10 K each along a dimension [time, member, latitude, longitude]."""
    data = temperature(n, **changes)
    every = xr.concat([data + 10 * i for i in range(len(members))], name).assign_coords({name: list(members)})
    return every.transpose("time", name, ...).assign(
        t2m=every["t2m"].transpose("time", name, ...).assign_attrs(data["t2m"].attrs)
    )


def era5t(final=30, n=48, codes=(1, 5)):
    """ERA5's final values (expver 1) up to an hour and the preliminary ones of ERA5T (expver 5) after it, NaN in each other's hours."""
    data = temperature(n)
    late = (np.arange(n) >= final)[:, None, None]
    halves = [data["t2m"].where(~late), data["t2m"].where(late)]
    joined = xr.concat(halves, "expver").assign_coords(expver=list(codes)).transpose("time", "expver", ...)
    return data, joined.assign_attrs(data["t2m"].attrs).to_dataset(name="t2m")


def refusal(folder, settings):
    with pytest.raises(LevyError) as error:
        open_fields(folder, settings)
    return str(error.value)


@pytest.mark.parametrize(
    ("entries", "choice", "place"),
    [
        ((0, 1, 2), 1, 1),
        ((0, 1, 2), "2", 2),
        ((2.0, 10.0, 100.0), 10, 1),
        (np.float32([0.1, 0.2, 0.3]), 0.3, 2),
        (("0001", "0005", "0070"), 5, 1),
        (("r1i1p1f1", "r2i1p1f1", "r3i1p1f1"), "r2i1p1f1", 1),
    ],
)
def test_an_entry_is_chosen_by_its_value(entries, choice, place, tmp_path):
    write(tmp_path, ensemble(entries, "number"))
    found = open_fields(tmp_path, config(select={"number": choice}))["t2m"]
    assert np.array_equal(found, temperature()["t2m"].to_numpy().astype(np.float64) + np.float32(10 * place))
    assert found.dims == ("time", "latitude", "longitude")


def test_a_dimension_without_values_is_chosen_from_by_position(tmp_path):
    write(tmp_path, ensemble().drop_vars("number"))
    found = open_fields(tmp_path, config(select={"number": 2}))["t2m"]
    assert float(found.mean() - temperature()["t2m"].mean()) == pytest.approx(20, abs=1e-3)


def test_what_cannot_be_chosen_is_told_with_what_is_there(tmp_path):
    folder = write(tmp_path / "data", ensemble((2.0, 10.0, 100.0), "height"))
    assert "`select` names 'number', but beside time and space the variables have height" in refusal(
        folder, config(select={"height": 2, "number": 0})
    )
    assert "has no height 3: there are 2, 10, 100" in refusal(folder, config(select={"height": 3}))
    assert "height (3: 2, 10, 100): choose one entry" in refusal(folder, config())
    assert "`select: {height: 2.0}`" in refusal(folder, config())
    for name in ("time", "longitude"):
        assert "dimension of time or space" in refusal(folder, config(select={name: 0}))
    for wrong in ({"height": True}, {"height": [2, 10]}, "height"):
        with pytest.raises(LevyError, match="with the value of one entry each are expected"):
            config(select=wrong)


def test_whole_numbers_have_no_tolerance(tmp_path):
    folder = write(tmp_path / "data", ensemble((1_000_000, 1_000_001, 1_000_002)))
    assert "has no number 1000003" in refusal(folder, config(select={"number": 1_000_003}))
    found = open_fields(folder, config(select={"number": 1_000_001}))["t2m"]
    assert float(found.mean() - temperature()["t2m"].mean()) == pytest.approx(10, abs=1e-3)


def test_a_choice_is_of_those_variables_that_have_the_dimension(tmp_path):
    winds = ensemble((10.0, 100.0), "height").rename(t2m="ws")
    write(tmp_path, xr.merge([temperature(), winds], compat="override", join="exact"))
    other = temperature().rename(t2m="d2m").assign_coords(number=3)
    write(
        tmp_path / "more",
        other,
        ensemble((3.0, 7.0), "height").rename(t2m="d2m").isel(height=0).assign_coords(number=4),
    )
    found = open_fields(tmp_path, config(T2M, type(T2M)("d2m", "K"), select={"height": 100, "number": 3}))
    assert np.array_equal(found["t2m"], found["d2m"])  # of the file whose only member is the chosen one
    assert "has no number 5: there are 3" in refusal(tmp_path, config(T2M, type(T2M)("d2m", "K"), select={"number": 5}))


@pytest.mark.parametrize("codes", [(1, 5), (5, 1), ("0001", "0005")])
def test_preliminary_values_stand_where_final_ones_are_missing(codes, tmp_path):
    data, halves = era5t()
    flipped = halves.isel(expver=[1, 0]) if codes[0] == 5 else halves
    folder = write(tmp_path / "data", flipped.assign_coords(expver=list(codes)))
    statistics = prepare(folder, config(gap="0h", select={"expver": "merge"}), tmp_path / "into")
    assert statistics["train"]["samples"] + statistics["test"]["samples"] == 48
    assert np.array_equal(open_fields(folder, config(select={"expver": "merge"}))["t2m"], data["t2m"])
    assert "`expver: merge`" in refusal(folder, config())


def test_final_values_are_preferred_where_both_are_there(tmp_path):
    write(tmp_path, ensemble((5, 1), "expver"))
    found = open_fields(tmp_path, config(select={"expver": "merge"}))["t2m"]
    assert float(found.mean() - temperature()["t2m"].mean()) == pytest.approx(10, abs=1e-3)


def test_one_step_of_overlapping_forecasts_is_a_series(tmp_path):
    steps = xr.concat([temperature(20, freq="12h") + i for i in range(3)], "step").transpose("time", "step", ...)
    steps["t2m"].attrs = {"units": "K"}
    steps = steps.assign_coords(
        step=("step", [0, 12, 24]),
        valid_time=steps["time"]
        + np.array([0, 12, 24]) * np.timedelta64(1, "h") * xr.ones_like(steps["step"], dtype=int),
    )
    steps["time"].attrs["standard_name"] = "forecast_reference_time"
    steps["valid_time"].attrs["standard_name"] = "time"
    write(tmp_path, steps)
    found = open_fields(tmp_path, config(select={"step": 24}))["t2m"]
    assert str(found.time.to_numpy()[0])[:13] == "2001-01-02T00"
    assert found.sizes["time"] == 20
