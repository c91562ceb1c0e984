"""Sampling in phase space: ordinary tables bit for bit, samples that know no batch, laws refused, faults named."""

import math

import pytest
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import Cosine
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import Scale, nine_modes
from levy_core.sampling.phase.integrators import Integrator
from levy_core.sampling.phase.loop import follow, sample_phase
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.phase.tables import of_step_table
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, fits

ORDINARY = [
    (f, d)
    for f in FAMILIES
    for d, form in DISCRETISATIONS.items()
    if form.order and fits(f, d) and not FAMILIES[f].ancestral
]


def draw(indices, name="2m", steps=12, oracle=None, shape=(2,), seed=0, noise=None, **options):
    noise, oracle = noise or Gaussian(), oracle or nine_modes(Gaussian())
    return sample_phase(oracle, PhasePath(), Integrator(name, **options), steps, noise, seed, indices, shape, {})


@pytest.mark.parametrize(("family", "discretisation"), ORDINARY)
@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.6), Stable(1.6, isotropic=False)], ids=str)
def test_an_ordinary_table_is_the_1_x_1_case_bit_for_bit(family, discretisation, noise):
    solver = Solver(family, discretisation, "karras", 7, 0.4, rho_max=20.0, rho_min=0.05, denoise=True, boost=1.5)
    table, oracle = tabulate(solver, Cosine(noise.exponent)), Scale(noise)
    wanted = sample(oracle, table, noise, 3, range(9), (3, 2), {})
    found = follow(oracle, of_step_table(table), noise, Streams.of_samples(3, "sample", range(9)), (3, 2), {}, range(9))
    assert torch.equal(found, wanted)


def test_tables_without_a_block_form_are_refused():
    posterior, limited = (
        Solver("posterior", "ei-noise", "karras", 5),
        Solver("ode", "2m-data", "karras", 5, limit="clamp"),
    )
    for solver in (posterior, limited):
        with pytest.raises(LevyError, match="have no block form"):
            of_step_table(tabulate(solver, Cosine(2.0)))


@pytest.mark.parametrize("name", ["2m", "sscs", "reduced-se", "reduced-oba-early"])
def test_a_sample_does_not_depend_on_its_batch(name):
    whole = draw(range(20), name)
    assert torch.equal(draw([7, 3], name), whole[[7, 3]])
    assert torch.equal(draw(range(5, 20), name), whole[5:])
    assert not torch.equal(draw(range(20), name, seed=1), whole)


@pytest.mark.parametrize("name", ["2m", "sscs"])
def test_pictures_of_a_model_come_out_with_their_scale(name):
    # 300 x 48 independent values: the relative error of the deviation is 0.6 %; 3 % is 5 sigma.
    drawn = draw(range(300), name, 60, Scale(Gaussian(), 0.7), (3, 4, 4))
    assert drawn.shape == (300, 3, 4, 4)
    assert drawn.dtype == torch.float32
    assert float(drawn.std()) == pytest.approx(0.7, rel=0.03)


def test_labels_reach_the_predictor():
    def told(u, rho, cond):
        return (u - cond["label"].view(-1, 1)) / rho.view(-1, 1)

    drawn = sample_phase(
        told, PhasePath(), Integrator("ddim"), 5, Gaussian(), 0, range(3), (2,), of_labels(torch.tensor([4, 5, 6]))
    )
    torch.testing.assert_close(drawn, torch.tensor([4.0, 5.0, 6.0]).view(-1, 1).expand(3, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("noise", [Stable(1.7), Stable(2.0), StudentT(4.0)], ids=str)
def test_other_noise_is_refused_with_the_reason(noise):
    with pytest.raises(
        LevyError,
        match=r"a phase path was asked of a model with noise .*, but needs gaussian: position and momentum mix",
    ):
        draw(range(2), noise=noise)


def test_a_condition_of_another_length_is_refused():
    with pytest.raises(LevyError, match="3 sample indices came with 2 rows of label"):
        sample_phase(
            nine_modes(Gaussian()),
            PhasePath(),
            Integrator("ddim"),
            5,
            Gaussian(),
            0,
            range(3),
            (2,),
            of_labels(torch.zeros(2).long()),
        )


def test_what_leaves_the_finite_numbers_is_named():
    def broken(u, rho, cond):
        return torch.where(torch.arange(len(u))[:, None] == 1, math.nan, 0.0) + 0 * u

    with pytest.raises(
        NotFiniteError, match=r"NaN or infinity at step 1 of 5 \(rho = 20\) for 1 of 3 samples, the first with index 8"
    ):
        draw([7, 8, 9], "ddim", 5, broken)
    with pytest.raises(NotFiniteError, match="reduced-vv blows up in 9 evaluations"):
        draw(range(2), "reduced-vv", 10, grid="quadratic", rho_max=None, rho_min=0.009)
