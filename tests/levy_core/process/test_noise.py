"""The noise laws are the laws they claim to be."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, Streams
from levy_core.process.noise import Gaussian, Stable, StudentT, open_interval, positive_stable, symmetric_stable

N = 20_000


def draw(noise, n=N, shape=(1,), key="test"):
    return noise.sample(shape, BatchStream(n, key))


# 80 fixed-seed comparisons of this file are at p > 1e-5 or 4.4 sigma: were the seeds free, one in 1,200 runs would raise a
# false alarm.
@pytest.mark.parametrize("alpha", [1.05, 1.2, 1.5, 1.8, 1.95, 2.0])
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_coordinate_follows_scipys_levy_stable(alpha, isotropic, dtype):
    x = draw(Stable(alpha, isotropic)).to(dtype).float().numpy().ravel()
    grid = np.concatenate([-np.geomspace(200, 0.05, 40), [0], np.geomspace(0.05, 200, 40)])
    truth = stats.levy_stable.cdf(grid, alpha, 0)
    empirical = np.searchsorted(np.sort(x), grid, side="right") / N
    # bfloat16 rounds values to 2**-8 of themselves, which moves the distribution function by its slope at most
    rounding = 2**-8 * 0.25 if dtype == torch.bfloat16 else 0
    assert np.abs(empirical - truth).max() < stats.kstwobign.isf(1e-5) / np.sqrt(N) + rounding


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9, 2.0])
@pytest.mark.parametrize("isotropic", [True, False])
def test_characteristic_function(alpha, isotropic):
    e = draw(Stable(alpha, isotropic), shape=(3,)).double()
    for u in ([0.3, 0.0, 0.0], [0.5, -0.8, 0.4], [0.0, 0.05, 0.02]):
        u = torch.tensor(u, dtype=torch.float64)
        exponent = u.norm() ** alpha if isotropic else (u.abs() ** alpha).sum()
        measured = torch.cos(e @ u).mean()
        assert abs(measured - torch.exp(-exponent)) < 4.4 * 0.71 / np.sqrt(N)  # cos has variance of at most 1/2


@pytest.mark.parametrize("a", [0.55, 0.75, 0.95])
def test_kanters_variable_has_its_laplace_transform(a):
    source = BatchStream(N, "kanter")
    s = positive_stable(
        a, torch.pi * open_interval(source.uniform([1])), -torch.log(open_interval(source.uniform([1])))
    )
    for u in (0.2, 1.0, 3.0):
        assert abs(torch.exp(-u * s).mean() - np.exp(-(u**a))) < 2.2 / np.sqrt(N)  # values in [0, 1]: 4.4 sigma


def test_stable_2_is_root_2_times_gaussian_to_the_last_bit():
    streams = [Streams.of_samples(3, "x", range(5)) for _ in range(2)]
    gaussian, stable = Gaussian().sample((4,), streams[0]), Stable(2.0).sample((4,), streams[1])
    assert torch.allclose(stable, np.sqrt(2) * gaussian, rtol=1e-6, atol=0)


class Corners:
    """A source whose uniforms are the smallest, the largest and middling values that a generator can return."""

    def __init__(self):
        self.at = [torch.tensor(v, dtype=torch.float64) for v in (0.0, 2.0**-53, 0.3, 1 - 2.0**-53)]
        first, second = torch.meshgrid(torch.stack(self.at), torch.stack(self.at), indexing="ij")
        self.columns = iter([first.reshape(-1, 1), second.reshape(-1, 1)])

    def uniform(self, shape, rows=None):
        return next(self.columns).clone()

    def from_halves(self, shape, make, *settings):
        least = torch.tensor([2.0**-93, 2.0**-40, 0.3, 1.0], dtype=torch.float64)
        u, v = torch.meshgrid(
            torch.cat([least, 1 - least[:3]]), torch.tensor([2.0**-77, 0.3, 1 - 2.0**-24]).double(), indexing="ij"
        )
        rest = torch.cat([1 - least, least[:3]])[:, None].expand_as(u).clamp(min=2.0**-93)
        return make(*settings, *(part.reshape(-1, 1).float() for part in (u.clamp(min=2.0**-93), rest, v)))

    def normal(self, shape):
        return torch.full((16, *shape), 6.0)  # as many as the pairs of uniforms


@pytest.mark.parametrize("alpha", [1.0001, 1.05, 1.5, 1.9, 1.999, 1.9999999, 2.0])
@pytest.mark.parametrize("isotropic", [True, False])
def test_no_uniform_whatever_makes_a_draw_infinite_also_in_bfloat16(alpha, isotropic):
    # The largest values come from the corners of the square of uniforms: no sampling, so a proof for 1e9 draws and more.
    e = Stable(alpha, isotropic).sample((1,), Corners())
    assert torch.isfinite(e).all()
    assert torch.isfinite(e.to(torch.bfloat16)).all()


@pytest.mark.parametrize("nu", [2.01, 4.0, 300.0])
def test_no_uniform_makes_student_t_infinite(nu):
    assert torch.isfinite(StudentT(nu).sample((1,), Corners())).all()


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.7])
def test_the_tail_has_its_constant_and_is_not_truncated(alpha, isotropic):
    # P(|X| > x) = 2 C x**-alpha (1 + O(x**-alpha)), C = sin(pi alpha / 2) Gamma(alpha) / pi. (scipy's isf is off by the
    # factor ten at 1e-4 and alpha 1.1, so that its quantiles cannot be the reference here.)
    x = draw(Stable(alpha, isotropic), n=400_000).abs().double()
    c = 2 * math.sin(math.pi * alpha / 2) * math.gamma(alpha) / math.pi
    for q in (1e-3, 1e-4):
        count, expected = int((x > (c / q) ** (1 / alpha)).sum()), q * len(x)
        assert abs(count - expected) < 4.4 * np.sqrt(expected) + 0.01 * expected


@pytest.mark.parametrize("alpha", [1.05, 1.5, 1.95])
def test_the_far_tail_of_independent_coordinates_keeps_its_power(alpha):
    # Near the angle's end u, |X|**-alpha = u times a function of W: the ratio must hold down to chances of 1e-25.
    v = torch.rand(1000, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    ratios = []
    for u in (1e-5, 1e-9, 1e-25):
        x = symmetric_stable(alpha, torch.full_like(v, u), torch.full_like(v, 1 - u), v.clone()).abs().double()
        ratios.append(x**-alpha / u)
    assert torch.allclose(ratios[0], ratios[1], rtol=3e-3)
    assert torch.allclose(ratios[0], ratios[2], rtol=3e-3)


class Chosen:
    """A generator that returns given bits, then given uniforms."""

    def __init__(self, bits, further):
        self.bits, self.further = np.array(bits, dtype=np.uint64), further

    def integers(self, low, high, shape, dtype):
        return self.bits.reshape(shape)

    def random(self, count):
        return np.full(count, self.further)


def test_halves_are_complementary_and_their_end_cells_are_filled():
    cells = [0, 1, 2**39, 2**40 - 2, 2**40 - 1]
    source = BatchStream(1, "halves")
    source._uniform = Chosen([(c << 24) | s for c, s in zip(cells, (0, 1, 2**23, 2**24 - 1, 7), strict=True)], 2.0**-20)
    u, rest, v = (part[0].double() for part in source.halves((5,)))
    assert u.tolist() == pytest.approx([2.0**-60, 1.5 * 2.0**-40, 0.5, 1, 1], rel=1e-6)
    assert rest.tolist() == pytest.approx([1, 1, 0.5, 1.5 * 2.0**-40, 2.0**-60], rel=1e-6)
    assert v.tolist() == pytest.approx([2.0**-44, 1.5 * 2.0**-24, 0.5, 1 - 2.0**-24, 7.5 * 2.0**-24], rel=1e-6)


def test_halves_are_uniform_and_independent():
    u, rest, v = (part.double().numpy().ravel() for part in BatchStream(N, "halves").halves((2,)))
    assert np.allclose(u + rest, 1, atol=1e-6)
    for part in (u, rest, v):
        assert stats.kstest(part, "uniform").pvalue > 1e-5
    assert abs(np.corrcoef(u, v)[0, 1]) < 4.4 / np.sqrt(len(u))
    assert abs(np.corrcoef(np.abs(u - 0.5), v)[0, 1]) < 4.4 / np.sqrt(len(u))


@pytest.mark.parametrize("nu", [2.5, 4.0, 30.0])
def test_student_t_follows_scipy(nu):
    x = draw(StudentT(nu), shape=(2,)).double()
    for k in range(2):
        assert stats.kstest(x[:, k].numpy(), stats.t(nu).cdf).pvalue > 1e-5
    # |e|**2 / d is F-distributed: the coordinates share one mixing variable, as in scipy's multivariate_t
    assert stats.kstest((x**2).mean(1).numpy(), stats.f(2, nu).cdf).pvalue > 1e-5
    truth = stats.multivariate_t(np.zeros(2), np.eye(2), nu, seed=0).rvs(N)
    assert stats.ks_2samp(np.abs(x.numpy()).max(1), np.abs(truth).max(1)).pvalue > 1e-5


@pytest.mark.parametrize("isotropic", [True, False])
def test_a_cap_by_rejection_is_the_conditional_law_and_by_clamping_piles_up(isotropic):
    free = Stable(1.5, isotropic).mixing((2,), BatchStream(N, "cap")).flatten().numpy()
    rejected = Stable(1.5, isotropic, cap=10.0).mixing((2,), BatchStream(N, "cap 2")).flatten().numpy()
    clamped = Stable(1.5, isotropic, cap=10.0, cap_rule="clamp").mixing((2,), BatchStream(N, "cap")).flatten().numpy()
    assert rejected.max() <= 10
    assert stats.ks_2samp(rejected, free[free <= 10]).pvalue > 1e-5
    assert np.array_equal(clamped, np.minimum(free, 10))


def test_a_capped_sample_depends_on_its_index_alone():
    noise = Stable(1.2, isotropic=False, cap=4.0)  # a third of the draws is rejected
    whole = noise.sample((3, 2), Streams.of_samples(7, "p", range(6)))
    source = Streams.of_samples(7, "p", [4, 1])
    assert torch.equal(noise.sample((3, 2), source), whole[[4, 1]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stable(1.5, cap=0.0), "cap is 0.0, but must be positive"),
        (lambda: Stable(1.5, cap=0.1), r"rejects \d+.\d% of the mixing variables"),
        (lambda: Stable(1.5, cap_rule="drop"), "unknown cap rule 'drop': choose one of clamp, reject"),
        (lambda: StudentT(2.0), "nu is 2.0, but must be above 2"),
        (lambda: StudentT(math.nan), "nu is nan"),
    ],
)
def test_bad_laws_are_refused(make, message):
    with pytest.raises(LevyError, match=message):
        make()


@pytest.mark.parametrize("alpha", [1.0, 0.5, 2.1, -1.0, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(LevyError, match=r"alpha is .* must lie in \(1, 2\]"):
        Stable(alpha)


def test_a_sample_depends_on_its_index_alone():
    noise = Stable(1.5)
    whole = noise.sample((2, 3), Streams.of_samples(7, "p", range(6)))
    parts = torch.cat([noise.sample((2, 3), Streams.of_samples(7, "p", [i])) for i in reversed(range(6))]).flip(0)
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, noise.sample((2, 3), Streams.of_samples(8, "p", range(6))))
    assert not torch.equal(whole, noise.sample((2, 3), Streams.of_samples(7, "q", range(6))))


def test_laws_share_their_gaussian_part():
    z = Gaussian().sample((5,), Streams.of_samples(1, "p", range(3)))
    e = Stable(1.4).sample((5,), Streams.of_samples(1, "p", range(3)))
    ratio = e / z
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4)
