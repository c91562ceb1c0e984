"""Samples that training shows are those of the simplest solver of levy_core.sampling, which training does not import."""

import pytest
import torch

from levy_core.base.code import closure
from levy_core.base.conditions import of_labels
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.preview import EVALUATIONS, draw_preview


@pytest.mark.parametrize("preset", ["lim", "dlpm", "ddpm", "edm", "tedm", "flow", "tflow"])
def test_it_is_the_ode_on_the_grid_of_karras_with_a_last_step_to_zero(preset):
    design, cond = Design.from_mapping({"preset": preset}), of_labels(torch.arange(6) % 3)
    torch.manual_seed(0)
    predictor = design.predictor(MLP(MLPConfig((4,), 2, 16, 2, design.heads))).eval()
    state = torch.random.get_rng_state()
    drawn = draw_preview(predictor, design, (4,), cond, seed=5, together=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    table = tabulate(Solver("ode", "ei-noise", "karras", EVALUATIONS, denoise=True), design.schedule)
    expected = sample(predictor, table, design.noise, 5, range(6), (4,), cond)
    # float32 sums of EVALUATIONS terms, whose largest are the noise at the start
    first = float(design.schedule.ratio(torch.tensor(design.schedule.t_max, dtype=torch.float64)))
    assert (drawn - expected).abs().max() < 1e-5 * max(first, float(expected.abs().max()))
    assert drawn.std() > 1e-3


def test_training_does_not_depend_on_the_code_of_solvers():
    assert not any(module.startswith("levy_core.sampling") for module in closure("levy_core.training.preview"))
