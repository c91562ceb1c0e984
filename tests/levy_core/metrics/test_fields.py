"""Generated weather fields against real ones: equal laws are near, the error of a known fault is its size, units do not matter."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.metrics.common import marginal
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, distance, measure_fields, quantile_pairs
from levy_core.metrics.fields.spatial import field_power
from tests.conftest import SHARED

WEATHER = SHARED / "weather"
NAMES = ("t2m", "tp")
FEW = FieldsMeasures(resamples=20)


def fields(n, seed, nu=4.0, side=12, channels=2, slope=3.0):
    """Fields of a power-law spectrum and unit variance before they are Student-t, float32 values as stores hold them."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    k[0, 0] = 1 / side
    white = rng.standard_normal((n, channels, side, side))
    z = np.fft.irfft2(np.fft.rfft2(white) * k ** (-slope / 2), s=(side, side))
    z /= np.sqrt(np.mean(z**2))
    heavy = np.sqrt(nu / rng.chisquare(nu, (n, 1, 1, 1))) if np.isfinite(nu) else 1
    return (z * heavy).astype(np.float32).astype(np.float64)


def zeros(n):
    return np.zeros(n, dtype=int)


def reference(values, labels=None, config=FEW, latitude=None, names=NAMES):
    areas = None if latitude is None else np.cos(np.deg2rad(latitude))
    return FieldsReference.of(values, zeros(len(values)) if labels is None else labels, names, areas, config)


REAL = fields(1500, 0)


@pytest.fixture(scope="module")
def real():
    return reference(REAL)


def measure_samples(generated, real, labels=None):
    return measure_fields(generated, zeros(len(generated)) if labels is None else labels, {"test": real})


def test_real_fields_against_themselves_are_perfect(real):
    row = measure_samples(REAL, real)
    assert row["distance/test"] == pytest.approx(0, abs=1e-4)  # the table's steps
    for name in NAMES:
        for measure in (
            "skew_ratio",
            "kurtosis_ratio",
            "q999_ratio",
            "hill_ratio",
            "exceed99_ratio",
            "exceed999_ratio",
        ):
            assert row[f"{measure}/test/{name}"] == pytest.approx(1, abs=1e-9), measure
        for measure in ("ks", "tail_error", "return_error", "spectrum_error", "correlation_error"):
            assert row[f"{measure}/test/{name}"] == pytest.approx(0, abs=1e-4), measure
    assert row["chi_error/test/t2m-tp"] == 0
    assert row["samples"] == 1500


def test_a_wrong_scale_is_an_error_of_its_logarithm(real):
    row = measure_samples(1.3 * REAL, real)
    shift = np.log(1.3)
    centre = [np.median(REAL[:, c]) for c in range(2)]
    assert np.abs(centre).max() < 0.05  # so that scaling about 0 is about the median
    for name in NAMES:
        assert row[f"tail_error/test/{name}"] == pytest.approx(shift**2, rel=0.05)
        assert row[f"q999_ratio/test/{name}"] == pytest.approx(1.3, rel=0.02)
        assert row[f"return_error/test/{name}"] == pytest.approx(shift, rel=0.05)
        assert 0 < row[f"spectrum_error/test/{name}"] < 2 * shift  # storms count by their shape
        assert row[f"kurtosis_ratio/test/{name}"] == pytest.approx(1)
        assert row[f"hill_ratio/test/{name}"] == pytest.approx(1, rel=0.02)
        assert row[f"correlation_error/test/{name}"] == pytest.approx(0, abs=1e-9)
    assert row["chi_error/test/t2m-tp"] == 0


def test_measures_do_not_depend_on_units_or_on_the_order_of_samples(real):
    generated = fields(300, 1, nu=6)
    row = measure_samples(generated, real)
    shuffled = generated[np.random.default_rng(0).permutation(300)]
    assert measure_samples(shuffled, real) == pytest.approx(row, rel=1e-9)
    units = np.array([2.0**10, 2.0**-8])[None, :, None, None]  # powers of two: float32 keeps every digit
    in_units = measure_samples(generated * units, reference(REAL * units))
    own = {
        f"{name}/test/{v}": by for name in ("q999", "cell_bias") for v, by in (("t2m", 2.0**10), ("tp", 2.0**-8))
    }  # no ratios
    for key, value in row.items():
        assert in_units[key] == pytest.approx(value * own.get(key, 1), rel=1e-6), key
    kelvin = measure_samples(generated + 256, reference(REAL + 256))
    for key, value in row.items():
        if not key.startswith("skew"):  # float32 at 256 has steps of 3e-5
            assert kelvin[key] - 256 * key.startswith("q999/") == pytest.approx(value, rel=0.02, abs=2e-4), key


def test_the_kolmogorov_smirnov_distance_is_scipys():
    rng = np.random.default_rng(2)
    for n, m in ((50, 70), (3000, 900), (5, 20_000)):
        a, b = np.sort(rng.standard_t(3, n)), np.sort(rng.standard_normal(m).round(1))
        assert marginal.kolmogorov(a, marginal.thin(b)) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    many = np.sort(rng.standard_normal(200_000))
    assert len(marginal.thin(many)) == marginal.TABLE
    exact = stats.ks_2samp(a, many).statistic
    assert marginal.kolmogorov(a, marginal.thin(many)) == pytest.approx(exact, abs=1 / marginal.TABLE)


def test_moments_and_quantiles_are_those_of_scipy_and_numpy(real):
    generated = fields(300, 3, nu=8)
    row = measure_samples(generated, real)
    for c, name in enumerate(NAMES):
        ours, its = generated[:, c].reshape(-1), REAL[:, c].reshape(-1)
        assert row[f"skew_ratio/test/{name}"] == pytest.approx(stats.skew(ours) / stats.skew(its))
        ratio = stats.kurtosis(ours, fisher=False) / stats.kurtosis(its, fisher=False)
        assert row[f"kurtosis_ratio/test/{name}"] == pytest.approx(ratio)
        m = np.median(its)
        q = [np.quantile(np.abs(v - m), FEW.levels) for v in (ours, its)]
        assert row[f"tail_error/test/{name}"] == pytest.approx(np.mean(np.log(q[0] / q[1]) ** 2))
        high = np.quantile(its, 0.99)
        assert row[f"exceed99_ratio/test/{name}"] == pytest.approx((ours > high).mean() / (its > high).mean())


def test_the_distance_is_the_mean_of_three_numbers_and_is_what_evaluate_says(real):
    generated = fields(200, 4, nu=np.inf)
    row = measure_samples(generated, real)
    of = lambda name: [row[f"{m}/test/{name}"] for m in ("ks", "tail_error", "spectrum_error")]
    parts = [np.mean([ks, np.sqrt(tail), scale]) for ks, tail, scale in map(of, NAMES)]
    assert row["distance/test"] == pytest.approx(np.mean(parts))
    assert distance(generated, real) == row["distance/test"]


def test_the_distance_tells_faults_from_chance():
    """200 samples of nu = 3 against 1,500 real fields: the right law, a Gaussian of its variance, and a smoother field.

    Means and spreads of one distance, over 30 sets: 0.09 +- 0.06, 0.27 +- 0.006, 0.46 +- 0.06. Means of 12 are 0.02 apart by
    chance: 7 sigma.
    """
    real = reference(fields(1500, 10, nu=3), config=FieldsMeasures(resamples=2))
    right = [distance(fields(200, 20 + s, nu=3), real) for s in range(12)]
    gaussian = [distance(np.sqrt(3) * fields(200, 40 + s, nu=np.inf), real) for s in range(12)]
    smooth = [distance(fields(200, 60 + s, nu=3, slope=4.0), real) for s in range(12)]
    assert np.mean(right) < 0.15
    assert np.mean(gaussian) > 0.24
    assert np.mean(smooth) > 0.38


def test_the_floor_is_the_distance_of_fresh_samples_and_falls_with_their_number():
    real = reference(fields(1500, 11, nu=8, side=8), config=FieldsMeasures(resamples=2, block=1))
    floors = [real.floor(n, draws=12) for n in (50, 200, 1000)]
    assert floors == sorted(floors, reverse=True)
    assert real.floor(50, draws=12) == floors[0]
    # 30 fresh sets of 200: 0.047 +- 0.011 each, so that the means of 12 and of 30 are 0.08 of themselves apart; 5 sigma
    fresh = np.mean([distance(fields(200, 100 + s, nu=8, side=8), real) for s in range(30)])
    assert floors[1] == pytest.approx(fresh, rel=0.4)


def test_a_reference_survives_disk(real, tmp_path):
    real = reference(fields(200, 5), np.arange(200) % 4, latitude=np.linspace(-60, 60, 12))
    write_tensors(tmp_path / "test.safetensors", real.tensors())
    write_json(tmp_path / "test.json", real.description())
    again = FieldsReference.read(
        read_tensors(tmp_path / "test.safetensors"), json.loads((tmp_path / "test.json").read_text())
    )
    assert again.tensors().keys() == real.tensors().keys()
    assert all(torch.equal(tensor, again.tensors()[name]) for name, tensor in real.tensors().items())
    assert again.description() == real.description()
    generated, labels = fields(100, 6), np.arange(100) % 4
    before, after = (measure_fields(generated, labels, {"test": r}) for r in (real, again))
    assert before == pytest.approx(after, rel=0, abs=0, nan_ok=True)


def test_the_real_numbers_come_with_intervals_that_hold_them():
    values = fields(1000, 7)
    real = reference(values, config=FieldsMeasures(resamples=100))
    for found in real.description()["variables"].values():
        numbers = [found[k] for k in ("skewness", "kurtosis", "hill", "gpd")]
        numbers += [*found["quantiles"].values(), *found["return_levels"].values()]
        assert set(found["return_levels"]) == {"10", "100", "1000"}
        assert len(found["quantiles"]) == len(FEW.levels)
        for number in numbers:
            assert number["low"] < number["value"] < number["high"]
    pooled = values[:, 0].reshape(-1)
    found = real.description()["variables"]["t2m"]
    assert found["quantiles"]["0.999"]["value"] == pytest.approx(np.quantile(pooled, 0.999))
    assert found["skewness"]["value"] == pytest.approx(stats.skew(pooled), rel=1e-6)
    assert found["kurtosis"]["value"] == pytest.approx(stats.kurtosis(pooled, fisher=False), rel=1e-6)


def test_intervals_of_quantiles_cover_the_truth():
    """The 98 % quantile of 40 sets of 300 fields of 6 x 6, nu = 4. With a coverage of 0.88 fewer than 28 of 40 would be a
    false alarm in 1,000 runs, were the seeds free."""
    truth = stats.t.ppf(0.98, 4)
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        shared = np.sqrt(4 / rng.chisquare(4, (300, 1, 1, 1)))
        values = rng.standard_normal((300, 1, 6, 6)) * shared
        config = FieldsMeasures(levels=(0.95, 0.98), resamples=30, block=1)
        found = reference(values, config=config, names=("t2m",)).estimates["t2m"]["quantiles"]["0.98"]
        covered += found["low"] <= truth <= found["high"]
    assert covered >= 28


def test_cells_that_are_always_missing_are_left_out_and_single_holes_are_dropped(real):
    values = REAL
    sea = np.zeros((12, 12), dtype=bool)
    sea[:4] = True
    masked = np.where(sea, np.nan, values)
    generated = fields(300, 8)
    nonsense = np.where(sea, 1e6, generated)  # what a network says where there is no value
    row = measure_samples(nonsense, reference(masked))
    assert row == pytest.approx(measure_samples(np.where(sea, np.nan, generated), reference(masked)))
    assert row["distance/test"] < 0.3
    holes = values.copy()
    holes[np.random.default_rng(0).random(values.shape) < 0.02] = np.nan
    assert measure_samples(generated, reference(holes))["distance/test"] == pytest.approx(
        measure_samples(generated, real)["distance/test"], abs=0.03
    )


def test_too_few_samples_give_nan_not_an_error(real):
    for n in (0, 1, 5):
        row = measure_samples(fields(300, 9)[:n], real)
        assert np.isnan(
            [row["return_error/test/t2m"], row["correlation_error/test/t2m"], row["chi_error/test/t2m-tp"]]
        ).all()
    assert np.isnan(measure_samples(fields(300, 9)[:0], real)["distance/test"])
    few = reference(fields(5, 9))
    row = measure_samples(fields(300, 9), few)
    assert np.isnan(row["return_error/test/t2m"])
    assert few.description()["variables"]["t2m"]["hill"]["value"] is None
    json.dumps(few.description(), allow_nan=False)


def test_samples_without_spread_are_infinitely_far(real):
    flat = np.full((200, 2, 12, 12), np.median(REAL[:, 0]), dtype=np.float64)
    assert distance(flat, real) == np.inf


def test_classes_are_judged_by_their_own_fields():
    labels = np.arange(800) % 2
    storms = lambda values: np.where(labels[: len(values), None, None, None] == 1, 3 * values, values)
    real = reference(storms(fields(800, 12)), labels)
    right, swapped = storms(fields(400, 13)), fields(400, 13) * np.where(labels[:400] == 0, 3, 1)[:, None, None, None]
    row, wrong = (measure_samples(g, real, labels[:400]) for g in (right, swapped))
    for label in (0, 1):
        assert row[f"class_distance/test/{label}"] < 0.2
        assert wrong[f"class_distance/test/{label}"] > 0.5
    assert wrong["distance/test"] < 0.2  # pooled, nothing shows
    assert np.isnan(measure_samples(right[:30], real, zeros(30))["class_distance/test/1"])


def test_quantile_pairs_of_equal_laws_lie_on_the_diagonal_and_reach_into_both_tails():
    rng = np.random.default_rng(14)
    a, b = rng.standard_normal((2, 40_000))
    theirs, ours = quantile_pairs(a, b)
    assert theirs == pytest.approx(ours, abs=0.5)
    middle = np.abs(theirs) < 2
    assert theirs[middle] == pytest.approx(ours[middle], abs=0.08)  # 4 sigma of the difference at 2
    assert theirs.min() < -3.5
    assert theirs.max() > 3.5
    assert quantile_pairs(3 * a + 1, b)[1] == pytest.approx(3 * ours + 1)
    a[:5] = np.nan
    assert np.isfinite(quantile_pairs(a, b)).all()
    assert len(quantile_pairs(a[:5], b)[0]) == 0


def test_shapes_that_do_not_fit_are_named(real):
    with pytest.raises(LevyError, match=r"\(3, 2, 8, 8\).*\(2, 12, 12\)"):
        distance(np.zeros((3, 2, 8, 8)), real)
    with pytest.raises(LevyError, match=r"\(5, 3, 4, 4\) with 5 labels and the variables t2m, tp"):
        reference(np.zeros((5, 3, 4, 4)))
    empty = fields(30, 0)
    empty[:, 1] = np.nan
    with pytest.raises(LevyError, match="tp has no value in any of 30 real fields"):
        reference(empty)


def test_places_are_fields_of_one_row():
    values = fields(600, 15, side=8)[:, :, :1]
    row = measure_samples(fields(300, 16, side=8)[:, :, :1], reference(values, latitude=np.linspace(40, 50, 8)))
    rare = {key for key in row if "999" in key}  # 2,400 values: none of ten lies above the 99.9 % quantile
    assert {key for key, value in row.items() if np.isnan(value)} == rare
    assert row["distance/test"] < 0.25


def test_a_year_of_real_rain_can_be_judged_by_its_halves():
    path = WEATHER / "pr_day_CanESM2_rcp85_2095.nc"
    if not path.exists():
        pytest.skip(f"{path} is not here: real fields come with the workplace, not with the project")
    with xr.open_dataset(path) as data:
        rain = data["pr"].values[:, None].astype(np.float64) * 86400  # mm per day
        latitude = data["lat"].values.astype(np.float64)
    even, odd = rain[::2], rain[1::2]
    row = measure_fields(odd, zeros(len(odd)), {"test": reference(even, latitude=latitude, names=("pr",))})
    assert row["ks/test/pr"] < 0.1
    assert row["spectrum_error/test/pr"] < 0.3
    assert np.isfinite([v for k, v in row.items() if not k.startswith("mean95")]).all()  # of 182 fields 9 lie beyond
    dry = measure_fields(0.1 * odd, zeros(len(odd)), {"test": reference(even, latitude=latitude, names=("pr",))})
    assert dry["distance/test"] > 5 * row["distance/test"]


def test_power_of_fields_is_what_the_spectrum_error_compares(real):
    """A filter that halves the power of the short waves is an error of log 2 in those rings."""
    generated = REAL
    from scipy.fft import dctn, idctn

    short = np.hypot(*np.meshgrid(np.arange(12), np.arange(12))) >= 6
    filtered = idctn(
        np.where(short, np.sqrt(0.5), 1) * dctn(generated, axes=(2, 3), norm="ortho"), axes=(2, 3), norm="ortho"
    )
    rings = field_power(generated[:1, 0]).shape[1]
    found = measure_samples(filtered, real)["spectrum_error/test/t2m"]
    assert found == pytest.approx(np.log(2) * np.sqrt((rings - 5.5) / rings), rel=0.1)


def test_wet_days_are_counted_and_their_mean_is_measured_where_a_variable_can_be_wet():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random((400, 2, 6, 6)) < 0.3, rng.exponential(5.0, (400, 2, 6, 6)), 0.0)
    real = FieldsReference.of(rain, zeros(400), NAMES, None, FEW, {"tp": 1.0})
    assert FieldsReference.read(real.tensors(), real.description()).wet == {"tp": 1.0}
    row = measure_fields(rain, zeros(400), {"test": real})
    assert row["wet_ratio/test/tp"] == 1
    assert row["wet_mean_ratio/test/tp"] == pytest.approx(1)  # real fields are kept as float32
    assert "wet_ratio/test/t2m" not in row
    drizzle = np.where(rain > 0, rain / 2, 1.5)  # everywhere some, and less where it rains
    row = measure_fields(drizzle, zeros(400), {"test": real})
    tp, more = rain[:, 1].astype(np.float32), drizzle[:, 1]
    assert row["wet_ratio/test/tp"] == pytest.approx((more >= 1).mean() / (tp >= 1).mean())
    assert row["wet_mean_ratio/test/tp"] == pytest.approx(more[more >= 1].mean() / tp[tp >= 1].astype(float).mean())
    assert row["wet_ratio/test/tp"] > 2
    assert row["wet_mean_ratio/test/tp"] < 0.6
    dry = measure_fields(np.zeros_like(rain), zeros(400), {"test": real})
    assert dry["wet_ratio/test/tp"] == 0
    assert np.isnan(dry["wet_mean_ratio/test/tp"])
