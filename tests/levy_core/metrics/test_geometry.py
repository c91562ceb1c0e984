"""Scales and distances are those of where cells lie: kilometres between places, and never the order of a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.metrics.fields.geometry import EARTH_KM, PLANE, Places
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, measure_fields
from levy_core.metrics.fields.summary import Frame

NAMES, FEW = ("t2m", "tp"), FieldsMeasures(resamples=5)


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


def test_places_without_coordinates_have_no_pairs_and_are_judged_by_their_values():
    degrees = np.full((2, 5), np.nan)
    real = weather_at(scattered(5, 0), 300, 0)
    row = measure_at(degrees, real, real[:100])
    assert np.isnan(row["joint_error/test/tp"])
    assert np.isnan(row["correlation_error/test/tp"])
    both = [(row[f"ks/test/{v}"] + np.sqrt(row[f"tail_error/test/{v}"])) / 2 for v in NAMES]
    assert row["distance/test"] == pytest.approx(np.mean(both))


@pytest.mark.parametrize("geometry", [PLANE, Places(scattered(9, 3))], ids=["plane", "places"])
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
