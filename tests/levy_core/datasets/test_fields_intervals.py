"""What was gathered over time falls on the day it fell on: amounts of the hour before, and totals since 00 UTC."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from tests.support.fields import T2M, config, temperature, write

DAYS = 5
HOURLY = np.random.default_rng(7).integers(0, 64, (24 * DAYS, 3, 4)) / 64.0  # mm of each hour from 1 January 00 UTC
DAILY = HOURLY.reshape(DAYS, 24, 3, 4).sum(1)


def rain(values, stamps, **attributes):
    attributes = {"units": "mm", "long_name": "Total precipitation"} | attributes
    data = temperature(len(values), start="2001-01-01")
    data = data.assign_coords(time=stamps)
    return xr.Dataset({"tp": (data["t2m"].dims, values, attributes)}, data.coords)


def ends(hours, calendar=None):
    """Stamps at the end of so many hours from 1 January."""
    if calendar:
        return xr.date_range("2001-01-01T01", periods=hours, freq="h", calendar=calendar, use_cftime=True)
    return pd.date_range("2001-01-01T01", periods=hours, freq="h")


def totals():
    """As ERA5-Land gives them: at 00 UTC stands the whole day before."""
    return HOURLY.reshape(DAYS, 24, 3, 4).cumsum(1).reshape(HOURLY.shape)


def with_bounds(data, lower, upper):
    data["time_bnds"] = (("time", "bnds"), np.stack([lower, upper], 1))
    data["time"].attrs["bounds"] = "time_bnds"
    return data


def daily(folder, *variables, **settings):
    return open_fields(folder, config(*variables, resample="1D", **settings))


HOUR = np.timedelta64(1, "h")
STAMPS = ends(24 * DAYS)
BEFORE = STAMPS - pd.Timedelta("1h")
MIDNIGHT = (STAMPS - pd.Timedelta("1s")).floor("D")
CASES = {
    "ERA5, said in params": (rain(HOURLY, STAMPS), {"accumulated": "1h", "stamped": "end"}),
    "ERA5, of GRIB": (rain(HOURLY, STAMPS, GRIB_stepType="accum"), {"accumulated": "1h"}),
    "stamped at the start": (rain(HOURLY, BEFORE), {"accumulated": "1h", "stamped": "start"}),
    "with bounds": (with_bounds(rain(HOURLY, STAMPS, cell_methods="time: sum"), BEFORE, STAMPS), {}),
    "with bounds, stamped at the start": (with_bounds(rain(HOURLY, BEFORE), BEFORE, STAMPS), {}),
    "mean rates with bounds": (
        with_bounds(rain(HOURLY * 24, STAMPS, cell_methods="time: mean", units="mm day-1"), BEFORE, STAMPS),
        {},
    ),
    "mean rates, said in params": (rain(HOURLY * 24, STAMPS, units="mm day-1"), {"stamped": "end"}),
    "ERA5-Land, said in params": (rain(totals(), STAMPS), {"accumulated": "since-00"}),
    "ERA5-Land, with bounds": (with_bounds(rain(totals(), STAMPS, cell_methods="time: sum"), MIDNIGHT, STAMPS), {}),
    "another calendar": (
        rain(HOURLY, ends(24 * DAYS, "360_day")),
        {"accumulated": "1h", "stamped": "end"},
    ),
    "totals in another calendar": (rain(totals(), ends(24 * DAYS, "noleap")), {"accumulated": "since-00"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_amount_of_a_day_is_that_of_its_hours(case, tmp_path):
    data, said = CASES[case]
    found = daily(write(tmp_path, data), Variable("tp", "mm day-1", **said))["tp"]
    assert np.array_equal(found.to_numpy(), DAILY)  # exactly: all are sums of 64ths
    assert [str(t)[:10] for t in found.time.to_numpy()] == [f"2001-01-0{d}" for d in range(1, 6)]


def test_the_hour_stamped_at_midnight_belongs_to_the_day_before(tmp_path):
    amounts = np.zeros((24 * DAYS, 3, 4))
    amounts[23] = 100  # stamped 2 January 00 UTC
    found = daily(write(tmp_path, rain(amounts, STAMPS)), Variable("tp", "mm day-1", accumulated="1h", stamped="end"))
    assert found["tp"][:, 0, 0].to_numpy().tolist() == [100, 0, 0, 0, 0]


@pytest.mark.parametrize("said", [{"accumulated": "1h", "stamped": "end"}, {"accumulated": "since-00"}])
def test_files_of_whole_stamped_days_join_with_instants(said, tmp_path):
    """As downloaded: stamps from 00 to 23, the first of which belongs to the day before; a file per day."""
    values = totals() if said["accumulated"] == "since-00" else HOURLY
    stamped = rain(values, STAMPS).isel(time=slice(23, 23 + 24 * 3))
    parts = [stamped.isel(time=slice(24 * d, 24 * d + 24)) for d in range(3)]
    data = temperature(24 * 3, start="2001-01-02")
    folder = write(tmp_path, data, *parts)
    found = daily(folder, T2M, Variable("tp", "mm day-1", **said))
    assert [str(t)[:10] for t in found.time.to_numpy()] == ["2001-01-02", "2001-01-03"]  # the 4th lacks its last hour
    assert np.array_equal(found["tp"], DAILY[1:3])
    assert np.array_equal(found["t2m"][0], data["t2m"][:24].astype(np.float64).to_numpy().mean(0))


def test_a_period_is_of_the_days_that_rain_fell_on(tmp_path):
    variable = Variable("tp", "mm day-1", accumulated="1h", stamped="end")
    found = daily(write(tmp_path, rain(HOURLY, STAMPS)), variable, period=("2001-01-02", "2001-01-03"))
    assert np.array_equal(found["tp"], DAILY[1:3])


def test_running_totals_become_the_rate_of_each_hour_where_nothing_is_resampled(tmp_path):
    found = open_fields(
        write(tmp_path, rain(totals(), STAMPS)), config(Variable("tp", "mm h-1", accumulated="since-00"))
    )
    assert np.array_equal(found["tp"], HOURLY)
    assert np.array_equal(found.time, STAMPS)
    later = rain(totals(), STAMPS).isel(time=slice(4, None))
    found = open_fields(write(tmp_path / "b", later), config(Variable("tp", "mm h-1", accumulated="since-00")))
    assert np.array_equal(found["tp"], HOURLY[5:])  # that of the first stamp would need the one before


def test_three_hourly_running_totals(tmp_path):
    stamped = rain(totals(), STAMPS).isel(time=slice(2, None, 3))
    found = daily(write(tmp_path, stamped), Variable("tp", "mm day-1", accumulated="since-00"))
    assert np.allclose(found["tp"], DAILY, rtol=1e-15)


REFUSED = {
    "no word on the stamps": (rain(HOURLY, STAMPS), {"accumulated": "1h"}, {}, ["stamped: end", "stamped: start", "since-00"]),
    "nor on those of mean rates": (
        rain(HOURLY, STAMPS, units="mm day-1").rename(tp="mtpr"), {"name": "mtpr"}, {}, ["mtpr", "stamped: end"],
    ),
    "nor on those of sums": (rain(HOURLY, STAMPS, cell_methods="time: sum"), {"units": "mm"}, {}, ["stamped: end"]),
    "an amount without its time": (rain(HOURLY, STAMPS), {}, {}, ["accumulated: 1h", "accumulated: since-00"]),
    "amounts that overlap": (
        rain(HOURLY, STAMPS), {"accumulated": "3h", "stamped": "end"}, {}, ["accumulated over 3h", "steps by 1 hour"],
    ),
    "hours left out": (
        rain(HOURLY, STAMPS).isel(time=slice(5, None, 6)), {"accumulated": "1h", "stamped": "end"}, {}, ["steps by 6 hours"],
    ),
    "a sum of rates": (
        rain(HOURLY, STAMPS), {"accumulated": "1h", "stamped": "end"}, {"how": "sum"}, ["how: mean"],
    ),
    "bounds of another length": (
        with_bounds(rain(HOURLY, STAMPS), BEFORE, STAMPS), {"accumulated": "3h"}, {}, ["bounds", "1 hour ", "3h"],
    ),
    "bounds since midnight": (
        with_bounds(rain(totals(), STAMPS), MIDNIGHT, STAMPS), {"accumulated": "1h"}, {}, ["since 00 UTC", "1h"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_amounts_that_may_fall_on_the_wrong_day_are_refused(case, tmp_path):
    data, said, settings, words = REFUSED[case]
    with pytest.raises(LevyError) as error:
        daily(write(tmp_path, data), Variable(**({"name": "tp", "units": "mm day-1"} | said)), **settings)
    assert "a.nc" in str(error.value) or "steps by" in str(error.value) or "how" in settings
    for word in words:
        assert word in str(error.value)


def test_files_that_gather_in_two_ways_are_refused(tmp_path):
    first = with_bounds(rain(HOURLY, STAMPS), BEFORE, STAMPS).isel(time=slice(0, 48))
    second = with_bounds(rain(HOURLY, BEFORE), BEFORE, STAMPS).isel(time=slice(49, 96))
    with pytest.raises(LevyError, match=r"stamped end in .*a\.nc.*start in .*b\.nc"):
        daily(write(tmp_path, first, second), Variable("tp", "mm day-1"))


def test_impossible_words_on_stamps():
    with pytest.raises(LevyError, match=r"stamped.*end, start"):
        Variable("tp", "mm day-1", stamped="middle")
    with pytest.raises(LevyError, match="running totals"):
        Variable("tp", "mm day-1", accumulated="since-00", stamped="start")
    with pytest.raises(LevyError, match="since-00"):
        Variable("tp", "mm day-1", accumulated="soon")
