"""Scales and distances are those of where cells lie: waves round the globe, kilometres between places, and never the order of a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.sphere import EARTH_KM
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.metrics.fields.geometry import PLANE, Globe, Places
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, measure_fields
from levy_core.metrics.fields.summary import Frame

NAMES, FEW = ("t2m", "tp"), FieldsMeasures(resamples=5)
LATITUDES = {
    "with poles": np.linspace(90, -90, 19),
    "without the last": np.linspace(90, -90, 19)[:-1],
    "centres": np.linspace(87.5, -87.5, 36),
    "Gauss": np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(12)[0]))[::-1],
}


def scattered(places, seed):
    """Latitudes and longitudes [2, places] all over the globe, across the date line too."""
    rng = np.random.default_rng(seed)
    return np.stack([np.rad2deg(np.arcsin(rng.uniform(-1, 1, places))), rng.uniform(-180, 180, places)])


def weather_at(degrees, n, seed, width=0.5):
    """Student-t fields [n, 2, 1, W] whose correlation falls with the distance between places."""
    phi, theta = np.deg2rad(degrees)
    points = np.stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], 1)
    covariance = np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / (2 * width**2)) + 1e-6 * np.eye(len(points))
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2, len(points))) @ np.linalg.cholesky(covariance).T
    return (z * np.sqrt(4 / rng.chisquare(4, (n, 1, 1))))[:, :, None]


def measure_at(degrees, real, generated):
    labels = np.arange(len(real)) % 2
    reference = FieldsReference.of(real, labels, NAMES, None, FEW, {"tp": 0.5}, geometry=Places(degrees))
    row = measure_fields(generated, labels[: len(generated)], {"test": reference})
    return row | {"floor": reference.floor(50)}


@settings(max_examples=8, deadline=None)
@given(places=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_the_order_of_places_changes_no_measure(places, seed):
    degrees = scattered(places, seed)
    real, generated = (weather_at(degrees, n, seed + k) for k, n in enumerate((300, 120)))
    rng = np.random.default_rng(seed)
    real[rng.random(real.shape) < 0.02] = np.nan
    order = rng.permutation(places)
    row = measure_at(degrees, real, generated)
    permuted = measure_at(degrees[:, order], real[..., order], generated[..., order])
    assert row.keys() == permuted.keys()
    assert not any(name.startswith("spectrum_error") for name in row)
    assert permuted == pytest.approx(row, rel=1e-12, abs=1e-12, nan_ok=True)
    if places >= 10:  # of one place 120 samples are too few for a tail
        assert np.isfinite(row["distance/test"])


def test_the_distance_of_places_sees_that_they_are_independent():
    """Each place has its own law, but no place knows another: values alone would not tell. 300 samples of 25 places."""
    degrees = scattered(25, 0)
    real, generated = weather_at(degrees, 600, 0), weather_at(degrees, 300, 1)
    shuffled, rng = generated.copy(), np.random.default_rng(2)
    for place in range(25):
        shuffled[..., place] = generated[rng.permutation(300)][..., place]
    near, far = measure_at(degrees, real, generated), measure_at(degrees, real, shuffled)
    assert far["ks/test/t2m"] == near["ks/test/t2m"]
    assert near["distance/test"] < 1.5 * near["floor"]
    assert far["distance/test"] > near["distance/test"] + 0.05
    assert far["joint_error/test/t2m"] > 2 * near["joint_error/test/t2m"]


def test_pairs_of_places_are_as_many_kilometres_apart_as_their_class_says():
    degrees, valid = scattered(60, 1), np.ones((1, 60), dtype=bool)
    degrees[:, 7], degrees[:, 8] = degrees[:, 6] + [0.1, 0], degrees[:, 6] + [0.3, 0]
    valid[0, 5], degrees[:, 9] = False, np.nan
    its = Places(degrees)
    classes = its.pairs(valid)
    octaves = []
    for one, other in classes:
        apart = its.kilometres((one, other))
        octaves.append({int(np.ceil(np.log2(max(km, 25) / 25))) for km in apart})
        assert (np.diff(apart) >= 0).all()
        assert len(apart) <= 64
        assert not np.isin([5, 9], [one, other]).any()
        assert valid[0, one].all()
    assert all(len(found) == 1 for found in octaves)
    assert octaves == sorted(octaves, key=min)
    assert octaves[0] == {0}  # 6 and 7 are 11 km apart
    few = Places(degrees[:, :4]).pairs(np.ones((1, 4), dtype=bool))
    assert sum(len(one) for one, _ in few) == 6  # all


def test_kilometres_are_those_of_great_circles():
    its = Places(np.array([[0.0, 0, 90, 0, 50, 50], [0.0, 90, 0, 180, 179.9, -179.9]]))
    quarter = np.pi / 2 * EARTH_KM
    found = its.kilometres((np.array([0, 0, 0, 4]), np.array([1, 2, 3, 5])))
    assert found == pytest.approx(
        [quarter, quarter, 2 * quarter, 0.2 * np.cos(np.deg2rad(50)) * quarter / 90], rel=1e-6
    )


def test_places_that_never_change_are_no_nearer_to_real_ones():
    """Left out of the correlations, cells without a law of their own would be judged by the others."""
    degrees = scattered(9, 0)
    real, good = weather_at(degrees, 1500, 0), weather_at(degrees, 300, 1)
    still = good.copy()
    still[..., :3] = still[:1, ..., :3]
    found, fewer = measure_at(degrees, real, good), measure_at(degrees, real, still)
    none = measure_at(degrees, real, np.zeros_like(good))
    for v in NAMES:
        assert (
            found[f"correlation_error/test/{v}"]
            < fewer[f"correlation_error/test/{v}"]
            < none[f"correlation_error/test/{v}"]
        )
    assert found["distance/test"] < fewer["distance/test"] < none["distance/test"] < np.inf
    assert np.isnan(measure_at(degrees, real, still[:19])["distance/test"])


def test_places_without_coordinates_have_no_pairs_and_are_judged_by_their_values():
    degrees = np.full((2, 5), np.nan)
    real = weather_at(scattered(5, 0), 300, 0)
    row = measure_at(degrees, real, real[:100])
    assert np.isnan(row["joint_error/test/tp"])
    assert np.isnan(row["correlation_error/test/tp"])
    both = [(row[f"ks/test/{v}"] + np.sqrt(row[f"tail_error/test/{v}"])) / 2 for v in NAMES]
    assert row["distance/test"] == pytest.approx(np.mean(both))


@pytest.mark.parametrize("latitude", LATITUDES.values(), ids=LATITUDES)
@pytest.mark.parametrize("width", [36, 37])
def test_power_round_the_globe_sums_to_the_variance_over_the_area(latitude, width):
    """Parseval."""
    areas = np.cos(np.deg2rad(latitude)).clip(min=0)
    values = np.random.default_rng(0).standard_normal((4, len(latitude), width)) * 7 + 280
    its = Globe(areas)
    power = its.power(values)
    assert power.shape == (4, len(its.wavenumbers((len(latitude), width))))
    weights = areas[:, None] / (areas.sum() * width)
    mean = (weights * values).sum((1, 2), keepdims=True)
    assert power @ its.modes(values.shape[1:]) == pytest.approx((weights * (values - mean) ** 2).sum((1, 2)), rel=1e-10)
    of_rows = (weights * width * (values.mean(2, keepdims=True) - mean) ** 2).sum((1, 2))
    assert power[:, 0] == pytest.approx(of_rows, rel=1e-10)


@pytest.mark.parametrize("latitude", LATITUDES.values(), ids=LATITUDES)
def test_a_wave_round_the_globe_has_all_its_power_at_its_wavenumber(latitude):
    areas = np.cos(np.deg2rad(latitude)).clip(min=0)
    longitude = np.deg2rad(np.arange(0, 360, 7.5))
    wave = np.cos(5 * longitude + 1) * np.cos(np.deg2rad(latitude))[:, None] ** 5  # a Rossby wave's crests
    power = Globe(areas).power(np.stack([wave, np.roll(wave, 11, 1)]))
    exact = (areas * np.cos(np.deg2rad(latitude)) ** 10).sum() / areas.sum() / 2
    assert power[:, 5] == pytest.approx(exact, rel=1e-12)
    assert np.delete(power, 5, 1) == pytest.approx(0, abs=1e-14)


def test_turning_the_globe_changes_no_power_and_a_box_would_show_a_seam():
    """As many waves as there are round the globe, and none where the map is cut."""
    values = np.random.default_rng(1).standard_normal((3, 10, 24)).cumsum(1)
    its = Globe(np.ones(10))
    assert its.power(np.roll(values, 7, 2)) == pytest.approx(its.power(values), rel=1e-9)
    assert PLANE.power(np.roll(values, 7, 2)) != pytest.approx(PLANE.power(values), rel=1e-2)


def test_missing_cells_of_the_globe_count_as_the_mean():
    values = np.random.default_rng(2).standard_normal((3, 8, 12)) + 5
    values[:, 2:4, 3:6] = np.nan
    values[2] = np.nan
    its = Globe(np.arange(1.0, 9))
    power = its.power(values)
    assert (power[2] == 0).all()
    weights = np.where(np.isnan(values), 0, its.areas[:, None])[:2]
    mean = (weights * np.nan_to_num(values[:2])).sum((1, 2)) / weights.sum((1, 2))
    filled = np.where(np.isnan(values[:2]), mean[:, None, None], values[:2])
    assert power[:2] == pytest.approx(its.power(filled), rel=1e-10)


@pytest.mark.parametrize(
    "geometry", [PLANE, Globe(np.ones(1)), Places(scattered(9, 3))], ids=["plane", "globe", "places"]
)
def test_a_reference_is_read_with_its_geometry(tmp_path, geometry):
    real = weather_at(scattered(9, 3), 200, 0)
    reference = FieldsReference.of(real, np.zeros(200, int), NAMES, np.ones(1), FEW, geometry=geometry)
    write_tensors(tmp_path / "a.safetensors", reference.tensors())
    read = FieldsReference.read(read_tensors(tmp_path / "a.safetensors"), reference.description())
    assert type(read.frame.geometry) is type(geometry)
    generated = weather_at(scattered(9, 3), 100, 1)
    rows = [measure_fields(generated, np.zeros(100, int), {"test": its}) for its in (reference, read)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-12, nan_ok=True)


def test_a_frame_of_a_plane_is_as_it_was():
    frame = Frame(np.ones((1, 6, 8), dtype=bool), None, 10)
    assert len(frame.wavenumbers) == len(frame.modes) == frame.look(np.zeros((2, 1, 6, 8))).power.shape[2]
