"""Guides: classifier-free guidance on an exact mixture, its cost, its place in solvers, and guides that ask for gradients."""

from dataclasses import dataclass, replace
from math import inf, log

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.guidance import GUIDES, ClassifierFree, Interval
from levy_core.sampling.loop import sample
from levy_core.sampling.search import rungs, search
from levy_core.sampling.solver import Solver, guide_evaluations, tabulate
from levy_core.sampling.space import STARTS, Space

MEANS = torch.tensor([-2.0, 1.0])  # of two classes with one Gaussian each
SCALE = 0.5
ABSENT = {LABEL: torch.tensor(2)}


@dataclass
class TwoClasses:
    """Exact eps_hat of N(mean of the class, SCALE**2 I), and of their equal mixture without a class; counts calls and rows."""

    calls: int = 0
    rows: int = 0

    def __call__(self, y, rho, cond):
        self.calls += 1
        self.rows += len(y)
        variance = (SCALE**2 + rho**2)[:, None]
        means = MEANS[:, None, None].to(y)
        each = (y - means) * (rho[:, None] / variance)  # [2, B, d]
        weights = torch.softmax(-((y - means) ** 2).sum(2) / (2 * variance[:, 0]), 0)
        mixed = (weights[..., None] * each).sum(0)
        label = cond[LABEL]
        own = each[label.clamp(max=1), torch.arange(len(y))]
        return torch.where((label == 2)[:, None], mixed, own)


def guided(predictor, strength, high=inf, low=0.0):
    return ClassifierFree(predictor, strength, Interval(high, low), ABSENT)


def draw(predictor, labels, table, noise=None):
    n = len(labels)
    return sample(predictor, table, noise or Gaussian(), 0, range(n), (2,), of_labels(labels))


TABLE = tabulate(Solver("ode", "3m-data", "karras", 20, denoise=True), SCHEDULES["cosine"](2.0))


def test_strength_1_is_the_class_and_strength_0_is_no_class_bit_for_bit():
    labels = torch.arange(64) % 2
    by_class = draw(TwoClasses(), labels, TABLE)
    without = draw(TwoClasses(), torch.full((64,), 2), TABLE)
    assert torch.equal(draw(guided(TwoClasses(), 1.0), labels, TABLE), by_class)
    assert torch.equal(draw(guided(TwoClasses(), 0.0), labels, TABLE), without)
    assert not torch.equal(by_class, without)


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.7), StudentT(4.0)])
def test_samples_without_a_class_are_left_where_they_are_whatever_the_strength_and_the_law(noise):
    labels = torch.full((16,), 2)
    table = tabulate(Solver("ode", "2m-data", "karras", 8, denoise=True), SCHEDULES["cosine"](noise.exponent))
    plain = draw(TwoClasses(), labels, table, noise)
    assert torch.allclose(draw(guided(TwoClasses(), 3.0), labels, table, noise), plain, atol=1e-5)


def test_more_strength_moves_samples_further_from_the_other_class():
    labels = torch.zeros(400, dtype=torch.long)
    means = [float(draw(guided(TwoClasses(), w), labels, TABLE).mean()) for w in (1.0, 2.0, 4.0)]
    # the class itself has mean -2; standard error of 800 values 0.018
    assert abs(means[0] + 2) < 0.08
    assert means[0] > means[1] > means[2]


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
@pytest.mark.parametrize(("high", "low"), [(None, None), (2.0, None), (None, 0.1), (2.0, 0.1), (0.3, 0.2999)])
@pytest.mark.parametrize("guide", sorted(GUIDES))
@pytest.mark.parametrize("form", ["3m-data", "heun"])
def test_a_guided_sampler_costs_what_it_says_in_one_call_per_row_of_its_table(guide, form, high, low, strength):
    solver = Solver(
        "ode", form, "karras", 20, denoise=True, guide=guide, strength=strength, guide_rho_max=high, guide_rho_min=low
    )
    predictor, table = TwoClasses(), tabulate(solver, SCHEDULES["cosine"](2.0))
    draw(GUIDES[guide].wrap(predictor, strength, solver.guided, ABSENT), torch.zeros(4, dtype=torch.long), table)
    assert predictor.calls == table.nfe
    assert predictor.rows == 4 * (table.nfe + guide_evaluations(solver, table.rho[:-1]))
    within = sum((low or 0) < rho <= (high or inf) for rho in table.rho[:-1].tolist())
    assert guide_evaluations(solver, table.rho[:-1]) == (within if guide != "none" and strength == 2 else 0)


class Multiplied:
    """An eps_hat of multiplications alone, which give equal bits wherever a row stands in a batch."""

    def __call__(self, y, rho, cond):
        return y * rho[:, None] * (1 + cond[LABEL].float())[:, None]


@pytest.mark.parametrize("predictor", [Multiplied(), TwoClasses()])
def test_one_call_of_twice_the_rows_is_two_calls(predictor):
    y, label = torch.randn(33, 2, generator=torch.Generator().manual_seed(0)), torch.arange(33) % 3
    rho = torch.linspace(0.1, 3.0, 33)  # each row its own: some inside the interval
    one = guided(predictor, 1.7, 2.0, 0.5)(y, rho, of_labels(label))
    given, without = (predictor(y, rho, of_labels(asked)) for asked in (label, torch.full((33,), 2)))
    inside = (rho > 0.5) & (rho <= 2.0)
    two = torch.where(inside[:, None], torch.lerp(without, given, 1.7), given)
    assert 0 < inside.sum() < 33
    if isinstance(predictor, Multiplied):
        assert torch.equal(one, two)
    assert torch.allclose(one, two, atol=1e-6)


def test_outside_its_interval_a_guide_leaves_the_class_alone_bit_for_bit():
    labels = torch.arange(64) % 2
    plain = draw(TwoClasses(), labels, TABLE)
    for high, low in ((1e-9, 0.0), (inf, 1e9)):
        assert torch.equal(draw(guided(TwoClasses(), 3.0, high, low), labels, TABLE), plain)
    y, rho = torch.ones(2, 2), torch.tensor([0.3, 2.0])
    one = guided(TwoClasses(), 3.0, 2.0, 0.3)(y, rho, of_labels(torch.zeros(2, dtype=torch.long)))
    plain = TwoClasses()(y, rho, of_labels(torch.zeros(2, dtype=torch.long)))
    assert torch.equal(one[0], plain[0])  # the lower end is outside, the upper one inside
    assert not torch.equal(one[1], plain[1])


def test_two_exact_mixtures_agree_more_with_the_class_that_was_asked_for_the_stronger_the_guide():
    """A network that knows its classes badly: asked for a class, it draws of it in 7 of 10 samples."""

    @dataclass
    class Confused(TwoClasses):
        def __call__(self, y, rho, cond):
            other = 1 - cond[LABEL].clamp(max=1)
            own, wrong = super().__call__(y, rho, cond), super().__call__(y, rho, of_labels(other))
            variance = (SCALE**2 + rho**2)[:, None]
            likelihood = lambda label: -((y - MEANS[label][:, None]) ** 2).sum(1) / (2 * variance[:, 0])
            posterior = torch.sigmoid(likelihood(1 - other) - likelihood(other) + log(7 / 3))[:, None]
            mixed = posterior * own + (1 - posterior) * wrong
            return torch.where((cond[LABEL] == 2)[:, None], own, mixed)

    labels = torch.arange(2000) % 2
    got = lambda strength: float(
        ((draw(guided(Confused(), strength), labels, TABLE).mean(1) > MEANS.mean()).long() == labels).double().mean()
    )
    agreement = [got(strength) for strength in (1.0, 1.5, 2.5)]
    # Standard error 0.0103 at 0.7: 4 of them are 0.041, false alarm 6e-5. Steps between strengths are several times as large.
    assert abs(agreement[0] - 0.7) < 0.041
    assert agreement[0] + 0.041 < agreement[1]
    assert agreement[1] + 0.041 < agreement[2]


def test_a_guide_is_part_of_a_solver_and_none_has_no_strength():
    plain = Solver("ode", "3m-data", "karras", 10, strength=3.0)
    guided = Solver("ode", "3m-data", "karras", 10, guide="classifier-free", strength=3.0)
    assert plain == Solver("ode", "3m-data", "karras", 10)
    assert guided != plain
    assert guided.label == "ODE 3m-data, karras, classifier-free 3"
    part = replace(guided, guide_rho_max=5.0, guide_rho_min=0.1)
    assert part.label == "ODE 3m-data, karras, classifier-free 3 at rho from 5 to 0.1"
    assert part != guided
    assert len({part, replace(part), guided}) == 2
    assert replace(part, guide="none") == plain
    assert replace(part, strength=1.0) == replace(guided, strength=1.0)
    for ends, message in (
        ({"guide_rho_max": 0.0}, "guide_rho_max is 0.0, but must be a positive, finite rho, or None for no end"),
        ({"guide_rho_min": inf}, "guide_rho_min is inf, but must be a positive"),
        (
            {"guide_rho_min": 5.0},
            "would act from guide_rho_max 5.0 to guide_rho_min 5.0: give guide_rho_min < guide_rho_max",
        ),
    ):
        with pytest.raises(LevyError, match=message):
            replace(part, **ends)
    with pytest.raises(LevyError, match="unknown guide 'gradient': choose one of classifier-free, none"):
        Solver("ode", "3m-data", "karras", 10, guide="gradient")
    with pytest.raises(LevyError, match="strength is -1, but a guide's must be a finite number of at least 0"):
        Solver("ode", "3m-data", "karras", 10, guide="classifier-free", strength=-1)


def test_noise_of_a_whole_path_is_not_brought_back_under_a_guide():
    table = tabulate(Solver("sde-e", "ei-noise", "karras", 4, 0.5), SCHEDULES["cosine"](2.0))
    with pytest.raises(LevyError, match="which this predictor does not give: sample with ode"):
        draw(guided(TwoClasses(), 2.0), torch.zeros(4, dtype=torch.long), table, StudentT(4.0))


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

    def cost(solver):
        table = tabulate(solver, schedule)
        return table.nfe + guide_evaluations(solver, table.rho[:-1])

    def score(solver, n):
        assert cost(solver) <= 8
        assert (solver.guide == "none") == (cost(solver) == solver.steps)  # else the guide would do nothing
        assert cost(replace(solver, steps=solver.steps + 1)) > 8  # as many as the budget holds
        assert solver.guide_rho_max is None or solver.guide_rho_max < solver.rho_max
        assert solver.guide_rho_min is None or solver.guide_rho_min >= solver.rho_min
        return abs(solver.strength - 3.0)

    found = search(score, schedule, space, 8, 600, rungs(10, 2, 20), seed=0)
    assert found.best.solver.guide == "classifier-free"
    assert abs(found.best.solver.strength - 3.0) < 0.5
    solvers = [trial.solver for trial in found.trials]
    assert {solver.guide for solver in solvers} == {"none", "classifier-free"}
    assert any(solver.guide_rho_max or solver.guide_rho_min for solver in solvers)


def test_the_search_begins_without_a_guide_and_then_with_one_where_guides_are_searched():
    space = replace(SPACE, grids=("karras", "uniform-log-rho"), guides=("none", "classifier-free"))
    trials = search(lambda solver, n: 1 / n, SCHEDULES["cosine"](2.0), space, 8, 60, rungs(10, 2, 20), seed=0).trials
    assert [trial.solver.guide for trial in trials[:2]] == ["none", "classifier-free"]
    start = STARTS[-1]
    first = trials[1].solver
    # the guide's upper end is the grid's, so that it is left out; 8 evaluations hold as many steps
    assert (first.strength, first.guide_rho_max, first.guide_rho_min) == (
        start["strength"],
        None,
        start["guide_rho_min"],
    )
    assert 4 <= first.steps < 8


def test_evaluations_that_hold_no_guided_step_are_searched_without():
    space = replace(SPACE, guides=("classifier-free",), guide_rho_max=(50.0, 60.0), guide_rho_min=(1e-4, 1e-3))
    trials = search(lambda solver, n: 1 / n, SCHEDULES["cosine"](2.0), space, 1, 60, rungs(10, 2, 20), seed=0).trials
    assert {(trial.solver.guide, trial.solver.steps) for trial in trials} == {("none", 1)}


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
