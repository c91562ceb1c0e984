"""The end of a search: candidates scored again on fresh seeds, and a sampler that it began with kept unless one is ahead."""

from math import inf, nan, sqrt

import numpy as np
import pytest

from levy_core.base.seeds import seed_of
from levy_core.sampling.finalists import FINALISTS, MOST_SEEDS, afford, choose
from levy_core.sampling.search import rungs, search
from tests.levy_core.sampling.test_search import SCHEDULE, SPACE, Valley

COUNTS = rungs(8, 2, 64)


def test_the_best_known_sampler_stays_unless_another_is_ahead_by_two_standard_errors():
    sure, unsure = [1.0, 1.1, 0.9], [1.0, 3.0, 0.1]
    better = [0.5, 0.6, 0.4]
    assert choose(np.array([sure, better]), [True, False]) == 1  # ahead by 0.5 in each seed
    assert choose(np.array([unsure, better]), [True, False]) == 0  # ahead by 0.87 ± 0.8 standard errors
    assert choose(np.array([better, sure]), [True, False]) == 0
    assert choose(np.array([sure, better]), [False, False]) == 1
    assert (
        choose(np.array([unsure, sure, better]), [True, True, False]) == 2
    )  # the better of the known ones is the rival
    assert choose(np.array([[nan, 0.0, 0.0], sure]), [True, False]) == 1  # a known one that failed once is no rival
    assert choose(np.array([sure, [nan, 0.0, 0.0]]), [False, False]) == 0


def test_an_equal_sampler_takes_the_place_of_a_known_one_as_rarely_as_students_t_says():
    """One other candidate of the same law, four seeds: in P(t > 2) with three degrees of freedom = 7.0 % of the cases.

    20,000 cases; the tolerance of five standard errors is passed by chance once in two million times.
    """
    scores = np.random.default_rng(0).standard_normal((20_000, 2, 4))
    taken = np.mean([choose(s, [True, False]) for s in scores])
    assert taken == pytest.approx(0.0697, abs=5 * sqrt(0.07 * 0.93 / 20_000))


@pytest.mark.parametrize(("seeds", "known", "rate"), [(3, 1, 0.18), (3, 2, 0.09), (3, 3, 0.06), (4, 3, 0.04)])
def test_one_of_three_equal_samplers_takes_the_place_as_rarely_as_the_docs_say(seeds, known, rate):
    """8,000 cases; a tolerance of 0.02 is at least four and a half standard errors. Nothing is lost by it: they are equal."""
    draw = np.random.default_rng(0)
    names = [False] * FINALISTS + [True] * known
    taken = [choose(draw.standard_normal((len(names), seeds)), names) < FINALISTS for _ in range(8000)]
    assert np.mean(taken) == pytest.approx(rate, abs=0.02)


def test_half_of_the_budget_pays_for_as_many_seeds_as_it_can():
    assert afford(8000, 3, 200) == (3, 3)
    assert afford(80_000, 3, 200) == (FINALISTS, MOST_SEEDS)
    assert afford(7200, 3, 200) == (3, 3)
    assert afford(7199, 3, 200) == (2, 3)
    assert afford(4800, 3, 200) == (1, 3)
    assert afford(4799, 3, 200) == (0, 0)


class Noisy:
    """A valley seen through noise that falls with the number of samples, independent for each solver and seed."""

    def __init__(self, seed, size=3.0):
        self.seed, self.size, self.asked = seed, size, []

    def __call__(self, solver, n):
        self.asked.append((solver, n))
        noise = np.random.default_rng(seed_of(self.seed, n, solver.label) % 2**63).standard_normal()
        return depth(solver) + self.size * noise / sqrt(n)


def depth(solver):
    return Valley()(solver, inf)


def run(seed, judged, samples=3000):
    judges = []

    def fresh(k):
        judges.append(Noisy(10_000 + 100 * seed + k))
        return judges[-1]

    score = Noisy(seed)
    found = search(score, SCHEDULE, SPACE, 10, samples, COUNTS, seed, fresh=fresh if judged else None)
    return found, score, judges


def test_the_budget_holds_the_fresh_seeds_too_and_all_candidates_get_the_same():
    found, _, judges = run(0, judged=True)
    candidates = [solver for solver, _ in judges[0].asked]
    assert found.seeds == len(judges) == MOST_SEEDS
    assert all([solver for solver, _ in judge.asked] == candidates for judge in judges)
    assert {n for judge in judges for _, n in judge.asked} == {COUNTS[-1]}
    assert FINALISTS <= len(candidates) <= FINALISTS + 2  # the search began with two
    assert found.trials[0].solver in candidates
    assert found.trials[1].solver in candidates
    assert found.best.score == pytest.approx(np.mean([judge(found.best.solver, 64) for judge in judges]))
    assert found.samples <= 3000
    drawn = sum(trial.n for trial in found.trials) + len(candidates) * 4 * 64
    assert found.samples == drawn
    again, *_ = run(0, judged=True)
    assert again == found


def test_without_fresh_seeds_or_budget_for_three_the_best_trial_is_taken():
    for found in (run(0, judged=False)[0], run(0, judged=True, samples=600)[0]):
        assert found.seeds == 0
        assert found.best in found.trials


def test_the_score_on_fresh_seeds_flatters_less():
    """Twelve searches of equal cost. The lucky score of the best trial is too low by twice its own noise, 3 / sqrt(64).

    All is deterministic.
    """
    lucky, judged = ([run(seed, on)[0].best for seed in range(12)] for on in (False, True))
    optimism = [np.mean([depth(b.solver) - b.score for b in found]) for found in (lucky, judged)]
    assert optimism[0] > 0.3
    assert abs(optimism[1]) < optimism[0] / 2  # the best mean of five is lucky, too
