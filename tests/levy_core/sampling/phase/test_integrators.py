"""Integrators of phase space against exact answers: orders, constants, direct simulation, and the order in which they fare on nine modes."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Gaussian
from levy_core.process.schedule import Cosine
from levy_core.sampling.loop import begin, solve
from levy_core.sampling.oracles import nine_modes
from levy_core.sampling.phase.integrators import GRIDS, INTEGRATORS, Integrator, tabulate_phase
from levy_core.sampling.phase.loop import follow
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.phase.tables import scale_after
from levy_core.sampling.solver import Solver, tabulate

CLD = PhasePath(gamma=0.0, nu=4.0)
NOISY = ("euler-maruyama", "sscs", "naive-oba", "reduced-oba", "reduced-oba-early")
PUBLISHED_GRID = {"grid": "quadratic", "rho_max": None, "rho_min": 0.009}  # t from 1 to 0.001


@dataclasses.dataclass(frozen=True)
class OfData(PhasePath):
    """The path with the noise of data N(0, c**2) counted in: its covariance is that of z, and its root makes the exact flow."""

    c: float = 0.7

    def noise(self, tau):
        return super().noise(tau) + self.c**2 * torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))


def exact_scale(path, c, rho_max, rho_min, noisy):
    """Of what the last evaluation returns, on data N(0, c**2): of the flow from the table's start, or of the data's own law."""
    data = OfData(**dataclasses.asdict(path), c=c)
    start, end = path.time(torch.tensor([rho_max, rho_min], dtype=torch.float64))
    state = torch.linalg.cholesky(data.covariance(end))
    if not noisy:
        roots = [data.flow(tau) @ data.root(tau, data.turn(start, tau)) for tau in (start, end)]
        state = roots[1] @ torch.linalg.solve(roots[0], torch.linalg.cholesky(path.covariance(start)))
    return float((path.read(end) @ state).norm()) * c**2 / (c**2 + rho_min**2)


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("path", [PhasePath(), CLD], ids=["psld", "cld"])
def test_each_converges_at_the_declared_order(path, name):
    # No draws: on Gaussian data every table is linear, and the exact flow is known through the root.
    bend = {"bend": 0.1, "direction": "ones"} if "conjugate" in name else {}
    setting = Integrator(name, "uniform-log-rho", rho_max=100.0, rho_min=0.1, **bend)
    exact, scheme, errors = exact_scale(path, 0.7, 100.0, 0.1, name in NOISY), INTEGRATORS[name], []
    for steps in (100, 200) if name == "naive-vv" else (60, 120):
        table = tabulate_phase(path, setting, scheme.evaluations * steps + 1)
        errors.append(abs(scale_after(table, 0.7) / exact - 1))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(scheme.order, abs=0.3)


@pytest.mark.parametrize("name", ["ddim", "2m", "3m"])
@pytest.mark.parametrize("path", [PhasePath(), CLD, PhasePath(kappa=1.0)], ids=str)
def test_the_roots_rows_keep_a_constant_denoiser_exact(path, name):
    table, tau = tabulate_phase(path, Integrator(name), 12), GRIDS["karras"](path, 20.0, 0.02, 11)
    means = path.flow(tau)[..., 0]  # of z, for x_0 = 1
    reached = (table.keep[:-1] @ means[:-1, :, None])[..., 0] + table.weights[:-1].sum(1)
    torch.testing.assert_close(reached, means[1:], rtol=0, atol=1e-11)


def test_the_conjugate_map_with_the_root_and_no_bend_is_ddim():
    a, b = (tabulate_phase(PhasePath(), Integrator(name), 10) for name in ("ddim", "conjugate-root"))
    torch.testing.assert_close(a.keep, b.keep, rtol=0, atol=1e-11)
    torch.testing.assert_close(a.weights[:, :1], b.weights, rtol=0, atol=1e-11)


def test_without_friction_of_the_position_a_second_score_of_it_changes_nothing():
    for pair in (("naive-se", "reduced-se"), ("naive-oba", "reduced-oba-early")):
        values = [
            scale_after(tabulate_phase(CLD, Integrator(n), 40 * INTEGRATORS[n].evaluations + 1), 0.7) for n in pair
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-11)


def direct(path, name, oracle, z, tau):
    """x0_hat at the end, by the update rules as they stand, with the score of a network that is asked where they ask it."""
    x, p = z

    def score(x, p, tau):
        rho, read = path.ratio(tau), path.read(tau)
        u = read[0] * x + read[1] * p
        mean = path.flow(tau)[:, 0, None, None] * (u - rho * oracle(u, rho.expand(len(u)), {}))
        return -torch.einsum("ij,jbd->ibd", torch.linalg.inv(path.covariance(tau)), torch.stack([x, p]) - mean)

    def kick(x, p, s, h):
        return p + h / 2 * (path.coupling * x + path.nu * p + path.nu * s[1])

    def drift(x, p, s, h):
        return x + h / 2 * (path.gamma * x - path.coupling * p + path.gamma * s[0])

    for now, after in pairwise(tau):
        h, s = now - after, score(x, p, now)
        if name == "euler":
            x, p = drift(x, p, s, h), kick(x, p, s, h)
        elif name in ("naive-se", "reduced-se"):
            p = kick(x, p, s, h)
            x = drift(x, p, s if name == "reduced-se" else score(x, p, now), h)
        else:
            p = kick(x, p, s, h / 2)
            x = drift(x, p, s if name == "reduced-vv" else score(x, p, now), h)
            p = kick(x, p, score(x, p, after if name == "reduced-vv" else now), h / 2)
    rho, read = path.ratio(tau[-1]), path.read(tau[-1])
    u = read[0] * x + read[1] * p
    return u - rho * oracle(u, rho.expand(len(u)), {})


@pytest.mark.parametrize("name", ["euler", "naive-se", "reduced-se", "naive-vv", "reduced-vv"])
def test_a_table_does_what_the_rules_say(name):
    path, oracle, steps = PhasePath(), nine_modes(Gaussian()), 20
    table = tabulate_phase(path, Integrator(name), steps * INTEGRATORS[name].evaluations + 1)
    drawn = [BatchStream(40, i, "start").normal((2,)).double() for i in range(2)]
    state = [sum(row[j] * drawn[j] for j in range(2)) for row in table.start]

    class Drawn:  # the same start, in float64
        def __init__(self):
            self.left = list(drawn)

        def normal(self, shape):
            return self.left.pop(0)

    found = follow(oracle, table, Gaussian(), Drawn(), (2,), {}, range(40))
    wanted = direct(path, name, oracle, state, GRIDS["karras"](path, 20.0, 0.02, steps))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_nine_modes_rank_the_integrators_as_the_page_says():
    # Mean distance to the exact flow's end points from equal starts, 20 evaluations; docs/phase-space.md has all of them.
    n, oracle, path, found = 200, nine_modes(Gaussian()), PhasePath(), {}

    def reach(name, steps=20, **grid):
        table = tabulate_phase(path, Integrator(name, **grid), steps)
        return follow(oracle, table, Gaussian(), BatchStream(n, 0, "ends"), (2,), {}, range(n))

    def reach_ordinary(discretisation, steps=20):
        solver = Solver("ode", discretisation, "karras", steps, rho_max=20.0, rho_min=0.02, denoise=True)
        table, source = tabulate(solver, Cosine(2.0)), BatchStream(n, 0, "ends")
        return solve(oracle, table, Gaussian(), source, begin(table, Gaussian(), source, (2,))[0], {}, range(n))

    for run, names, grid in (
        (reach, {"ddim": "ddim", "2m": "2m"}, {}),
        (reach, {"reduced-se": "reduced-se", "reduced-vv": "reduced-vv", "euler": "euler"}, PUBLISHED_GRID),
        (reach_ordinary, {"ordinary ddim": "ei-data", "ordinary 2m": "2m-data"}, {}),
    ):
        best = "3m" if run is reach else "3m-data"
        exact = run(best, 80, **{**grid, "grid": "karras"} if grid else {})
        found |= {name: float((run(form, **grid) - exact).norm(dim=1).mean()) for name, form in names.items()}
    ranks = sorted(found, key=found.get)
    assert ranks == ["ordinary 2m", "2m", "ordinary ddim", "ddim", "reduced-se", "reduced-vv", "euler"], found


@pytest.mark.parametrize(
    "name", ["euler", "naive-se", "reduced-vv", "naive-vv", "conjugate", "conjugate-vv", "naive-oba", "reduced-oba"]
)
def test_ten_evaluations_of_what_needs_more_are_a_failure_with_a_name(name):
    with pytest.raises(
        NotFiniteError, match=rf"{name} blows up in (9|10) evaluations: a mode of deviation 0.2 would come out"
    ):
        tabulate_phase(PhasePath(), Integrator(name, **PUBLISHED_GRID), 10)


@pytest.mark.parametrize("name", ["ddim", "2m", "3m", "reduced-se", "sscs", "euler-maruyama", "reduced-oba-early"])
def test_ten_evaluations_of_the_others_are_not(name):
    assert tabulate_phase(PhasePath(), Integrator(name, **PUBLISHED_GRID), 10).nfe == 10


def test_too_few_steps_are_refused_with_the_least_number():
    with pytest.raises(
        LevyError, match="steps is 3, but naive-vv takes 3 evaluations per step and one at the end: give at least 4"
    ):
        tabulate_phase(PhasePath(), Integrator("naive-vv"), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "verlet"}, "unknown phase integrator 'verlet'"),
        ({"name": "ddim", "grid": "uniform-t"}, "unknown phase grid 'uniform-t'"),
        ({"name": "ddim", "rho_max": 0.01}, "rho_min is 0.02 and rho_max 0.01"),
        ({"name": "conjugate", "direction": "J"}, "unknown direction of the conjugate map 'J'"),
        ({"name": "conjugate", "bend": float("nan")}, "bend is nan"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(LevyError, match=message):
        Integrator(**options)
