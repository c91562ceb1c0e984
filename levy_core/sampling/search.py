"""The best sampler for a step budget: Bayesian search with successive halving on common random numbers, then fresh ones."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.process.schedule import Schedule
from levy_core.sampling.finalists import afford, choose
from levy_core.sampling.solver import Solver
from levy_core.sampling.space import Space, shorten

if TYPE_CHECKING:
    import optuna

# Score of the first n samples of a solver, smaller is better; NaN where it failed. The same n samples of every solver
# start from the same noise, so that differences are the solvers'.
Score = Callable[[Solver, int], float]


@dataclass(frozen=True)
class Trial:
    """One solver: how many samples it was given, and the score of those."""

    solver: Solver
    n: int
    score: float


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        best: the solver to take. On seeds of their own its score is the mean over these; else it is the best of the trials
            that got the most samples, with the score that chose it, which flatters it.
        trials: in the order of the search. samples: how many were drawn in all. seeds: that it was judged on, 0 for none.
    """

    best: Trial
    trials: tuple[Trial, ...]
    samples: int
    seeds: int

    def flows(self) -> list[Solver]:
        """The best solver of the ode with each guide, of the trials that got the most samples; no fitted tables."""
        most = max(trial.n for trial in self.trials if isfinite(trial.score))
        ranked = _rank(trial for trial in self.trials if trial.n == most)
        return _first_of_guides(t.solver for t in ranked if t.solver.family == "ode" and t.solver.rows is None)


def rungs(first: int, factor: int, last: int) -> list[int]:
    """Sample counts of successive halving: first, first * factor, ... up to last."""
    counts = [first]
    while counts[-1] * factor <= last:
        counts.append(counts[-1] * factor)
    return counts


def search(
    score: Score,
    schedule: Schedule,
    space: Space,
    steps: int,
    samples: int,
    counts: list[int],
    seed: int,
    progress: Callable[[int], Any] = lambda evaluations: None,
    fresh: Callable[[int], Score] | None = None,
    fit: Callable[[Solver], Sequence[Solver]] | None = None,
    longer: Sequence[Solver] = (),
) -> SearchResult:
    """Searches the samplers of ``steps`` evaluations.

    TPE proposes (Bergstra et al., 2011); asynchronous successive halving (Li et al., 2020) gives each proposal
    ``counts[0]`` samples and only the best share of those the next count. Up to half of the budget then judges the best few
    and ``STARTS`` on seeds of their own (``finalists``). Equal arguments give an equal search.

    Args:
        samples: the budget: samples drawn in all. At least one trial must fit in.
        fresh: the score with the noise of the seed k = 0, 1, ... apart from the search's; None: nothing is judged again.
        fit: tables fitted to a solver's start, guide, limit and number of evaluations. They are fitted to the best trial of each guide,
            beyond the budget, and the best of them is judged with the best trials.
        longer: solvers of more evaluations; shortened to ``steps``, they are trials, too.
        counts: from ``rungs``.
        progress: is told each number of evaluations spent.

    Raises:
        LevyError: a budget too small for one trial, a range with nothing in it, or no trial with a finite score.
    """
    import optuna  # half a second that the checks of params.yaml do not need

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if samples < counts[-1]:
        raise LevyError(f"a budget of {samples} samples does not hold one trial of {counts[-1]}: raise it")
    factor = counts[1] // counts[0] if len(counts) > 1 else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`: one model per set of settings
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=8)
    starts = space.starts(schedule)
    finalists, seeds = afford(samples, len(starts), counts[-1]) if fresh else (0, 0)
    budget = samples - seeds * (finalists + len(starts)) * counts[-1]
    study = optuna.create_study(
        sampler=sampler,
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor),
    )
    for start in starts:
        study.enqueue_trial(start)
    trial_of: dict[Solver, Trial] = {}
    trials: list[Trial] = []
    began: set[Solver] = set()
    samples_drawn, repeats = 0, 0
    while samples_drawn + counts[-1] <= budget and repeats < 20:  # so many repeats: the space is finite and used up
        proposal = study.ask()
        solver = space.propose(proposal, schedule, steps)
        if proposal.number < len(starts):
            began.add(solver)
        repeats = repeats + 1 if solver in trial_of else 0
        if solver in trial_of:
            previous = trial_of[solver]
            if isfinite(previous.score):
                proposal.report(previous.score, previous.n // counts[0])
            _report_result(study, proposal, previous.score, pruned=previous.n < counts[-1])
            continue
        latest, pruned = Trial(solver, 0, float("nan")), False
        for count in counts:
            value = score(solver, count)
            progress((count - latest.n) * steps)
            samples_drawn += count - latest.n
            latest = Trial(solver, count, value)
            if not isfinite(value):
                break
            proposal.report(value, count // counts[0])
            if count < counts[-1] and proposal.should_prune():
                pruned = True
                break
        trial_of[solver] = latest
        trials.append(latest)
        _report_result(study, proposal, latest.score, pruned)
    finite_trials = [trial for trial in trials if isfinite(trial.score)]
    if not finite_trials:
        raise LevyError(
            f"none of {len(trials)} samplers gave a finite score at {steps} steps: look at the training loss, or raise the first count of samples ({counts[0]}) if it is too small for the score"
        )
    most = max(trial.n for trial in finite_trials)

    def try_all(solvers: Iterable[Solver]) -> list[Trial]:
        nonlocal samples_drawn
        found = []
        for solver in solvers:
            found.append(Trial(solver, most, score(solver, most)))
            progress(most * steps)
            samples_drawn += most
        trials.extend(found)
        return _rank(found)

    shortened = (shorten(solver, schedule, steps) for solver in longer)
    given = try_all(dict.fromkeys(solver for solver in shortened if solver not in trial_of))
    ranked = _rank(trial for trial in [*finite_trials, *given] if trial.n == most)
    worth_a_fit = _first_of_guides(trial.solver for trial in ranked if trial.solver.has_fitted_form)
    fitted = try_all(table for solver in worth_a_fit for table in fit(solver)) if fit else []
    if not (fresh and seeds):
        return SearchResult(_rank([*ranked, *fitted])[0], tuple(trials), samples_drawn, 0)
    known = dict.fromkeys(trial.solver for trial in finite_trials if trial.solver in began)
    finals = [*ranked[:finalists], *fitted[:1]]
    candidates = list(dict.fromkeys([*(trial.solver for trial in finals), *known]))
    scores = np.empty((len(candidates), seeds))
    for k in range(seeds):
        judge = fresh(k)
        for c, solver in enumerate(candidates):
            scores[c, k] = judge(solver, counts[-1])
            progress(counts[-1] * steps)
    chosen = choose(scores, [solver in known for solver in candidates])
    best = Trial(candidates[chosen], counts[-1], float(scores[chosen].mean()))
    return SearchResult(best, tuple(trials), samples_drawn + scores.size * counts[-1], seeds)


def _rank(trials: Iterable[Trial]) -> list[Trial]:
    """Those with a finite score, best first."""
    return sorted((trial for trial in trials if isfinite(trial.score)), key=lambda trial: trial.score)


def _first_of_guides(solvers: Iterable[Solver]) -> list[Solver]:
    first: dict[str, Solver] = {}
    for solver in solvers:
        first.setdefault(solver.guide, solver)
    return list(first.values())


def _report_result(study: "optuna.Study", proposal: "optuna.Trial", score: float, pruned: bool = False) -> None:
    from optuna.trial import TrialState

    if not isfinite(score):
        study.tell(proposal, state=TrialState.FAIL)
    elif pruned:
        study.tell(proposal, state=TrialState.PRUNED)
    else:
        study.tell(proposal, score)
