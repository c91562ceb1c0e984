"""What speaks against a design for given fields is said before anything is trained."""

import pytest

from levy_core.process.design import Design
from tasks.kinds.fields import KIND
from tasks.kinds.fields.settings import FieldSettings


def advice(transform, **design):
    rain = {"name": "tp", "units": "mm day-1", "transform": transform, "minimum": 0}
    settings = FieldSettings(kind="fields", variables=[{"name": "t2m", "units": "degC"}, rain])
    return KIND.advise(settings, Design.from_mapping(design))


@pytest.mark.parametrize("design", [{"preset": "tedm", "nu": 4.0}, {"preset": "lim", "alpha": 1.8}])
def test_heavy_noise_on_what_was_made_light_is_warned_of(design):
    for transform in ("log1p", "normal-score"):
        assert advice(transform, **design).startswith(f"heavy-tailed noise with {transform} of tp: ")
    for transform in ("identity", "power"):
        assert advice(transform, **design) == ""


@pytest.mark.parametrize("design", [{"preset": "edm"}, {"preset": "lim", "alpha": 2.0}])
def test_gaussian_noise_goes_with_every_transform(design):
    assert advice("log1p", **design) == ""
