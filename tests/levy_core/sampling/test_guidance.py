"""Guides: classifier-free guidance on an exact mixture, its cost, its place in solvers, and guides that ask for gradients."""

from dataclasses import dataclass

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.guidance import GUIDES, ClassifierFree
from levy_core.sampling.loop import sample
from levy_core.sampling.search import Space, rungs, search
from levy_core.sampling.solver import Solver, tabulate

MEANS = torch.tensor([-2.0, 1.0])  # of two classes with one Gaussian each
SCALE = 0.5
ABSENT = {LABEL: torch.tensor(2)}


@dataclass
class TwoClasses:
    """Exact eps_hat of N(mean of the class, SCALE**2 I), and of their equal mixture without a class; counts its calls."""

    calls: int = 0

    def __call__(self, y, rho, cond):
        self.calls += 1
        variance = SCALE**2 + rho**2
        means = MEANS[:, None, None].to(y)
        each = (y - means) * (rho / variance)[:, None]  # [2, B, d]
        weights = torch.softmax(-((y - means) ** 2).sum(2) / (2 * variance), 0)
        mixed = (weights[..., None] * each).sum(0)
        label = cond[LABEL]
        own = each[label.clamp(max=1), torch.arange(len(y))]
        return torch.where((label == 2)[:, None], mixed, own)


def draw(predictor, labels, table, noise=None):
    n = len(labels)
    return sample(predictor, table, noise or Gaussian(), 0, range(n), (2,), of_labels(labels))


TABLE = tabulate(Solver("ode", "3m-data", "karras", 20, denoise=True), SCHEDULES["cosine"](2.0))


def test_strength_1_is_the_class_and_strength_0_is_no_class_bit_for_bit():
    labels = torch.arange(64) % 2
    by_class = draw(TwoClasses(), labels, TABLE)
    without = draw(TwoClasses(), torch.full((64,), 2), TABLE)
    assert torch.equal(draw(ClassifierFree(TwoClasses(), 1.0, ABSENT), labels, TABLE), by_class)
    assert torch.equal(draw(ClassifierFree(TwoClasses(), 0.0, ABSENT), labels, TABLE), without)
    assert not torch.equal(by_class, without)


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.7), StudentT(4.0)])
def test_samples_without_a_class_are_left_where_they_are_whatever_the_strength_and_the_law(noise):
    labels = torch.full((16,), 2)
    table = tabulate(Solver("ode", "2m-data", "karras", 8, denoise=True), SCHEDULES["cosine"](noise.exponent))
    plain = draw(TwoClasses(), labels, table, noise)
    assert torch.allclose(draw(ClassifierFree(TwoClasses(), 3.0, ABSENT), labels, table, noise), plain, atol=1e-5)


def test_more_strength_moves_samples_further_from_the_other_class():
    labels = torch.zeros(400, dtype=torch.long)
    means = [float(draw(ClassifierFree(TwoClasses(), w, ABSENT), labels, TABLE).mean()) for w in (1.0, 2.0, 4.0)]
    # the class itself has mean -2; standard error of 800 values 0.018
    assert abs(means[0] + 2) < 0.08
    assert means[0] > means[1] > means[2]


def test_a_guided_evaluation_costs_what_the_table_says():
    for name, guide in GUIDES.items():
        predictor = TwoClasses()
        draw(guide.wrap(predictor, 2.0, ABSENT), torch.zeros(4, dtype=torch.long), TABLE)
        assert predictor.calls == TABLE.nfe * guide.evaluations, name


def test_a_guide_is_part_of_a_solver_and_none_has_no_strength():
    plain = Solver("ode", "3m-data", "karras", 10, strength=3.0)
    guided = Solver("ode", "3m-data", "karras", 10, guide="classifier-free", strength=3.0)
    assert plain == Solver("ode", "3m-data", "karras", 10)
    assert guided != plain
    assert guided.label == "ODE 3m-data, karras, classifier-free 3"
    with pytest.raises(LevyError, match="unknown guide 'gradient': choose one of classifier-free, none"):
        Solver("ode", "3m-data", "karras", 10, guide="gradient")
    with pytest.raises(LevyError, match="strength is -1, but a guide's must be a finite number of at least 0"):
        Solver("ode", "3m-data", "karras", 10, guide="classifier-free", strength=-1)


def test_noise_of_a_whole_path_is_not_brought_back_under_a_guide():
    table = tabulate(Solver("sde-e", "ei-noise", "karras", 4, 0.5), SCHEDULES["cosine"](2.0))
    with pytest.raises(LevyError, match="which this predictor does not give: sample with ode"):
        draw(ClassifierFree(TwoClasses(), 2.0, ABSENT), torch.zeros(4, dtype=torch.long), table, StudentT(4.0))


@dataclass
class Gradient:
    """A guide that asks for a gradient: eps_hat less that of log p(x > 0) by a logistic law, as a classifier's would be."""

    predictor: TwoClasses
    needs_gradient = True

    def __call__(self, y, rho, cond):
        with torch.enable_grad():
            at = y.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(torch.nn.functional.logsigmoid(4 * at).sum(), at)
        return self.predictor(y, rho, cond) - rho[:, None] * gradient


def test_a_guide_may_ask_for_gradients():
    labels = torch.full((200,), 2)
    moved = draw(Gradient(TwoClasses()), labels, TABLE)
    assert float((moved > 0).float().mean()) > float((draw(TwoClasses(), labels, TABLE) > 0).float().mean()) + 0.1


def test_one_that_does_not_ask_is_drawn_without_them():
    def asks(y, rho, cond):
        assert torch.is_inference_mode_enabled()
        return y * 0

    draw(asks, torch.zeros(2, dtype=torch.long), TABLE)


SPACE = Space(
    solvers=("ode",), discretisations=("3m-data",), grids=("karras",), eta_schedules=("constant",), limits=("none",),
    eta=(0.1, 1.0), rho_max=(5.0, 50.0), rho_min=(0.01, 0.1),
)  # fmt: skip


def test_the_search_finds_the_guide_that_a_score_rewards_within_the_budget_of_evaluations():
    space = Space(**{**SPACE.__dict__, "guides": ("none", "classifier-free"), "strength": (1.0, 4.0)})
    schedule = SCHEDULES["cosine"](2.0)

    def score(solver, n):
        evaluations = tabulate(solver, schedule).nfe * GUIDES[solver.guide].evaluations
        assert evaluations <= 8
        return abs(solver.strength - 3.0)

    found = search(score, schedule, space, 8, 600, rungs(10, 2, 20), seed=0)
    assert found.best.solver.guide == "classifier-free"
    assert abs(found.best.solver.strength - 3.0) < 0.5


def test_without_guides_the_search_is_the_one_of_before():
    score = lambda solver, n: abs(solver.rho_max - 20) + solver.rho_min
    trials = search(score, SCHEDULES["cosine"](2.0), SPACE, 6, 200, rungs(10, 2, 20), seed=1).trials
    # what this search proposed when there were no guides
    assert [(t.solver.rho_max, t.solver.rho_min, t.solver.denoise, t.n) for t in trials] == [
        (13.1, 0.0525, False, 20), (7.01, 0.0124, False, 10), (12.5, 0.0346, False, 10), (8.01, 0.0755, False, 10),
        (13.1, 0.0362, False, 20), (31.6, 0.093, False, 10), (37.6, 0.0785, True, 10), (7.39, 0.0755, False, 10),
        (43.6, 0.0283, True, 10), (14.5, 0.0123, True, 20), (19.9, 0.0223, True, 20), (18.2, 0.0114, True, 20),
        (18.6, 0.0211, True, 20),
    ]  # fmt: skip
    assert {t.solver.guide for t in trials} == {"none"}
