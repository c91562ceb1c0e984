"""A network trained on the ordinary path, in phase space."""

from dataclasses import replace

import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import energy_distance
from levy_core.sampling.phase.integrators import Integrator
from levy_core.sampling.phase.loop import sample_phase
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.trainer import Trainer
from tests.support.toy import TOY, imbalanced_ring


def test_a_trained_model_samples_in_phase_space_as_well_as_on_its_own_path():
    design, (points, mode) = Design.from_mapping({"preset": "edm"}), imbalanced_ring(4000, seed=0)
    torch.manual_seed(0)
    net = MLP(MLPConfig((2,), width=64))
    config, absent = replace(TOY, steps=300), {LABEL: torch.tensor(0)}
    run = Trainer(design, net, points, of_labels(mode), absent, config, torch.device("cpu"))
    for _ in run.run():
        pass
    net.load_state_dict(run.averaged_weights())
    n, predictor = 800, design.predictor(net.eval())
    data, cond = imbalanced_ring(n, seed=1)[0], of_labels(torch.zeros(n).long())
    own = tabulate(Solver("ode", "2m-data", "karras", 20, rho_max=20, rho_min=0.02, denoise=True), design.schedule)
    ordinary = energy_distance(sample(predictor, own, design.noise, 0, range(n), (2,), cond), data)
    for name, steps in (("2m", 40), ("sscs", 60)):
        drawn = sample_phase(predictor, PhasePath(), Integrator(name), steps, design.noise, 0, range(n), (2,), cond)
        # untrained 0.4 and more; two data sets 0 +- 0.002
        assert abs(energy_distance(drawn, data) - ordinary) < 0.01, (name, ordinary)
        assert ordinary < 0.06
