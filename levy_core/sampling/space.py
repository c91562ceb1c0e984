"""What a search for a sampler may propose: families, forms, levels, limits and guides, within a number of network evaluations."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from levy_core.base.errors import LevyError
from levy_core.process.schedule import Schedule
from levy_core.sampling.grids import extent
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.solver import Solver, guide_evaluations, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, discretisations_of

if TYPE_CHECKING:
    import optuna

Range = tuple[float, float]


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
            LevyError: none fits; tables would be fitted, and none of the solvers has one.
        """
        fitted = [d for d in self.discretisations if DISCRETISATIONS[d].order is None]
        if fitted and not any(set(fitted) & set(discretisations_of(s)) for s in self.solvers):
            raise LevyError(
                f"{fitted[0]} is among the discretisations, but tables are fitted in the place of the ode's, and the solvers are "
                f"{', '.join(self.solvers)}: add ode, or take {fitted[0]} out"
            )
        given = [d for d in self.discretisations if DISCRETISATIONS[d].order is not None]
        found = {f"{s} {d}": (s, d) for s in self.solvers for d in given if d in discretisations_of(s)}
        if not found:
            beside = "" if given else ": tables are fitted to what is found with others, name one of these, too"
            raise LevyError(
                f"none of {', '.join(self.solvers)} has a form in {', '.join(self.discretisations)}{beside}"
            )
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


def _feasible(solver: Solver) -> Solver:
    """A range of rho that overlaps itself (both ends from wide ranges) starts at twice its end."""
    if solver.rho_max is not None and solver.rho_min is not None and solver.rho_max <= solver.rho_min:
        return replace(solver, rho_max=2 * solver.rho_min)
    return solver


def shorten(solver: Solver, schedule: Schedule, evaluations: int) -> Solver:
    """The solver with fewer network evaluations, the guide's counted."""
    solver = replace(solver, steps=evaluations, denoise=solver.denoise and evaluations > 1)
    return _afford_guide(solver, schedule)


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
        guided = guide_evaluations(solver, tabulate(solver, schedule).rho[:-1])
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
    rho_of_rows, more = tabulate(solver, schedule).rho[:-1], evaluations - solver.steps
    if guide_evaluations(solver, rho_of_rows) == more:
        return solver
    below = [rho for rho in rho_of_rows.tolist() if rho <= solver.guided.high]
    if more > len(below):
        return None
    if more == len(below):
        return replace(solver, guide_rho_min=None)
    between = (below[more - 1] * below[more]) ** 0.5
    rounded = float(f"{between:.3g}")
    end = rounded if below[more] < rounded < below[more - 1] else between
    return replace(solver, guide_rho_min=end) if below[more] < below[more - 1] else None
