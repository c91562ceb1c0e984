"""Which designs are Gaussian twins, and what is said where one is missing."""

from dataclasses import replace

import pytest
import yaml

from levy_core.process.design import PRESETS, Design
from levy_core.process.twins import describe_missing_twin, gaussian_twin, twin_of

HEAVY = [
    ({"preset": "lim"}, {"preset": "lim", "alpha": 2.0}),
    ({"preset": "lim", "alpha": 1.5, "loss": "huber"}, {"preset": "lim", "loss": "huber", "alpha": 2.0}),
    ({"preset": "dlpm", "isotropic": False}, {"preset": "dlpm", "alpha": 2.0}),
    ({"preset": "tedm", "nu": 6.0, "sigma_data": 1.0}, {"preset": "tedm", "sigma_data": 1.0, "noise": "gaussian"}),
    ({"preset": "tflow"}, {"preset": "tflow", "noise": "gaussian"}),
]


@pytest.mark.parametrize(("settings_of_heavy", "settings_of_twin"), HEAVY)
def test_the_gaussian_twin_differs_in_nothing_but_the_noise(settings_of_heavy, settings_of_twin):
    heavy = Design.from_mapping(settings_of_heavy)
    assert gaussian_twin(settings_of_heavy, heavy) == settings_of_twin
    twin = Design.from_mapping(settings_of_twin)
    assert twin.is_gaussian
    assert not heavy.is_gaussian
    assert twin_of("heavy", {"heavy": heavy, "twin": twin}) == "twin"


def test_published_pairs_are_twins_and_other_designs_are_not():
    made = {name: Design.from_mapping({"preset": name}) for name in PRESETS}
    assert {name: twin for name in made if (twin := twin_of(name, made))} == {"tedm": "edm", "tflow": "flow"}
    other_loss = replace(made["edm"], sigma_data=0.4)
    assert twin_of("tedm", {"tedm": made["tedm"], "edm": other_loss}) is None


MODELS = {
    "lim": {"preset": "lim", "alpha": 1.8},
    "half": {"preset": "lim", "alpha": 2.0},
    "tedm": {"preset": "tedm", "nu": 5.0, "allow_infinite": True},
    "edm": {"preset": "edm", "allow_infinite": True},
    "published": {"preset": "lim-published", "alpha": 1.8},
    "lighter": {"preset": "lim-published", "alpha": 1.9},
}


def told_of(name, *among):
    return describe_missing_twin(name, MODELS[name], {key: Design.from_mapping(MODELS[key]) for key in (name, *among)})


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("lim", "lim-gaussian: {preset: lim, alpha: 2.0}"),
        ("tedm", "tedm-gaussian: {preset: tedm, allow_infinite: true, noise: gaussian}"),
    ],
)
def test_a_heavy_tailed_design_without_a_twin_among_the_designs_is_told_which_to_add(name, twin):
    assert told_of(name, "lim", "tedm") == (
        f"{name} has no Gaussian twin among the designs, so that nothing shows what its heavy tails bring: "
        f"add `{twin}` under models and {name}-gaussian to designs in params.yaml"
    )
    (settings_of_twin,) = yaml.safe_load(twin).values()
    assert Design.from_mapping(MODELS[name]).is_twin(Design.from_mapping(settings_of_twin))


def test_gaussian_designs_and_those_with_a_twin_have_nothing_to_add():
    assert [told_of(name, *MODELS) for name in MODELS if name != "lighter"] == [""] * 5


def test_a_twin_of_a_design_with_the_same_noise_and_another_loss_is_enough():
    assert told_of("published", "lim", "half") == ""
    assert told_of("lighter", "lim", "half") != ""
