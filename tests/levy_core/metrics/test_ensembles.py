"""Ensembles against closed forms and against the definition written out."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scores.probability import crps_for_ensemble

from levy_core.base.errors import LevyError
from levy_core.metrics.fields import ensembles
from levy_core.metrics.fields.ensembles import crps, rank_histogram, reliability

NAMES = ("t2m",)


def zeros(n):
    return np.zeros(n, dtype=int)


def gaussian(n, seed, mean=0.0, scale=1.0, shape=(1, 4, 5)):
    return mean + scale * np.random.default_rng(seed).standard_normal((n, *shape))


def test_crps_is_the_fair_formula_written_out():
    observed, members = gaussian(3, 0), gaussian(5, 1)
    apart = np.abs(members[:, None] - members[None]).sum((0, 1)) / (2 * 5 * 4)
    exact = (np.abs(members[:, None] - observed[None]).mean(0) - apart).mean()
    assert crps(observed, zeros(3), members, zeros(5), NAMES) == {"crps/t2m": pytest.approx(exact)}


def test_crps_of_a_gaussian_is_the_closed_form_whatever_the_number_of_members():
    """Gneiting and Raftery (2007), equation 21. 400 observations of 20 cells against as many members: the error of the
    mean is 0.006 with 10 members and less with more, 200 sets of which are averaged; 5 sigma."""
    for mean, scale in ((0.0, 1.0), (0.7, 2.0)):
        observed = gaussian(400, 2)
        z = (observed - mean) / scale
        exact = scale * np.mean(z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
        for n in (2, 10, 50):
            sets = [crps(observed, zeros(400), gaussian(n, 10 + s, mean, scale), zeros(n), NAMES) for s in range(20)]
            assert np.mean([row["crps/t2m"] for row in sets]) == pytest.approx(exact, abs=0.25 * scale / np.sqrt(n))


def test_an_observation_is_judged_by_the_samples_of_its_label():
    labels, member_labels = np.arange(60) % 2, np.arange(40) % 2
    shift = lambda values, labels: values + 5.0 * labels[:, None, None, None]
    observed, members = shift(gaussian(60, 3), labels), shift(gaussian(40, 4), member_labels)
    right = crps(observed, labels, members, member_labels, NAMES)["crps/t2m"]
    each = [
        crps(observed[labels == k], zeros(30), members[member_labels == k], zeros(20), NAMES)["crps/t2m"]
        for k in (0, 1)
    ]
    assert right == pytest.approx(np.mean(each))
    assert crps(observed, labels, members, 1 - member_labels, NAMES)["crps/t2m"] > 4 * right


def test_skill_is_0_for_other_real_fields_and_negative_for_a_bias():
    observed, climate = gaussian(300, 5), (gaussian(200, 6), zeros(200))
    as_good = crps(observed, zeros(300), gaussian(200, 7), zeros(200), NAMES, climate)
    assert as_good["crps_skill/t2m"] == pytest.approx(0, abs=0.02)  # 4 sigma
    biased = crps(observed, zeros(300), gaussian(200, 7, mean=2.0), zeros(200), NAMES, climate)
    assert biased["crps_skill/t2m"] < -0.5
    assert biased["crps/t2m"] > as_good["crps/t2m"]


def test_scores_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    observed, members = gaussian(23, 8), gaussian(30, 9)
    observed[np.random.default_rng(0).random(observed.shape) < 0.1] = np.nan
    whole = (
        crps(observed, zeros(23), members, zeros(30), NAMES),
        rank_histogram(observed, zeros(23), members, zeros(30), NAMES),
    )
    monkeypatch.setattr(ensembles, "ENTRIES", 5 * (30 + 2 * 23))
    parts = (
        crps(observed, zeros(23), members, zeros(30), NAMES),
        rank_histogram(observed, zeros(23), members, zeros(30), NAMES),
    )
    assert parts[0] == pytest.approx(whole[0])
    assert parts[1]["t2m"] == pytest.approx(whole[1]["t2m"])


@pytest.mark.parametrize("law", ["normal", "cauchy", "ties", "far from zero"])
def test_scores_of_single_values_are_those_of_the_library(law):
    """Which takes the members that are there, too, but compares each of them with each value."""
    rng = np.random.default_rng(13)
    draw = {
        "normal": rng.standard_normal,
        "cauchy": rng.standard_cauchy,
        "ties": lambda shape: rng.integers(0, 4, shape).astype(float),
        "far from zero": lambda shape: 101_325 + rng.standard_normal(shape),
    }[law]
    observed, members = draw((31, 12)), draw((40, 12))
    members[rng.random(members.shape) < np.linspace(0, 1, 12)] = np.nan  # a whole cell, and one without any
    observed[rng.random(observed.shape) < 0.2] = np.nan
    members[:, 5], members[:1, 6], members[1:, 6] = np.nan, 1.0, np.nan
    members[:2, 7], members[2:, 7] = draw(2)[:, None][:, 0], np.nan
    found = ensembles._fair_crps(observed, zeros(31), members, zeros(40))
    there = np.count_nonzero(~np.isnan(members), 0)
    expected = crps_for_ensemble(
        xr.DataArray(members, dims=("member", "cell")),
        xr.DataArray(observed, dims=("time", "cell")),
        "member",
        method="fair",
        preserve_dims="all",
    ).transpose("time", "cell")
    expected = np.where(there < 2, np.nan, expected)
    assert {0, 1, 2, 40} <= set(there)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.nanmax(np.abs(members)))


def test_gaps_that_are_elsewhere_in_each_sample_leave_crps_of_the_members_that_are_there():
    """By the definition, value by value."""
    rng, observed, members = np.random.default_rng(14), gaussian(6, 15), gaussian(9, 16)
    members[rng.random(members.shape) < 0.3] = np.nan
    assert np.isnan(members).any(0).all()
    scores = []
    for y, x in zip(observed.reshape(6, -1).T, members.reshape(9, -1).T, strict=True):
        x = x[~np.isnan(x)]
        apart = np.abs(x[:, None] - x).sum() / (2 * len(x) * (len(x) - 1))
        scores.append([np.abs(x - value).mean() - apart for value in y])
    assert crps(observed, zeros(6), members, zeros(9), NAMES) == {"crps/t2m": pytest.approx(np.mean(scores))}


def test_gaps_in_samples_do_not_shift_crps():
    """A fifth of the members of each cell, and three quarters of those of the first: the fair score has no bias. 1,000 observations of 20
    cells: 0.01 is 5 sigma of the difference."""
    observed, members = gaussian(1000, 17), gaussian(200, 18)
    whole = crps(observed, zeros(1000), members, zeros(200), NAMES)["crps/t2m"]
    share = np.where(np.arange(20).reshape(4, 5) == 0, 0.75, 0.2)
    members[np.random.default_rng(19).random(members.shape) < share] = np.nan
    assert crps(observed, zeros(1000), members, zeros(200), NAMES)["crps/t2m"] == pytest.approx(whole, abs=0.01)


def test_skill_is_over_the_values_that_both_can_judge():
    """The climatology lacks the cells where samples are far off."""
    observed, members, climate = gaussian(50, 20), gaussian(60, 21), gaussian(40, 22)
    members[:, :, :2] += 9.0
    climate[:, :, :2] = np.nan
    row = crps(observed, zeros(50), members, zeros(60), NAMES, (climate, zeros(40)))
    rest = crps(observed[:, :, 2:], zeros(50), members[:, :, 2:], zeros(60), NAMES, (climate[:, :, 2:], zeros(40)))
    assert row["crps_skill/t2m"] == pytest.approx(rest["crps_skill/t2m"])
    assert row["crps/t2m"] > 3


def test_members_are_sorted_once_however_many_blocks_there_are(monkeypatch):
    """Sorting them is most of what many samples cost."""
    sorted_values, sort = [], np.sort
    monkeypatch.setattr(
        ensembles.np, "sort", lambda values, **k: sorted_values.append(values.size) or sort(values, **k)
    )
    monkeypatch.setattr(ensembles, "ENTRIES", 5 * (30 + 2 * 23))
    crps(gaussian(23, 8), zeros(23), members := gaussian(30, 9), zeros(30), NAMES)
    assert len(sorted_values) == 4
    assert sum(sorted_values) == members.size


def test_cells_that_are_missing_are_left_out():
    observed, members = gaussian(20, 10), gaussian(30, 11)
    missing = np.zeros((4, 5), dtype=bool)
    missing[:2] = True
    rest = crps(observed[:, :, 2:], zeros(20), members[:, :, 2:], zeros(30), NAMES)
    for a, b in ((np.where(missing, np.nan, observed), members), (observed, np.where(missing, np.nan, members))):
        assert crps(a, zeros(20), b, zeros(30), NAMES) == pytest.approx(rest)
        counts = rank_histogram(a, zeros(20), b, zeros(30), NAMES)["t2m"]
        assert counts.sum() == pytest.approx(20 * 10)


def test_ranks_of_a_reliable_ensemble_are_flat_and_of_a_narrow_one_a_u():
    """20,000 independent cells and 19 members: 20 counts of 1,000 each, chi-square of 19 degrees of freedom."""
    observed, members = (gaussian(n, 12 + n, shape=(1, 100, 200)) for n in (1, 19))

    def counted(members):
        return rank_histogram(observed, zeros(1), members, zeros(19), NAMES)["t2m"]

    counts = counted(members)
    assert counts.sum() == pytest.approx(20_000)
    assert len(counts) == 20
    assert stats.chisquare(counts).pvalue > 1e-4  # its false-alarm rate
    assert reliability(counts) < 0.06
    narrow = counted(0.3 * members)
    assert min(narrow[0], narrow[-1]) > 4 * narrow[5:15].max()
    assert reliability(narrow) > 0.5
    biased = counted(members + 3)
    assert biased[0] > 0.8 * biased.sum()


def test_the_order_of_samples_tells_nothing_of_their_ranks():
    """Sorted by the day of the year, the first samples are of January: among these, rain of summer would be high every time."""
    observed, members = (np.sort(gaussian(n, n, shape=(1, 20, 20)), 0) for n in (200, 400))
    counts = rank_histogram(observed, zeros(200), members, zeros(400), NAMES)["t2m"]
    assert counts.sum() == pytest.approx(200 * 400)
    assert reliability(counts) < 0.5  # 0.25 ± 0.04 of 200 independent ranks: cells that are sorted rise together
    assert reliability(rank_histogram(observed, zeros(200), members[:40], zeros(40), NAMES)["t2m"]) > 1  # those are low


def test_gaps_that_are_elsewhere_in_each_sample_leave_the_other_cases():
    """1 % of the values of each of 300 samples: no cell is whole in all of them, and 0.99**19 of the cases are in their own 19."""
    rng, observed, members = (
        np.random.default_rng(0),
        gaussian(200, 1, shape=(1, 10, 10)),
        gaussian(300, 2, shape=(1, 10, 10)),
    )
    members[rng.random(members.shape) < 0.01] = np.nan
    assert np.isnan(members).any(0).mean() > 0.9
    counts = rank_histogram(observed, zeros(200), members, zeros(300), NAMES)["t2m"]
    assert counts.sum() == pytest.approx(200 * 100 * 0.99**19, rel=0.02)  # 20,000 cases, 5 sigma and more
    assert reliability(counts) < 0.1


def test_equal_values_share_their_ranks():
    counts = rank_histogram(np.zeros((1, 1, 1, 1)), zeros(1), np.zeros((3, 1, 1, 1)), zeros(3), NAMES, members=3)
    assert counts["t2m"] == pytest.approx([0.25] * 4)


def test_reliability_of_known_counts():
    assert reliability(np.full(10, 7.0)) == 0
    assert reliability(np.array([10.0, 0, 0, 0])) == pytest.approx(1.5)
    assert np.isnan(reliability(np.zeros(4)))


def test_too_few_members_are_nan_and_another_grid_is_named():
    assert np.isnan(crps(gaussian(5, 0), zeros(5), gaussian(1, 1), zeros(1), NAMES)["crps/t2m"])
    row = crps(gaussian(5, 0), np.arange(5), gaussian(9, 1), zeros(9), NAMES, (gaussian(9, 2), zeros(9)))
    assert np.isnan(list(row.values())).all()
    assert rank_histogram(gaussian(5, 0), zeros(5), gaussian(9, 1), zeros(9), NAMES)["t2m"].sum() == 0
    with pytest.raises(LevyError, match=r"observed fields are \(4, 5\), those of the ensemble \(4, 6\)"):
        crps(gaussian(5, 0), zeros(5), gaussian(9, 1, shape=(1, 4, 6)), zeros(9), NAMES)
