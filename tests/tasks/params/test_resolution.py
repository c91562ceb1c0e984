"""What is said of designs before they are trained."""

import pytest

from levy_core.process.design import Design
from tasks.params.resolution import describe_missing_twin, design_of

MODELS = {
    "lim": {"preset": "lim", "alpha": 1.8},
    "half": {"preset": "lim", "alpha": 2.0},
    "tedm": {"preset": "tedm", "nu": "data"},
    "edm": {"preset": "edm"},
}


@pytest.mark.parametrize(
    ("name", "twin"),
    [("lim", "lim-gaussian: {preset: lim, alpha: 2.0}"), ("tedm", "tedm-gaussian: {preset: tedm, noise: gaussian}")],
)
def test_a_heavy_tailed_design_without_a_twin_among_the_designs_is_told_which_to_add(name, twin):
    assert describe_missing_twin(name, MODELS, ["lim", "tedm"]) == (
        f"{name} has no Gaussian twin among the designs, so that nothing shows what its heavy tails bring: "
        f"add `{twin}` under models and {name}-gaussian to designs in params.yaml"
    )


def test_gaussian_designs_and_those_with_a_twin_have_nothing_to_add():
    assert [describe_missing_twin(name, MODELS, MODELS) for name in MODELS] == [""] * 4


def test_the_twin_that_is_told_is_one():
    told = describe_missing_twin("tedm", MODELS, ["tedm"])
    assert "{preset: tedm, noise: gaussian}" in told
    assert design_of({"preset": "tedm", "noise": "gaussian"}) == Design.from_mapping({"preset": "edm"})
