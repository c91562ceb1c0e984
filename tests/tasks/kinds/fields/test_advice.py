"""What speaks against a design for given fields is said before anything is trained."""

import pytest

from levy_core.process.design import Design
from tasks.kinds.fields import KIND
from tasks.kinds.fields.settings import FieldSettings
from tests.support.fields import temperature, write


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


def test_a_winter_that_is_held_out_of_years_is_warned_of_with_what_to_write(tmp_path, capsys):
    raw = write(tmp_path / "raw", temperature(3 * 365, freq="D"))
    variables = [{"name": "t2m", "units": "K"}]
    assert KIND.check(raw, FieldSettings(kind="fields", variables=variables, test_share=0.1)).counts == {"all": 983}
    said = capsys.readouterr().err
    assert said.startswith(
        f"warning: {raw}: measures compare unlike seasons: 28 % DJF, 0 % MAM, 0 % JJA, 72 % SON (held out, "
    )
    assert said.endswith('write `train_until: "2002-12-29"`, so that whole years are held out\n')
    KIND.check(raw, FieldSettings(kind="fields", variables=variables, train_until="2002-12-29"))
    assert capsys.readouterr().err == ""
