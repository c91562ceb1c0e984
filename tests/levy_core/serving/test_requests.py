"""A registered model draws with the sampler that won, changed only where a request says so."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import load_model
from tests.conftest import save_untrained

TUNED = Solver(
    "sde-e", "2m-data", "karras", 4, 1.5, "quiet-end", rho_max=20.0, rho_min=0.03, denoise=True, limit="clamp"
)
LONGER = Solver("ode", "3m-data", "uniform-log-rho", 6, rho_max=30.0, denoise=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("model"), UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    write_json(folder / SAMPLER, {"default": 4, "samplers": {"4": asdict(TUNED), "6": asdict(LONGER)}})
    return folder


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
        ({"boost": 2}, replace(TUNED, boost=2.0)),
    ],
)
def test_a_request_changes_what_it_names(folder, request_, solver):
    images = RegisteredModel(folder).predict([{"n": 2, "class": "b", "seed": 3, **request_}])
    expected = draw_samples(load_model(folder), solver, 3, np.full(2, 1), 2, torch.device("cpu"))
    assert np.array_equal(images, expected.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"solver": "rk4"}, "unknown solver 'rk4'"),
        ({"solver": "posterior", "discretisation": "heun"}, "posterior has no heun form"),
        ({"solver": "split-ddim", "eta": 1.5}, "eta is 1.5, but for split-ddim must be between 0 and 1"),
        ({"guide": "classifier-free", "strength": 2}, "moves samples towards a class, but these are drawn without one"),
        ({"boost": 0}, "boost is 0.0, but the factor of the starting noise must be a positive, finite number"),
        ({"guide": "pigdm"}, "unknown guide 'pigdm': choose one of classifier-free, none"),
        ({"class": "c"}, "unknown class 'c': the model knows a, b"),
        ({"colour": 1}, "unknown request key 'colour'"),
        ({"n": 0}, "n is 0"),
        ({"n": 10**15}, "n is 1,000,000,000,000,000, but the memory that is free holds .* samples: ask for fewer"),
    ],
)
def test_bad_requests_are_named(folder, request_, message):
    with pytest.raises(LevyError, match=message):
        RegisteredModel(folder).predict([{"n": 2, **request_}])
