"""A registered model draws with the sampler that won, changed only where a request says so."""

import json
import shutil
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.samples import Samples
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver, format_rows
from levy_core.serving.draw import draw_samples
from levy_core.serving.reading import Reader
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import load_model
from tests.conftest import save_untrained

TUNED = Solver(
    "sde-e", "2m-data", "karras", 4, 1.5, "quiet-end", rho_max=20.0, rho_min=0.03, denoise=True, limit="clamp"
)
LONGER = Solver("ode", "3m-data", "uniform-log-rho", 6, rho_max=30.0, denoise=True)
GUIDED = replace(LONGER, guide="classifier-free", strength=1.5, guide_rho_max=10.0, guide_rho_min=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("model"), UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    samplers = {"4": asdict(TUNED), "6": asdict(LONGER), "9": asdict(GUIDED)}
    write_json(folder / SAMPLER, {"default": 4, "samplers": samplers})
    return folder


def describe(folder, target, **changes):
    """A copy of a model whose samples are described otherwise."""
    shutil.copytree(folder, target)
    description = json.loads((target / "design.json").read_text())
    description["samples"] |= changes
    write_json(target / "design.json", description)
    return target


@pytest.mark.parametrize(
    ("request_", "solver"),
    [
        ({}, TUNED),
        ({"steps": 3}, replace(TUNED, steps=3)),
        ({"steps": 6}, LONGER),  # the one that was found for so many
        ({"steps": 6, "grid": "karras"}, replace(LONGER, grid="karras")),
        ({"eta": 0.5}, replace(TUNED, eta=0.5)),
        ({"solver": "ode"}, replace(TUNED, family="ode")),
        (
            {"solver": "ode", "discretisation": "heun", "grid": "uniform-t"},
            replace(TUNED, family="ode", discretisation="heun", grid="uniform-t"),
        ),
        # the tuned discretisation and eta do not fit the family: its own form, the largest eta with a meaning
        ({"solver": "split-ddim"}, replace(TUNED, family="split-ddim", discretisation="ei-noise", eta=1.0)),
        ({"solver": "posterior"}, replace(TUNED, family="posterior", discretisation="ei-noise")),
        ({"guide": "classifier-free", "strength": 2}, replace(TUNED, guide="classifier-free", strength=2.0)),
        (
            {"guide": "classifier-free", "strength": 2, "guide_rho_max": 9, "guide_rho_min": 0.1},
            replace(TUNED, guide="classifier-free", strength=2.0, guide_rho_max=9.0, guide_rho_min=0.1),
        ),
        ({"steps": 9}, GUIDED),  # 6 steps, 3 of them with a guide, cost 9
        ({"steps": 9, "strength": 2.0}, replace(GUIDED, strength=2.0)),
        ({"steps": 9, "guide": "none"}, replace(GUIDED, guide="none", steps=9)),
        ({"boost": 2}, replace(TUNED, boost=2.0)),
    ],
)
def test_a_request_changes_what_it_names(folder, request_, solver):
    images = RegisteredModel(folder).predict([{"n": 2, "class": "b", "seed": 3, **request_}])
    expected = draw_samples(load_model(folder), solver, 3, np.full(2, 1), 2, torch.device("cpu"))
    assert np.array_equal(images, expected.transpose(0, 2, 3, 1))


FITTED = Solver(
    "ode", "fitted", "fitted", 2, rho_min=0.02, limit="clamp",
    rows=format_rows([[20.0, 0.1, 0.9], [0.5, 0.2, 1.5, -0.7]]),
)  # fmt: skip
UNFITTED = Solver("ode", "2m-data", "uniform-log-rho", 2, rho_max=20.0, rho_min=0.02, denoise=True, limit="clamp")
IMAGES = Samples("images", ("a", "b"), "uint8", "", (0.9, 0.1), 0.5)


@pytest.mark.parametrize(
    ("request_", "solver"),
    [
        ({}, FITTED),
        ({"steps": 2}, FITTED),
        ({"guide": "none"}, FITTED),
        ({"solver": "ode", "discretisation": "fitted"}, FITTED),
        ({"classes": "none"}, FITTED),
        ({"steps": 5}, replace(UNFITTED, steps=5)),
        ({"grid": "karras"}, replace(UNFITTED, grid="karras")),
        ({"discretisation": "heun"}, replace(UNFITTED, discretisation="heun")),
        ({"boost": 2}, replace(UNFITTED, boost=2.0)),
        ({"solver": "sde-e", "eta": 0.5}, replace(UNFITTED, family="sde-e", eta=0.5)),
        ({"solver": "split-ddim"}, replace(UNFITTED, family="split-ddim", discretisation="ei-noise")),
        ({"guide": "classifier-free", "strength": 2}, replace(UNFITTED, guide="classifier-free", strength=2.0)),
    ],
)
def test_a_request_that_changes_nothing_of_a_fitted_table_keeps_it_and_any_other_gets_a_multistep_one(request_, solver):
    assert Reader(IMAGES, (1, 8, 8), FITTED, {2: FITTED}).read({"n": 3, **request_})[1] == solver


def test_a_guided_fitted_table_is_left_for_samples_without_a_class():
    guided = replace(FITTED, guide="classifier-free", strength=1.5)
    reader = Reader(IMAGES, (1, 8, 8), guided, {4: guided})
    assert reader.read({"n": 3})[1] == reader.read({"n": 3, "steps": 4})[1] == guided
    assert reader.read({"n": 3, "classes": "none"})[1] == UNFITTED
    assert reader.read({"n": 3, "guide": "none"})[1] == UNFITTED


@pytest.mark.parametrize("request_", [{}, {"steps": 2}, {"classes": "none"}])
def test_a_model_without_classes_draws_with_its_fitted_table(request_):
    reader = Reader(Samples("fields", (), "float32", ""), (2, 8, 8), FITTED, {2: FITTED})
    assert reader.read({"n": 3, **request_})[1] == FITTED


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"solver": "rk4"}, "unknown solver 'rk4'"),
        ({"solver": "posterior", "discretisation": "heun"}, "posterior has no heun form"),
        ({"solver": "split-ddim", "eta": 1.5}, "eta is 1.5, but for split-ddim must be between 0 and 1"),
        ({"guide": "classifier-free", "strength": 2}, "moves samples towards a class, but these are drawn without one"),
        ({"boost": 0}, "boost is 0.0, but the factor of the starting noise must be a positive, finite number"),
        ({"guide": "classifier-free"}, "came without a strength: 1 is the class itself"),
        ({"guide": "pigdm"}, "unknown guide 'pigdm': choose one of classifier-free, none"),
        ({"class": "c"}, "unknown class 'c': the model knows a, b"),
        ({"colour": 1}, "unknown request key 'colour'"),
        ({"class": "a", "classes": "b=2"}, "class is 'a' and classes 'b=2': give one of them"),
        ({"classes": "some"}, "classes is 'some': give training, balanced, none, or counts such as 8=10,9=5"),
        ({"classes": ""}, "classes is '': give training"),
        ({"classes": "a=1,c=1"}, "unknown class 'c': the model knows a, b"),
        ({"classes": "a=1,a=1"}, "classes is 'a=1,a=1', in which 'a' stands twice"),
        ({"classes": "a=3,b=-1"}, "-1 samples of class 'b' are asked for: give a count of at least 0"),
        ({"classes": "a=1.5,b=0.5"}, "in which '1.5' is no whole number"),
        (
            {"classes": "a=1,b=2"},
            "n is 2, but the counts of classes, a=1,b=2, sum to 3: leave n out, or make them equal",
        ),
        ({"classes": "a=0", "n": 0}, "n is 0"),
        (
            {"classes": "a=1000000000000000", "n": 10**15},
            "n is 1,000,000,000,000,000, but the memory that is free holds",
        ),
        ({"n": 0}, "n is 0"),
        ({"n": 10**15}, "n is 1,000,000,000,000,000, but the memory that is free holds .* samples: ask for fewer"),
    ],
)
def test_bad_requests_are_named(folder, request_, message):
    with pytest.raises(LevyError, match=message):
        RegisteredModel(folder).predict([{"n": 2, **request_}])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"n": 1.5}, r"n is 1.5, but a whole number is expected \(as a float, no larger than 2\*\*53\)"),
        ({"n": "3"}, r"n is '3', but a whole number"),
        ({"n": True}, r"n is True, but a whole number"),
        ({"n": np.int64(-(2**63))}, r"n is -9223372036854775808, but a request asks for at least 1 sample"),
        ({"n": 10**400}, r"but the memory that is free holds"),
        ({"n": 2.0**54}, r"n is 1.8014398509481984e\+16, but a whole number"),
        (
            {"guide": "classifier-free", "strength": 1e39, "class": "a"},
            r"strength is 1e\+39, but a guide's must be a finite number",
        ),
        ({"n": 1e308}, r"n is 1e\+308, but a whole number"),
        ({"seed": 0.5}, r"seed is 0.5, but a whole number"),
        ({"seed": -1}, r"seed is -1, but a whole number from 0 to 2\*\*63 - 1 is expected"),
        ({"seed": 2**63}, r"seed is 9223372036854775808, but a whole number from 0 to"),
        ({"n": [1, 2]}, r"n is \[1, 2\], but a whole number"),
        ({"steps": float("inf")}, r"steps is inf, but a whole number"),
        ({"eta": "0.5"}, r"eta is '0.5', but a finite number"),
        ({"eta": float("inf")}, r"eta is inf, but a finite number"),
        ({"class": 1}, r"class is 1, but text is expected"),
        ({"classes": 2}, r"classes is 2, but text is expected"),
        ({"solver": 1}, r"solver is 1, but text is expected"),
        ({3: 4}, r"unknown request key '3'"),
    ],
)
def test_values_of_another_type_are_refused_and_none_is_rounded(folder, request_, message):
    with pytest.raises(LevyError, match=message):
        RegisteredModel(folder).predict([{"n": 2, **request_}])


def test_a_request_without_rows_says_so(folder):
    with pytest.raises(LevyError, match=r"the request has no row: give at least one"):
        RegisteredModel(folder).predict([])


@pytest.mark.parametrize("seed", [2**60, 2**63 - 1])
def test_whole_numbers_are_taken_as_they_are(folder, seed):
    images = RegisteredModel(folder).predict([{"n": 1, "classes": "none", "seed": seed}])
    expected = draw_samples(load_model(folder), TUNED, seed, np.full(1, 2), 1, torch.device("cpu"))
    assert np.array_equal(images, expected.transpose(0, 2, 3, 1))


def test_whole_numbers_come_as_floats_from_tables_with_gaps(folder):
    model = RegisteredModel(folder)
    rows = [{"n": 1, "seed": 3}, {"n": 2}]
    assert np.array_equal(model.predict(rows), np.concatenate([model.predict([row]) for row in rows]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"n": 1, "steps": 10_000_000}], "asks for 10,000,000 steps, but 1,000 is the limit: .* set LEVY_MAX_STEPS"),
        (
            [{"n": 100_001, "steps": 10}],
            "asks for 1,000,010 network evaluations .*, but 1,000,000 .* set LEVY_MAX_EVALUATIONS",
        ),
        (
            [{"n": 60_000, "steps": 10, "solver": "ode"}] * 2,
            r"asks for 1,200,000 network evaluations \(those of a sample x n\)",
        ),
        (
            [{"n": 2_000_000, "steps": 2}],
            "asks for 128,000,000 values .*, but 100,000,000 is the limit: .* set LEVY_MAX_VALUES",
        ),
    ],
)
def test_more_work_than_a_server_should_do_is_refused_before_any_is_done(folder, rows, message):
    began = time.process_time()
    with pytest.raises(LevyError, match=message):
        RegisteredModel(folder).predict(rows)
    assert time.process_time() - began < 60  # drawing would take many minutes


def test_limits_are_set_in_the_environment(folder, monkeypatch):
    model = RegisteredModel(folder)
    monkeypatch.setenv("LEVY_MAX_EVALUATIONS", "7")
    with pytest.raises(LevyError, match=r"asks for 8 network evaluations .*, but 7 is the limit"):
        model.predict([{"n": 2}])
    monkeypatch.setenv("LEVY_MAX_EVALUATIONS", "8")
    assert len(model.predict([{"n": 2}])) == 2
    monkeypatch.setenv("LEVY_MAX_EVALUATIONS", "many")
    with pytest.raises(
        LevyError, match="LEVY_MAX_EVALUATIONS is 'many' in the environment, but a whole number is expected"
    ):
        model.predict([{"n": 2}])


def test_files_of_one_person_have_no_limit(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LEVY_MAX_EVALUATIONS", "1")
    assert RegisteredModel(folder).write({"n": 2}, tmp_path / "out").endswith("2 without a class")


def test_more_steps_than_anybody_means_are_refused_of_one_person_too_and_nothing_is_written(folder, tmp_path):
    with pytest.raises(LevyError, match="steps is 1,000,000,000, but 100,000 are the most"):
        RegisteredModel(folder).write({"n": 1, "steps": 10**9}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_request_without_a_number_of_samples_says_it_in_counts(folder):
    model = RegisteredModel(folder)
    with pytest.raises(LevyError, match=r"n is missing: say how many samples, or in classes how many of each class"):
        model.predict([{"seed": 0}])
    with pytest.raises(LevyError, match=r"n is 1,000,000,000,000,000, but the memory that is free holds"):
        model.predict([{"classes": "a=999999999999999,b=1"}])
    expected = draw_samples(load_model(folder), TUNED, 3, np.array([1, 0, 0]), 3, torch.device("cpu"))
    for request in ({"classes": "b=1,a=2"}, {"classes": " b = 1, a=2", "n": 3}):
        assert np.array_equal(model.predict([{"seed": 3, **request}]), expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("shares", "classes", "labels"),
    [
        ([0.75, 0.25], None, [0, 0, 0, 1]),
        ([0.75, 0.25], "training", [0, 0, 0, 1]),
        ([0.75, 0.25], "balanced", [1, 0, 1, 0]),
        ([0.75, 0.25], "none", [2, 2, 2, 2]),
        (None, None, [2, 2, 2, 2]),  # models of before go on without a class
        (None, "training", [2, 2, 2, 2]),
        (None, "balanced", [1, 0, 1, 0]),
    ],
)
def test_classes_are_those_of_the_training_data_unless_asked_otherwise(folder, tmp_path, shares, classes, labels):
    model = RegisteredModel(describe(folder, tmp_path / "model", shares=shares))
    drawn = model.predict([{"n": 4, **({} if classes is None else {"classes": classes})}])
    expected = draw_samples(load_model(folder), TUNED, 0, np.array(labels), 4, torch.device("cpu"))
    assert np.array_equal(drawn, expected.transpose(0, 2, 3, 1))


def test_files_are_told_with_how_many_of_each_class(folder, tmp_path):
    model = RegisteredModel(folder)
    assert model.write({"classes": "b=1,a=2"}, tmp_path / "some").endswith(": 2 of class a, 1 of class b")
    assert model.write({"n": 3}, tmp_path / "none").endswith(": 3 without a class")


@pytest.mark.parametrize(
    ("changes", "request_", "message"),
    [
        (
            {"classes": []},
            {"classes": "balanced"},
            r"classes are asked for \(balanced\), but the model was trained without",
        ),
        ({"classes": []}, {"class": "a"}, "unknown class 'a': the model knows no classes"),
        ({"label_dropout": 1.0}, {"class": "a"}, r"classes are asked for \(a\), but the model was trained without"),
        (
            {"label_dropout": 0.0},
            {"classes": "none"},
            r"told the class of every training sample \(train.label_dropout 0\)",
        ),
        (
            {"label_dropout": 0.0},
            {"class": "a", "guide": "classifier-free", "strength": 2.0},
            "the guide classifier-free moves samples away from those without a class, but the model was told the class of every",
        ),
    ],
)
def test_what_a_model_was_not_trained_for_is_refused(folder, tmp_path, changes, request_, message):
    if "classes" in changes:
        changes |= {"shares": None}
    described = describe(folder, tmp_path / "model", **changes)
    if "classes" in changes:  # its network has no classes either
        save_untrained(described, UNetConfig((1, 8, 8), 0, (8,)), ())
    with pytest.raises(LevyError, match=message):
        RegisteredModel(described).predict([{"n": 2, **request_}])


def test_a_guide_that_was_found_for_classes_is_left_out_where_none_is_asked_for(folder, tmp_path):
    model = RegisteredModel(folder)
    plain = draw_samples(load_model(folder), LONGER, 0, np.full(2, 2), 2, torch.device("cpu"))
    assert np.array_equal(model.predict([{"n": 2, "steps": 9, "classes": "none"}]), plain.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5, 0.4], "its shares of classes are 0.5, 0.4, which sum to 0.9: numbers of at least 0 that sum to 1"),
        ([1.5, -0.5], "its shares of classes are 1.5, -0.5, which sum to 1: numbers of at least 0"),
        ([1.0], "it has 1 shares of classes, but 2 classes"),
    ],
)
def test_forged_shares_are_refused(folder, tmp_path, shares, message):
    with pytest.raises(LevyError, match=rf"design.json describes no model: .*{message}"):
        load_model(describe(folder, tmp_path / "model", shares=shares))
