"""The adaptive solver: accurate to its tolerance, independent of the batch, and thrifty."""

import math
from fractions import Fraction

import pytest
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Gaussian, Stable
from levy_core.sampling.adaptive import BOGACKI_SHAMPINE, sample_adaptive
from levy_core.sampling.oracles import Scale, energy_distance, nine_modes

ENDS = {"rho_max": 80.0, "rho_min": 0.01}


def run(oracle, noise, indices, shape=(1,), **options):
    labels = torch.zeros(len(indices), dtype=torch.long)
    return sample_adaptive(oracle, noise, 0, indices, shape, of_labels(labels), **{**ENDS, **options})


def test_the_pair_has_the_orders_that_it_declares():
    pair = BOGACKI_SHAMPINE
    c = (0, *pair.c, 1)
    for weights, order in ((pair.b, pair.order), (pair.b_low, pair.order - 1)):
        for power in range(order):  # the conditions on quadrature
            assert sum(w * x**power for w, x in zip(weights, c, strict=False)) == Fraction(1, power + 1)
    assert [sum(row) for row in pair.a] == list(pair.c)
    inner = [0, *(sum(w * x for w, x in zip(row, c, strict=False)) for row in pair.a)]
    assert sum(w * x for w, x in zip(pair.b, inner, strict=True)) == Fraction(1, 6)  # order 3
    assert pair.error == [-5 / 72, 1 / 12, 1 / 9, -1 / 8]


@pytest.mark.parametrize("p", [1.2, 1.5, 2.0])
def test_the_error_stays_near_the_tolerance(p):
    # On oracle 1 the flow is known: y(rho) = y_T ((c**p + rho**p) / (c**p + rho_T**p))**(1/p).
    noise, c = Gaussian() if p == 2 else Stable(p), 0.7
    start = 80 * noise.sample((1,), Streams.of_samples(0, "sample", range(20)))
    exact = start * ((c**p + 0.01**p) / (c**p + 80.0**p)) ** (1 / p)
    errors, spent = [], []
    for tolerance in (1e-2, 1e-3, 1e-4):
        done = run(Scale(noise, c), noise, range(20), tolerance=tolerance)
        errors.append(float(((done.samples - exact) / (1 + exact.abs())).abs().max()))
        spent.append(float(done.evaluations.double().mean()))
        assert errors[-1] < 30 * tolerance  # local errors add up over the path
    assert errors[0] > 3 * errors[-1]
    assert spent[0] < spent[1] < spent[2]


def test_a_sample_does_not_depend_on_its_batch():
    noise = Stable(1.5)
    oracle = nine_modes(noise)
    whole = run(oracle, noise, range(12), (2,))
    part = run(oracle, noise, [7, 3], (2,))
    assert torch.equal(part.samples, whole.samples[[7, 3]])
    assert torch.equal(part.evaluations, whole.evaluations[[7, 3]])


def test_it_returns_the_data():
    # 3,000 samples: energy distance of two data sets 0 +- 0.0007 (20 seeds)
    noise = Stable(1.5)
    oracle = nine_modes(noise)
    done = run(oracle, noise, range(3000), (2,))
    assert energy_distance(done.samples, oracle.data(3000, (2,), 1)) < 0.003
    assert done.evaluations.double().mean() < 200  # 143


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho_min": 90.0}, "rho_min is 90.0 and rho_max 80.0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"tolerance": 1e-7, "most_evaluations": 30}, r"the sample with index \d+ is at rho = .* raise the tolerance"),
    ],
)
def test_bad_requests_are_refused(options, message):
    noise = Stable(1.5)
    with pytest.raises(LevyError, match=message):
        run(nine_modes(noise), noise, range(3), (2,), **options)


def test_a_prediction_that_is_not_finite_is_named():
    def broken(y, rho, cond):
        return torch.where((rho < 1)[:, None], math.nan, 0.0) + 0 * y

    with pytest.raises(LevyError, match=r"NaN or infinity at rho = .* for the sample with index 5"):
        run(broken, Gaussian(), [5, 6])
