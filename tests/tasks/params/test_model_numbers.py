"""Every number that a design of `models` has, found in the design's own classes: what is no such number is refused, and named."""

from dataclasses import MISSING, fields
from typing import get_args

import pytest

from levy_core.base.errors import LevyError
from levy_core.process.design import LAWS, LEVELS, SCHEDULES, Design
from levy_core.process.loss import ResidualLoss
from tasks.params import loading, plain_yaml
from tests.conftest import ROOT, merged

SHIPPED = plain_yaml.read((ROOT / "params.yaml").read_text())
NEEDED = {"alpha": 1.8, "nu": 4.0}
MAY_BE_NEGATIVE = {"level_mean"}


def numbers(kind):
    """Keys of the numbers of a class that a person sets."""
    types = {f.name: {f.type, *get_args(f.type)} for f in fields(kind) if f.name != "exponent"}
    return [name for name, own in types.items() if own & {int, float}]


def numeric_keys():
    """(settings of a design, the key of one of its numbers)."""
    for axis, table in (("noise", LAWS), ("schedule", SCHEDULES), ("levels", LEVELS)):
        for name, kind in table.items():
            needed = {f.name: NEEDED[f.name] for f in fields(kind) if f.name in NEEDED and f.default is MISSING}
            settings = {"preset": "ddpm", axis: name, **needed}
            if axis == "noise":
                settings |= {"loss": "huber"}  # finite under any law
            yield from ((settings, key) for key in numbers(kind))
    for kind in (ResidualLoss, Design):
        yield from (({"preset": "ddpm"}, key) for key in numbers(kind))


CASES = [pytest.param(*case, id=f"{case[1]} of {' '.join(map(str, case[0].values()))}") for case in numeric_keys()]


def test_the_numbers_are_found():
    found = {case.values[1] for case in CASES}
    assert found == {
        "alpha", "cap", "nu", "beta_min", "beta_max", "sigma_min", "sigma_max", "level_mean", "level_std", "groups", "draws", "sigma_data", "eofs",
    }  # fmt: skip


@pytest.mark.parametrize(("settings", "key"), CASES)
def test_what_is_no_number_is_refused(settings, key):
    for value in (float("nan"), float("inf"), float("-inf"), "3", "many", True, [1.0], {"a": 1}):
        with pytest.raises(LevyError, match=rf"\b{key} is "):
            Design.from_mapping({**settings, key: value})


@pytest.mark.parametrize(("settings", "key"), CASES)
def test_negative_numbers_are_refused_where_they_mean_nothing(settings, key):
    negative = {**settings, key: -1}
    if key in MAY_BE_NEGATIVE:
        assert Design.from_mapping(negative).to_mapping()[key] == -1
    else:
        with pytest.raises(LevyError, match=rf"\b{key}\b.* -1"):
            Design.from_mapping(negative)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_params_with_a_level_that_is_no_number_are_refused_with_its_key(tmp_path, value):
    path = tmp_path / "params.yaml"
    changed = merged(SHIPPED, {"designs": ["edm"], "models": {"edm": {"preset": "edm", "level_mean": "LEVEL"}}})
    path.write_text(plain_yaml.write(changed).replace("LEVEL", value))
    with pytest.raises(
        LevyError, match=r"models\.edm is .*: level_mean is -?(nan|inf): input should be a finite number"
    ):
        loading.load(path)


@pytest.mark.parametrize("part", ["side", "overlap"])
def test_patches_are_whole_cells(part):
    for value in (float("nan"), float("inf"), -1, "3", 1.5, True, None):
        patches = {"side": [8, 8], "overlap": 2}
        patches[part] = value if part == "overlap" else [8, value]
        with pytest.raises(LevyError, match="patches"):
            Design.from_mapping({"preset": "ddpm", "patches": patches})
