"""Power-function averages: their profiles, what they combine to, and their way through a training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.training import power_averages
from levy_core.training.config import TrainConfig
from levy_core.training.power_averages import (
    KEPT,
    LONGEST,
    TOLERANCE,
    PowerAverages,
    check_length,
    combine,
    exponent,
    keeping_steps,
    reachable_lengths,
)
from levy_core.training.trainer import Trainer

TRACKED, STEPS = (0.05, 0.1), 640
CONFIG = TrainConfig(
    steps=40, batch=8, lr=1e-2, warmup=3, ema=0.9, clip=1e9, label_dropout=0.3, flip=False, seed=0, precision="float32",
    ema_lengths=TRACKED,
)  # fmt: skip


def profile(length, steps=STEPS):
    """What each step weighs in the average after the last: the continuous profile over the step, [T]."""
    edges = (np.arange(steps + 1) / steps) ** (exponent(length) + 1)
    return np.diff(edges)


def trajectory(kind):
    """Weights of every step, [T, D]."""
    g = np.random.default_rng(0)
    walk = g.standard_normal((STEPS, 40)).cumsum(0) / STEPS**0.5
    decay = np.exp(-np.linspace(0, 6, STEPS))[:, None] * g.standard_normal(40)
    return {"walk": walk, "smooth": 3 + decay, "noise": g.standard_normal((STEPS, 40))}[kind]


def track(weights):
    kept = {}
    averages = PowerAverages(TRACKED, STEPS, kept.__setitem__)
    for step, row in enumerate(torch.from_numpy(weights), start=1):
        averages.update([row], step)
    return averages, kept


@pytest.mark.parametrize("length", [0.005, 0.05, 0.1, 0.2, 0.288])
def test_the_length_is_the_standard_deviation_of_the_profile(length):
    gamma = exponent(length)
    density = lambda x: (gamma + 1) * x**gamma
    mean = quad(lambda x: x * density(x), 0, 1)[0]
    assert quad(lambda x: (x - mean) ** 2 * density(x), 0, 1)[0] ** 0.5 == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("length", [0.0, -0.1, LONGEST, 0.3, float("nan")])
def test_other_lengths_are_refused(length):
    with pytest.raises(LevyError, match=r"above 0 and below 0\.2887"):
        exponent(length)


@pytest.mark.parametrize(("a", "b"), [((0.3, 0.05), (1.0, 0.1)), ((1.0, 0.2), (0.5, 0.02)), ((0.7, 0.1), (0.7, 0.1))])
def test_inner_products_are_those_of_the_profiles(a, b):
    def density(x, t, length):
        gamma = exponent(length)
        return (gamma + 1) * x**gamma / t ** (gamma + 1)

    expected = quad(lambda x: density(x, *a) * density(x, *b), 0, min(a[0], b[0]))[0]
    (t_a, length_a), (t_b, length_b) = a, b
    found = power_averages._inner_product(
        np.array([t_a]), np.array(exponent(length_a)), np.array([t_b]), np.array(exponent(length_b))
    )
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_running_average_is_the_weighted_mean_of_the_weights_of_all_steps():
    weights = trajectory("walk")
    averages, kept = track(weights)
    assert len(kept) == KEPT - 1
    for i, length in enumerate(TRACKED):
        assert np.allclose(averages.state()[f"{i}.0"], profile(length) @ weights, atol=1e-12)
        at = keeping_steps(STEPS)[7]
        early = profile(length, at) @ weights[:at]
        assert np.allclose(kept[7][f"{i}.0"], early, atol=2**-11 * np.abs(early).max())  # float16


@pytest.mark.parametrize("length", TRACKED)
def test_a_tracked_length_is_its_own_average(length):
    x, distance = combine(TRACKED, keeping_steps(STEPS), length)
    alone = np.zeros_like(x)
    alone[-1, TRACKED.index(length)] = 1
    assert np.abs(x - alone).max() < 1e-9
    assert distance < 1e-6
    averages, kept = track(trajectory("walk"))
    own = averages.state()[f"{TRACKED.index(length)}.0"].float()
    assert torch.allclose(averages.of_length(length, kept.get)[0], own, atol=1e-6)


@pytest.mark.parametrize("kind", ["walk", "smooth", "noise"])
@pytest.mark.parametrize("length", [0.03, 0.06, 0.075, 0.15, 0.2])
def test_any_other_length_is_as_near_to_its_direct_average_as_the_profiles_are(kind, length):
    """Cauchy-Schwarz: profiles that both sum to 1 differ by ``distance * norm``, whatever the weights did."""
    weights = trajectory(kind)
    averages, kept = track(weights)
    x, distance = combine(TRACKED, keeping_steps(STEPS), length)
    norm = (exponent(length) + 1) / (2 * exponent(length) + 1) ** 0.5
    moved = (weights - weights.mean(0)).std(0)
    rounding = 2**-11 * np.abs(x).sum() * np.abs(weights).max()  # float16 of what was kept
    apart = np.abs(averages.of_length(length, kept.get)[0].numpy() - profile(length) @ weights)
    # the profile of steps is that of continuous time to within a step: 1 / STEPS per keeping interval, relatively
    assert (apart <= (distance + KEPT / STEPS) * norm * moved + rounding).all()
    assert np.isclose(x.sum(), 1, atol=1e-9)


def test_sixteen_times_of_two_lengths_make_all_from_0_03_to_0_2_and_those_between_to_a_percent():
    distance = lambda length: combine(TRACKED, keeping_steps(STEPS), length)[1]
    assert max(map(distance, np.linspace(0.03, 0.23, 60))) < TOLERANCE
    assert max(map(distance, np.linspace(0.05, 0.15, 60))) < 0.01
    assert distance(0.01) > 0.3


def test_a_length_that_the_tracked_ones_do_not_make_is_refused_and_those_offered_are_made():
    lengths = reachable_lengths(TRACKED, STEPS)
    assert set(TRACKED) < set(lengths)
    assert list(lengths) == sorted(lengths)
    assert (round(lengths[0], 2), round(lengths[-1], 2)) == (0.03, 0.23)
    for length in lengths:
        check_length(TRACKED, STEPS, length)
    with pytest.raises(
        LevyError, match=r"0\.01 cannot be made to within 5% of averages of 0\.05, 0\.1: choose one such as 0\.02"
    ):
        check_length(TRACKED, STEPS, 0.01)
    with pytest.raises(LevyError, match="choose one such as"):
        check_length([0.1], STEPS, 0.05)


@pytest.mark.parametrize("tracked", [(0.1, 0.11), (0.05, 0.06, 0.07, 0.08), (0.02, 0.05, 0.1, 0.2)])
def test_what_is_offered_does_not_blow_up_the_rounding_of_what_was_kept(tracked):
    """Profiles of near lengths make others too, but from differences of which float16 holds little."""
    lengths = reachable_lengths(tracked, STEPS)
    assert len(lengths) >= 8
    for length in lengths:
        x, distance = combine(tracked, keeping_steps(STEPS), length)
        assert np.linalg.norm(x) <= 10
        assert distance <= TOLERANCE


@pytest.mark.parametrize("steps", [1, 2, 9, 17])
def test_short_trainings_keep_what_there_is(steps):
    times = keeping_steps(steps)
    assert times[-1] == steps
    assert len(times) == min(steps, KEPT)
    x, distance = combine(TRACKED, times, 0.1)
    assert np.isfinite(x).all()
    assert distance < 1e-6


def begin(kept, **changes):
    torch.manual_seed(0)
    net = MLP(MLPConfig((3,), 3, 16, 2))
    data, labels = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    return Trainer(
        Design.from_mapping({"preset": "lim"}), net, data, of_labels(labels), {LABEL: torch.tensor(3)},
        replace(CONFIG, **changes), torch.device("cpu"), keep=kept.__setitem__,
    )  # fmt: skip


def test_a_training_is_the_same_with_them_and_goes_on_to_the_same_averages():
    kept, again = {}, {}
    whole, plain = begin(kept), begin({}, ema_lengths=())
    assert list(whole.run()) == list(plain.run())
    assert all(torch.equal(value, whole.state()[name]) for name, value in plain.state().items())
    assert not any(name.startswith("power.") for name in plain.state())
    first = begin(again)
    for progress in first.run():
        if progress.step == 17:
            break
    second = begin(again)
    second.restore(first.state())
    list(second.run())
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    assert kept.keys() == again.keys() == set(range(KEPT - 1))
    assert all(torch.equal(value, again[number][name]) for number in kept for name, value in kept[number].items())
    networks = [one.averaged_over(0.07, kept.get) for one in (whole, second)]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in networks), strict=True))
    assert not torch.equal(next(networks[0].parameters()), next(whole.averaged.parameters()))
