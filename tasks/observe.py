"""Stage observe: something is observed of held-out samples, a design's model draws the rest, and is judged on it against rivals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from levy_core.base.code import hash_code
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.files import hash_files, hash_json
from levy_core.base.memory import free_memory
from levy_core.base.seeds import seed_of
from levy_core.observations.kept import FILE as COVARIANCE
from levy_core.observations.nonlinear import Through
from levy_core.observations.observation import MOST
from levy_core.observations.views import Scene
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import CODE as DRAWING
from levy_core.serving.draw import hash_model
from levy_core.serving.given import MOST_BEHIND
from levy_core.serving.reading import solver_of_observations
from levy_core.training.checkpoint import load_model
from tasks.cells.observed import EXTREME, WAY, Shown, write_observed
from tasks.cells.tuned import read_correction, read_tuned
from tasks.kinds.held_out import HeldOut
from tasks.observing.cases import choose_extreme, choose_usual, observe_cases, why_none
from tasks.observing.pictures import show_cases
from tasks.observing.scores import Judged, judge_members
from tasks.observing.ways import KRIGING, Filler
from tasks.params.experiments import Experiment
from tasks.params.schema import Params
from tasks.runtime import paths, stage
from tasks.runtime.finished import FinishedStage
from tasks.runtime.progress import bar

# Code that decides a number or a picture, beside this module and that of the kind and of drawing.
CODE = (
    "tasks.observing.cases",
    "tasks.observing.ways",
    "tasks.observing.scores",
    "tasks.observing.pictures",
    "levy_core.serving.reading",
)
BYTES = 64  # of a member's value: as float64 in each stratum, and what making and judging them takes
# Where no sampler was tuned: the levels of docs/benchmarks/infill.md.
USUAL = Solver("ode", "2m-data", "karras", 10, rho_max=40.0, rho_min=0.02, denoise=True)


def observe(params: Params, dataset: str, design: str) -> None:
    """Judges every experiment of ``observe`` that suits the data set, and keeps a few cases for the report."""
    experiments, out = params.experiments(dataset), paths.observed(dataset, design)
    if not experiments:
        _write(out, [], {})
        print(f"{design} on {dataset}: nothing is observed, as observe has no experiment for it")
        return
    make_reproducible(params.compute.threads)
    kind, settings, device = params.kind(dataset), params.data[dataset], stage.device(params.compute.device)
    assert kind.observing is not None
    folder, prepared = paths.model(dataset, design), paths.prepared(dataset)
    training = kind.training_data(prepared, settings)
    if why := why_none(training, params.models[design].get("eofs") is not None):
        _write(out, [], {})
        print(f"{design} on {dataset}: nothing is observed, because {why}")
        return
    held_out = kind.observing.open(prepared, settings)
    tuned, correction = read_tuned(paths.tuned(dataset, design)), read_correction(paths.tuned(dataset, design))
    as_seen = held_out.corrected(correction)
    experiments = {name: one for name, one in experiments.items() if _is_taken_in(name, one, as_seen)}
    decided_by = [
        hash_model(folder), hash_files(*folder.glob(COVARIANCE)), held_out.hash, training.hash, kind.hash_code("held_out"),
        hash_code(__name__, *CODE, *DRAWING, leaves=[__name__]), {name: one.model_dump() for name, one in experiments.items()},
        {steps: repr(solver) for steps, solver in tuned.items()}, correction, str(device),
    ]  # fmt: skip
    finished = FinishedStage(paths.finished_observe(dataset, design), hash_json(decided_by), [out])
    if finished.is_kept():
        print(f"{design} on {dataset}: the experiments are kept, as nothing that decides them has changed")
        return
    for name, experiment in experiments.items():
        _check_memory(f"observe.{kind.name}.{name} on {dataset}", experiment, held_out)
    filler = Filler(load_model(folder, device), folder, training, _levels_of(tuned), device, as_seen)
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[Shown]] = {}
    for name, experiment in bar(list(experiments.items()), f"observe {design}", unit="experiment"):
        try:
            own, shown[name] = _judge(filler, held_out, name, experiment)
        except LevyError as error:
            raise LevyError(f"observe.{kind.name}.{name} on {dataset} with {design}: {error}") from error
        rows += own
    _write(out, rows, shown)
    finished.write()
    print(f"{design} on {dataset}: {len(experiments)} experiments, {len(rows)} ways to fill in what was withheld")


def _is_taken_in(name: str, experiment: Experiment, held_out: HeldOut) -> bool:
    """Whether a model can take in so many values at once, of held-out samples as it sees them; says so where not."""
    operator = experiment.operator(Scene(held_out.valid, held_out.area))
    is_linear = not isinstance(held_out.see(operator, 0), Through)
    rows, most = operator.rows, MOST if is_linear else MOST_BEHIND
    if rows > most:
        behind = "" if is_linear else ", where some are means of a variable with a transform or a quantile mapping"
        print(f"{name} is left out: it observes {rows:,} values, and at most {most:,} can be taken in at once{behind}")
    return rows <= most


def _check_memory(where: str, experiment: Experiment, held_out: HeldOut) -> None:
    """Refuses members of all cases that memory does not hold."""
    cases = min(experiment.cases, len(held_out))
    need, free = BYTES * held_out.valid.numel() * cases * experiment.members, free_memory()
    if need > free:
        raise LevyError(
            f"{where} has {cases} cases of {experiment.members} members, which take about {need / 2**20:,.0f} MiB, but "
            f"{free / 2**20:,.0f} MiB of memory are free: lower one of them"
        )


def _write(out: Path, rows: list[dict[str, Any]], shown: dict[str, list[Shown]]) -> None:
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(WAY))
    with stage.replacing_folder(out) as folder:
        write_observed(folder, table, shown)


def _levels_of(tuned: dict[int, Solver]) -> Callable[[int], Solver]:
    """The sampler of observations with so many steps: on the levels that were found for the nearest number of them."""
    return lambda steps: solver_of_observations(
        tuned[min(tuned, key=lambda k: abs(k - steps))] if tuned else USUAL, steps
    )


def _judge(
    filler: Filler, held_out: HeldOut, name: str, experiment: Experiment
) -> tuple[list[dict[str, Any]], list[Shown]]:
    """One row for each way, and a few cases as the first way of the model fills them in."""
    candidates, seed = observe_cases(held_out, name, experiment), seed_of(experiment.seed, name)
    extreme, share = choose_extreme(candidates, filler.covariance, experiment.cases)
    strata = {
        "": candidates.take(choose_usual(candidates, experiment.cases)),
        EXTREME: candidates.take(extreme),
    }
    kriged: dict[str, Judged] = {}
    rows: list[dict[str, Any]] = []
    shown: list[Shown] = []
    for way in [*filler.rivals(experiment), *filler.ways(experiment)]:
        row: dict[str, Any] = {"experiment": name, "rival": way.rival, "guide": way.guide, "steps": way.steps}
        row |= {"nfe": filler.cost(way, candidates), "cases": len(strata[""])}
        row |= {"extreme_cases": len(extreme), "extreme_share": share, "failed": None}
        try:
            filled = {
                prefix: filler.fill(way, cases, experiment, seed_of(seed, prefix)) for prefix, cases in strata.items()
            }
        except NotFiniteError as error:
            rows.append(row | {"failed": str(error)})
            continue
        for prefix, cases in strata.items():
            judged = judge_members(filled[prefix], cases)
            row |= judged.row(prefix, kriged.get(prefix))
            if way.rival == KRIGING:  # which comes first
                kriged[prefix] = judged
        rows.append(row)
        if way.guide and not shown:
            shown = [
                case
                for prefix, cases in strata.items()
                for case in show_cases(filled[prefix], cases, way, bool(prefix))
            ]
    return rows, shown
