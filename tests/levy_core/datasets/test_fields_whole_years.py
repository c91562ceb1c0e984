"""Held-out periods whose seasons are not those of training are told with the date that holds out whole years."""

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.datasets.fields.labels import SEASONS, seasons_of
from levy_core.datasets.fields.split import split
from levy_core.datasets.fields.whole_years import advise_whole_years
from tests.support.fields import config


def dates(start, periods, freq="D", calendar="standard"):
    made = xr.date_range(start, periods=periods, freq=freq, calendar=calendar, use_cftime=calendar != "standard")
    return made.to_numpy()


def advice(times, **changes):
    of = config(**changes)
    train, test = split(times, of)
    return advise_whole_years(times[train], times[test]), times[test]


@settings(max_examples=60, deadline=None)
@given(
    start=st.sampled_from(["1990-01-01", "1991-04-17", "1992-02-29", "1990-11-30"]),
    freq=st.sampled_from(["D", "6h", "MS"]),
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    years=st.floats(3.2, 9.0),
    share=st.floats(0.1, 0.4),
    gap=st.sampled_from(["0D", "2D", "10D"]),
)
def test_what_is_advised_holds_out_whole_years(start, freq, calendar, years, share, gap):
    if calendar != "standard" and start == "1992-02-29":
        start = "1992-02-28"
    per_year = {"D": 365, "6h": 4 * 365, "MS": 12}[freq]
    times = dates(start, int(years * per_year), freq, calendar)
    said, _ = advice(times, test_share=share, gap=gap)
    if not said:
        return
    until = re.search('write `train_until: "(.*)"`', said)
    assert until, said
    again, test = advice(times, train_until=until[1], gap=gap)
    assert again == ""
    shares = [(seasons_of(test) == season).mean() for season in SEASONS]
    np.testing.assert_allclose(shares, 0.25, atol=0.01 if freq != "MS" else 1e-9)
    assert round(len(test) / per_year, 1) % 1 == 0


def test_whole_years_and_long_periods_say_nothing():
    assert advice(dates("1990-01-01", 3652), train_until="1997-12-31", gap="0D")[0] == ""  # two years
    assert advice(dates("1990-01-01", 3652), train_until="1997-06-30", gap="0D")[0] == ""  # two and a half
    assert advice(dates("1990-03-01", 31, "6h"), test_share=0.3)[0] == ""  # one season, as in training


def test_it_says_the_shares_and_what_to_bring_where_there_is_too_little():
    said, _ = advice(dates("1990-01-01", 4 * 365), test_share=0.2)
    assert said == (
        "measures compare unlike seasons: 10 % DJF, 27 % MAM, 32 % JJA, 31 % SON (held out, 1993-03-14 to 1993-12-30) and 28 % DJF, 25 % MAM, "
        '24 % JJA, 23 % SON (training); write `train_until: "1992-12-28"`, so that whole years are held out'
    )
    for days in (365, 700):
        said, _ = advice(dates("2095-01-01", days, calendar="noleap"), test_share=0.3)
        assert said.endswith("bring more years, so that whole ones can be held out beside at least one of training")


def test_members_count_their_times_once():
    times = dates("1990-01-01", 4 * 365)
    assert advise_whole_years(np.repeat(times[:1000], 5), np.repeat(times[1000:], 5)) == advise_whole_years(
        times[:1000], times[1000:]
    )


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_one_year_of_training_is_left(share):
    said, _ = advice(dates("1990-01-01", 2 * 365 + 12), test_share=share)
    assert 'train_until: "1991-01-10"' in said  # more than the gap before 1991-01-13
