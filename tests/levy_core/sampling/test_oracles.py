"""The oracles are what they claim; a consistent sampler on them returns the data, tails included."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.interpolate import CubicSpline

from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.parametrisation import Predictor
from levy_core.process.schedule import Cosine, Exploding
from levy_core.sampling.loop import begin, solve
from levy_core.sampling.oracles import Modes, Scale, Student, energy_distance, isotropic_law, nine_modes, scale_after
from levy_core.sampling.solver import Solver, tabulate


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9])
def test_the_isotropic_density_is_scipys_in_one_dimension(alpha):
    grid, values, _ = isotropic_law(alpha, 1)
    for r in (0.01, 0.3, 1.0, 4.0, 60.0):
        expected = stats.levy_stable.logpdf(r, alpha, 0)
        assert np.interp(np.log(r), grid, values) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9, 2.0, None])
@pytest.mark.parametrize("d", [1, 2, 3, 16])
def test_the_isotropic_density_integrates_to_1(alpha, d):
    from scipy.special import gammaln

    log_r, values, _ = isotropic_law(alpha, d)
    surface = np.log(2) + d / 2 * np.log(np.pi) - gammaln(d / 2)
    assert np.trapezoid(np.exp(values + d * log_r + surface), log_r) == pytest.approx(1, abs=1e-3)


def by_quadrature(data_density, noise_density, y, rho):
    """E[e | y] in one dimension on a fine grid of x_0, far into the tails."""
    x0 = np.concatenate([y - np.geomspace(1e6, 1e-4, 60_000), y + np.geomspace(1e-4, 1e6, 60_000)])
    weight = data_density(x0) * noise_density((y - x0) / rho) * np.gradient(x0)
    return float((weight * (y - x0)).sum() / weight.sum() / rho)


def stable_density(alpha):
    grid, values, _ = isotropic_law(alpha, 1)
    return lambda x: np.exp(np.interp(np.log(np.abs(x).clip(1e-12)), grid, values))


@pytest.mark.parametrize("y", [-3.0, 0.2, 1.1, 40.0])
@pytest.mark.parametrize("rho", [0.1, 1.0, 8.0])
def test_predictions_are_conditional_expectations(y, rho):
    noise, f = Stable(1.6), stable_density(1.6)
    modes = Modes(noise, ((-1.0,), (1.0,)), (0.2, 0.8), 0.3)
    student = Student(StudentT(4.0), 3.0, 0.7)
    cases = [
        (Scale(noise, 0.7), lambda x: f(x / 0.7) / 0.7, f),
        (modes, lambda x: (0.2 * f((x + 1) / 0.3) + 0.8 * f((x - 1) / 0.3)) / 0.3, f),
        (student, lambda x: stats.t.pdf(x / 0.7, 3), lambda x: stats.t.pdf(x, 4)),
        (Student(Gaussian(), 3.0, 0.7), lambda x: stats.t.pdf(x / 0.7, 3), stats.norm.pdf),
    ]
    for oracle, data_density, noise_density in cases:
        exact = by_quadrature(data_density, noise_density, y, rho)
        found = oracle(torch.tensor([[y]], dtype=torch.float64), torch.tensor([rho]), None).item()
        assert found == pytest.approx(exact, rel=5e-3, abs=5e-4), oracle


SCORED = [
    Scale(Gaussian(), 0.7),
    Scale(Stable(1.5), 0.7),
    Scale(Stable(1.3, isotropic=False), 0.7),
    Modes(Stable(1.5), ((-1.0, 0.0), (1.0, 0.5)), (0.2, 0.8), 0.3),
    Modes(Stable(1.9), ((-1.0, 0.0), (1.0, 0.5)), (0.2, 0.8), 0.3),
    Modes(Gaussian(), ((-1.0, 0.0), (1.0, 0.5)), (0.2, 0.8), 0.3),
    Student(StudentT(4.0), 3.0, 0.7),
    Student(Gaussian(), 3.0, 0.7),
]


def density(oracle, y, rho):
    """Of y [B, 2] to a constant factor, float64: by the law of |e|, per coordinate, or by the mixing variables of both t laws."""
    noise, p = oracle.noise, oracle.noise.exponent
    if isinstance(oracle, Student):
        a = np.ones(1) if isinstance(noise, Gaussian) else noise.nu / stats.chi2(noise.nu).ppf(MIDDLES)
        b = oracle.degrees / stats.chi2(oracle.degrees).ppf(MIDDLES)
        variance = (rho**2 * a[:, None] + oracle.c**2 * b).ravel()
        return np.array([np.mean(np.exp(-(v @ v) / (2 * variance)) / variance) for v in y.numpy()])
    modes = oracle if isinstance(oracle, Modes) else Modes(Gaussian(), ((0.0, 0.0),), (1.0,), oracle.c)
    total = (modes.s**p + rho**p) ** (1 / p)
    offset = (y.numpy()[:, None] - np.array(modes.means)) / total
    alpha = noise.alpha if isinstance(noise, Stable) else None
    if getattr(noise, "isotropic", True):
        grid, values, _ = isotropic_law(alpha, 2)
        each = np.exp(CubicSpline(grid, values)(np.log(np.linalg.norm(offset, axis=2))))
    else:
        each = stats.levy_stable.pdf(offset, alpha, 0).prod(2)
    return each @ np.array(modes.weights)


MIDDLES = (np.arange(800) + 0.5) / 800


@pytest.mark.parametrize("oracle", SCORED, ids=str)
@pytest.mark.parametrize("rho", [0.2, 1.0, 6.0])
def test_scores_are_the_gradient_of_the_log_density(oracle, rho):
    y = torch.tensor([[0.3, -0.2], [1.1, 0.4], [-2.0, 1.5], [9.0, -4.0]], dtype=torch.float64)
    y = y[:3] if oracle.noise.exponent == 2 else y  # Gaussian densities underflow far out
    step, gradient = 1e-3, torch.empty_like(y)
    for k in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[k]
        up, down = density(oracle, y + shift, rho), density(oracle, y - shift, rho)
        gradient[:, k] = torch.from_numpy(np.log(up) - np.log(down)) / (2 * step)
    eps_hat, score = oracle.both(y, torch.full((len(y),), rho, dtype=torch.float64), None)
    assert torch.equal(eps_hat, oracle(y, torch.full((len(y),), rho, dtype=torch.float64), None))
    assert torch.allclose(score, gradient, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("oracle", SCORED, ids=str)
@pytest.mark.parametrize("rho", [0.2, 1.0, 6.0])
def test_scores_are_the_conditional_mean_of_e_over_a(oracle, rho):
    # E[score h(y)] = -E[e / (A rho) h(y)] for bounded h: the difference has mean 0, so 4.4 standard errors for each of
    # 8 x 3 x 8 comparisons raise one false alarm in 480 runs, were the seeds free.
    n, shape = 40_000, (2,)
    e, mixing = oracle.noise.sample_with_mixing(shape, BatchStream(n, "score"))
    y = (oracle.data(n, shape, 3) + rho * e).double()
    difference = oracle.score(y, torch.full((n,), rho, dtype=torch.float64), None) + e.double() / (mixing * rho)
    for h in (torch.ones(n), torch.tanh(y[:, 0]), torch.cos(y[:, 1] / rho), (y.norm(dim=1) < rho).double()):
        product = difference * h[:, None]
        assert (product.mean(0).abs() < 4.4 * product.std(0) / n**0.5).all()


def test_energy_distance_is_scipys_in_one_dimension_and_unbiased():
    x, y = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)), torch.rand(300, 1) * 3
    n, m = 400, 300
    biased = stats.energy_distance(x.numpy().ravel(), y.numpy().ravel()) ** 2
    within = [float(torch.cdist(a.double(), a.double()).sum()) for a in (x, y)]
    expected = biased + within[0] / n**2 - within[0] / (n * (n - 1)) + within[1] / m**2 - within[1] / (m * (m - 1))
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-9)


def draw(oracle, noise, solver, schedule, n, shape=(2,), key="draw"):
    table, source = tabulate(solver, schedule), BatchStream(n, key)
    y, _ = begin(table, noise, source, shape)
    return solve(oracle, table, noise, source, y, torch.zeros(n), range(n))


def test_the_ode_keeps_the_rare_mode_and_sde_a_doubles_it():
    # 8,000 draws, the rarest mode 1 %: a share has a relative error of 11 %.
    noise = Stable(1.5)
    oracle, schedule = nine_modes(noise), Cosine(1.5)
    data = oracle.data(8000, (2,), seed=1)
    ode = draw(oracle, noise, Solver("ode", "2m-noise", "uniform-t", 50), schedule, 8000)
    biased = draw(oracle, noise, Solver("sde-a", "ei-score", "uniform-t", 100), schedule, 8000)
    rare = [float(oracle.shares(x)[-1]) / oracle.weights[-1] for x in (ode, biased)]
    assert rare[0] == pytest.approx(1, abs=0.45)  # 4 sigma
    assert rare[1] > 1.6
    # two samples of the data itself: 0 +- 0.0002 (20 seeds)
    assert energy_distance(ode, data) < 0.001
    assert energy_distance(biased, data) > 0.008


def test_three_step_data_prediction_in_ten_evaluations_is_nearer_than_first_order_methods():
    noise, n = Stable(1.5), 4000
    oracle, schedule = nine_modes(noise), Cosine(1.5)
    data = oracle.data(n, (2,), seed=1)
    good = Solver("ode", "3m-data", "uniform-log-rho", 10, rho_max=30, rho_min=0.02, denoise=True)
    first = [Solver("ode", d, "uniform-t", 10) for d in ("euler-maruyama", "ei-score", "ei-noise")]
    errors = [energy_distance(draw(oracle, noise, s, schedule, n), data) for s in (good, *first)]
    assert errors[0] < min(errors[1:]) / 3


def student_sample(noise, oracle, solver, n=40_000, shape=(1,)):
    return draw(oracle, noise, solver, Exploding(2.0), n, shape, key="student").flatten(1)


# Kolmogorov-Smirnov at p > 1e-4, eight comparisons: a false alarm in 1,250 runs, were the seeds free.
def is_student(x, degrees, scale):
    return stats.kstest(x.numpy().ravel(), stats.t(degrees, scale=scale).cdf).pvalue > 1e-4


def tail_index(x, k=800):
    top = np.sort(x.abs().numpy().ravel())[-k:]
    return 1 / np.mean(np.log(top / top[0]))


ODE = Solver("ode", "heun", "karras", 80, denoise=True)
SDE = Solver("sde-e", "ei-noise", "karras", 120, 0.5, "quiet-end", rho_min=0.01)
ORACLE = Student(StudentT(4.0), 3.0, 0.5, size=60)


@pytest.mark.parametrize(("solver", "nu"), [(ODE, 4.0), (ODE, 3.0), (SDE, 4.0)])
@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_tedms_flow_and_sde_return_student_t_data_with_its_tail_index(solver, nu, shape):
    oracle = ORACLE if nu == ORACLE.noise.nu else Student(StudentT(nu), 3.0, 0.5, size=60)
    x = student_sample(StudentT(nu), oracle, solver, shape=shape)
    for k in range(shape[0]):
        assert is_student(x[:, k], 3, 0.5)
    truth = 0.5 * StudentT(3.0).sample(shape, BatchStream(len(x), "truth"))
    spread = 3.0 / np.sqrt(800)  # Hill's estimator: one sigma; both have the same bias
    assert abs(tail_index(x[:, 0]) - tail_index(truth[:, 0])) < 4 * np.sqrt(2) * spread


def test_gaussian_noise_returns_student_t_data_too_given_the_exact_prediction():
    # with an exact predictor the flow is exact under any noise: what Gaussian diffusion loses is lost in learning
    assert is_student(student_sample(Gaussian(), Student(Gaussian(), 3.0, 0.5, size=80), ODE), 3, 0.5)


def test_a_constant_variance_in_place_of_the_state_dependent_one_changes_the_law():
    class Constant(Student):
        def mixing(self, y, rho, cond, eps_hat, probe):
            return torch.full((len(y),), 2.0, dtype=y.dtype)  # E[A] = nu / (nu - 2)

    constant = Constant(StudentT(4.0), 3.0, 0.5, size=60, _tables=ORACLE._tables)
    assert not is_student(student_sample(StudentT(4.0), constant, SDE), 3, 0.5)


class Exact(torch.nn.Module):
    """The Student oracle as a network that predicts noise."""

    def __init__(self, oracle):
        super().__init__()
        self.oracle = oracle

    def forward(self, x, log_rho, cond):
        rho = torch.exp(log_rho.double())
        return self.oracle(x * (1 + rho**2).sqrt()[:, None], rho, cond)


@pytest.mark.parametrize("rho", [0.2, 1.0, 5.0, 40.0])
def test_a_networks_estimate_of_the_mixing_variable_is_near_the_exact_one_in_many_dimensions(rho):
    noise, d, n = StudentT(4.0), 64, 200
    oracle = Student(noise, 5.0, 0.5, size=120)
    y = (oracle.data(n, (d,), 0) + rho * noise.sample((d,), BatchStream(n, "mixing"))).double()
    level = torch.full((n,), rho, dtype=torch.float64)
    predictor = Predictor(Exact(oracle), "noise", noise)
    eps = oracle(y, level, None)
    probes = [torch.sign(torch.randn(n, d, dtype=torch.float64)) for _ in range(8)]
    found = torch.stack([predictor.mixing(y, level, None, eps, probe) for probe in probes]).mean(0)
    exact = oracle.mixing(y, level, None, eps, None)
    assert float((found / exact).log().abs().median()) < 0.15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Modes(Gaussian(), ((0.0,), (1.0,)), (1.0,), 0.1), "2 means came with 1 weights"),
        (lambda: Modes(Gaussian(), ((0.0,), (1.0, 2.0)), (0.5, 0.5), 0.1), "differ in dimension"),
        (lambda: Modes(Gaussian(), ((0.0,), (1.0,)), (0.5, 0.6), 0.1), "must be positive and sum to 1"),
        (lambda: Modes(StudentT(4.0), ((0.0,),), (1.0,), 0.1), "exact for isotropic stable and Gaussian noise"),
        (lambda: Student(Stable(1.5), 3.0), "exact for Student-t and Gaussian noise"),
        (
            lambda: scale_after(tabulate(Solver("posterior", "ei-noise", "karras", 3), Cosine(2.0)), Scale(Gaussian())),
            "only tables without limit",
        ),
    ],
)
def test_oracles_refuse_what_they_do_not_know(make, message):
    with pytest.raises(LevyError, match=message):
        make()
