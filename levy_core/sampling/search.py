"""The best sampler for a step budget: Bayesian search with successive halving on common random numbers, then fresh ones."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.process.schedule import Schedule
from levy_core.sampling.finalists import afford, choose
from levy_core.sampling.grids import extent
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.solver import Solver, guide_evaluations, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, discretisations_of

if TYPE_CHECKING:
    import optuna

Range = tuple[float, float]
# Score of the first n samples of a solver, smaller is better; NaN where it failed. The same n samples of every solver
# start from the same noise, so that differences are the solvers'.
Score = Callable[[Solver, int], float]


@dataclass(frozen=True)
class Space:
    """What is searched. Ranges are logarithmic; those of rho are cut to the schedule's own extent."""

    solvers: tuple[str, ...]
    discretisations: tuple[str, ...]
    grids: tuple[str, ...]
    eta_schedules: tuple[str, ...]
    limits: tuple[str, ...]
    eta: Range
    rho_max: Range
    rho_min: Range
    guides: tuple[str, ...] = ("none",)
    strength: Range = (1.0, 2.5)
    guide_rho_max: Range = (1.0, 200.0)
    guide_rho_min: Range = (0.005, 1.0)

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Every solver with every discretisation that fits it, by name.

        Raises:
            LevyError: none fits.
        """
        given = [d for d in self.discretisations if DISCRETISATIONS[d].order is not None]
        found = {f"{s} {d}": (s, d) for s in self.solvers for d in given if d in discretisations_of(s)}
        if not found:
            raise LevyError(f"none of {', '.join(self.solvers)} has a form in {', '.join(self.discretisations)}")
        return found

    @property
    def fits(self) -> bool:
        """Whether tables are fitted to the best that is found."""
        return any(DISCRETISATIONS[d].order is None for d in self.discretisations)

    def ends(self, schedule: Schedule) -> dict[str, Range]:
        """The ranges of rho_max and rho_min on a schedule.

        Raises:
            LevyError: a range that the schedule does not reach.
        """
        high, low = extent(schedule)
        return {
            name: _cut(name, getattr(self, name), (low, high), "the schedule goes") for name in ("rho_max", "rho_min")
        }

    def starts(self, schedule: Schedule) -> list[dict[str, Any]]:
        """``STARTS`` that can be proposed, their numbers moved into the ranges."""
        ranges = self.ends(schedule) | {name: getattr(self, name) for name in GUIDE_RANGES}
        return [
            {"limit": self.limits[0]}
            | start
            | {name: min(max(start[name], low), high) for name, (low, high) in ranges.items() if name in start}
            for start in STARTS
            if start["form"] in self.pairs() and start["grid"] in self.grids and start["guide"] in self.guides
        ]

    def propose(self, trial: "optuna.Trial", schedule: Schedule, steps: int) -> Solver:
        """The solver of a trial, of ``steps`` network evaluations: one that is guided has fewer steps.

        Raises:
            LevyError: a range with nothing in it.
        """
        ends, choose = self.ends(schedule), trial.suggest_categorical
        family, discretisation = self.pairs()[choose("form", list(self.pairs()))]
        most = FAMILIES[family].most_eta
        changing: dict[str, Any] = {}
        if most is not None:
            changing["eta"] = _suggest(trial, "eta", _cut("eta", self.eta, (0, most), f"{family} goes"))
            changing["eta_schedule"] = choose("eta_schedule", list(self.eta_schedules))
        if self.guides != ("none",):
            changing["guide"] = choose("guide", list(self.guides))
            if changing["guide"] != "none":
                changing |= {name: _suggest(trial, name, getattr(self, name)) for name in GUIDE_RANGES}
                changing["guide_rho_max"] = max(changing["guide_rho_max"], 2 * changing["guide_rho_min"])
        solver = Solver(
            family,
            discretisation,
            choose("grid", list(self.grids)),
            steps,
            rho_max=_suggest(trial, "rho_max", ends["rho_max"]),
            rho_min=_suggest(trial, "rho_min", ends["rho_min"]),
            denoise=steps > 1 and choose("denoise", [True, False]),
            limit=choose("limit", list(self.limits)),
            **changing,
        )
        return _afford_guide(_feasible(solver), schedule)


def _cut(name: str, search_range: Range, limits: Range, owner: str) -> Range:
    low, high = max(search_range[0], limits[0]), min(search_range[1], limits[1])
    if low > high:
        raise LevyError(
            f"{name} is searched from {search_range[0]:g} to {search_range[1]:g}, but {owner} from {limits[0]:.4g} to {limits[1]:.4g}: "
            "give a range that overlaps"
        )
    return low, high


def _suggest(trial: "optuna.Trial", name: str, bounds: Range) -> float:
    value = trial.suggest_float(name, *bounds, log=True)
    rounded = float(f"{value:.3g}")  # more digits change no sample visibly, and nobody reads them
    return min(max(rounded, bounds[0]), bounds[1])


# Where the search begins: what won on the exact mixtures of docs/benchmarks/solvers.md, and that with a guide.
STARTS: tuple[dict[str, Any], ...] = (
    {"form": "ode 3m-data", "grid": "uniform-log-rho", "rho_max": 20.0, "rho_min": 0.03, "denoise": True, "guide": "none"},
    {"form": "ode 2m-data", "grid": "karras", "rho_max": 80.0, "rho_min": 0.01, "denoise": True, "guide": "none"},
    {
        "form": "ode 3m-data", "grid": "uniform-log-rho", "rho_max": 20.0, "rho_min": 0.03, "denoise": True,
        "guide": "classifier-free", "strength": 1.5, "guide_rho_max": 20.0, "guide_rho_min": 0.2,
    },
)  # fmt: skip
GUIDE_RANGES = ("strength", "guide_rho_max", "guide_rho_min")  # searched for a solver with a guide


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
    ranked = _rank(trial for trial in finite_trials if trial.n == most)
    fitted: list[Trial] = []
    if fit:
        for table in (table for solver in _worth_fitting(ranked) for table in fit(solver)):
            fitted.append(Trial(table, most, score(table, most)))
            progress(most * steps)
            samples_drawn += most
    trials += fitted
    fitted = _rank(fitted)
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


def _worth_fitting(ranked: Sequence[Trial]) -> list[Solver]:
    """Of each guide the first solver that a table can be fitted to."""
    first: dict[str, Solver] = {}
    for trial in ranked:
        if trial.solver.has_fitted_form:
            first.setdefault(trial.solver.guide, trial.solver)
    return list(first.values())


def _feasible(solver: Solver) -> Solver:
    """A range of rho that overlaps itself (both ends from wide ranges) starts at twice its end."""
    if solver.rho_max is not None and solver.rho_min is not None and solver.rho_max <= solver.rho_min:
        return replace(solver, rho_max=2 * solver.rho_min)
    return solver


def _afford_guide(solver: Solver, schedule: Schedule) -> Solver:
    """The solver with as many steps as cost ``solver.steps`` evaluations, the guide's counted.

    The guide's lower end moves to a neighbouring level where that spends what would be left, so that costs are those of
    unguided solvers. Ends beyond those of the grid are left out, and a guide that changes no step, or for which the evaluations
    are too few: equal samplers are to be equal.
    """
    budget, least, plain = solver.steps, 1 + solver.denoise, replace(solver, guide="none")
    if GUIDES[solver.guide].evaluations(solver.strength) == 1:
        return plain
    if solver.guide_rho_max is not None and solver.rho_max is not None and solver.guide_rho_max >= solver.rho_max:
        solver = replace(solver, guide_rho_max=None)
    if solver.guide_rho_min is not None and solver.rho_min is not None and solver.guide_rho_min < solver.rho_min:
        solver = replace(solver, guide_rho_min=None)
    steps, guided = budget, 0
    while steps >= least:
        solver = replace(solver, steps=steps)
        guided = guide_evaluations(solver, tabulate(solver, schedule))
        excess = steps + guided - budget
        if excess <= 0:
            break
        steps -= max(
            1, excess // 2 - 1
        )  # k steps less cost at most 2 k + 3 less, of heun: none that fits is passed over
    fitting = [replace(solver, steps=n) for n in (steps, steps + 1) if least <= n < budget]
    spent = [one for one in (_spend(one, schedule, budget) for one in fitting) if one]
    return spent[0] if spent else solver if guided and steps >= least else plain


def _spend(solver: Solver, schedule: Schedule, evaluations: int) -> Solver | None:
    """The solver whose guide ends where all evaluations are spent; None where no end does that."""
    table, more = tabulate(solver, schedule), evaluations - solver.steps
    if guide_evaluations(solver, table) == more:
        return solver
    below = [rho for rho in table.rho[:-1].tolist() if rho <= solver.guided.high]
    if more > len(below):
        return None
    if more == len(below):
        return replace(solver, guide_rho_min=None)
    between = (below[more - 1] * below[more]) ** 0.5
    rounded = float(f"{between:.3g}")
    end = rounded if below[more] < rounded < below[more - 1] else between
    return replace(solver, guide_rho_min=end) if below[more] < below[more - 1] else None


def _report_result(study: "optuna.Study", proposal: "optuna.Trial", score: float, pruned: bool = False) -> None:
    from optuna.trial import TrialState

    if not isfinite(score):
        study.tell(proposal, state=TrialState.FAIL)
    elif pruned:
        study.tell(proposal, state=TrialState.PRUNED)
    else:
        study.tell(proposal, score)
