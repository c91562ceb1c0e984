"""Dimensions beside time and space, as files of ERA5, CMIP and forecasts have them: chosen, merged, or told."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.prepare import inspect
from tests.support.fields import T2M, config, groups, prepare, temperature, write


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


def members(n=400, count=3, **settings):
    """Two variables of an ensemble whose members are independent; and settings that take all of them as samples."""
    every = [temperature(n, freq="D", seed=seed) for seed in range(count)]
    data = xr.concat(every, "number").assign_coords(number=range(count)).transpose("time", "number", ...)
    return data, config(
        climatology="day", season="season", train_until="2001-12-31", gap="0h", members="number", **settings
    )


def test_members_are_samples_of_the_same_time(tmp_path):
    data, settings = members()
    statistics = prepare(write(tmp_path / "data", data), settings, tmp_path / "into")
    train, test = groups(tmp_path / "into")
    assert (len(train), len(test)) == (3 * 365, 3 * 35)
    assert np.array_equal(train.times, np.repeat(data["time"][:365], 3))
    assert np.array_equal(test.times, np.repeat(data["time"][365:], 3))
    assert np.array_equal(train.labels[::3], train.labels[2::3])
    assert statistics["train"]["counts"] == np.bincount(train.labels).tolist()
    codec, values = Codec.load(tmp_path / "into"), data["t2m"].to_numpy().astype(np.float64)
    assert np.allclose(codec.decode(test[:], test.times)[:, 0].reshape(35, 3, 3, 4), values[365:], atol=1e-3)
    assert float(train[:].std()) == pytest.approx(1, abs=1e-5)  # of all members
    found = inspect(tmp_path / "data", settings)
    assert found.samples == 3


def test_the_cycle_is_that_of_all_members(tmp_path):
    data, settings = members()
    prepare(write(tmp_path / "data", data), settings, tmp_path / "into")
    data["t2m"][:, 1] += 30
    prepare(write(tmp_path / "other", data), settings, tmp_path / "moved")
    one, other = (Codec.load(tmp_path / name).climatology.coefficients[0, 0] for name in ("into", "moved"))
    assert np.allclose(other - one, 10, atol=1e-5)


def test_members_may_lie_in_files_of_their_own_and_more_variables_in_another_order(tmp_path):
    data, settings = members(40)
    settings = replace(settings, climatology="none", season="none", train_until=None)
    prepare(write(tmp_path / "one", data), settings, tmp_path / "a")
    apart = [data.isel(number=i, time=rows) for i in (2, 0, 1) for rows in (slice(0, 20), slice(20, None))]
    prepare(write(tmp_path / "apart", *apart), settings, tmp_path / "b")
    (train, _), (other, _) = groups(tmp_path / "a"), groups(tmp_path / "b")
    assert np.allclose(train[:].reshape(-1, 3, 12)[:, [2, 0, 1]], other[:].reshape(-1, 3, 12), atol=1e-5)
    two = replace(settings, variables=(T2M, replace(T2M, name="d2m")))
    dew = (data.isel(number=[1, 2, 0]) - 5).rename(t2m="d2m")
    dew["d2m"].attrs["units"] = "K"
    found = open_fields(write(tmp_path / "one" / "more", dew), replace(two, variables=two.variables[1:]))
    assert found["d2m"].member.to_numpy().tolist() == ["1", "2", "0"]
    found = open_fields(tmp_path / "one", two)
    assert np.allclose(found["t2m"] - found["d2m"], 5, atol=1e-3)


@pytest.mark.parametrize("patch", [None, (1, 2)])
def test_grown_ensembles_are_those_prepared_at_once(patch, tmp_path, monkeypatch):
    for module in ("store", "reading", "prepare"):
        monkeypatch.setattr(f"levy_core.datasets.fields.{module}.chunk_rows", lambda shape: 7)
    data, settings = members(420)
    settings = replace(settings, patch=patch, climatology="none" if patch else "day")
    sizes = {"block_bytes": 8 * 36 * 21}
    prepare(write(tmp_path / "data", data.isel(time=slice(0, 400))), settings, tmp_path / "before", **sizes)
    write(tmp_path / "data" / "later", data.isel(time=slice(400, None)))
    prepare(tmp_path / "data", settings, tmp_path / "full", **sizes)
    prepare(tmp_path / "data", settings, tmp_path / "grown", tmp_path / "before", **sizes)
    chunks = [
        {p.relative_to(f): p.read_bytes() for p in f.rglob("c/*/0/0/0")}
        for f in (tmp_path / "full", tmp_path / "grown")
    ]
    assert chunks[0] == chunks[1]
    linked = [p for p in (tmp_path / "grown").rglob("train/field/c/*/0/0/0") if p.stat().st_nlink > 1]
    assert len(linked) == -(-365 // 7)


def test_ensembles_that_do_not_fit_are_refused(tmp_path):
    data, settings = members(40)
    settings = replace(settings, climatology="none", season="none", train_until=None)
    folder = write(tmp_path / "data", data)
    assert "no dimension 'realization', which `members` names: it has time, number" in refusal(
        folder, replace(settings, members="realization")
    )
    assert "`members: number`" in refusal(folder, replace(settings, members=None))
    with pytest.raises(LevyError, match="in both `members` and `select`"):
        replace(settings, select={"number": 0})
    assert "is a dimension of time or space" in refusal(folder, replace(settings, members="time"))
    dew = (data.isel(number=[0, 1]) - 5).rename(t2m="d2m")
    dew["d2m"].attrs["units"] = "K"
    both = replace(settings, variables=(T2M, replace(T2M, name="d2m")))
    write(folder / "more", dew)
    assert "'2' is in one of them only" in refusal(folder, both)
    uneven = write(tmp_path / "uneven", data.isel(time=slice(0, 20)), data.isel(number=[0], time=slice(20, None)))
    assert "member '0' twice" in refusal(uneven, settings)
    short = write(tmp_path / "short", data.isel(number=0), data.isel(number=1, time=slice(0, 30)))
    assert "'t2m, 0' has 2001-01-31, which variable 't2m, 1' lacks" in refusal(short, settings)


def test_a_fill_value_of_a_member_is_told_with_its_file(tmp_path):
    data, settings = members(40)
    settings = replace(settings, climatology="none", season="none", train_until=None)
    data["t2m"][30, 1, 2, 3] = -9999
    folder = write(tmp_path / "data", data.isel(number=0), data.isel(number=1))
    with pytest.raises(LevyError, match=r"b\.nc: variable 't2m' at 2001-01-31, latitude 50, longitude 3, is -9999"):
        prepare(folder, settings, tmp_path / "into")


def test_a_field_of_a_member_without_values_is_told(tmp_path):
    data, settings = members(40)
    data["t2m"][30, 1] = np.nan
    folder = write(tmp_path / "data", data)
    with pytest.raises(LevyError, match="'t2m' at 2001-01-31 has no value at all"):
        prepare(folder, replace(settings, climatology="none", season="none", train_until=None), tmp_path / "into")
