"""The process of phase space: the published covariance, the sufficient number, the score and the root."""

import math

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.process.noise import Gaussian
from levy_core.sampling.oracles import nine_modes
from levy_core.sampling.phase.process import PhasePath

PATHS = [
    PhasePath(),
    PhasePath(gamma=0.0, nu=4.0),
    PhasePath(gamma=0.25, nu=4.25, kappa=0.5),
    PhasePath(2.0, 0.0, 4.0, 0.0),
]
TAU = torch.tensor([0.008, 0.1, 0.7, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_mean_and_covariance_are_the_published_ones(path):
    # Pandey and Mandt's closed forms of x and of the momentum m = sqrt(M) p, for p_0 integrated out.
    d, b = path.nu - path.gamma, TAU
    inverse_mass = d**2 / 4
    start = path.kappa / inverse_mass
    grown = torch.exp((path.gamma + path.nu) * b / 2)
    xx = (b**2 * (inverse_mass**2 * start / 4 - inverse_mass / 2) - d * b / 2 + grown - 1) / grown
    xm = (b**2 * d * (2 - inverse_mass * start) / 8 + inverse_mass * b * start / 2) / grown
    mm = (
        b**2 * (inverse_mass * start - 2) / 4
        + d * b * (1 / inverse_mass - start) / 2
        + (grown - 1) / inverse_mass
        + start
    ) / grown
    root = inverse_mass**0.5
    published = torch.stack([xx, xm * root, xm * root, mm * inverse_mass], dim=-1).view(-1, 2, 2)
    torch.testing.assert_close(path.covariance(b), published, rtol=1e-9, atol=1e-14)
    mean = torch.stack([1 + d * b / 4, -b / 2 * root], dim=-1) * (grown**-0.5)[:, None]
    torch.testing.assert_close(path.flow(b)[..., 0], mean, rtol=1e-13, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_flow_is_the_exponential_and_the_normal_law_is_stationary(path):
    torch.testing.assert_close(
        path.flow(TAU), torch.matrix_exp(path.drift * TAU[:, None, None] / 2), rtol=1e-13, atol=1e-15
    )
    kept = path.flow(TAU) @ torch.diag(torch.tensor([1.0, 1 - path.kappa], dtype=torch.float64)) @ path.flow(TAU).mT
    torch.testing.assert_close(path.covariance(TAU) + kept, torch.eye(2).double().expand(4, 2, 2), rtol=0, atol=1e-13)


def test_small_times_keep_their_digits():
    # CLD from rest: rho_eff**2 is nu w**2 tau**3 / 48 at first, 1e-19 beside entries of 1e-6.
    path, tau = PhasePath(gamma=0.0, nu=4.0, kappa=0.0), torch.tensor([1e-6], dtype=torch.float64)
    assert float(path.ratio(tau)) == pytest.approx(math.sqrt(4 * 4 / 48) * 1e-9, rel=1e-5)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_denoiser_and_the_score_are_those_of_the_mixture_by_brute_force(path):
    # z given mode k is Gaussian, a coordinate at a time: the posterior over modes needs no sufficient number.
    oracle = nine_modes(Gaussian())
    means, shares = torch.tensor(oracle.means).double(), torch.tensor(oracle.weights).double()

    def denoised(u, rho):  # E[x_0 | x_0 + rho e], the ordinary denoiser
        apart, variance = u[:, None] - means, oracle.s**2 + rho**2
        mode = torch.softmax(shares.log() - (apart**2).sum(-1) / (2 * variance), 1)
        return (mode[..., None] * (means + oracle.s**2 / variance * apart)).sum(1)

    for tau in TAU:
        flow, covariance = path.flow(tau), path.covariance(tau)
        z = (
            torch.randn(50, 2, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
        )  # [B, coordinate, (x, p)]
        total = covariance + oracle.s**2 * torch.outer(flow[:, 0], flow[:, 0])
        rest = z[:, None] - means[None, :, :, None] * flow[:, 0]
        log_mode = shares.log() - torch.einsum("bkdi,ij,bkdj->bk", rest, torch.linalg.inv(total), rest) / 2
        score = torch.autograd.grad(torch.logsumexp(log_mode, 1).sum(), z)[0]
        given_mode = means + oracle.s**2 * (rest @ torch.linalg.inv(total) @ flow[:, 0])
        x0 = (torch.softmax(log_mode, 1)[..., None] * given_mode).sum(1)

        found = denoised((z @ path.read(tau)).detach(), path.ratio(tau))
        torch.testing.assert_close(found, x0.detach(), rtol=1e-9, atol=1e-9)
        from_x0 = -(z - found[..., None] * flow[:, 0]) @ torch.linalg.inv(covariance)
        torch.testing.assert_close(from_x0.detach(), score, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_what_is_read_is_data_plus_noise_of_its_level(path):
    read, covariance = path.read(TAU), path.covariance(TAU)
    torch.testing.assert_close((read * path.flow(TAU)[..., 0]).sum(-1), torch.ones(4).double(), rtol=0, atol=1e-11)
    variance = torch.einsum("ki,kij,kj->k", read, covariance, read)
    torch.testing.assert_close(variance.sqrt(), path.ratio(TAU), rtol=1e-9, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_root_solves_its_equation(path):
    # R R^T = P, and R' R**-1 = P' P**-1 / 2 by a central difference.
    start, step = torch.tensor(3.0).double(), 1e-5

    def root(tau):
        return path.root(tau, path.turn(start.expand_as(tau), tau))

    tau = TAU[:3]
    torch.testing.assert_close(root(tau) @ root(tau).mT, path.noise(tau), rtol=1e-12, atol=0)
    moving = (root(tau * (1 + step)) - root(tau * (1 - step))) / (2 * step * tau[:, None, None])
    wanted = path.rate(tau) @ torch.linalg.inv(path.noise(tau)) / 2
    torch.testing.assert_close(moving @ torch.linalg.inv(root(tau)), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_time_inverts_the_ratio(path):
    rho = torch.tensor([0.01, 0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(path.ratio(path.time(rho)), rho, rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1.0}, "gamma of the phase path is -1.0"),
        ({"kappa": math.inf}, "kappa of the phase path is inf"),
        ({"beta": 0.0}, "beta of the phase path is 0.0"),
        ({"gamma": 4.0, "nu": 4.0}, "gamma and nu of the phase path are both 4.0"),
        ({"beta": 1000.0}, "of the phase path is 2010"),
    ],
)
def test_bad_paths_are_refused(options, message):
    with pytest.raises(LevyError, match=message):
        PhasePath(**options)


def test_a_level_beyond_the_path_is_refused():
    with pytest.raises(LevyError, match=r"levels rho from 1e-07 to 257.7, but 300 was asked for"):
        PhasePath().time(torch.tensor([300.0]).double())
